"""The check before a session: a short one that is thrown away, and in words what it showed."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from dreamdiffusion.cli.config import LiveConfig
from dreamdiffusion.cli.live.answers import find_channels
from dreamdiffusion.cli.live.model import Expected, LiveModel
from dreamdiffusion.cli.live.session import Session
from dreamdiffusion.cli.live.sources import open_source
from dreamdiffusion.recordings.causal import WindowFilter
from dreamdiffusion.recordings.find import find_recordings
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.recordings.recording import Recording, eeg_names
from dreamdiffusion.recordings.streams.quality import SECONDS as LOOKED_AT
from dreamdiffusion.recordings.streams.quality import signal_quality
from dreamdiffusion.recordings.streams.source import Source, StreamInfo

SECONDS = 20.0
"""Of the session, where ``duration`` says nothing."""
RATE_OFF, RATE_WRONG = 0.001, 0.01
"""Shares by which samples may come faster or slower than the stream says: worth a look, wrong."""
TOTAL_MS = 1000.0
"""Largest time from the end of a window to its images that is called live."""
HOUR_S = 3600.0
T = TypeVar("T")


class Checked(list[dict[str, Any]]):
    """What was looked at, a row each: `what`, `state` (good, note, wrong) and `words`."""

    def add(self, what: str, words: str, state: Literal["good", "note", "wrong"] = "good") -> None:
        """Add a row."""
        self.append({"what": what, "state": state, "words": words})

    def attempt(self, what: str, do: Callable[[], T]) -> T | None:
        """Do something that raises in plain words; None, and a row, where it did."""
        try:
            return do()
        except (ValueError, OSError) as error:
            self.add(what, " ".join(str(error).split()), "wrong")
            return None

    @property
    def failed(self) -> bool:
        """Whether anything is wrong."""
        return any(row["state"] == "wrong" for row in self)


def check(config: LiveConfig) -> Checked:
    """Say whether stream, model and machine are ready for a session; nothing is kept."""
    found = Checked()
    _check_disk(found, config.output)
    opened = (config.model, config.judge, config.sample, config.device)
    model = None if config.record_only else found.attempt("model", lambda: LiveModel(*opened))
    source = found.attempt("stream", lambda: open_source(config))
    if source is None:
        return found
    with (
        contextlib.closing(source),
        tempfile.TemporaryDirectory(prefix="dreamdiffusion-check-") as folder,
    ):
        _check_stream(found, source)
        if model is not None and not _check_fit(found, config, model.expected, source.info):
            model = None  # the stream is looked at nevertheless
        elif model is not None:
            found.add("model", f"{config.model}: {model.decoder.name}")
        _check_session(found, config, model, source, Path(folder))
    return found


def _check_disk(found: Checked, output: Path) -> None:
    there = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    found.add("disk", f"{free / 1e9:.1f} GB free for {output}", "good" if free > 1e9 else "wrong")


def _check_stream(found: Checked, source: Source) -> None:
    info = source.info
    device = f", {info.device}" if info.device else ""
    words = f"{info.name}{device}: {len(info.ch_names)} channels, {info.sfreq:g} Hz"
    hourly = 4 * len(info.ch_names) * info.sfreq * HOUR_S
    found.add("stream", f"{words}; an hour takes {hourly / 1e6:.0f} MB")
    if info.simulated:
        found.add("stream", "SIMULATED EEG: no person is recorded", "note")
    for warning in source.warnings:
        found.add("stream", warning, "note")


def _check_fit(found: Checked, config: LiveConfig, expected: Expected, info: StreamInfo) -> bool:
    """Say whether the stream holds what the model was fitted on."""
    if found.attempt("channels", lambda: find_channels(info, expected)) is None:
        return False
    n_used, n_chans = len(expected.ch_names), len(info.ch_names)
    found.add("channels", f"all {n_used} of the model are among the {n_chans} of the stream")
    size = (expected.signal, info.sfreq, expected.ch_names, expected.n_times, config.lag)
    return found.attempt("rate", lambda: WindowFilter(*size)) is not None


def _check_session(
    found: Checked, config: LiveConfig, model: LiveModel | None, source: Source, folder: Path
) -> None:
    """Run a session, and rate what it came to."""
    short = config.model_copy(update={"output": folder, "duration": config.duration or SECONDS})
    session = found.attempt("session", lambda: Session(short, model, source))
    if session is None:
        return
    try:
        session.run()
    finally:
        session.close()
    summary = session.summary()
    if not summary["samples"]:
        found.add("signal", f"no sample came within {short.duration:g} s", "wrong")
        return
    _check_rate(found, summary, source.info.sfreq)
    (path,) = find_recordings([folder / "recording"])
    recording = found.attempt("units", lambda: read_recording(path))
    if recording is not None:
        found.add("units", f"the signal is of {_amplitude(recording):.3g} uV, as EEG is")
        _check_markers(found, config, recording)
        ch_names = source.info.ch_names if model is None else model.expected.ch_names
        _check_signal(found, recording, ch_names)
    if model is not None:
        _check_latency(found, summary)


def _amplitude(recording: Recording) -> float:
    """Return the median over the channels of the median absolute deviation, uV."""
    data = np.asarray(recording.raw.get_data(picks=np.array(eeg_names(recording.raw)))) * 1e6
    return float(np.median(np.abs(data - np.median(data, axis=1, keepdims=True))))


def _check_rate(found: Checked, summary: dict[str, Any], sfreq: float) -> None:
    hz, holes = summary["counted_hz"], summary["gaps"] + summary["lost"]
    if holes:
        found.add("rate", f"the stream stopped or lost samples {holes} times", "wrong")
    elif hz is None:
        found.add("rate", "less than 10 s were counted: give a longer --duration", "note")
    else:
        off = abs(hz / sfreq - 1)
        state = "wrong" if off > RATE_WRONG else "note" if off > RATE_OFF else "good"
        found.add("rate", f"{hz:.2f} Hz counted, {sfreq:g} Hz said; no gap", state)


def _check_markers(found: Checked, config: LiveConfig, recording: Recording) -> None:
    events = recording.events
    said = Counter([] if events is None else events["category"].astype(str))
    if not said:
        found.add("markers", "none came: windows will follow each other, locked to nothing", "note")
        return
    pictures = 0 if events is None else sum(events["stim_file"].astype(str) != "")
    names = ", ".join(f"{n} x {name}" for name, n in said.most_common(4))
    words = f"{sum(said.values())} came ({names}), {pictures} of them with a picture"
    wanted = [name for name in config.markers if name in said]
    if config.markers and not wanted:
        found.add("markers", f"{words}; none of --markers {' '.join(config.markers)}", "wrong")
    elif config.pictures is not None and not pictures:
        found.add("markers", f"{words}: none names one of {config.pictures}", "wrong")
    else:
        found.add("markers", words)


def _check_signal(found: Checked, recording: Recording, ch_names: list[str]) -> None:
    raw = recording.raw
    sfreq = float(raw.info["sfreq"])
    start = max(0, raw.n_times - round(LOOKED_AT * sfreq))
    quality = signal_quality(np.asarray(raw.get_data(picks=np.array(ch_names), start=start)), sfreq)
    bad = {name: what for name, what in zip(ch_names, quality, strict=True) if what}
    if not bad:
        found.add("signal", f"none of {len(ch_names)} channels is flat, railed, drifts or hums")
        return
    words = ", ".join(f"{name} {what}" for name, what in bad.items())
    state = "wrong" if len(bad) > len(ch_names) / 2 else "note"
    found.add("signal", f"{len(bad)} of {len(ch_names)} channels: {words}", state)


def _check_latency(found: Checked, summary: dict[str, Any]) -> None:
    latency, dropped = summary["latency_ms"], summary["dropped"]
    if not latency:
        words = ", ".join(f"{n} {name}" for name, n in dropped.items()) or "none was due"
        found.add("latency", f"no window was decoded ({words})", "wrong")
        return
    total, late = latency["total"], dropped.get("late", 0)
    words = (
        f"answers come {total['p50']:.0f} ms after the window (95 %: {total['p95']:.0f} = age "
        f"{latency['age']['p95']:.0f} + filter {latency['filter']['p95']:.0f} + compute "
        f"{latency['compute']['p95']:.0f}); {summary['decoded']} windows decoded, {late} dropped "
        "because the one before was not done"
    )
    if late > summary["decoded"]:
        fix = "draw in fewer steps (--sample.num_inference_steps), or free the processor"
        found.add("latency", f"{words}: {fix}", "wrong")
    else:
        found.add("latency", words, "note" if late or total["p95"] > TOTAL_MS else "good")
