"""Small copies of the public data sets, written in the layout in which they are published.

Where nothing filters them, the EEG of a trial is its number in hundreds, plus the channel in tens,
plus the sample in thousandths: so a test can tell which sample it holds.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from dreamdiffusion.datasets.prepare import prepare
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.trials import Trials

WNIDS = ["n02389026", "n03888257"]


def load(name: str, root: Path, *subjects: str, **more: Any) -> Trials:
    """What `prepare --dataset` makes of the folder `root`; it writes beside it."""
    given = {"dataset": name, "input": [root], "subjects": list(subjects)}
    config = PrepareConfig(**{**given, "output": root.parent / "out", **more})
    return Trials.load(prepare(config))


def microvolts(trials: Trials, trial: int, channel: int, sample: int) -> float:
    """One value of the trials."""
    return float(trials.data[trial, channel, sample]) * 1e6


def number(trial: int, n_chans: int, n_times: int) -> np.ndarray:
    """Values that tell trial, channel and sample, (n_chans, n_times)."""
    return 100.0 * trial + 10.0 * np.arange(n_chans)[:, None] + np.arange(n_times) / 1000


def picture(path: Path, shade: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), shade).save(path)


def write_imagenet_eeg(root: Path, zipped: bool = True) -> None:
    """Ten trials: lengths 449 and 601 are left out; subjects 1 and 4 in turn."""
    lengths = [500, 449, 491, 601, 460, 600, 500, 500, 455, 500]
    names = [f"{WNIDS[i % 2]}_{1000 + i}" for i in range(5)]
    dataset = [
        {
            "eeg": torch.tensor(number(i, 128, length), dtype=torch.float32),
            "label": i % 2,
            "image": i % 5,
            "subject": 1 if i % 2 == 0 else 4,
        }
        for i, length in enumerate(lengths)
    ]
    content = {"dataset": dataset, "labels": WNIDS, "images": names}
    splits = {"splits": [{"train": [0, 1, 2, 3, 4, 5], "val": [6, 7], "test": [9, 8]}]}
    for name, saved in (("eeg_5_95_std", content), ("block_splits_by_image_all", splits)):
        torch.save(saved, root / f"{name}.pth", _use_new_zipfile_serialization=zipped)
    for name in names:
        picture(root / "images" / name.split("_")[0] / f"{name}.JPEG")


def write_eeg_imagenet(root: Path) -> None:
    """Subject 0 with three trials in part 1, subject 8 with two in part 2."""
    for part, subject, n_trials in ((1, 0, 3), (2, 8, 2)):
        block = torch.tensor(np.stack([number(i, 62, 501) for i in range(n_trials)]))
        entries = [
            {
                "eeg_data": block[i],  # views of one storage
                "granularity": "coarse" if i else "fine",
                "subject": subject,
                "label": WNIDS[i % 2],
                "image": f"{WNIDS[i % 2]}_{i}.JPEG",
            }
            for i in range(n_trials)
        ]
        images = [entry["image"] for entry in entries]
        torch.save(
            {"dataset": entries, "labels": WNIDS, "images": images},
            root / f"EEG-ImageNet_{part}.pth",
        )
        for name in images:
            picture(root / "images" / name.split("_")[0] / name)


def write_things_eeg2(root: Path) -> None:
    """Two people; 4 training conditions x 2 repetitions, 2 test conditions x 3, 3 channels."""
    metadata: dict[str, list[str]] = {}
    shapes = {"training": (4, 2), "test": (2, 3)}
    for part, prefix in (("training", "train"), ("test", "test")):
        concepts = [f"{i // 2 + 1:05d}_thing{part}" for i in range(shapes[part][0])]
        files = [f"thing_{i:02d}b.jpg" for i in range(shapes[part][0])]
        metadata |= {f"{prefix}_img_concepts": concepts, f"{prefix}_img_files": files}
        metadata[f"{prefix}_img_concepts_THINGS"] = concepts
        for concept, file in zip(concepts, files, strict=True):
            picture(root / f"{part}_images" / concept / file)
    np.save(root / "image_metadata.npy", metadata)  # pyright: ignore[reportArgumentType]
    for person in (1, 2):
        folder = root / f"sub-{person:02d}"
        folder.mkdir()
        for part, (n_conditions, n_repeats) in shapes.items():
            eeg = np.stack([number(i, 3, 100) for i in range(n_conditions * n_repeats)]).reshape(
                n_conditions, n_repeats, 3, 100
            )
            content = {
                "preprocessed_eeg_data": eeg + 1000 * person + (500 if part == "test" else 0),
                "ch_names": ["Pz", "O1", "Oz"],
                "times": np.arange(-20, 80) / 100,
            }
            np.save(folder / f"preprocessed_eeg_{part}.npy", content)  # pyright: ignore[reportArgumentType]


def write_kaneshiro2015(root: Path) -> None:
    """Two people with five trials."""
    for subject in (1, 10):
        eeg = np.stack([number(i, 124, 32) for i in range(5)], axis=2)
        savemat(
            root / f"S{subject}.mat",
            {
                "X_3D": eeg,
                "categoryLabels": np.array([[1, 2, 6, 6, 3]]),
                "exemplarLabels": np.array([[1, 13, 72, 61, 25]]),
                "Fs": 62.5,
                "N": 32,
                "T": 5,
                "sub": f"S{subject}",
            },
        )


def noise(n_chans: int, n_times: int, seed: int) -> np.ndarray:
    """EEG-like noise in volts, another for every seed."""
    return np.random.default_rng(seed).normal(0, 1e-5, (n_chans, n_times))


def write_brainvision(stem: Path, data: np.ndarray, ch_names: list[str], sfreq: float) -> None:
    """Write header, empty markers and data in microvolts."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    name = stem.name
    channels = [f"Ch{i}={ch},,1,µV" for i, ch in enumerate(ch_names, start=1)]
    header = [
        "Brain Vision Data Exchange Header File Version 1.0", "[Common Infos]", "Codepage=UTF-8",
        f"DataFile={name}.eeg", f"MarkerFile={name}.vmrk", "DataFormat=BINARY",
        "DataOrientation=MULTIPLEXED", f"NumberOfChannels={len(ch_names)}",
        f"SamplingInterval={1e6 / sfreq:g}", "[Binary Infos]", "BinaryFormat=IEEE_FLOAT_32",
        "[Channel Infos]", *channels,
    ]  # fmt: skip
    markers = [
        "Brain Vision Data Exchange Marker File, Version 1.0", "[Common Infos]", "Codepage=UTF-8",
        f"DataFile={name}.eeg", "[Marker Infos]", "Mk1=New Segment,,1,1,0,20200101000000000000",
    ]  # fmt: skip
    stem.with_name(f"{name}.vhdr").write_text("\n".join(header) + "\n", "utf-8")
    stem.with_name(f"{name}.vmrk").write_text("\n".join(markers) + "\n", "utf-8")
    stem.with_name(f"{name}.eeg").write_bytes((data.T * 1e6).astype("<f4").tobytes())


def write_events(stem: Path, events: pd.DataFrame) -> None:
    """Write the events.tsv beside the recording `<stem>.vhdr`."""
    path = stem.with_name(stem.name.removesuffix("_eeg") + "_events.tsv")
    events.to_csv(path, sep="\t", index=False)


def write_things_eeg1(root: Path) -> None:
    """Two people, 10 s; a target and a test picture among the events. ds003825's own columns."""
    description = {"Name": "THINGS-EEG", "BIDSVersion": "1.0.2", "License": "CC0"}
    (root / "dataset_description.json").write_text(json.dumps(description), "utf-8")
    rows = [
        (2.0, "carousel", "stimuli\\carousel\\carousel_11s.jpg", 0, 0),
        (2.1, "piano", "stimuli\\piano\\piano_05n.jpg", 0, 1),
        (2.2, "tent", "stimuli\\tent\\tent_08n.jpg", 0, 0),
        (5.0, -1, "stimuli\\stove\\stove_09s.jpg", 1, 0),
    ]
    for _, _, stim, _, _ in rows:
        picture(root / stim.replace("\\", "/"))
    for person in (1, 50):
        stem = root / f"sub-{person:02d}" / "eeg" / f"sub-{person:02d}_task-rsvp_eeg"
        write_brainvision(stem, noise(3, 10_000, person), ["Pz", "O1", "Oz"], 1000.0)
        events = pd.DataFrame(rows, columns=["onset", "object", "stim", "isteststim", "istarget"])
        events.insert(1, "duration", 50)
        events["stimname"] = [stim.split("\\")[-1] for stim in events["stim"]]
        if person == 1:
            events = events.drop(columns="isteststim")
        write_events(stem, events)


def write_alljoined(root: Path) -> None:
    """Two people with one block each; the EDF has a counter beside the EEG."""
    for person in (1, 20):
        data = np.concatenate([noise(2, 2560, person) + 4.2e-3, np.arange(2560)[None] % 128 * 1e-4])
        info = mne.create_info(["Oz", "Afz", "Counter"], 256.0, "eeg")
        raw = mne.io.RawArray(data, info, verbose="ERROR")
        notes = ["stim_test,16641,-1,1", "oddball,0,1,2", "stim_train,00007,3,4", "behav,3,0,0"]
        raw.set_annotations(mne.Annotations([2.0, 3.0, 4.0, 5.0], 0.1, notes))
        folder = root / "raw_eeg" / f"sub-{person:02d}" / "session_03" / "block_05"
        folder.mkdir(parents=True)
        name = f"Subject {person}, Session 3, Block 5 Recording_FLEX2_2025.md.edf"
        mne.export.export_raw(folder / name, raw, physical_range=(-2e4, 2e4), verbose="ERROR")
    for image in ("16641", "00007"):
        picture(root / "images" / f"{image}.jpg")


def write_bids(root: Path) -> None:
    """Two people with two events."""
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}', "utf-8")
    events = pd.DataFrame(
        {
            "onset": [2.0, 4.0],
            "duration": [0.1, 0.1],
            "trial_type": ["cat", "dog"],
            "stim_file": ["a.png", "b.png"],
        }
    )
    for name in ("a.png", "b.png"):
        picture(root / "stimuli" / name)
    for person in (1, 2):
        stem = root / f"sub-{person:02d}" / "eeg" / f"sub-{person:02d}_task-look_eeg"
        write_brainvision(stem, noise(3, 2560, person), ["Pz", "O1", "Oz"], 256.0)
        write_events(stem, events)


def write_muse_csv(path: Path, codes: dict[str, list[float]], seed: int) -> None:
    """Ten seconds of a Muse csv; the first marker column is non-zero at 2, 4, 6 and 8 s."""
    values = noise(5, 2560, seed).T * 1e6
    table = pd.DataFrame(values, columns=["TP9", "AF7", "AF8", "TP10", "Right AUX"])
    table.insert(0, "timestamps", 1000 + np.arange(2560) / 256)
    for name, column in codes.items():
        table[name] = 0.0
        table.loc[[512, 1024, 1536, 2048], name] = column
    path.parent.mkdir(parents=True, exist_ok=True)
    table.round(3).to_csv(path, index=False)


def write_muse_n170(root: Path) -> None:
    """Two people with two runs of two houses and two faces."""
    for person in (1, 2):
        for run in (1, 2):
            path = root / f"subject{person}" / "session1" / f"data_{run}.csv"
            write_muse_csv(path, {"Marker0": [1, 2, 2, 1]}, 10 * person + run)
    for name in ("faces/Annie_3.jpg", "houses/house1.3.jpg"):
        picture(root / "stimuli" / name)


def write_muse_gratings(root: Path) -> None:
    """Two runs: low at 45 degrees, its offset, high at 135, its offset."""
    for run in (1, 2):
        codes: dict[str, list[float]] = {
            "Frequency": [1, 3, 2, 4],
            "Contrast": [1, 1, 1, 1],
            "Orientation": [45, 45, 135, 135],
        }
        write_muse_csv(root / "subject0" / "session1" / f"data_{run}.csv", codes, run)


class FakeMoabb:
    """What a data set of MOABB looks like: 2 people, 1 session, 2 runs, 2 classes.

    As MOABB does, it keeps the marker channel, and annotates the trials from the start of the
    interval, 2 s after their markers. An artefact is annotated too, and a code is no class.
    """

    subject_list = (1, 2)
    event_id = {"left_hand": 1, "feet": [2, 3]}  # noqa: RUF012
    interval = (2.0, 4.5)
    code = "Fake"

    def get_data(self, subjects: list[int]) -> dict[int, Any]:
        """Return subject -> session -> run -> Raw."""
        return {
            subject: {"0": {str(run): self._run(10 * subject + run) for run in (0, 1)}}
            for subject in subjects
        }

    def _run(self, seed: int) -> mne.io.RawArray:
        data = np.vstack([noise(2, 2560, seed), np.zeros(2560)])
        data[2, [256, 1280, 1792]] = [1, 3, 7]
        info = mne.create_info(["C3", "Cz", "stim"], 256.0, ["eeg", "eeg", "stim"])
        raw = mne.io.RawArray(data, info, first_samp=512, verbose="ERROR")
        return raw.set_annotations(
            mne.Annotations([3.0, 7.0, 9.5], [2.5, 2.5, 0.1], ["left_hand", "feet", "BAD_artifact"])
        )


def pretend_moabb(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a MOABB whose one data set is `Fake`, as long as the test lasts."""
    package, datasets = types.ModuleType("moabb"), types.ModuleType("moabb.datasets")
    package.datasets, datasets.Fake = datasets, FakeMoabb  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "moabb", package)
    monkeypatch.setitem(sys.modules, "moabb.datasets", datasets)
