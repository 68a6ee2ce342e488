"""Even time stamps from uneven ones, for samples that a device takes evenly."""

from __future__ import annotations

import numpy as np

from dreamdiffusion.recordings.gaps import GAP_S

SMOOTHED = 5.0
"""s over which the differences between stamps and the even clock are averaged."""


class SampleClock:
    """Times of samples at a nominal rate that follow the stamps slowly, and jump where these do.

    liblsl's own dejittering hides a pause of the device: a gap of 2 s left no step in its time
    stamps (measured, liblsl 1.18). Here samples that are more than 0.1 s from where they are
    expected begin anew at their stamp.

    Parameters
    ----------
    sfreq
        Nominal rate, Hz.
    """

    def __init__(self, sfreq: float) -> None:
        self._sfreq = sfreq
        self._next: float | None = None
        self._weight = 0.0  # s that the clock has run since it began

    def times(self, stamps: np.ndarray) -> np.ndarray:
        """Return even times for the stamps of the next samples, s ``(n,)``."""
        made = np.zeros(len(stamps))
        done = 0
        while done < len(stamps):
            if self._next is None:
                self._next, self._weight = float(stamps[done]), 0.0
            expected = self._next + np.arange(len(stamps) - done) / self._sfreq
            off = stamps[done:] - expected
            jumps = np.flatnonzero(np.abs(off) > GAP_S)
            n = int(jumps[0]) if len(jumps) else len(off)
            if n:
                made[done : done + n] = self._follow(expected[:n], off[:n])
            if len(jumps):
                self._next = None
            done += n
        return made

    def skip(self, n_samples: int) -> None:
        """Take it that so many samples were taken and lost."""
        if self._next is not None:
            self._next += n_samples / self._sfreq

    def _follow(self, expected: np.ndarray, off: np.ndarray) -> np.ndarray:
        lasts = len(off) / self._sfreq
        self._weight = min(self._weight + lasts, SMOOTHED)
        step = float(np.median(off)) * lasts / self._weight
        step = max(step, -0.5 / self._sfreq)  # time never stands still
        self._next = float(expected[-1]) + step + 1 / self._sfreq
        return expected + step
