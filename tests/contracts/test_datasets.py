"""Every public data set: what it declares, and that its published files become the right trials."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import published
import pytest
import torch

from dreamdiffusion import cli
from dreamdiffusion.config import PrepareConfig, SignalConfig, read_yaml
from dreamdiffusion.datasets.base import PublicDataset
from dreamdiffusion.datasets.command import describe
from dreamdiffusion.datasets.muse_gratings import draw_gratings
from dreamdiffusion.datasets.registry import DATASETS, get_dataset
from dreamdiffusion.download import RemoteFile
from dreamdiffusion.prepare import prepare
from dreamdiffusion.splits import split_by
from dreamdiffusion.trials import Trials

ROOT = Path(__file__).parents[2]
RAW = SignalConfig(l_freq=None, h_freq=None)

# How each data set is written, who is in it then, whom a test asks for, and how many trials.
WRITERS: dict[str, tuple[Callable[[Path], None], dict[str, int]]] = {
    "imagenet-eeg": (published.write_imagenet_eeg, {"1": 4, "4": 3}),
    "things-eeg1": (published.write_things_eeg1, {"01": 3, "50": 3}),
    "things-eeg2": (published.write_things_eeg2, {"01": 14, "02": 14}),
    "alljoined-1.6m": (published.write_alljoined, {"01": 2, "20": 2}),
    "eeg-imagenet": (published.write_eeg_imagenet, {"0": 3, "8": 2}),
    "kaneshiro2015": (published.write_kaneshiro2015, {"1": 5, "10": 5}),
    "muse-n170": (published.write_muse_n170, {"1": 8, "2": 8}),
    "muse-gratings": (published.write_muse_gratings, {"0": 4}),
    "bids": (published.write_bids, {"01": 2, "02": 2}),
}
LOCAL = list(WRITERS)


def load(name: str, root: Path, *subjects: str, **more: Any) -> Trials:
    config = PrepareConfig(
        **{
            "dataset": name, "input": [root], "subjects": list(subjects),
            "output": root.parent / "out", **more,
        }
    )  # fmt: skip
    return Trials.load(prepare(config))


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    def write(name: str) -> Path:
        root = tmp_path / "data"
        root.mkdir()
        WRITERS[name][0](root)
        return root

    return write


# --- what every data set must do --------------------------------------------------------------


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_declares_itself(name: str) -> None:
    dataset = get_dataset(name)
    told = describe(dataset)
    for key in ("licence", "doi", "url", "device", "shown", "caveat", "citation", "files"):
        assert told[key], f"{name} does not declare its {key}"
    assert re.fullmatch(r"10\.\d{4,9}/\S+|none: .+", told["doi"])
    assert len(set(dataset.subjects)) == len(dataset.subjects)
    assert dataset.n_subjects == len(dataset.subjects)
    assert dataset.by_hand or told["fetch"] == "yes"
    for file in dataset.remote_files(dataset.subjects):
        assert file.url.startswith("https://")
        assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
    settings = {k: v for k, v in dataset.settings.items() if k != "signal"}
    PrepareConfig(**settings, signal=dataset.settings.get("signal", {}))  # no unknown key


@pytest.mark.parametrize("missing", ["licence", "doi", "url", "device", "caveat", "layout"])
def test_a_data_set_that_hides_something_cannot_be_defined(missing: str) -> None:
    said: dict[str, Any] = {
        key: getattr(DATASETS["muse-n170"], key)
        for key in ("name", "title", "licence", "doi", "url", "device", "n_subjects", "n_chans",
                    "sfreq", "shown", "caveat", "citation", "layout")
    }  # fmt: skip
    type("Whole", (PublicDataset,), dict(said))
    del said[missing]
    with pytest.raises(TypeError, match=f"does not declare its {missing}"):
        type("Part", (PublicDataset,), dict(said))


def test_a_doi_is_a_doi_and_a_url_is_https() -> None:
    for key, value in (("doi", "to appear"), ("doi", "none: "), ("url", "http://x.org")):
        with pytest.raises(TypeError, match=f"has the {key.upper()} '{value}'"):
            type("Wrong", (DATASETS["muse-n170"],), {key: value})


@pytest.mark.parametrize("name", LOCAL)
def test_the_published_files_become_trials(name: str, written: Callable[[str], Path]) -> None:
    root, people = written(name), WRITERS[name][1]
    trials = load(name, root)
    assert trials.metadata["subject"].value_counts().to_dict() == people
    assert trials.data.dtype == np.float32
    assert np.isfinite(trials.data).all()
    assert (trials.metadata["category"] != "").all()
    assert not trials.simulated
    one = list(people)[-1]
    alone = load(name, root, one)
    assert set(alone.metadata["subject"]) == {one}
    of_all = trials.select((trials.metadata["subject"] == one).to_numpy())
    np.testing.assert_array_equal(alone.data, of_all.data)
    assert alone.metadata["stim_file"].tolist() == of_all.metadata["stim_file"].tolist()


@pytest.mark.parametrize("name", LOCAL)
def test_the_folder_is_laid_out_as_declared(name: str, written: Callable[[str], Path]) -> None:
    root, people = written(name), list(WRITERS[name][1])
    for file in get_dataset(name).expected_files(people):
        if "parquet" in file or "[" in file:
            continue  # optional; or a pattern that `glob` does not know
        pattern = re.sub(r"<\w+>", "*", file)
        assert list(root.glob(pattern)), f"nothing like {file}"


@pytest.mark.parametrize("name", LOCAL)
def test_unknown_people_and_empty_folders_are_named(name: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match="99"):
        (tmp_path / "dataset_description.json").write_text("{}")
        load(name, tmp_path, "99")
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(str(tmp_path))):
        load(name, tmp_path, *list(WRITERS[name][1])[:1])


@pytest.mark.parametrize("name", [n for n in LOCAL if n not in ("kaneshiro2015", "muse-gratings")])
def test_a_missing_picture_is_an_error_by_name(name: str, written: Callable[[str], Path]) -> None:
    root = written(name)
    pictures = [p for p in root.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png")]
    for picture in pictures:
        picture.unlink()
    with pytest.raises(FileNotFoundError) as caught:
        load(name, root)
    folders = {str(path.parent) for path in pictures}
    assert any(folder in str(caught.value) for folder in folders)
    assert not (root.parent / "out").exists()


def test_importing_the_registry_does_not_import_torch() -> None:
    code = "import sys, dreamdiffusion.datasets.registry; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


# --- the samples, labels and pictures of each -------------------------------------------------


def microvolts(trials: Trials, trial: int, channel: int, sample: int) -> float:
    return float(trials.data[trial, channel, sample]) * 1e6


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
        ({"times": np.arange(100) / 250}, "not sampled at 100 Hz"),
        ({"ch_names": ["Pz", "O1", "O2"]}, "other channels than"),
        ({"preprocessed_eeg_data": content["preprocessed_eeg_data"][:1]}, "1 conditions"),
        ({"preprocessed_eeg_data": [1, 2]}, "shape None"),
    ):
        np.save(path, content | change)
        with pytest.raises(ValueError, match=message):
            load("things-eeg2", root, "01")


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


def test_things_eeg1(written: Callable[[str], Path]) -> None:
    root = written("things-eeg1")
    trials = load(
        "things-eeg1", root, "50", signal=SignalConfig(l_freq=None, h_freq=None, sfreq=1000)
    )
    rows = trials.metadata
    assert rows["onset"].tolist() == [2.0, 2.2, 5.0]  # the target at 2.1 s is left out
    assert rows["category"].tolist() == ["carousel", "tent", "stove"]
    assert rows["stim_file"].tolist() == [
        "carousel/carousel_11s.jpg", "tent/tent_08n.jpg", "stove/stove_09s.jpg",
    ]  # fmt: skip
    assert rows["partition"].tolist() == ["train", "train", "test"]
    expected = published.noise(3, 10_000, 50)[:, 5000:5500]
    np.testing.assert_allclose(trials.data[2], expected, atol=1e-10)
    assert load("things-eeg1", root, "01").metadata["partition"].tolist() == ["train"] * 3


def test_alljoined(written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    root = written("alljoined-1.6m")
    trials = load("alljoined-1.6m", root, "20", signal=RAW)
    assert trials.ch_names == ["Oz", "AFz"]  # the counter is no EEG
    rows = trials.metadata
    assert rows[["session", "run"]].values.tolist() == [["03", "05"]] * 2
    assert rows["partition"].tolist() == ["test", "train"]
    assert rows["stim_file"].tolist() == ["16641.jpg", "00007.jpg"]
    assert rows["category"].tolist() == ["16641", "00007"]
    expected = published.noise(2, 2560, 20)[:, 1024:1152] + 4.2e-3
    np.testing.assert_allclose(trials.data[1], expected, atol=1e-6)  # EDF has 16 bits
    table = root / "preprocessed_eeg" / "sub-20" / "experiment_metadata_categories.parquet"
    table.parent.mkdir(parents=True)
    table.touch()
    content = pd.DataFrame(
        {"image_path": ["/srv/x/images/16641.jpg", None], "category_name": ["aircraft", None]}
    )
    monkeypatch.setattr(pd, "read_parquet", lambda path, columns: content[columns])
    named = load("alljoined-1.6m", root, "20")
    assert named.metadata["category"].tolist() == ["aircraft", "00007"]

    def without_pyarrow(path: Path, columns: list[str]) -> pd.DataFrame:
        raise ImportError("pyarrow")

    monkeypatch.setattr(pd, "read_parquet", without_pyarrow)
    with pytest.raises(ValueError, match="needs pyarrow"):
        load("alljoined-1.6m", root, "20")


def test_muse_n170_is_what_the_shipped_config_gives(written: Callable[[str], Path]) -> None:
    root = written("muse-n170")
    content = read_yaml(ROOT / "configs" / "prepare-n170.yaml")
    paths = {
        "input": [root / "subject1"], "stimuli": root / "stimuli", "output": root.parent / "yaml",
    }  # fmt: skip
    by_config = Trials.load(prepare(PrepareConfig(**content | paths)))
    by_name = load("muse-n170", root, "1")
    np.testing.assert_array_equal(by_name.data, by_config.data)
    pd.testing.assert_frame_equal(by_name.metadata, by_config.metadata)
    assert by_name.signal == by_config.signal
    assert by_name.image_pools() == by_config.image_pools()
    assert by_name.metadata["category"].tolist() == ["houses", "faces", "faces", "houses"] * 2
    longer = load("muse-n170", root, "1", tmax=0.9, signal={"h_freq": 20.0})
    assert longer.data.shape[2] == 230  # what the user sets is kept
    assert longer.signal["h_freq"] == 20.0
    assert longer.signal["l_freq"] == 1.0


def test_muse_gratings(written: Callable[[str], Path], tmp_path: Path) -> None:
    trials = load("muse-gratings", written("muse-gratings"))
    assert trials.metadata["category"].tolist() == ["low", "high"] * 2
    assert trials.metadata["onset"].tolist() == [2.0, 6.0] * 2  # the offsets are left out
    assert trials.metadata["stim_file"].tolist() == ["low-045.png", "high-135.png"] * 2
    folder = tmp_path / "muse-gratings-stimuli"
    assert {path.parent.resolve() for path in trials.images()} == {folder.resolve()}
    assert len(list(folder.iterdir())) == 8


def test_gratings_have_the_stated_frequency_and_orientation(tmp_path: Path) -> None:
    from PIL import Image

    draw_gratings(tmp_path)
    for name, cycles in (("low", 4), ("high", 164)):  # 0.1 and 4.1 per degree x 40 degrees
        for angle in (0, 45, 90, 135):
            pixels = np.asarray(Image.open(tmp_path / f"{name}-{angle:03d}.png"), float) - 127.5
            power = np.abs(np.fft.fft2(pixels))
            y, x = np.unravel_index(power.argmax(), power.shape)
            fy, fx = (f if f <= 256 else f - 512 for f in (int(y), int(x)))
            assert np.hypot(fx, fy) == pytest.approx(cycles, abs=1.0), (name, angle)
            found = np.rad2deg(np.arctan2(fy, fx)) % 180
            assert abs((found - angle + 90) % 180 - 90) < 8, (name, angle, found)


def test_bids_takes_events_and_pictures_from_the_folder(written: Callable[[str], Path]) -> None:
    root = written("bids")
    trials = load("bids", root, "02", signal=RAW)
    assert trials.metadata["category"].tolist() == ["cat", "dog"]
    assert trials.images() == [root / "stimuli" / "a.png", root / "stimuli" / "b.png"]
    np.testing.assert_allclose(
        trials.data[1], published.noise(3, 2560, 2)[:, 1024:1152], atol=1e-10
    )


class FakeMoabb:
    """What a MOABB data set looks like from outside: 2 people, 1 session, 2 runs, 2 classes."""

    subject_list = (1, 2)
    event_id = {"left_hand": 1, "feet": 2}  # noqa: RUF012
    interval = (2.0, 6.0)
    code = "Fake"

    def get_data(self, subjects: list[int]) -> dict[int, Any]:
        found = {}
        for subject in subjects:
            runs = {}
            for run in (0, 1):
                data = np.vstack([published.noise(2, 2560, 10 * subject + run), np.zeros(2560)])
                data[2, [256, 1280, 1792]] = [1, 2, 7]  # 7 is no class
                info = mne.create_info(["C3", "Cz", "stim"], 256.0, ["eeg", "eeg", "stim"])
                runs[str(run)] = mne.io.RawArray(data, info, verbose="ERROR")
            found[subject] = {"0": runs}
        return found


def test_moabb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "out"
    config = PrepareConfig(dataset="moabb:Fake", output=output, subjects=["2"], signal=RAW)
    with pytest.raises(ValueError, match=r"pip install 'dreamdiffusion\[moabb\]'"):
        prepare(config)
    package, datasets = types.ModuleType("moabb"), types.ModuleType("moabb.datasets")
    package.datasets, datasets.Fake = datasets, FakeMoabb  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "moabb", package)
    monkeypatch.setitem(sys.modules, "moabb.datasets", datasets)
    trials = Trials.load(prepare(config))
    assert trials.ch_names == ["C3", "Cz"]
    rows = trials.metadata
    assert rows["category"].tolist() == ["left_hand", "feet"] * 2
    assert rows["onset"].tolist() == [3.0, 7.0] * 2  # MOABB's interval begins 2 s after the code
    assert rows[["subject", "session", "run"]].values.tolist() == [
        ["2", "0", "0"], ["2", "0", "0"], ["2", "0", "1"], ["2", "0", "1"],
    ]  # fmt: skip
    np.testing.assert_allclose(trials.data[0], published.noise(2, 2560, 20)[:, 768:896], atol=1e-10)
    for name, message in (
        ("moabb:Nothing", "MOABB has no data set Nothing"),
        ("moabb:", "names no MOABB data set"),
        ("moabb:os.system", "names no MOABB data set"),
    ):
        with pytest.raises(ValueError, match=message):
            prepare(config.model_copy(update={"dataset": name}))
    with pytest.raises(ValueError, match=r"no subject \[3\]"):
        prepare(config.model_copy(update={"subjects": ["3"]}))


# --- the command ------------------------------------------------------------------------------


def test_list_and_show(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    assert cli.main(["datasets", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "people", "channels", "Hz", "fetch", "title"]
    assert [line.split()[0] for line in lines[1:]] == list(DATASETS)
    assert cli.main(["datasets", "list", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(DATASETS)
    assert cli.main(["datasets", "show", "things-eeg2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["doi"] == "10.17605/OSF.IO/3JK45"
    assert told["files"][0] == "sub-{subject}/preprocessed_eeg_training.npy"
    assert cli.main(["datasets", "show", "things-eeg"]) == 2
    assert "did you mean things-eeg" in capsys.readouterr().err
    assert cli.main(["datasets", "show"]) == 2
    assert "datasets show needs a name" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["imagenet-eeg", "things-eeg2", "eeg-imagenet", "bids"])
def test_what_needs_a_person_says_where_to_go(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["datasets", "fetch", name]) == 2
    told = capsys.readouterr()
    assert f"error: {name} has to be got by hand. Download" in told.err
    assert told.out == ""


def test_fetch_downloads_what_can_be_and_says_what_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    fetched: list[RemoteFile] = []
    monkeypatch.setattr(
        "dreamdiffusion.datasets.base.download", lambda file, folder: fetched.append(file)
    )
    caplog.set_level("INFO")
    folder = str(tmp_path / "x")
    assert cli.main(["datasets", "fetch", "muse-n170", "--output", folder]) == 0
    assert capsys.readouterr().out == f"{folder}\n"
    assert len(fetched) == 24 + 6
    assert all(file.sha256 for file in fetched)
    assert "Subject 2 is part of" in caplog.text
    assert "licence BSD-3-Clause" in caplog.text
    fetched.clear()
    assert cli.main(["datasets", "fetch", "things-eeg1", "--subjects", "07"]) == 0
    assert [file.path for file in fetched] == [
        "dataset_description.json",
        *(f"sub-07/eeg/sub-07_task-rsvp_{end}" for end in
          ("eeg.vhdr", "eeg.vmrk", "eeg.eeg", "events.tsv")),
    ]  # fmt: skip
    assert cli.main(["datasets", "fetch", "things-eeg1", "--subjects", "7"]) == 2
    assert "things-eeg1 has no subject 7; it has 01, 02" in capsys.readouterr().err


def test_fetch_of_alljoined_unpacks_its_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zipfile

    import huggingface_hub

    asked: dict[str, Any] = {}

    def snapshot(repository: str, **more: Any) -> None:
        asked.update(more, repository=repository)
        tmp_path.joinpath("x").mkdir()
        with zipfile.ZipFile(tmp_path / "x" / "stimuli.zip", "w") as file:
            file.writestr("images/00007.jpg", b"jpeg")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    get_dataset("alljoined-1.6m").fetch(tmp_path / "x", ["03"])
    assert (tmp_path / "x" / "images" / "00007.jpg").read_bytes() == b"jpeg"
    assert asked["repository"] == "Alljoined/Alljoined-1.6M"
    assert asked["allow_patterns"] == [
        "stimuli.zip", "raw_eeg/sub-03/*", "preprocessed_eeg/sub-03/*.parquet",
    ]  # fmt: skip


# --- the real files, where they are -----------------------------------------------------------


@pytest.mark.parametrize("name", ["muse-n170", "muse-gratings"])
def test_the_stated_checksums_are_those_of_the_real_files(name: str, shared_data: Path) -> None:
    dataset = get_dataset(name)
    root = shared_data / name.replace("-", "_")
    files = dataset.remote_files(dataset.subjects)
    assert len(files) == {"muse-n170": 30, "muse-gratings": 14}[name]
    for file in files:
        content = (root / file.path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file.sha256, file.path


def test_the_real_muse_recordings(shared_data: Path, tmp_path: Path) -> None:
    config = PrepareConfig(
        dataset="muse-n170", input=[shared_data / "muse_n170"], subjects=["1"],
        output=tmp_path / "n170",
    )  # fmt: skip
    trials = Trials.load(prepare(config))
    assert trials.data.shape == (1140, 4, 192)  # as configs/prepare-n170.yaml gives
    assert trials.rejected["peak_to_peak"] == 34
    config = PrepareConfig(
        dataset="muse-gratings", input=[shared_data / "muse_gratings"], output=tmp_path / "gratings"
    )
    gratings = Trials.load(prepare(config))
    assert set(gratings.metadata["stim_file"]) == {
        f"{f}-{a:03d}.png" for f in ("low", "high") for a in (0, 45, 90, 135)
    }
    assert gratings.metadata["run"].nunique() == 14


# --- the page ---------------------------------------------------------------------------------


def test_the_page_is_current() -> None:
    from dreamdiffusion.datasets.command import page

    written = (ROOT / "docs" / "datasets.md").read_text("utf-8")
    assert written == page(), "docs/datasets.md is not current; run make docs"
