"""Public data sets that are published as trials: which sample, label and picture each trial has."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import published
import pytest
import torch
from published import load, microvolts

from dreamdiffusion.trials.splits import split_by


@pytest.mark.parametrize("zipped", [True, False], ids=["torch >= 1.6", "older"])
def test_imagenet_eeg(tmp_path: Path, zipped: bool) -> None:
    root = tmp_path / "data"
    root.mkdir()
    published.write_imagenet_eeg(root, zipped)
    trials = load("imagenet-eeg", root, "1")
    # Subject 1 has the trials 0, 2, 4, 6, 8 of the file; 8 has 455 samples, too few for 20:460.
    assert trials.metadata["index"].tolist() == [0, 2, 4, 6]
    assert trials.rejected == {"length": 1}
    assert trials.data.shape == (4, 128, 440)
    assert trials.ch_names[::127] == ["EEG 001", "EEG 128"]  # the release names none
    assert (trials.sfreq, trials.tmin) == (1000.0, 0.02)
    assert microvolts(trials, 1, 3, 0) == pytest.approx(230.020, abs=1e-3)  # trial 2, sample 20
    assert microvolts(trials, 3, 127, 439) == pytest.approx(1870.459, abs=1e-2)  # sample 459
    assert trials.metadata["category"].tolist() == ["n02389026"] * 4
    assert trials.metadata["stim_file"].tolist() == [
        "n02389026/n02389026_1000.JPEG", "n02389026/n02389026_1002.JPEG",
        "n02389026/n02389026_1004.JPEG", "n03888257/n03888257_1001.JPEG",
    ]  # fmt: skip
    # The published split counts all trials of the file: 6 is in val whoever else is chosen.
    assert trials.metadata["split"].tolist() == ["train", "train", "train", "val"]
    other = load("imagenet-eeg", root, "4")
    assert other.metadata["index"].tolist() == [5, 7, 9]  # 449 and 601 samples are left out
    assert other.metadata["split"].tolist() == ["train", "val", "test"]
    assert other.rejected == {"length": 2}
    split = split_by(other.metadata, "split", ["test"], ["val"], 0, allow_shared_stimuli=True)
    assert (split.train.tolist(), split.test.tolist()) == ([0], [2])


def test_imagenet_eeg_executes_nothing(written: Callable[[str], Path], tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'executed'}",)

    root = written("imagenet-eeg")
    for zipped in (True, False):
        torch.save({"dataset": [Evil()], "labels": [], "images": []}, root / "eeg_5_95_std.pth",
                   _use_new_zipfile_serialization=zipped)  # fmt: skip
        with pytest.raises(ValueError, match="not laid out as published"):
            load("imagenet-eeg", root)
    torch.save(Evil(), root / "eeg_5_95_std.pth")
    with pytest.raises(ValueError, match="not laid out as published"):
        load("imagenet-eeg", root)
    assert not (tmp_path / "executed").exists()


def test_eeg_imagenet(written: Callable[[str], Path]) -> None:
    root = written("eeg-imagenet")
    trials = load("eeg-imagenet", root)
    assert trials.data.shape == (5, 62, 400)
    assert (trials.sfreq, trials.tmin) == (1000.0, 0.04)
    # The file is in volts; samples 40:440, as its authors take them.
    assert float(trials.data[2, 5, 0]) == pytest.approx(250.040)
    assert float(trials.data[4, 61, 399]) == pytest.approx(710.439)
    assert trials.ch_names[-3:] == ["Oz", "O2", "CB2"]
    assert trials.metadata["stim_file"][1] == "n03888257/n03888257_1.JPEG"
    assert trials.metadata["granularity"].tolist() == ["fine", "coarse", "coarse", "fine", "coarse"]
    assert trials.metadata["subject"].tolist() == ["0", "0", "0", "8", "8"]
    (root / "EEG-ImageNet_2.pth").unlink()
    assert len(load("eeg-imagenet", root)) == 3
    with pytest.raises(ValueError, match="no trial of subject 8; people 0 to 7 are in"):
        load("eeg-imagenet", root, "8")


def test_things_eeg2(written: Callable[[str], Path]) -> None:
    root = written("things-eeg2")
    trials = load("things-eeg2", root, "02")
    assert trials.data.shape == (14, 3, 100)
    assert (trials.sfreq, trials.tmin, trials.ch_names) == (100.0, -0.2, ["Pz", "O1", "Oz"])
    # Training condition 1, repetition 1 is the fourth array of subject 2.
    assert microvolts(trials, 3, 2, 99) == pytest.approx(2320.099, abs=1e-2)
    # Test condition 1, repetition 0 comes after 8 training trials and 3 of condition 0.
    assert microvolts(trials, 11, 0, 0) == pytest.approx(2800.0, abs=1e-2)
    rows = trials.metadata
    assert rows["run"].tolist() == ["training"] * 8 + ["test"] * 6
    assert rows["repetition"].tolist() == [0, 1] * 4 + [0, 1, 2] * 2
    assert rows["stim_file"][3] == "training_images/00001_thingtraining/thing_01b.jpg"
    assert rows["stim_file"][11] == "test_images/00001_thingtest/thing_01b.jpg"
    assert rows["category"][11] == "00001_thingtest"
    assert trials.images()[11].is_file()
    late = load("things-eeg2", root, "02", tmin=0.0, tmax=0.3, signal={"picks": ["Oz", "Pz"]})
    assert late.ch_names == ["Oz", "Pz"]
    np.testing.assert_array_equal(late.data, trials.data[:, [2, 0], 20:50])


def test_things_eeg2_reads_a_plain_pickle_and_refuses_another_layout(
    written: Callable[[str], Path],
) -> None:
    import pickle

    root = written("things-eeg2")
    path = root / "sub-01" / "preprocessed_eeg_test.npy"
    before = load("things-eeg2", root, "01")
    content = np.load(path, allow_pickle=True).item()
    path.write_bytes(pickle.dumps(content, protocol=4))  # as some copies on the web are
    np.testing.assert_array_equal(load("things-eeg2", root, "01").data, before.data)
    for change, message in (
        ({"times": np.arange(50) / 100}, "50 times"),
        ({"times": np.arange(100) / 128}, "not sampled at 100 or 250 Hz"),
        ({"times": np.arange(100) / 250}, "other times than"),
        ({"ch_names": ["Pz", "O1", "O2"]}, "other channels than"),
        ({"preprocessed_eeg_data": content["preprocessed_eeg_data"][:1]}, "1 conditions"),
        ({"preprocessed_eeg_data": [1, 2]}, "shape None"),
    ):
        np.save(path, content | change)
        with pytest.raises(ValueError, match=message):
            load("things-eeg2", root, "01")


def test_things_eeg2_at_250_hz_as_nice_and_atm_are_scored(
    written: Callable[[str], Path],
) -> None:
    root = written("things-eeg2")
    for part in ("training", "test"):
        path = root / "sub-01" / f"preprocessed_eeg_{part}.npy"
        content = np.load(path, allow_pickle=True).item()
        eeg = content["preprocessed_eeg_data"][..., :50]
        # Sixty times for fifty samples: those before onset were cut off, their times were not.
        np.save(path, content | {"preprocessed_eeg_data": eeg, "times": np.arange(-10, 50) / 250})
    with pytest.raises(
        ValueError, match=r"250 Hz, not the 100 Hz of the release; pass --signal\.s"
    ):
        load("things-eeg2", root, "01")
    wanted = {"tmin": 0.0, "tmax": 0.2, "signal": {"sfreq": 250.0}}
    trials = load("things-eeg2", root, "01", **wanted)
    assert (trials.data.shape, trials.sfreq, trials.tmin) == ((14, 3, 50), 250.0, 0.0)
    assert trials.signal["sfreq"] == 250.0
    assert trials.source["dataset"] == "things-eeg2"
    assert trials.source["prepare"]["tmax"] == 0.2
    assert microvolts(trials, 3, 2, 49) == pytest.approx(1320.049, abs=1e-2)
    with pytest.raises(ValueError, match="other times than"):
        load("things-eeg2", root, "01", "02", **wanted)


def test_things_eeg2_executes_nothing(written: Callable[[str], Path], tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'executed'}",)

    root = written("things-eeg2")
    for path in (root / "image_metadata.npy", root / "sub-01" / "preprocessed_eeg_test.npy"):
        before = path.read_bytes()
        np.save(path, {"preprocessed_eeg_data": Evil()})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"the name (posix|nt)\.system"):
            load("things-eeg2", root, "01")
        path.write_bytes(before)
    assert not (tmp_path / "executed").exists()


def test_kaneshiro2015(written: Callable[[str], Path]) -> None:
    root = written("kaneshiro2015")
    trials = load("kaneshiro2015", root, "10")
    assert trials.data.shape == (5, 124, 32)
    assert (trials.sfreq, trials.tmin) == (62.5, 0.0)
    assert trials.ch_names[::123] == ["E1", "E124"]
    assert microvolts(trials, 4, 2, 31) == pytest.approx(420.031, abs=1e-3)
    assert trials.metadata["category"].tolist() == [
        "human_body", "human_face", "inanimate_object", "inanimate_object", "animal_body",
    ]  # fmt: skip
    assert trials.metadata["stim_file"][2] == "exemplar72.png"
    with pytest.raises(FileNotFoundError, match=r"exemplar01\.png of trial 0"):
        load("kaneshiro2015", root, "10", stimuli=root)


def test_published_trials_cannot_be_filtered_again(written: Callable[[str], Path]) -> None:
    root = written("kaneshiro2015")
    for change, message in (
        ({"signal": {"sfreq": 250.0}}, r"signal.sfreq 62.5; 250.0 cannot be had"),
        ({"signal": {"l_freq": 2.0}}, r"signal.l_freq 1.0; 2.0 cannot be had"),
        ({"signal": {"reject_uv": 80.0}}, r"signal.reject_uv None; 80.0"),
        ({"baseline": (-0.1, 0.0)}, "leave baseline out"),
        ({"tmax": 0.6}, r"trials from 0 to 0.512 s; tmin 0 to tmax 0.6 s is not inside"),
        ({"signal": {"picks": ["Fz"]}}, "no channel Fz"),
        ({"kind": "windows"}, "gives labelled trials"),
        ({"input": []}, "needs --input with the one folder"),
    ):
        with pytest.raises(ValueError, match=message):
            load("kaneshiro2015", root, **change)
