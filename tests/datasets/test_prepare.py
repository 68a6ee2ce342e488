"""The stage as a whole: files in, a prepared folder out; the shipped configs are valid."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dreamdiffusion.datasets.prepare import prepare
from dreamdiffusion.files.schema import read_yaml
from dreamdiffusion.files.shipped import CONFIGS
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.trials import Trials
from dreamdiffusion.trials.windows.store import WindowStore

ROOT = Path(__file__).parents[2]
DATA = ROOT / "../shared/data"
SIGNAL = SignalConfig(l_freq=1.0, h_freq=30.0)


@pytest.fixture
def muse(tmp_path):
    """Two runs of Muse csv files and class folders, written by the test."""
    rng = np.random.default_rng(0)
    for run in (1, 2):
        table = pd.DataFrame(rng.normal(0, 20, (2560, 4)), columns=["TP9", "AF7", "AF8", "TP10"])
        table.insert(0, "timestamps", np.arange(2560) / 256)
        table["Marker0"] = 0
        table.loc[[512, 1024], "Marker0"] = [1, 2]
        path = tmp_path / "subject1" / "session1" / f"data_{run}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False)
    for name in ("faces", "houses"):
        (tmp_path / "stimuli" / name).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / "stimuli" / name / "1.png")
    return tmp_path


def by_class(folder, **more):
    return PrepareConfig(
        **{
            "input": [folder], "output": folder / "out", "signal": SIGNAL,
            "stimuli": folder / "stimuli", "pair_by": "category",
            "events": {"house": 1, "face": 2}, **more,
        }
    )  # fmt: skip


def test_trials(muse):
    trials = Trials.load(prepare(by_class(muse)))
    assert trials.data.shape == (4, 4, 128)
    assert trials.metadata.run.tolist() == ["data_1", "data_1", "data_2", "data_2"]
    assert trials.metadata["pool"].tolist() == ["houses", "faces"] * 2
    assert not trials.simulated


def test_a_run_that_repeats_another_is_named(muse, caplog):
    """Its EEG is another, so only the pictures and their moments say that it may be a copy."""
    for run in (1, 2):
        path = muse / "subject1" / "session1" / f"data_{run}.csv"
        table = pd.read_csv(path)
        table.loc[np.arange(200, 2200, 200), "Marker0"] = [1, 2, 2, 1, 1, 2, 1, 2, 2, 1]
        table.to_csv(path, index=False)
    prepare(by_class(muse))
    (message,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert message.startswith("the same pictures at the same moments in ")
    assert "data_1 and " in message and "audit --data" in message


def test_trials_tell_where_they_come_from(muse):
    folder = prepare(by_class(muse, tmax=0.25))
    source = Trials.load(folder).source
    assert source["dataset"] is None  # files that name no public data set
    assert (source["prepare"]["tmin"], source["prepare"]["tmax"]) == (0.0, 0.25)
    assert source["prepare"]["input"] == [str(muse)]
    assert Trials.load(folder).select(np.array([1, 0])).source == source
    info = json.loads((folder / "info.json").read_text("utf-8"))
    del info["source"]  # as before it was recorded
    (folder / "info.json").write_text(json.dumps(info), "utf-8")
    assert Trials.load(folder).source == {}


def test_windows(muse):
    windows = WindowStore.load(prepare(by_class(muse, kind="windows")))
    assert (len(windows), windows.n_chans, windows.n_times) == (40, 4, 128)
    assert windows.info["n_recordings"] == 2


def test_no_trials_without_pictures(muse):
    """Nothing stands in for a picture that is absent, unreadable or not named."""
    with pytest.raises(ValueError, match=r"none of its \d+ events names a picture.*--pair_by none"):
        prepare(by_class(muse, pair_by="stim_file"))
    (muse / "stimuli" / "faces" / "1.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"faces/1\.png cannot be read"):
        prepare(by_class(muse))
    (muse / "stimuli" / "faces" / "1.png").unlink()
    with pytest.raises(FileNotFoundError, match="faces holds no picture"):
        prepare(by_class(muse))
    with pytest.raises(FileNotFoundError, match="needs stimuli"):
        prepare(by_class(muse, stimuli=None))
    assert not (muse / "out").exists()


def test_input_is_required(tmp_path):
    with pytest.raises(ValueError, match="pass --input"):
        prepare(PrepareConfig(output=tmp_path / "out"))


@pytest.mark.parametrize("name", ["prepare-n170", "prepare-muse-cueing"])
def test_shipped_configs(name):
    config = PrepareConfig.model_validate(read_yaml(CONFIGS / f"{name}.yaml"))
    assert config.signal.picks == ["TP9", "TP10"]
    assert (config.signal.l_freq, config.signal.h_freq) == (1.0, 30.0)


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not on this machine")
def test_n170_config_on_the_real_recordings(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)  # the config names its input relative to the project
    content = read_yaml(CONFIGS / "prepare-n170.yaml")
    trials = Trials.load(prepare(PrepareConfig(**{**content, "output": tmp_path / "n170"})))
    assert trials.data.shape == (1141, 2, 192)
    assert trials.rejected["peak_to_peak"] == 33
    assert {name: len(paths) for name, paths in trials.image_pools().items()} == {
        "faces": 48, "houses": 48,
    }  # fmt: skip


def bids_of_pictures(root, first="p0.png"):
    """A BIDS recording whose first of ten events shows `first`; the signal cannot be read."""
    folder = root / "sub-01" / "eeg"
    folder.mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    (folder / "sub-01_task-see_eeg.edf").write_bytes(b"no EDF")
    names = [first, *(f"p{i}.png" for i in range(1, 10))]
    table = pd.DataFrame({"onset": np.arange(10.0), "duration": 0.1, "trial_type": "cat"})
    table.assign(stim_file=names).to_csv(
        folder / "sub-01_task-see_events.tsv", sep="\t", index=False
    )
    (root / "stimuli").mkdir()
    for i in range(10):
        Image.new("RGB", (4, 4), (i, 0, 0)).save(root / "stimuli" / f"p{i}.png")
    return root


def test_pictures_are_checked_before_any_signal_is_read(tmp_path):
    root = bids_of_pictures(tmp_path / "data")
    config = PrepareConfig(input=[root], output=tmp_path / "out")
    with pytest.raises(ValueError, match=r"eeg\.edf"):  # the pictures are in order
        prepare(config)
    (root / "stimuli" / "p7.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"picture .*p7\.png cannot be read"):
        prepare(config)
    (root / "stimuli" / "p7.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"p7\.png does not exist \(.*event at 7 s\)"):
        prepare(config)
    Image.new("RGB", (4, 4)).save(tmp_path / "outside.png")
    for number, name in enumerate(("../../outside.png", str(tmp_path / "outside.png"))):
        other = bids_of_pictures(tmp_path / str(number), first=name)
        with pytest.raises(ValueError, match=r"outside\.png lies outside the picture folder"):
            prepare(config.model_copy(update={"input": [other]}))
    with pytest.raises(FileNotFoundError, match=r"picture folder .*nowhere does not exist; --stim"):
        prepare(config.model_copy(update={"stimuli": tmp_path / "nowhere"}))
    with pytest.raises(ValueError, match=r"eeg\.edf"):
        prepare(config.model_copy(update={"pair_by": "none"}))


def test_how_pictures_become_squares_is_kept_with_the_trials(muse):
    Image.new("L", (8, 4)).save(muse / "stimuli" / "faces" / "1.png")
    of_person = {"input": [muse / "subject1"]}
    folder = prepare(by_class(muse, **of_person))
    assert Trials.load(folder).picture_fit == "crop"
    folder = prepare(by_class(muse, **of_person, picture_fit="pad"))
    trials = Trials.load(folder)
    assert trials.picture_fit == "pad"
    assert trials.source["prepare"]["picture_fit"] == "pad"
    pixels = trials.read_pictures(trials.image_pools()["faces"], 8)[0]
    assert pixels[[0, 1, 6, 7]].min() == 128 and pixels[2:6].max() == 0
    info = json.loads((folder / "info.json").read_text("utf-8"))
    del info["picture_fit"]  # as folders of earlier versions
    (folder / "info.json").write_text(json.dumps(info))
    assert Trials.load(folder).picture_fit == "squash"
