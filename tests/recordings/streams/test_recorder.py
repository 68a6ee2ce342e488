"""The recording of a stream: what was sent is read again, also after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dreamdiffusion.files.pictures import open_picture
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.recordings.recording import Recording
from dreamdiffusion.recordings.streams.recorder import Recorder, finish_all
from dreamdiffusion.recordings.streams.source import Marker, StreamInfo

INFO = StreamInfo("a headset", ["Fz", "Cz", "Pz", "Oz"], 128.0)


def volts(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2e-5, (4, n))


def write(root: Path, recorder: Recorder) -> np.ndarray:
    """Two stretches of 2 s with a gap of 3 s between them, and three markers."""
    data = volts(512)
    times = 100 + np.arange(512) / 128 + np.where(np.arange(512) >= 256, 3.0, 0)
    markers = [
        Marker(101.0, "a cat, red"),
        Marker(103.0, "in the gap"),
        Marker(105.5, "dog"),
    ]
    for first in range(0, 512, 64):  # each marker comes a little before or after its sample
        part = slice(first, first + 64)
        due = [m for m in markers if times[first] - 0.2 <= m.time < times[first] + 0.3]
        markers = [m for m in markers if m not in due]
        gaps = [(0, 3.0)] if first == 256 else []
        recorder.append(data[:, part], times[part], gaps, due)
    return data


def test_what_was_written_is_read(tmp_path: Path) -> None:
    with Recorder(tmp_path / "bids", "07", INFO) as recorder:
        data = write(tmp_path, recorder)
    recording = read_recording(recorder.path)
    assert recording.raw.ch_names == INFO.ch_names
    assert recording.raw.info["sfreq"] == 128.0
    np.testing.assert_allclose(recording.raw.get_data(), data, atol=1e-11)
    assert (recording.subject, recording.run) == ("07", "01")
    assert recording.events["stim_file"].tolist() == ["", ""]
    events = recording.events
    assert events["category"].tolist() == ["a cat, red", "dog"]
    # The gap takes no time: 105.5 s is 2.5 - 0 s after the second stretch began, at 2 s.
    assert events["onset"].tolist() == [1.0, 2.5]
    gaps = recording.raw.annotations
    assert [a["onset"] for a in gaps if a["description"] == "BAD_gap"] == [2.0]


def colour(root: Path, name: str, red: int) -> Path:
    """Write a picture of one colour."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (red, 0, 0)).save(path)
    return path


def record(root: Path, markers: list[Marker]) -> Recording:
    """Record a second with these markers."""
    with Recorder(root, "01", INFO) as recorder:
        recorder.append(volts(128), np.arange(128) / 128, [], markers)
    return read_recording(recorder.path)


def seen(recording: Recording) -> list[tuple[int, int, int]]:
    """Return the first pixel of the picture of each event."""
    root = recording.stimuli_root
    assert root is not None
    return [open_picture(root / name).getpixel((0, 0)) for name in recording.events["stim_file"]]


def test_pictures_are_kept_and_named(tmp_path: Path) -> None:
    shown = colour(tmp_path, "a/face 1.png", 10)
    drawn = Image.new("RGB", (4, 4), (20, 0, 0))
    recording = record(
        tmp_path / "bids",
        [Marker(0.1, "face", shown, "faces/face 1.png"), Marker(0.5, "a cat, red", drawn)],
    )
    events = recording.events
    assert events["category"].tolist() == ["face", "a cat, red"]
    assert events["stim_file"].iloc[0] == "faces/face 1.png"
    assert events["stim_file"].iloc[1].startswith("a_cat__red-")
    assert seen(recording) == [(10, 0, 0), (20, 0, 0)]


def test_a_name_means_one_picture_in_all_runs(tmp_path: Path) -> None:
    root = tmp_path / "bids"
    first = record(root, [Marker(0.1, "face", colour(tmp_path, "a/1.png", 10), "1.png")])
    other = record(root, [Marker(0.1, "face", colour(tmp_path, "b/1.png", 30), "1.png")])
    again = record(root, [Marker(0.1, "face", colour(tmp_path, "c/1.png", 10), "1.png")])
    assert [seen(one)[0][0] for one in (first, other, again)] == [10, 30, 10]
    names = [one.events["stim_file"].iloc[0] for one in (first, other, again)]
    assert names[0] == names[2] == "1.png"
    assert names[1] != "1.png"
    assert len(list((root / "stimuli").iterdir())) == 2


def test_no_picture_is_written_outside_of_its_folder(tmp_path: Path) -> None:
    picture = colour(tmp_path, "a/1.png", 10)
    for name in ("../../out.png", "/tmp/out.png"):
        with pytest.raises(ValueError, match="lies outside"):
            record(tmp_path / "bids", [Marker(0.1, "face", picture, name)])


def test_every_start_is_a_run_of_its_own(tmp_path: Path) -> None:
    for run in ("01", "02"):
        with Recorder(tmp_path, "01", INFO) as recorder:
            recorder.append(volts(128), np.arange(128) / 128, [], [])
        assert f"_run-{run}_" in recorder.path.name


def test_where_nothing_came_there_is_no_recording(tmp_path: Path) -> None:
    with Recorder(tmp_path, "01", INFO) as recorder:
        pass
    assert list(recorder.path.parent.iterdir()) == []


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match="something else than a BIDS folder"):
        Recorder(tmp_path, "01", INFO)


KILLED = """
import sys, time
import numpy as np
from pathlib import Path
from dreamdiffusion.recordings.streams.recorder import Recorder
from dreamdiffusion.recordings.streams.source import Marker, StreamInfo
recorder = Recorder(Path(sys.argv[1]), "01", StreamInfo("x", ["Fz", "Cz", "Pz", "Oz"], 128.0))
data = np.random.default_rng(0).normal(0, 2e-5, (4, 6400))
for n in range(100):
    part = slice(64 * n, 64 * n + 64)
    recorder.append(data[:, part], np.arange(64 * n, 64 * n + 64) / 128, [], [Marker(n / 2, "m")])
    if n == 50:
        recorder.flush()
        print("flushed", flush=True)
        time.sleep(60)
"""


def test_a_killed_run_is_readable_at_once_and_completed_by_the_next_start(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "flushed\n"
        os.kill(process.pid, signal.SIGKILL)
    (path,) = tmp_path.glob("sub-01/ses-01/eeg/*.vhdr")
    data = np.random.default_rng(0).normal(0, 2e-5, (4, 6400))
    before = read_recording(path)
    np.testing.assert_allclose(before.raw.get_data(), data[:, : 51 * 64], atol=1e-11)
    with path.with_suffix(".eeg").open("ab") as file:  # the power failed amid a write
        file.write(b"\0\0\0")
    with path.with_suffix(".vmrk").open("a") as file:
        file.write("Mk53=Stimulus,m,99999,1,0\nMk54=Stim")
    with path.with_name(path.name.replace("_eeg.vhdr", "_events.tsv")).open("a") as file:
        file.write("781.23\t0\tm\tn/a\t99998\n782.0\t0\tm")
    assert finish_all(tmp_path) == [path]
    assert finish_all(tmp_path) == []
    after = read_recording(path)
    np.testing.assert_array_equal(after.raw.get_data(), before.raw.get_data())
    assert after.events["onset"].tolist() == [n / 2 for n in range(51)]
