"""ImageNet-EEG (Spampinato et al. 2017, Palazzo et al. 2020): 6 people, 40 classes x 50 photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from dreamdiffusion.datasets.base import PublicDataset, need
from dreamdiffusion.datasets.public.published_trials import assemble, window
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.trials import Trials

SHORTEST, LONGEST = 450, 600  # samples: trials of other lengths are left out, as the authors do
_UNIT = 1e-6  # volts per number of the file, which names no unit; `convert` takes the same


class ImageNetEEG(PublicDataset):
    """The data set of the DreamDiffusion paper.

    The release is normalised and names no unit: one of its numbers is taken for a microvolt. The
    column `split` of the metadata is the published one (`train`, `val`, `test`), whose indices
    count all trials of the file, before any choice of person or length; `index` is that number.
    """

    name = "imagenet-eeg"
    title = "ImageNet-EEG: 40 ImageNet classes x 50 photos"
    licence = "not stated: the repository has no licence file; ImageNet's terms for the photos"
    doi = "10.1109/TPAMI.2020.2995909"
    url = "https://github.com/perceivelab/eeg_visual_classification"
    device = "128 active electrodes (actiCAP), Brain Products amplifiers"
    n_subjects = 6
    n_chans = 128
    sfreq = 1000.0
    shown = "2,000 photos for 0.5 s each, in blocks of the 50 photos of one class"
    caveat = (
        "Block design: all trials of a class were recorded in a row, so the class is confounded "
        "with time. A classifier can score far above chance without any trace of the photo; no "
        "split of these trials separates the two."
    )
    citation = (
        "Palazzo et al. 2020, Decoding Brain Representations by Multimodal Learning of Neural "
        "Activity and Visual Features, IEEE TPAMI; Spampinato et al. 2017, Deep Learning Human "
        "Mind for Automated Visual Classification, CVPR"
    )
    unverified = "device (from the papers' text, not checked)"
    subjects = tuple("123456")
    pictures = "images"
    layout = (
        "eeg_5_95_std.pth",
        "block_splits_by_image_all.pth",
        "images/<wnid>/<name>.JPEG",
    )
    by_hand = (
        "Download eeg_5_95_std.pth and block_splits_by_image_all.pth from "
        "https://tinyurl.com/eeg-visual-classification and the 2,000 photos from ImageNet "
        "(https://www.image-net.org, registration; training images of the 40 classes), as "
        "images/<wnid>/<name>.JPEG."
    )
    settings: ClassVar[Mapping[str, Any]] = {
        "tmin": 0.02,  # samples 20:460, as in the paper
        "tmax": 0.46,
        "picture_fit": "squash",  # as the paper
        "signal": {"l_freq": 5.0, "h_freq": 95.0, "sfreq": 1000.0},
    }

    def load(self, root: Path, subjects: Sequence[str], config: PrepareConfig) -> Trials:
        """Read `eeg_5_95_std.pth`; see `PublicDataset.load`."""
        from dreamdiffusion.files.torch_file import TorchFile

        file = TorchFile(need(root / self.layout[0], self))
        splits = TorchFile(need(root / self.layout[1], self))
        try:
            entries, wnids, names = (file.content[k] for k in ("dataset", "labels", "images"))
            lengths = [entry["eeg"].shape[1] for entry in entries]
            people = [str(entry["subject"]) for entry in entries]
            side = _sides(splits.content["splits"][0], len(entries))
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"{file.path} is not laid out as published: {error!r}") from error
        chosen = self.choose(subjects)
        candidates = [i for i, person in enumerate(people) if person in chosen]
        ch_names = [f"EEG {i:03d}" for i in range(1, self.n_chans + 1)]  # the release names none
        signal = SignalConfig(**self.settings["signal"])
        part = window(config, signal, ch_names, (0.0, LONGEST), self.name)
        shortest = max(SHORTEST, part.samples.stop)
        kept = [i for i in candidates if shortest <= lengths[i] <= LONGEST]
        n_times = part.samples.stop - part.samples.start
        data = np.empty((len(kept), len(part.channels), n_times), np.float32)
        rows: list[dict[str, Any]] = []
        for row, index in enumerate(kept):
            entry = entries[index]
            eeg = file.read(entry["eeg"]).numpy()
            if eeg.shape[0] != self.n_chans:
                raise ValueError(
                    f"{file.path}: trial {index} has {eeg.shape[0]} channels, expected 128"
                )
            data[row] = eeg[part.channels, part.samples] * _UNIT
            name = str(names[entry["image"]])
            rows.append(
                {
                    "subject": people[index],
                    "category": str(wnids[entry["label"]]),
                    "stim_file": f"{name.split('_')[0]}/{name}.JPEG",
                    "split": side[index],
                    "index": index,
                }
            )
        rejected = {"length": len(candidates) - len(kept)}
        return assemble(config, part, data, pd.DataFrame(rows), rejected)


def _sides(split: dict[str, Any], n_trials: int) -> list[str]:
    sides = [""] * n_trials
    for side in ("train", "val", "test"):
        for index in split[side]:
            number = int(index)
            if not 0 <= number < n_trials:
                raise ValueError(f"the published split names trial {number} of {n_trials}")
            sides[number] = side
    return sides
