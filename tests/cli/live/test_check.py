"""The check before a session, on streams that are right, and wrong in one way each."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lsl_player
import numpy as np
import pytest
from live_stand_in import StandIn

from dreamdiffusion.cli.commands import main
from dreamdiffusion.recordings.streams.recorder import Recorder
from dreamdiffusion.recordings.streams.source import StreamInfo

pytest.importorskip("pylsl", reason="pylsl is not installed (extra live)")


@pytest.fixture(scope="module")
def stream() -> Iterator[str]:
    """Play four channels at 250 Hz, and a marker a second, over LSL."""
    name = f"check-{time.monotonic_ns()}"
    command = [sys.executable, str(lsl_player.__file__), name, "--source_id", name, "--markers"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield name
        process.kill()


def check(
    source: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    model: Any = None,
    *more: str,
) -> tuple[int, dict[str, tuple[str, str]]]:
    """Return the exit code, and state and words of each thing that was looked at."""
    monkeypatch.setattr("dreamdiffusion.cli.live.check.LiveModel", lambda *_: model or StandIn())
    code = main(
        ["live", "--check", "--json", "--source", source, "--output", str(tmp_path / "out"), *more]
    )
    rows = json.loads(capsys.readouterr().out)
    return code, {row["what"]: (row["state"], row["words"]) for row in rows}


def test_a_stream_that_is_as_it_should_be(stream, tmp_path, capsys, monkeypatch) -> None:
    more = ("--duration", "14", "--marker_streams", f"{stream}-markers")
    code, found = check(f"lsl:{stream}", tmp_path, capsys, monkeypatch, None, *more)
    assert code == 0, found
    assert list(found) == [
        "disk", "stream", "channels", "model", "rate", "units", "markers", "signal", "latency",
    ]  # fmt: skip
    assert found["stream"] == ("good", f"{stream}: 4 channels, 250 Hz; an hour takes 14 MB")
    assert found["channels"] == ("good", "all 2 of the model are among the 4 of the stream")
    assert "250 Hz said; no gap" in found["rate"][1]
    assert found["units"][0] == "good"
    assert "1 x m3" in found["markers"][1]
    assert found["signal"][0] == "good"
    assert re.match(r"answers come \d+ ms after the window", found["latency"][1])
    assert not (tmp_path / "out" / "recording").exists()


def test_markers_that_never_came(stream, tmp_path, capsys, monkeypatch) -> None:
    more = ("--duration", "4", "--marker_streams", f"{stream}-markers", "--markers", "tree")
    code, found = check(f"lsl:{stream}", tmp_path, capsys, monkeypatch, None, *more)
    assert code == 1
    assert found["markers"][0] == "wrong"
    assert "none of --markers tree" in found["markers"][1]
    more = ("--duration", "3", "--marker_streams", "none-of-this-name")
    code, found = check(f"lsl:{stream}", tmp_path, capsys, monkeypatch, None, *more)
    assert (code, found["markers"][0]) == (0, "note")


def test_a_unit_that_is_wrong(stream, tmp_path, capsys, monkeypatch) -> None:
    more = ("--duration", "3", "--unit", "V")
    code, found = check(f"lsl:{stream}", tmp_path, capsys, monkeypatch, None, *more)
    assert (code, found["units"][0]) == (1, "wrong")
    assert "which is not EEG" in found["units"][1]


def test_a_model_that_wants_other_channels(stream, tmp_path, capsys, monkeypatch) -> None:
    model = StandIn()
    model.expected.ch_names.append("Oz")
    more = ("--duration", "3")
    code, found = check(f"lsl:{stream}", tmp_path, capsys, monkeypatch, model, *more)
    assert (code, found["channels"][0]) == (1, "wrong")
    assert "lacks the channels Oz" in found["channels"][1]
    assert found["units"][0] == "good"  # the stream itself was looked at


def test_a_stream_or_a_model_that_is_not_there(tmp_path, capsys, monkeypatch) -> None:
    code, found = check("file:nowhere.edf", tmp_path, capsys, monkeypatch)
    assert (code, found["stream"]) == (1, ("wrong", "recording nowhere.edf does not exist"))
    given = ["live", "--check", "--json", "--output", str(tmp_path / "out")]
    monkeypatch.undo()
    assert main([*given, "--model", str(tmp_path), "--source", "file:nowhere.edf"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [(row["what"], row["state"]) for row in rows][1:] == [
        ("model", "wrong"), ("stream", "wrong"),
    ]  # fmt: skip


def write_recording(tmp_path: Path, data: np.ndarray) -> Path:
    """Write a recording of four channels."""
    info = StreamInfo("x", ["C1", "C2", "C3", "Cz"], 100.0)
    with Recorder(tmp_path / "bids", "01", info) as recorder:
        recorder.append(data, np.arange(data.shape[1]) / 100, [], [])
    return recorder.path


def test_a_model_that_is_too_slow(tmp_path, capsys, monkeypatch) -> None:
    path = write_recording(tmp_path, np.random.default_rng(0).normal(0, 2e-5, (4, 600)))
    model = StandIn(takes=1.0)
    more = ("--stride", "0.1")
    code, found = check(f"file:{path}", tmp_path, capsys, monkeypatch, model, *more)
    assert (code, found["latency"][0]) == (1, "wrong")
    assert "fewer steps" in found["latency"][1]
    assert found["markers"][0] == "note"


def test_electrodes_that_lie_on_the_table(tmp_path, capsys, monkeypatch) -> None:
    data = np.random.default_rng(0).normal(0, 2e-5, (4, 600))
    data[[0, 2]] = 0.0
    path = write_recording(tmp_path, data)
    code, found = check(f"file:{path}", tmp_path, capsys, monkeypatch)
    assert (code, found["signal"][0]) == (1, "wrong")
    assert found["signal"][1] == "2 of 2 channels: C3 flat, C1 flat"
    assert found["latency"][0] == "wrong"
    assert "flat" in found["latency"][1]
    assert found["rate"][0] == "note"
