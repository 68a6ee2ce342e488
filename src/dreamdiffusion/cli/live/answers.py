"""What a session decodes: windows of its stream, the decoder's answers, and how long they took."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dreamdiffusion.cli.config import LiveConfig
from dreamdiffusion.cli.live.decoding import Decoded, Decoding
from dreamdiffusion.cli.live.model import Expected, LiveModel, free_threads
from dreamdiffusion.cli.live.screen import Latencies
from dreamdiffusion.cli.live.windows import Windows
from dreamdiffusion.recordings.causal import WindowFilter
from dreamdiffusion.recordings.streams.ring import Ring
from dreamdiffusion.recordings.streams.source import Marker, StreamInfo


class Answers:
    """The windows of a stream, and what a model says of them.

    Parameters
    ----------
    config
        How windows are cut.
    model
        What decodes.
    info
        Of the stream.

    Attributes
    ----------
    lag
        s of signal after a window that are waited for.
    seconds
        s of signal that the ring has to hold for a window.

    Raises
    ------
    ValueError
        If the stream does not fit the model.
    """

    def __init__(self, config: LiveConfig, model: LiveModel, info: StreamInfo) -> None:
        expected = model.expected
        self._config, self._model = config, model
        self._places = find_channels(info, expected)
        self._filter = WindowFilter(
            expected.signal, info.sfreq, expected.ch_names, expected.n_times, config.lag
        )
        size = self._filter
        self.lag = size.n_after / info.sfreq
        self.seconds = (size.n_before + size.n_window + size.n_after) / info.sfreq
        self._latencies = Latencies()
        self._n_decoded = self._n_named = self._n_right = 0
        self._said = ""

    def begin(self, ring: Ring, clock: Callable[[], float]) -> None:
        """Decode once, so that the first window waits no longer than others, and start a thread."""
        expected = self._model.expected
        self._windows = Windows(
            ring, self._places, self._filter, expected.tmin, expected.seconds,
            self._config.stride, self._config.markers,
        )  # fmt: skip
        free_threads()
        self._model.warm_up()
        self._decoding = Decoding(self._model, self._filter, clock)

    def take(self, markers: list[Marker], now: float) -> None:
        """Hand over the windows that have become whole at `now`, s of the stream's clock."""
        self._windows.add(markers)
        for window in self._windows.due(now):
            self._decoding.give(window)

    def done(self) -> list[Decoded]:
        """Return what was decoded since the last call."""
        return self._decoding.take()

    def finish(self) -> list[Decoded]:
        """Wait for the last window and return it."""
        return self._decoding.finish()

    def count(self, done: Decoded, speed: float) -> dict[str, float]:
        """Count an answer, and return how long it took, by part, ms; `speed`: of the stream."""
        window = done.window
        parts = {
            "age": (window.arrived - window.end - self.lag) / speed * 1e3,
            "filter": self.lag / speed * 1e3,
            "compute": (done.ended - window.arrived) / speed * 1e3,
            "total": (done.ended - window.end) / speed * 1e3,
        }
        if done.reason is not None:
            self._windows.dropped[done.reason] += 1
            return parts
        self._latencies.add(parts)
        self._n_decoded += 1
        said = done.named.shows or done.named.label
        if said and window.marker:
            self._n_named += 1
            self._n_right += said == window.marker.value
        sure = f" {done.named.probability:.0%}" if done.named.label else ""
        seen = f" (seen: {window.marker.value})" if window.marker else ""
        self._said = f"{said}{sure}{seen}"
        return parts

    @property
    def dropped(self) -> dict[str, int]:
        """Windows that were not decoded, by reason."""
        late = {"late": self._windows.dropped["late"] + self._decoding.n_late}
        return {name: n for name, n in (self._windows.dropped | late).items() if n}

    def _dropped_words(self) -> str:
        return ", ".join(f"{n} {name}" for name, n in self.dropped.items())

    def words(self) -> list[str]:
        """Say how many windows were decoded, how fast, and what the newest one is."""
        dropped = self._dropped_words()
        parts = [f"{self._n_decoded} windows{f' (dropped: {dropped})' if dropped else ''}"]
        if latency := self._latencies.percentiles():
            parts.append(
                f"{latency['total'][0]:.0f} ms (95 %: {latency['total'][1]:.0f} = age "
                f"{latency['age'][1]:.0f} + filter {latency['filter'][1]:.0f} + compute "
                f"{latency['compute'][1]:.0f})"
            )
        return parts + ([self._said] if self._said else [])

    def last_words(self) -> list[str]:
        """Say what all of it came to."""
        found = [f"{self._n_decoded} windows decoded; dropped: {self._dropped_words() or 'none'}"]
        if self._n_named:
            what = "images show" if self._config.judge else "answers are"
            found.append(f"{self._n_right} of {self._n_named} {what} what the marker says")
        return found

    def summary(self) -> dict[str, Any]:
        """Return the counts and the times."""
        return {
            "decoded": self._n_decoded,
            "named": self._n_named,
            "named_as_the_marker": self._n_right,
            "dropped": self.dropped,
            "latency_ms": {
                name: {"p50": round(p50, 1), "p95": round(p95, 1)}
                for name, (p50, p95) in self._latencies.percentiles().items()
            },
        }


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
