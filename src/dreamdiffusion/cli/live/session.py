"""The command `live`: read a stream, record it, decode it as it comes."""

from __future__ import annotations

import math
import time
from pathlib import Path

from dreamdiffusion.cli.config import LiveConfig
from dreamdiffusion.cli.live.decoding import Decoded, Decoding
from dreamdiffusion.cli.live.model import Expected, LiveModel, free_threads
from dreamdiffusion.cli.live.outputs import Outputs
from dreamdiffusion.cli.live.screen import Latencies, Screen, signal_words
from dreamdiffusion.cli.live.sources import open_source
from dreamdiffusion.cli.live.windows import Windows
from dreamdiffusion.files.output import writes_output
from dreamdiffusion.recordings.causal import WindowFilter
from dreamdiffusion.recordings.streams.quality import SECONDS, signal_quality
from dreamdiffusion.recordings.streams.recorder import Recorder, finish_all
from dreamdiffusion.recordings.streams.ring import Ring
from dreamdiffusion.recordings.streams.source import Chunk, Source, StreamInfo, StreamLost
from dreamdiffusion.recordings.streams.watchdog import CountedRate, Watchdog

STAYS = "what was recorded until now stays in {output}/recording"
_SPARE = 5.0
"""s of signal that the ring keeps beyond the longest window."""
_DRIFT = 0.001
"""Share by which the counted rate is off before it is said."""
_LOGGED = 10.0
"""s between two lines of status in the log."""


@writes_output(STAYS)
def live(config: LiveConfig) -> Path:
    """Decode a stream until it ends, or until Ctrl-C.

    Returns
    -------
    Path
        ``config.output`` with ``recording/`` (BIDS), ``latest.png`` and ``latest.json`` (the newest
        window), ``images/`` (of the last 64 windows) and ``log.jsonl``.

    Raises
    ------
    FileNotFoundError, ValueError, OSError
        If there is no such stream or model, or the stream does not fit the model.
    """
    model = LiveModel(config.model, config.judge, config.sample, config.device)
    source = open_source(config)
    try:
        session = Session(config, model, source)
        try:
            session.run()
        except KeyboardInterrupt:
            session.screen.line("stopping")
        finally:
            session.close()
    finally:
        source.close()
    return config.output


class Session:
    """One stream that is recorded and decoded.

    Parameters
    ----------
    config, model, source
        What is decoded, by what.

    Raises
    ------
    ValueError
        If the stream does not fit the model.
    """

    def __init__(self, config: LiveConfig, model: LiveModel, source: Source) -> None:
        info, expected = source.info, model.expected
        self._config, self._source = config, source
        self.screen = Screen()
        places = find_channels(info, expected)
        window_filter = WindowFilter(
            expected.signal, info.sfreq, expected.ch_names, expected.n_times, config.lag
        )
        size = window_filter
        seconds = (size.n_before + size.n_window + size.n_after) / info.sfreq + _SPARE
        self._ring = Ring(len(info.ch_names), info.sfreq, max(seconds, SECONDS + 1))
        self._windows = Windows(
            self._ring, places, size, expected.tmin, expected.seconds, config.stride, config.markers
        )
        self._lag = size.n_after / info.sfreq
        free_threads()
        model.warm_up()
        recording = config.output / "recording"
        for path in finish_all(recording):
            self.screen.line(f"{path}: completed, its session had not ended properly")
        self._recorder = Recorder(recording, config.subject, info)
        self._outputs = Outputs(config.output)
        self._decoding = Decoding(model, window_filter, source.clock)
        self._latencies = Latencies()
        self._rate = CountedRate()
        self._quality = [""] * len(info.ch_names)
        self._n_decoded = self._n_gaps = self._n_named = self._n_right = 0
        self._said, self._stopped = "", False
        self._began = self._logged = time.monotonic()
        self._watchdog = Watchdog(self._began)
        self._introduce(info, model)

    def _introduce(self, info: StreamInfo, model: LiveModel) -> None:
        expected = model.expected
        for warning in self._source.warnings:
            self.screen.line(warning)
        if info.simulated:
            self.screen.line("SIMULATED EEG: no person is recorded.")
        self.screen.line(
            f"{info.name}: {len(info.ch_names)} channels, {info.sfreq:g} Hz -> "
            f"{model.decoder.name}: {len(expected.ch_names)} channels, windows of "
            f"{expected.seconds:g} s at {expected.signal.sfreq:g} Hz"
        )
        self.screen.line(f"recording to {self._recorder.path}; Ctrl-C ends the session")
        self._outputs.note(
            "begin", source=self._config.source, stream=info.name, channels=info.ch_names,
            sfreq=info.sfreq, model=str(self._config.model), recording=str(self._recorder.path),
            lag_s=self._lag,
        )  # fmt: skip

    def run(self) -> None:
        """Go on until the stream ends, or for as long as the configuration says."""
        while not self._stopped and self.lasted < (self._config.duration or math.inf):
            try:
                chunk = self._source.read()
            except StreamLost as error:
                self._tell(self._watchdog.lose(time.monotonic()), str(error))
                time.sleep(0.1)
                chunk = Chunk.empty(len(self._source.info.ch_names))
            if chunk is None:
                return
            self._take(chunk)
            self._tell(self._watchdog.update(len(chunk.times), time.monotonic()))
            for done in self._decoding.take():
                self._show(done)
            self._report()

    def stop(self) -> None:
        """End `run`, from another thread."""
        self._stopped = True

    @property
    def is_lost(self) -> bool:
        """Whether the stream is silent or gone."""
        return self._watchdog.lost

    @property
    def lasted(self) -> float:
        """How long the session has lasted, s."""
        return time.monotonic() - self._began

    def _take(self, chunk: Chunk) -> None:
        gaps = self._ring.append(chunk.data, chunk.times, chunk.lost)
        self._recorder.append(chunk.data, chunk.times, gaps, chunk.markers)
        self._rate.add(chunk.times, bool(gaps))
        for _, seconds in gaps:
            self._n_gaps += 1
            self._outputs.note("gap", seconds=round(seconds, 3))
        for marker in chunk.markers:
            self._outputs.note("marker", value=marker.value)
        self._windows.add(chunk.markers)
        for window in self._windows.due(self._source.clock()):
            self._decoding.give(window)

    def _tell(self, change: str | None, why: str = "") -> None:
        """Say that the stream is lost or back, and look for it."""
        if change == "lost":
            self.screen.line(f"signal lost{f' ({why})' if why else ''}; recording goes on")
        elif change == "resumed":
            self.screen.line("signal is back")
        if change in ("lost", "resumed"):
            self._outputs.note(change)
        if change in ("lost", "retry") and self._source.reopen():
            self._outputs.note("reopened")

    def _show(self, done: Decoded) -> None:
        window, speed = done.window, self._source.speed
        parts = {
            "age": (window.arrived - window.end) / speed * 1e3 - self._lag / speed * 1e3,
            "filter": self._lag / speed * 1e3,
            "compute": (done.ended - window.arrived) / speed * 1e3,
            "total": (done.ended - window.end) / speed * 1e3,
        }
        self._outputs.show(done, parts)
        if done.reason is not None:
            self._windows.dropped[done.reason] += 1
            return
        self._latencies.add(parts)
        self._n_decoded += 1
        said = done.named.shows or done.named.label
        if said and window.marker:
            self._n_named += 1
            self._n_right += said == window.marker.value
        sure = f" {done.named.probability:.0%}" if done.named.label else ""
        seen = f" (seen: {window.marker.value})" if window.marker else ""
        self._said = f"{said}{sure}{seen}"

    @property
    def dropped(self) -> dict[str, int]:
        """Windows that were not decoded, by reason."""
        late = {"late": self._windows.dropped["late"] + self._decoding.n_late}
        return {name: n for name, n in (self._windows.dropped | late).items() if n}

    def _report(self) -> None:
        if not self.screen.is_due():
            return
        info = self._source.info
        self._quality = signal_quality(self._ring.last(SECONDS), info.sfreq)
        dropped = ", ".join(f"{n} {name}" for name, n in self.dropped.items())
        latency = self._latencies.percentiles()
        parts = [
            f"{self.lasted:.0f} s",
            "SIGNAL LOST" if self._watchdog.lost else signal_words(info.ch_names, self._quality),
            f"{self._n_decoded} images{f' (dropped: {dropped})' if dropped else ''}",
        ]
        if latency:
            parts.append(
                f"{latency['total'][0]:.0f} ms (95 %: {latency['total'][1]:.0f} = age "
                f"{latency['age'][1]:.0f} + filter {latency['filter'][1]:.0f} + compute "
                f"{latency['compute'][1]:.0f})"
            )
        if math.isfinite(hz := self._rate.hz):
            off = hz / info.sfreq - 1
            of = f" ({off:+.2%} of {info.sfreq:g})" if abs(off) > _DRIFT else ""
            parts.append(f"{hz:.2f} Hz{of}")
        if self._said:
            parts.append(self._said)
        self.screen.status(" | ".join(parts))
        if time.monotonic() - self._logged >= _LOGGED:
            self._logged = time.monotonic()
            self._outputs.note("status", **self.summary())

    def summary(self) -> dict[str, object]:
        """Return what is known of the session until now."""
        info, hz = self._source.info, self._rate.hz
        names = zip(info.ch_names, self._quality, strict=True)
        return {
            "lasted_s": round(self.lasted, 1),
            "decoded": self._n_decoded,
            "named": self._n_named,
            "named_as_the_marker": self._n_right,
            "dropped": self.dropped,
            "lost": self._watchdog.n_lost,
            "gaps": self._n_gaps,
            "samples": self._recorder.n_times,
            "counted_hz": round(hz, 4) if math.isfinite(hz) else None,
            "latency_ms": {
                name: {"p50": round(p50, 1), "p95": round(p95, 1)}
                for name, (p50, p95) in self._latencies.percentiles().items()
            },
            "bad_channels": {name: what for name, what in names if what},
        }

    def close(self) -> None:
        """End the session: wait for the last window, complete the recording."""
        self.screen.close()
        self._recorder.close()
        for done in self._decoding.finish():
            self._show(done)
        summary = self.summary()
        self._outputs.note("end", **summary)
        self._outputs.close()
        self.screen.line(
            f"{summary['decoded']} windows decoded, dropped {self.dropped or 'none'}, "
            f"{self._n_gaps} gaps, {summary['samples']} samples recorded"
        )
        if self._n_named:
            what = "images show" if self._config.judge else "answers are"
            self.screen.line(f"{self._n_right} of {self._n_named} {what} what the marker says")


def find_channels(info: StreamInfo, expected: Expected) -> list[int]:
    """Return where the decoder's channels are among those of the stream.

    Raises
    ------
    ValueError
        If the stream lacks some; the message lists both, and says how to name channels.
    """
    missing = [name for name in expected.ch_names if name not in info.ch_names]
    if missing:
        raise ValueError(
            f"{info.name} lacks the channels {', '.join(missing)} of the model; it has "
            f"{', '.join(info.ch_names)}. Where these are the same electrodes under other names, "
            "give the names of all its channels in its order with --ch_names; else give a model "
            "that was fitted on this headset"
        )
    return [info.ch_names.index(name) for name in expected.ch_names]
