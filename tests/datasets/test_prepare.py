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
    with pytest.raises(ValueError, match="have no stim_file"):
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
