"""The contract of the public data sets: what each declares, and what its files become.

`test_datasets_cut` and `test_datasets_recorded` look at the samples of each.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from published import load

from dreamdiffusion.datasets.base import PublicDataset
from dreamdiffusion.datasets.command import describe_dataset
from dreamdiffusion.datasets.prepare import prepare
from dreamdiffusion.datasets.registry import DATASETS, get_dataset
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.trials import Trials

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Expected:
    """What the files that `published` writes are to become, without any option."""

    people: dict[str, int]  # trials of each, in their order
    sfreq: float
    tmin: float
    n_times: int
    ch_names: list[str]
    first: tuple[str, str]  # category and picture of the first trial
    sides: dict[str, int] | None = None  # trials of each side of the published split
    split_column: str = "partition"


MUSE = ["TP9", "AF7", "AF8", "TP10"]
PZ = ["Pz", "O1", "Oz"]
EXPECTED = {
    "imagenet-eeg": Expected(
        {"1": 4, "4": 3}, 1000, 0.02, 440, [f"EEG {i:03d}" for i in range(1, 129)],
        ("n02389026", "n02389026/n02389026_1000.JPEG"),
        {"train": 4, "val": 2, "test": 1}, "split",
    ),
    "things-eeg1": Expected(
        {"01": 3, "50": 3}, 256, 0.0, 128, PZ, ("carousel", "carousel/carousel_11s.jpg"),
        {"train": 5, "test": 1},
    ),
    "things-eeg2": Expected(
        {"01": 14, "02": 14}, 100, -0.2, 100, PZ,
        ("00001_thingtraining", "training_images/00001_thingtraining/thing_00b.jpg"),
        {"training": 16, "test": 12}, "run",
    ),
    "alljoined-1.6m": Expected(
        {"01": 2, "20": 2}, 256, 0.0, 128, ["Oz", "AFz"], ("16641", "16641.jpg"),
        {"test": 2, "train": 2},
    ),
    "eeg-imagenet": Expected(
        {"0": 3, "8": 2}, 1000, 0.04, 400, [], ("n02389026", "n02389026/n02389026_0.JPEG")
    ),
    "kaneshiro2015": Expected(
        {"1": 5, "10": 5}, 62.5, 0.0, 32, [f"E{i}" for i in range(1, 125)],
        ("human_body", "exemplar01.png"),
    ),
    "muse-n170": Expected({"1": 8, "2": 8}, 256, 0.0, 192, MUSE, ("houses", "")),
    "muse-gratings": Expected({"0": 4}, 256, 0.0, 192, MUSE, ("low", "low-045.png")),
    "moabb:Fake": Expected({"1": 4, "2": 4}, 256, 0.0, 128, ["C3", "Cz"], ("left_hand", "")),
    "bids": Expected({"01": 2, "02": 2}, 256, 0.0, 128, PZ, ("cat", "a.png")),
}  # fmt: skip
LOCAL = [name for name in EXPECTED if not name.startswith("moabb")]


def test_every_data_set_has_its_contract() -> None:
    assert [name.partition(":")[0] for name in EXPECTED] == list(DATASETS)


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_declares_itself(name: str) -> None:
    dataset = get_dataset(name)
    told = describe_dataset(dataset)
    for key in ("licence", "doi", "url", "device", "shown", "caveat", "citation", "files"):
        assert told[key], f"{name} does not declare its {key}"
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
                    "sfreq", "shown", "caveat", "citation", "layout", "recordings")
    }  # fmt: skip
    type("Whole", (PublicDataset,), dict(said))
    del said[missing]
    with pytest.raises(TypeError, match=f"does not declare its {missing}"):
        type("Part", (PublicDataset,), dict(said))


def test_a_data_set_without_data_cannot_be_defined() -> None:
    said = {k: v for k, v in vars(DATASETS["muse-n170"]).items() if not k.startswith("_")}
    del said["recordings"]
    with pytest.raises(TypeError, match="gives neither recordings nor trials"):
        type("Empty", (PublicDataset,), said)


def test_a_doi_is_a_doi_and_a_url_is_https() -> None:
    for key, value in (("doi", "to appear"), ("doi", "none: "), ("url", "http://x.org")):
        with pytest.raises(TypeError, match=f"has the {key.upper()} '{value}'"):
            type("Wrong", (DATASETS["muse-n170"],), {key: value})


@pytest.mark.parametrize("name", EXPECTED)
def test_the_published_files_become_trials(name: str, written: Callable[[str], Path]) -> None:
    root, expected = written(name), EXPECTED[name]
    trials = load(name, root)
    rows = trials.metadata
    assert rows["subject"].value_counts().to_dict() == expected.people
    assert (trials.sfreq, trials.tmin) == (expected.sfreq, expected.tmin)
    n_chans = len(expected.ch_names) or get_dataset(name).n_chans
    assert trials.data.shape == (sum(expected.people.values()), n_chans, expected.n_times)
    assert trials.data.dtype == np.float32
    assert np.isfinite(trials.data).all()
    assert not trials.simulated
    if expected.ch_names:
        assert trials.ch_names == expected.ch_names
    assert (rows["category"][0], rows["stim_file"][0]) == expected.first
    assert (rows["category"] != "").all()
    if expected.sides is not None:
        assert rows[expected.split_column].value_counts().to_dict() == expected.sides

    one = list(expected.people)[-1]
    alone = load(name, root, one)
    of_all = trials.select((rows["subject"] == one).to_numpy())
    np.testing.assert_array_equal(alone.data, of_all.data)
    shared = of_all.metadata[alone.metadata.columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone.metadata, shared, check_dtype=False)


@pytest.mark.parametrize("name", LOCAL)
def test_the_folder_is_laid_out_as_declared(name: str, written: Callable[[str], Path]) -> None:
    root, people = written(name), EXPECTED[name].people
    for file in get_dataset(name).layout:
        if "parquet" in file or "[" in file:
            continue  # optional; or a pattern that `glob` does not know
        for person in people:
            pattern = re.sub(r"<\w+>", "*", file.format(subject=person))
            assert list(root.glob(pattern)), f"nothing like {pattern}"


@pytest.mark.parametrize("name", LOCAL)
def test_unknown_people_and_missing_files_are_named(name: str, tmp_path: Path) -> None:
    dataset = get_dataset(name)
    known = list(EXPECTED[name].people)
    if dataset.subjects:
        with pytest.raises(ValueError, match=f"{name} has no subject 99; it has {known[0]}"):
            load(name, tmp_path / "nowhere", "99")
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=re.escape(f"{root}")) as caught:
            load(name, root, known[0])
        # The message says what is expected and what to do.
        assert dataset.layout[0] in str(caught.value)
        assert dataset.how_to_get in str(caught.value)
    assert not (tmp_path / "out").exists()


# These have their pictures in their folder; the others draw them, or have none.
@pytest.mark.parametrize("name", [n for n in LOCAL if n not in ("kaneshiro2015", "muse-gratings")])
def test_a_missing_picture_is_an_error_by_name(name: str, written: Callable[[str], Path]) -> None:
    root = written(name)
    pictures = [p for p in root.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png")]
    assert pictures
    for picture in pictures:
        picture.unlink()
    with pytest.raises(FileNotFoundError) as caught:
        load(name, root)
    folders = {str(path.parent) for path in pictures}
    assert any(folder in str(caught.value) for folder in folders)
    assert not (root.parent / "out").exists()
    if EXPECTED[name].first[1]:
        assert get_dataset(name).how_to_get in str(caught.value)
        without = load(name, root, pair_by="none")
        assert len(without) == sum(EXPECTED[name].people.values())


def test_what_is_given_wins_over_the_data_set_also_where_it_is_the_default() -> None:
    dataset = get_dataset("things-eeg2")
    assert dataset.resolve(PrepareConfig(), Path("x")).tmin == -0.2
    given = PrepareConfig(tmin=0.0, signal=SignalConfig(l_freq=0.5))
    resolved = dataset.resolve(given, Path("x"))
    assert (resolved.tmin, resolved.tmax) == (0.0, 0.8)
    assert (resolved.signal.l_freq, resolved.signal.h_freq) == (0.5, None)
    assert resolved.signal.sfreq == 100.0
    assert resolved.stimuli == Path("x")


def test_importing_the_registry_does_not_import_torch() -> None:
    code = "import sys, dreamdiffusion.datasets.registry; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


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


def test_the_real_faces_and_houses(shared_data: Path, tmp_path: Path) -> None:
    config = PrepareConfig(
        dataset="muse-n170", input=[shared_data / "muse_n170"], subjects=["1"],
        output=tmp_path / "n170",
    )  # fmt: skip
    trials = Trials.load(prepare(config))
    assert trials.data.shape == (1140, 4, 192)
    assert (trials.sfreq, trials.ch_names) == (256.0, MUSE)
    assert trials.rejected["peak_to_peak"] == 34
    assert set(trials.metadata["category"]) == {"faces", "houses"}
    assert len(trials.image_pools()["faces"]) == 48
    # Scalp EEG of dry electrodes: tens of microvolts.
    assert 3e-6 < float(np.median(np.abs(trials.data))) < 3e-5


def test_every_trial_of_the_real_gratings_is_as_its_csv_says(
    shared_data: Path, tmp_path: Path
) -> None:
    root = shared_data / "muse_gratings"
    config = PrepareConfig(
        dataset="muse-gratings", input=[root], output=tmp_path / "gratings",
        signal=SignalConfig(l_freq=None, h_freq=None, reject_uv=None),
    )  # fmt: skip
    trials = Trials.load(prepare(config))
    assert trials.metadata["run"].nunique() == 14
    assert set(trials.metadata["stim_file"]) == {
        f"{f}-{a:03d}.png" for f in ("low", "high") for a in (0, 45, 90, 135)
    }
    paths = sorted(root.glob("subject0/session1/*.csv"))
    checked = 0
    for (_, rows), path in zip(trials.metadata.groupby("run", sort=False), paths, strict=True):
        table = pd.read_csv(path)
        onsets = np.flatnonzero(table["Frequency"].isin([1, 2]))
        kept = (rows["onset"].to_numpy() * 256).round().astype(int)
        assert set(kept) <= set(onsets)
        for trial, sample in zip(rows.index, kept, strict=True):
            told = table.iloc[sample]
            frequency = {1.0: "low", 2.0: "high"}[told["Frequency"]]
            assert rows["stim_file"][trial] == f"{frequency}-{told['Orientation']:03.0f}.png"
            assert rows["category"][trial] == frequency
            seen = table[MUSE].iloc[sample : sample + 192].to_numpy().T * 1e-6
            np.testing.assert_allclose(trials.data[trial], seen, atol=1e-10)
            checked += 1
    assert checked == len(trials) > 300
