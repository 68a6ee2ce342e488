"""The page in a headless browser: a whole session, its markers against its own clock, the check."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import BROWSER, opened
from picture_folders import write_pictures

from dreamdiffusion.cli.config import StimulateConfig
from dreamdiffusion.recordings.events import read_events_table

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

from dreamdiffusion.cli.stimulate import command, plan

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium browser on this machine")

KEEP_WHAT_IS_SENT = """
window.sent = [];
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (text) {
  window.sent.push(text);
  return send.call(this, text);
};
"""
TITLE = "document.getElementById('title').textContent"


@contextmanager
def running(config: StimulateConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Run the command in a thread; gives its address, and, after the block, its result."""
    state: dict[str, Any] = {}
    serve = command.serve

    def told(app: Any, port: int, ready: Any, *rest: Any) -> None:
        def both(address: str, server: Any) -> None:
            ready(address, server)
            state.update(address=address, server=server)

        serve(app, port, both, *rest)

    monkeypatch.setattr(command, "serve", told)

    def work() -> None:
        try:
            state["result"] = command.show_pictures(config)
        except ValueError as error:
            state["error"] = str(error)

    run = threading.Thread(target=work)
    run.start()
    try:
        end = time.monotonic() + 60
        while "address" not in state or not state["server"].started:
            assert run.is_alive() and time.monotonic() < end
            time.sleep(0.02)
        yield state
    finally:
        if "server" in state:
            state["server"].should_exit = True
        run.join(timeout=30)
        monkeypatch.setattr(command, "serve", serve)
    assert not run.is_alive()


def test_a_session_from_consent_to_thanks(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "BLOCK_S", 4.0)
    monkeypatch.setattr(plan, "TARGET_SHARE", 0.2)
    pictures = write_pictures(
        tmp_path / "p", [f"{c}/{i}.png" for c in ("a", "b") for i in range(3)]
    )
    config = StimulateConfig(
        pictures=pictures, output=tmp_path / "out", minutes=1.3, picture_s=0.1, gap_s=(0.1, 0.2),
        size=32,
    )  # fmt: skip
    assert plan.block_counts(config) == (1, 7)
    with (
        running(config, monkeypatch) as state,
        opened(state["address"], tmp_path, first=KEEP_WHAT_IS_SENT) as page,
    ):
        page.wait("!document.getElementById('agreement').hidden")
        assert "does not read thoughts" in page.run("document.body.innerText")
        assert page.run("document.getElementById('go').disabled")
        page.click("#agree")
        page.click("#go")
        page.wait(f"{TITLE} === 'Block 1 of 1'")
        page.click("#go")
        page.wait("sent.some((text) => text.includes('onset'))")
        page.press("Escape", 27)
        page.wait(f"{TITLE} === 'The block was stopped'")
        assert "Escape was pressed" in page.run("document.body.innerText")
        page.click("#go")
        page.wait(f"{TITLE} === 'Block 1 of 1'")
        page.click("#go")
        page.wait("!document.getElementById('screen').hidden")
        page.press(" ", 32)
        page.wait(f"{TITLE} === 'A break'")
        page.click("#go")
        page.wait(f"{TITLE} === 'Thank you'")
        sent = [json.loads(text) for text in page.run("sent")]
        origin = page.run("performance.timeOrigin") / 1000
        assert page.messages == []
    result = state["result"]
    assert result["blocks"] == "1 of 1"
    assert result["aborted_blocks"] == 1
    path = Path(result["events"])
    events = read_events_table(path.with_name(path.name.replace("events.tsv", "eeg.edf")))
    assert events is not None
    # A picture that was broken off has a row too: one for each marker.
    shown = [one for one in sent if one["type"] == "onset"]
    assert len(events) == len(shown) >= 7
    assert sorted(events["stim_file"].tolist()[-7:])[0] == "a/0.png"
    # What was written, against the page's own clock as the browser sets it by that of the machine.
    own = np.array([origin + one["shown"] for one in shown])
    off = np.abs(events["unix_time"].to_numpy() - own)
    frame = next(one["frames"] for one in sent if one["type"] == "block_end")
    assert np.quantile(off, 0.95) <= frame["frame_ms"] / 1000
    # Whole frames: 100 ms are six of a screen of 60 Hz.
    assert frame["used_ms"] == pytest.approx(round(100 / frame["frame_ms"]) * frame["frame_ms"])
    whole = events["duration"].dropna().to_numpy() * 1000 / frame["frame_ms"]
    assert np.abs(whole - whole.round()).max() < 0.1
    record = json.loads((config.output / "session.json").read_text())
    assert abs(record["blocks"][0]["clock_drift_ms"]) < frame["frame_ms"]
    assert re.search("agree|look at pictures", record["consent"][0]["text"])
    with pytest.raises(ValueError, match="is complete"):
        command.show_pictures(config)


def test_the_check_says_what_it_measured_and_what_it_cannot_know(tmp_path, monkeypatch):
    config = StimulateConfig(check=True, output=tmp_path / "out")
    with running(config, monkeypatch) as state, opened(state["address"], tmp_path) as page:
        page.click("#go")
        page.wait(f"{TITLE} === 'Measured'")
        told = page.run("document.body.innerText")
        assert "Not known: the lag" in told
    result = state["result"]
    assert ("close other programs" in told) == (result["missed"] > 0.01 * result["count"])
    assert result == json.loads((config.output / "check.json").read_text())
    assert 20 < result["refresh_hz"] < 300
    assert result["count"] - result["missed"] <= 6 * 60
    assert result["jitter_p50_ms"] <= result["jitter_p95_ms"] <= result["jitter_max_ms"]
    assert result["clock_round_trip_ms"] > 0
    assert result["lag_of_the_screen"].startswith("not known")


def test_a_second_window_is_refused(tmp_path, monkeypatch):
    config = StimulateConfig(check=True, output=tmp_path / "out")
    with running(config, monkeypatch) as state, opened(state["address"], tmp_path / "1") as page:
        page.wait(f"{TITLE} === 'Timing of this screen'")
        with opened(state["address"], tmp_path / "2") as other:
            other.wait(f"{TITLE} === 'Not here'")
    assert state["error"].startswith("the page was not opened, or closed before")
