"""Public data sets that are published as recordings: what their markers and samples become."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import published
import pytest
from PIL import Image
from published import load

from dreamdiffusion.datasets.prepare import prepare
from dreamdiffusion.datasets.public.muse_gratings import draw_gratings
from dreamdiffusion.files.schema import read_yaml
from dreamdiffusion.files.shipped import CONFIGS
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.trials import Trials

RAW = SignalConfig(l_freq=None, h_freq=None, reject_uv=None)


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
    content = read_yaml(CONFIGS / "prepare-n170.yaml")
    paths = {
        "input": [root / "subject1"], "stimuli": root / "stimuli", "output": root.parent / "yaml",
    }  # fmt: skip
    by_config = Trials.load(prepare(PrepareConfig(**content | paths)))
    by_name = load("muse-n170", root, "1", signal={"picks": ["TP9", "TP10"]})
    np.testing.assert_array_equal(by_name.data, by_config.data)
    pd.testing.assert_frame_equal(by_name.metadata, by_config.metadata)
    assert by_name.signal == by_config.signal
    assert by_name.image_pools() == by_config.image_pools()
    assert by_name.metadata["category"].tolist() == ["houses", "faces", "faces", "houses"] * 2
    assert by_name.data.shape == (8, 2, 192)
    assert set(by_name.image_pools()) == {"faces", "houses"}
    longer = load("muse-n170", root, "1", tmax=0.9, signal={"h_freq": 20.0})
    assert longer.ch_names == ["TP9", "AF7", "AF8", "TP10"]
    assert longer.data.shape[2] == 230  # what the user sets is kept
    assert longer.signal["h_freq"] == 20.0
    assert longer.signal["l_freq"] == 1.0


def test_muse_samples_are_volts_from_the_marker_on(written: Callable[[str], Path]) -> None:
    trials = load("muse-n170", written("muse-n170"), "2", signal=RAW)
    # Run 2 of subject 2 is the noise of seed 22; its third marker is sample 1536.
    assert trials.metadata["run"].nunique() == 2
    expected = published.noise(5, 2560, 22)[:4, 1536 : 1536 + 192]
    np.testing.assert_allclose(trials.data[6], expected, atol=1e-9)  # the csv has 3 decimals


def test_muse_gratings(written: Callable[[str], Path], tmp_path: Path) -> None:
    trials = load("muse-gratings", written("muse-gratings"), signal=RAW)
    expected = published.noise(5, 2560, 2)[:4, 512 : 512 + 192]
    np.testing.assert_allclose(trials.data[2], expected, atol=1e-9)
    assert trials.metadata["category"].tolist() == ["low", "high"] * 2
    assert trials.metadata["onset"].tolist() == [2.0, 6.0] * 2  # the offsets are left out
    assert trials.metadata["stim_file"].tolist() == ["low-045.png", "high-135.png"] * 2
    folder = tmp_path / "muse-gratings-stimuli"
    assert {path.parent.resolve() for path in trials.images()} == {folder.resolve()}
    assert len(list(folder.iterdir())) == 8


def test_gratings_have_the_stated_frequency_and_orientation(tmp_path: Path) -> None:
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


def test_moabb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "out"
    config = PrepareConfig(dataset="moabb:Fake", output=output, subjects=["2"], signal=RAW)
    with pytest.raises(ValueError, match=r"pip install 'dreamdiffusion\[moabb\]'"):
        prepare(config)
    published.pretend_moabb(monkeypatch)
    trials = Trials.load(prepare(config))
    assert trials.ch_names == ["C3", "Cz"]
    assert trials.sfreq == 256.0
    rows = trials.metadata
    assert rows["category"].tolist() == ["left_hand", "feet"] * 2
    assert rows["onset"].tolist() == [3.0, 7.0] * 2  # the interval begins 2 s after the marker
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
    with pytest.raises(ValueError, match="Fake has no subject 3; it has 1, 2"):
        prepare(config.model_copy(update={"subjects": ["3"]}))
