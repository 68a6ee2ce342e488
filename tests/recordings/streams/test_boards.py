"""Boards of BrainFlow: the synthetic one, a playback, and what their counter says."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from dreamdiffusion.recordings.streams.boards import (
    BoardStream,
    Counter,
    board_id,
    import_brainflow,
    read_params,
)
from dreamdiffusion.recordings.streams.source import Chunk


def test_lost_samples_are_counted_across_the_turn_of_the_counter() -> None:
    numbers = np.arange(1000) % 256
    counter = Counter()
    assert counter.lost(numbers[:200]) == []
    assert counter.lost(numbers[200:300]) == []  # turns at 256
    assert counter.lost(numbers[303:400]) == [(0, 3)]
    assert counter.lost(np.delete(numbers[400:600], slice(110, 117))) == [(110, 7)]  # over 512
    counter.begin_anew()
    assert counter.lost(numbers[900:]) == []


def test_a_counter_of_packets_says_nothing_of_samples() -> None:
    counter = Counter()
    packets = np.repeat(np.arange(40) % 256, 12)
    assert counter.lost(packets[:240]) == []
    assert counter.lost(packets[300:]) == []


brainflow = pytest.importorskip("brainflow", reason="brainflow is not installed (extra brainflow)")


def read(stream: BoardStream, seconds: float) -> list[Chunk]:
    ends, chunks = time.monotonic() + seconds, []
    while time.monotonic() < ends:
        chunk = stream.read()
        assert chunk is not None
        chunks.append(chunk)
    return chunks


def test_the_synthetic_board_streams_evenly_and_is_opened_again() -> None:
    stream = BoardStream("synthetic", [])
    assert stream.info.simulated
    assert stream.info.sfreq == 250
    assert stream.info.ch_names[:3] == ["Fz", "C3", "Cz"]
    chunks = read(stream, 2)
    assert stream.reopen()
    again = read(stream, 1)
    stream.close()
    data = np.concatenate([chunk.data for chunk in chunks], axis=1)
    times = np.concatenate([chunk.times for chunk in chunks])
    assert 300 < len(times) < 700
    assert np.diff(times).min() > 0.5 / 250
    assert not any(chunk.lost for chunk in chunks)
    assert 1e-6 < np.abs(data).max() < 1e-2  # volts; the board draws about 1 mV of noise
    assert sum(len(chunk.times) for chunk in again) > 100
    assert again[-1].times[-1] > times[-1]


def test_a_marker_of_the_board_lies_at_its_sample() -> None:
    stream = BoardStream("synthetic", [])
    read(stream, 0.5)
    before = stream.clock()
    stream._shim.insert_marker(7)
    chunks = read(stream, 1)
    stream.close()
    (marker,) = [marker for chunk in chunks for marker in chunk.markers]
    assert marker.value == "7"
    assert -0.1 < marker.time - before < 0.9


def test_a_recording_of_brainflow_is_played_back(tmp_path: Path) -> None:
    file = tmp_path / "board.csv"
    flow = import_brainflow()
    shim = flow.BoardShim(flow.BoardIds.SYNTHETIC_BOARD, flow.BrainFlowInputParams())
    shim.prepare_session()
    shim.start_stream(45000, f"file://{file}:w")
    time.sleep(1.5)
    shim.stop_stream()
    shim.release_session()
    stream = BoardStream(f"playback_file,file={file},master_board=synthetic", [])
    chunks = read(stream, 2)
    stream.close()
    data = np.concatenate([chunk.data for chunk in chunks], axis=1)
    wanted = np.loadtxt(file)[:, 1:17].T * 1e-6
    n = data.shape[1]
    assert n > 150
    np.testing.assert_allclose(data, wanted[:, :n], atol=1e-11)


def test_boards_have_names_and_numbers() -> None:
    flow = import_brainflow()
    assert board_id(flow, "cyton") == board_id(flow, "CYTON_BOARD") == board_id(flow, "0") == 0
    with pytest.raises(ValueError, match=r"knows no board 'toaster'.*ganglion"):
        board_id(flow, "toaster")
    assert read_params(flow, ["/dev/ttyUSB0", "timeout=7"]).serial_port == "/dev/ttyUSB0"
    assert read_params(flow, ["timeout=7"]).timeout == 7
    with pytest.raises(ValueError, match=r"no parameter 'speed'.*serial_port"):
        read_params(flow, ["speed=3"])


def test_a_board_that_is_not_there_says_what_to_look_at() -> None:
    with pytest.raises(OSError, match=r"does not answer.*see that it is on"):
        BoardStream("cyton,/dev/nowhere", ["a", "b", "c", "d", "e", "f", "g", "h"])


def test_channels_are_named_by_the_person() -> None:
    with pytest.raises(ValueError, match="has 16 EEG channels, and 2 are named"):
        BoardStream("synthetic", ["Fz", "Cz"])
