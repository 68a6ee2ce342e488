"""THINGS-EEG2 (Gifford et al. 2022): 10 people, 16,540 training and 200 test pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from dreamdiffusion.datasets.base import PublicDataset, need
from dreamdiffusion.datasets.public.published_trials import Window, assemble, window
from dreamdiffusion.files.numpy_file import read_numpy
from dreamdiffusion.files.progress import progress
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.trials import Trials

RATES = (100.0, 250.0)  # Hz: the release, and the one that NICE and ATM are scored on
PARTS = {"training": "train", "test": "test"}  # name of the EEG file -> prefix in the metadata
_UNIT = 1e-6  # volts per number of the release, which is whitened and has no unit


class ThingsEEG2(PublicDataset):
    """THINGS-EEG2 as its authors preprocessed it.

    The release is whitened per session and has no unit: one of its numbers is taken for a
    microvolt. `run` is `training` or `test`, the two kinds of runs of the experiment;
    `repetition` numbers the presentations of a picture, which the release has shuffled over the
    sessions.

    Files of the same layout at 250 Hz, 0 to 1 s (as NICE's preprocessing writes them and ATM's
    authors publish them), are read with `signal.sfreq` 250, `tmin` 0 and `tmax` 1.
    """

    name = "things-eeg2"
    title = "THINGS-EEG2: 16,740 object pictures in rapid sequence"
    licence = "CC BY 4.0"
    doi = "10.17605/OSF.IO/3JK45"
    url = "https://osf.io/3jk45/"
    device = "64 electrodes, Brain Products actiCHamp"
    n_subjects = 10
    n_chans = 63
    sfreq = 100.0
    shown = (
        "pictures of objects for 0.1 s at 5 per second: 16,540 of 1,654 concepts 4 times each, "
        "200 of 200 other concepts 80 times each"
    )
    caveat = (
        "Five pictures a second, so responses overlap. Published scores average the 80 test "
        "repetitions of a picture; single trials score far lower and must be reported as such. "
        "The release is whitened with covariances of training and test data together, and its "
        "repetitions are shuffled over the four sessions, so sessions cannot be held apart."
    )
    citation = (
        "Gifford, Dwivedi, Roig, Cichy 2022, A large and rich EEG dataset for modeling human "
        "visual object recognition, NeuroImage 264:119754"
    )
    subjects = tuple(f"{i:02d}" for i in range(1, 11))
    pictures = "."
    layout = (
        "sub-{subject}/preprocessed_eeg_training.npy",
        "sub-{subject}/preprocessed_eeg_test.npy",
        "image_metadata.npy",
        "training_images/<concept>/<file>.jpg",
        "test_images/<concept>/<file>.jpg",
    )
    by_hand = (
        "Download sub-XX.zip of the people you want from https://osf.io/anp5v/ (preprocessed EEG), "
        "and image_metadata.npy, training_images.zip and test_images.zip from "
        "https://osf.io/y63gw/ (the pictures; their own terms are those of THINGS); unpack all of "
        "them in one folder. The 250 Hz files that NICE and ATM are scored on are in "
        "Preprocessed_data_250Hz of https://huggingface.co/datasets/LidongYang/EEG_Image_decode: "
        "prepare them with --signal.sfreq 250 --tmin 0 --tmax 1."
    )
    settings: ClassVar[Mapping[str, Any]] = {
        "tmin": -0.2,
        "tmax": 0.8,
        "signal": {"l_freq": None, "h_freq": None, "sfreq": 100.0},
    }

    def load(self, root: Path, subjects: Sequence[str], config: PrepareConfig) -> Trials:
        """Read both parts of each person; see `PublicDataset.load`.

        The float64 arrays stay on disk; what is chosen of them is copied as float32, 2.1 GB for
        all 63 channels and 100 samples of one person.
        """
        shown = _pictures(need(root / "image_metadata.npy", self))
        opened = []
        for subject in self.people(root, subjects, self.layout[0]):
            for part in PARTS:
                path = need(root / f"sub-{subject}" / f"preprocessed_eeg_{part}.npy", self)
                opened.append((subject, part, _open(path, len(shown[part]))))
        first = opened[0][2]
        for _, _, content in opened:
            if content["ch_names"] != first["ch_names"]:
                raise ValueError(f"{content['path']} has other channels than {first['path']}")
            same = content["times"].shape == first["times"].shape
            if not same or not np.allclose(content["times"], first["times"], rtol=0, atol=1e-6):
                raise ValueError(f"{content['path']} has other times than {first['path']}")
        signal = SignalConfig(**self.settings["signal"] | {"sfreq": first["sfreq"]})
        if config.signal.sfreq != signal.sfreq and signal.sfreq == RATES[1]:
            raise ValueError(
                f"{first['path']} has {signal.sfreq:g} Hz, not the {config.signal.sfreq:g} Hz of "
                f"the release; pass --signal.sfreq {signal.sfreq:g} --tmin 0 --tmax 1"
            )
        times = (float(first["times"][0]), len(first["times"]))
        chosen = window(config, signal, first["ch_names"], times, self.name)
        n_trials = sum(content["eeg"].shape[0] * content["eeg"].shape[1] for *_, content in opened)
        n_times = chosen.samples.stop - chosen.samples.start
        data = np.empty((n_trials, len(chosen.channels), n_times), np.float32)
        rows: list[pd.DataFrame] = []
        place = 0
        for subject, part, content in progress(opened, self.name, unit="file"):
            place = _copy(content["eeg"], chosen, data, place)
            repeats = content["eeg"].shape[1]
            table = pd.DataFrame(shown[part], columns=["category", "stim_file"])
            table = table.loc[table.index.repeat(repeats)].reset_index(drop=True)
            table["repetition"] = np.tile(np.arange(repeats), len(shown[part]))
            table.insert(0, "subject", subject)
            table.insert(1, "run", part)
            rows.append(table)
        return assemble(config, chosen, data, pd.concat(rows, ignore_index=True))


def _pictures(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Concept and picture of every condition, in the order of the EEG."""
    content = read_numpy(path)
    found = {}
    for part, prefix in PARTS.items():
        try:
            concepts = [str(c) for c in content[f"{prefix}_img_concepts"]]
            files = [str(f) for f in content[f"{prefix}_img_files"]]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is not laid out as published: {error!r}") from error
        found[part] = [
            (concept, f"{part}_images/{concept}/{file}")
            for concept, file in zip(concepts, files, strict=True)
        ]
    return found


def _open(path: Path, n_conditions: int) -> dict[str, Any]:
    content = read_numpy(path)
    try:
        eeg = content["preprocessed_eeg_data"]
        ch_names = [str(name) for name in content["ch_names"]]
        times = np.asarray(content["times"], float)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not laid out as published: {error!r}") from error
    shape = getattr(eeg, "shape", None)
    if shape is not None and len(shape) == 4:
        # The files at 250 Hz name the times before onset too, whose samples were cut off.
        times = times[-shape[3] :]
    if shape is None or len(shape) != 4 or shape[2:] != (len(ch_names), len(times)):
        raise ValueError(
            f"{path} has EEG of the shape {shape}, {len(ch_names)} channel names and {len(times)} "
            "times; expected conditions x repetitions x channels x times"
        )
    steps = np.diff(times)
    fitting = [r for r in RATES if len(steps) and np.allclose(steps, 1 / r, rtol=0, atol=1e-6)]
    if not fitting:
        rates = " or ".join(f"{rate:g}" for rate in RATES)
        raise ValueError(f"{path} is not sampled at {rates} Hz, as the releases are")
    if shape[0] != n_conditions:
        raise ValueError(f"{path} has {shape[0]} conditions, image_metadata.npy {n_conditions}")
    return {"path": path, "eeg": eeg, "ch_names": ch_names, "times": times, "sfreq": fitting[0]}


def _copy(eeg: np.ndarray, chosen: Window, data: np.ndarray, place: int) -> int:
    """Copy 100 conditions at a time, so that little of the float64 file is in memory at once."""
    for start in range(0, eeg.shape[0], 100):
        block = np.asarray(eeg[start : start + 100])[:, :, chosen.channels, chosen.samples]
        block = block.reshape(-1, *block.shape[2:])
        data[place : place + len(block)] = block * _UNIT
        place += len(block)
    return place
