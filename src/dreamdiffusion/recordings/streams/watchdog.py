"""Notices a stream that has gone silent, and how fast its samples really come."""

from __future__ import annotations

import math

import numpy as np

SILENT = 1.0
"""s without a sample after which a stream counts as lost: no library says so by itself."""
RETRY = 1.0
"""s between two times that a lost stream is looked for anew."""


class Watchdog:
    """Says when a stream is lost, when to look for it, and when it is back.

    Parameters
    ----------
    now
        Time, s, of any steady clock.
    """

    def __init__(self, now: float) -> None:
        self.lost = False
        self.n_lost = 0
        self._last = self._tried = now

    def update(self, n_samples: int, now: float) -> str | None:
        """Take the number of new samples; return ``lost``, ``retry``, ``resumed`` or None."""
        if n_samples:
            self._last = now
            if self.lost:
                self.lost = False
                return "resumed"
            return None
        if not self.lost:
            return self.lose(now) if now - self._last >= SILENT else None
        if now - self._tried >= RETRY:
            self._tried = now
            return "retry"
        return None

    def lose(self, now: float) -> str | None:
        """Take it that the stream is gone; as `update`."""
        if self.lost:
            return None
        self.lost, self._tried = True, now
        self.n_lost += 1
        return "lost"


class CountedRate:
    """The sampling rate as samples are counted, since the last gap."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._last = 0.0
        self._count = 0

    def add(self, times: np.ndarray, gap: bool) -> None:
        """Count samples by their times, s ``(n,)``; after a gap the count begins anew."""
        if not len(times):
            return
        if self._first is None or gap:
            self._first, self._count = float(times[-1]), 0
        else:
            self._count += len(times)
        self._last = float(times[-1])

    @property
    def hz(self) -> float:
        """Samples per second; NaN until 10 s are counted."""
        passed = self._last - (self._first or 0.0)
        return self._count / passed if self._first is not None and passed >= 10 else math.nan
