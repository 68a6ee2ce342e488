"""EEG-ImageNet (Zhu et al. 2024): 16 people, 80 categories x 50 photos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from dreamdiffusion.datasets.base import PublicDataset, need
from dreamdiffusion.datasets.public.published_trials import assemble, window
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.trials import Trials

if TYPE_CHECKING:
    from dreamdiffusion.files.torch_file import TorchFile

CH_NAMES = [
    "Fp1", "Fpz", "Fp2", "AF3", "AF4", "F7", "F5", "F3", "F1", "Fz", "F2", "F4", "F6", "F8",
    "FT7", "FC5", "FC3", "FC1", "FCz", "FC2", "FC4", "FC6", "FT8",
    "T7", "C5", "C3", "C1", "Cz", "C2", "C4", "C6", "T8",
    "TP7", "CP5", "CP3", "CP1", "CPz", "CP2", "CP4", "CP6", "TP8",
    "P7", "P5", "P3", "P1", "Pz", "P2", "P4", "P6", "P8",
    "PO7", "PO5", "PO3", "POz", "PO4", "PO6", "PO8", "CB1", "O1", "Oz", "O2", "CB2",
]  # fmt: skip
N_TIMES = 500


class EEGImageNet(PublicDataset):
    """EEG-ImageNet; its numbers are taken for volts, as MNE exports them.

    `category` is the WordNet id, `granularity` says whether the category is one of the 40 coarse
    or of the 40 fine ones, `index` numbers the trials of a file in its order.
    """

    name = "eeg-imagenet"
    title = "EEG-ImageNet 2024: 80 ImageNet categories x 50 photos"
    licence = "MIT (of the repository; the data's own terms are not stated apart)"
    doi = "10.48550/arXiv.2406.07151"
    url = "https://github.com/Promise-Z5Q2SQ/EEG-ImageNet-Dataset"
    device = "64-channel cap with the channels of Neuroscan's Quik-Cap, 62 of them EEG"
    n_subjects = 16
    n_chans = 62
    sfreq = 1000.0
    shown = "4,000 photos for 0.5 s each, in sequences of the 50 photos of one category"
    caveat = (
        "Block design: the name of a category is shown, then its 50 photos in a row. The category "
        "is confounded with time and with having read the name."
    )
    citation = (
        "Zhu et al. 2024, EEG-ImageNet: An Electroencephalogram Dataset and Benchmarks with Image "
        "Visual Stimuli of Multi-Granularity Labels, arXiv 2406.07151"
    )
    unverified = (
        "device (inferred from the published channel names); order of the 62 channels (that of "
        "the authors' montage without its others); unit; which filter the release has passed"
    )
    subjects = tuple(str(i) for i in range(16))
    pictures = "images"
    layout = ("EEG-ImageNet_1.pth", "EEG-ImageNet_2.pth", "images/<wnid>/<name>.JPEG")
    by_hand = (
        "Download EEG-ImageNet_1.pth (people 0 to 7) and EEG-ImageNet_2.pth (8 to 15), or one of "
        "them, from https://cloud.tsinghua.edu.cn/d/d812f7d1fc474b14bbd0/ and the photos from "
        "ImageNet (https://www.image-net.org, registration), as images/<wnid>/<name>.JPEG."
    )
    settings: ClassVar[Mapping[str, Any]] = {
        "tmin": 0.04,  # samples 40:440, as the authors' own code
        "tmax": 0.44,
        "signal": {"l_freq": None, "h_freq": None, "sfreq": 1000.0},
    }

    def load(self, root: Path, subjects: Sequence[str], config: PrepareConfig) -> Trials:
        """Read the parts that are there; see `PublicDataset.load`."""
        wanted = self.choose(subjects)
        signal = SignalConfig(**self.settings["signal"])
        part = window(config, signal, CH_NAMES, (0.0, N_TIMES), self.name)
        entries = [found for found in self._entries(root) if found[0] in wanted]
        people = {person for person, *_ in entries}
        absent = [person for person in subjects if person not in people]
        if absent or not entries:
            raise ValueError(
                f"{root} holds no trial of subject {', '.join(absent or wanted)}; people 0 to 7 "
                f"are in {self.layout[0]}, 8 to 15 in {self.layout[1]}"
            )
        n_times = part.samples.stop - part.samples.start
        data = np.empty((len(entries), len(part.channels), n_times), np.float32)
        rows: list[dict[str, Any]] = []
        for row, (person, index, entry, file) in enumerate(entries):
            eeg = file.read(entry["eeg_data"]).numpy()
            if eeg.shape[0] != self.n_chans or eeg.shape[1] < part.samples.stop:
                raise ValueError(
                    f"{file.path}: trial {index} has the shape {eeg.shape}, expected "
                    f"({self.n_chans}, at least {part.samples.stop})"
                )
            data[row] = eeg[part.channels, part.samples]
            name = str(entry["image"]).removesuffix(".JPEG")
            rows.append(
                {
                    "subject": person,
                    "category": str(entry["label"]),
                    "stim_file": f"{name.split('_')[0]}/{name}.JPEG",
                    "granularity": str(entry["granularity"]),
                    "index": index,
                }
            )
        return assemble(config, part, data, pd.DataFrame(rows))

    def _entries(self, root: Path) -> Iterator[tuple[str, int, dict[str, Any], TorchFile]]:
        """Yield person, number in its file, entry and file of every trial; reads no EEG."""
        from dreamdiffusion.files.torch_file import StoredTensor, TorchFile

        parts = [root / name for name in self.layout[:2] if (root / name).exists()]
        for path in parts or [need(root / self.layout[0], self)]:
            file = TorchFile(path)
            try:
                for index, entry in enumerate(file.content["dataset"]):
                    missing = {"subject", "label", "image", "granularity"} - entry.keys()
                    if missing or not isinstance(entry["eeg_data"], StoredTensor):
                        raise KeyError(*missing or ["eeg_data"])
                    yield str(entry["subject"]), index, entry, file
            except (KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{path} is not laid out as published: {error!r}") from error
