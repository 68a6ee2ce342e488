"""Streams of LSL over the loopback: what is sent arrives, and comes back after every cut."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pylsl = pytest.importorskip("pylsl", reason="pylsl is not installed (extra live)")

from dreamdiffusion.recordings.streams.lsl import LSLStream, describe  # noqa: E402
from dreamdiffusion.recordings.streams.ring import Ring  # noqa: E402
from dreamdiffusion.recordings.streams.source import Chunk, StreamLost  # noqa: E402
from dreamdiffusion.recordings.streams.watchdog import Watchdog  # noqa: E402

PLAYER = Path(__file__).parents[2] / "support" / "lsl_player.py"


class Player:
    """A process that plays a stream, and can be killed and started again."""

    def __init__(self, source_id: str, *more: str) -> None:
        self.name = f"test-{uuid.uuid4().hex[:8]}"
        self._command = [sys.executable, str(PLAYER), self.name, *more]
        if source_id:
            self._command += ["--source_id", f"{source_id}-{self.name}"]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, env=os.environ)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()


@pytest.fixture
def player(request: pytest.FixtureRequest) -> Iterator[Player]:
    found = Player(*request.param)
    yield found
    found.kill()


def read_until(stream: LSLStream, dog: Watchdog, ends: float) -> list[Chunk]:
    """Read as a session does."""
    chunks = []
    while time.monotonic() < ends:
        try:
            chunk = stream.read()
        except StreamLost:
            change = dog.lose(time.monotonic())
        else:
            assert chunk is not None
            chunks.append(chunk)
            change = dog.update(len(chunk.times), time.monotonic())
        if change in ("lost", "retry"):
            stream.reopen()
    return chunks


@pytest.mark.parametrize("player", [("id", "--markers", "--sfreq", "200")], indirect=True)
def test_samples_and_markers_arrive_in_volts_and_at_their_time(player: Player) -> None:
    other = pylsl.StreamInfo("somebody-else", "Markers", 1, 0, pylsl.cf_int32, "z")
    outlet = pylsl.StreamOutlet(other)
    stream = LSLStream(player.name, [], None, [f"{player.name}-markers"])
    assert stream.info.ch_names == ["C1", "C2", "C3", "C4"]
    assert stream.info.sfreq == 200.0
    assert stream.warnings == []
    dog = Watchdog(time.monotonic())
    chunks = read_until(stream, dog, time.monotonic() + 3)
    outlet.push_sample([99])
    chunks += read_until(stream, dog, time.monotonic() + 2)
    stream.close()
    data = np.concatenate([chunk.data for chunk in chunks], axis=1)
    times = np.concatenate([chunk.times for chunk in chunks])
    counter = np.round(data[-1] * 1e6)
    assert len(times) > 600
    np.testing.assert_allclose(np.diff(counter), 1, atol=0.01)  # none is missing
    assert np.abs(data[0]).max() < 2e-4  # 20 microvolts of noise
    assert np.diff(times) == pytest.approx(1 / 200, abs=0.002)
    assert abs(stream.clock() - times[-1]) < 2
    markers = [marker for chunk in chunks for marker in chunk.markers]
    assert len(markers) >= 2
    for marker in markers:  # one a second: marker i at sample 200 i
        place = int(np.argmin(np.abs(times - marker.time)))
        if 0 < place < len(times) - 1:
            assert counter[place] % 200 in (0, 1, 199)
            assert marker.value == f"m{round(counter[place] / 200)}"


@pytest.mark.parametrize("player", [("id",), ("",)], ids=["source_id", "none"], indirect=True)
def test_a_stream_that_is_cut_comes_back_and_what_arrived_has_no_hole(player: Player) -> None:
    stream = LSLStream(player.name, [])
    assert bool(stream.warnings) == ("--source_id" not in player._command)
    dog, ring = Watchdog(time.monotonic()), Ring(4, 250.0, 60.0)
    chunks = read_until(stream, dog, time.monotonic() + 2)
    for _ in range(2):
        player.kill()
        chunks += read_until(stream, dog, time.monotonic() + 1.5)
        player.start()
        ends = time.monotonic() + 20
        while (dog.lost or not chunks[-1].times.size) and time.monotonic() < ends:
            chunks += read_until(stream, dog, time.monotonic() + 0.3)
        assert not dog.lost
        chunks += read_until(stream, dog, time.monotonic() + 1)
    stream.close()
    gaps = []
    for chunk in chunks:
        gaps += ring.append(chunk.data, chunk.times)
    assert len(gaps) == dog.n_lost == 2
    counter = np.concatenate([chunk.data[-1] for chunk in chunks]) * 1e6
    steps = np.diff(counter)
    jumps = np.flatnonzero(np.abs(steps - 1) > 0.01)
    assert len(jumps) == 2  # one hole at each cut, none within what a player sent
    assert all(seconds > 1 for _, seconds in gaps)


def test_a_sender_that_does_not_answer_for_its_clock_loses_no_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(self: object, timeout: float = 0.0) -> float:
        time.sleep(0.05)
        raise pylsl.util.TimeoutError("the operation failed due to a timeout.")

    monkeypatch.setattr(pylsl.StreamInlet, "time_correction", never)
    monkeypatch.setattr("dreamdiffusion.recordings.streams.lsl.ANSWER_S", 0.5)
    name = f"test-{uuid.uuid4().hex[:8]}"
    info = pylsl.StreamInfo(name, "EEG", 1, 100.0, pylsl.cf_float32, name)
    outlet = pylsl.StreamOutlet(info)
    stream = LSLStream(name, ["Cz"], "uV")
    for number in range(100):
        outlet.push_sample([number], pylsl.local_clock() + number / 100)
    chunks = read_until(stream, Watchdog(time.monotonic()), time.monotonic() + 1)
    stream.close()
    values = np.concatenate([chunk.data[0] for chunk in chunks]) * 1e6
    np.testing.assert_allclose(values, np.arange(100), atol=1e-6)


def about(**changes: object) -> object:
    info = pylsl.StreamInfo("Muse", "EEG", 3, changes.get("sfreq", 256.0), pylsl.cf_float32, "x")
    info.set_channel_labels(changes.get("labels", ["TP9", "FP1", "Right AUX"]))
    info.set_channel_types(changes.get("types", ["EEG", "EEG", "AUX"]))
    if units := changes.get("units", "microvolts"):
        info.set_channel_units(units)
    return info


def test_channels_of_other_types_are_left_out_and_names_are_standard() -> None:
    info, rows, factors = describe(about(), [], None)
    assert info.ch_names == ["TP9", "Fp1"]
    assert rows == [0, 1]
    assert factors.tolist() == [1e-6, 1e-6]


def test_what_a_person_states_comes_first() -> None:
    info, _, factors = describe(about(units="V"), ["Fz", "Cz", "Pz"], "mV")
    assert info.ch_names == ["Fz", "Cz"]
    assert factors.tolist() == [1e-3, 1e-3]


@pytest.mark.parametrize(
    ("changes", "given", "words"),
    [
        ({"units": None}, [], "in which unit.*--unit uV"),
        ({"units": "arbitrary"}, [], "TP9: arbitrary"),
        ({"sfreq": 0.0}, [], "no regular rate"),
        ({}, ["Fz"], "has 3 channels, and --ch_names names 1"),
        ({"labels": ["", "", ""]}, [], "does not say the names.*--ch_names"),
    ],
)
def test_a_stream_that_says_too_little_is_refused(
    changes: dict, given: list[str], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        describe(about(**changes), given, None)


def test_a_stream_that_is_not_there_names_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dreamdiffusion.recordings.streams.lsl.FIND_S", 1.5)
    other = pylsl.StreamInfo("another-headset", "EEG", 8, 250.0, pylsl.cf_float32, "y")
    outlet = pylsl.StreamOutlet(other)
    with pytest.raises(FileNotFoundError) as error:
        LSLStream("nowhere", [])
    assert "no LSL stream 'nowhere' was found" in str(error.value)
    assert "another-headset (EEG, 8 channels, 250 Hz" in str(error.value)
    del outlet
