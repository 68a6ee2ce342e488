"""Which windows of a stream are decoded: after markers where there are any, else one by one."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

import numpy as np

from dreamdiffusion.recordings.causal import LEAST_BEFORE, WindowFilter
from dreamdiffusion.recordings.streams.ring import Ring
from dreamdiffusion.recordings.streams.source import Marker

_MOST = 64
"""Markers that wait for the end of their window; a headset sends no more at once."""
_ONE_TIME = 0.005
"""s within which markers of several streams say the same."""


@dataclass(frozen=True)
class Window:
    """A piece of a stream that is due.

    Attributes
    ----------
    number
        Counts the windows that were due.
    marker
        What it is locked to; None: nothing.
    end
        Time of its last sample, s.
    arrived
        When all of it, and of the signal after it that the filters wait for, was there, s.
    data, start
        For the `WindowFilter`.
    """

    number: int
    marker: Marker | None
    end: float
    arrived: float
    data: np.ndarray
    start: float


class Windows:
    """Cuts windows as they become whole, and counts those that cannot be cut.

    Parameters
    ----------
    ring
        The stream.
    places
        Rows of the ring that are the decoder's channels, in its order.
    window_filter
        How much signal a window takes.
    tmin, seconds
        Begin from a marker, and length, s.
    stride
        s from one window to the next while there are no markers.
    wanted
        Markers that count; empty: all do.
    """

    def __init__(
        self,
        ring: Ring,
        places: list[int],
        window_filter: WindowFilter,
        tmin: float,
        seconds: float,
        stride: float,
        wanted: list[str],
    ) -> None:
        self._ring, self._places, self._filter = ring, places, window_filter
        self._tmin, self._seconds, self._stride = tmin, seconds, stride
        self._wanted = set(wanted)
        self._markers: deque[Marker] = deque(maxlen=_MOST)
        self._next: float | None = None
        self._last: float | None = None
        self._number = 0
        self.locked = False
        self.dropped: Counter[str] = Counter()

    def add(self, markers: list[Marker]) -> None:
        """Take markers; from the first one on, windows are locked to markers.

        Of several at one time, such as a word and its code, the first counts.
        """
        for marker in markers:
            if self._wanted and marker.value not in self._wanted:
                continue
            if self._last is not None and abs(marker.time - self._last) < _ONE_TIME:
                continue
            self._last = marker.time
            self.locked = True
            if len(self._markers) == _MOST:
                self.dropped["gap"] += 1
            self._markers.append(marker)

    def due(self, now: float) -> list[Window]:
        """Return the windows that have become whole; `now`: time, s, by the clock of the stream."""
        found = []
        if self.locked:
            for marker in list(self._markers):
                window = self._cut(marker.time + self._tmin, marker, now)
                if window == "early":
                    continue
                self._markers.remove(marker)
                self._take(window, found)
            return found
        newest = self._ring.newest
        if newest is None:
            return found
        if self._next is None:
            self._next = newest - (self._ring.n_seen - 1) / self._ring.sfreq + LEAST_BEFORE
        while (window := self._cut(self._next, None, now)) != "early":
            self._take(window, found)
            self._next += self._stride
            if newest - self._next > 10 * self._stride + self._seconds:  # after a long gap
                self._next = newest
        return found

    def _take(self, window: Window | str, found: list[Window]) -> None:
        self._number += 1
        if isinstance(window, str):
            self.dropped[window] += 1
        else:
            found.append(window)

    def _cut(self, time: float, marker: Marker | None, now: float) -> Window | str:
        size = self._filter
        least = round(LEAST_BEFORE * self._ring.sfreq)
        cut = self._ring.cut(time, size.n_window, size.n_before, size.n_after, least)
        if isinstance(cut, str):
            return cut
        data, start = cut
        data = data[self._places]
        if not np.isfinite(data).all():
            return "missing"
        return Window(self._number, marker, time + self._seconds, now, data, start)
