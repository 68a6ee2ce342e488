"""The last seconds of a stream, and where it has gaps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dreamdiffusion.recordings.gaps import GAP_S


class Ring:
    """Keeps the newest samples; its size stays what it is.

    Parameters
    ----------
    n_chans, sfreq
        Of the stream, Hz.
    seconds
        How much is kept at least.
    """

    def __init__(self, n_chans: int, sfreq: float, seconds: float) -> None:
        self.sfreq = sfreq
        self._size = int(np.ceil(seconds * sfreq))
        self._data = np.zeros((n_chans, 2 * self._size))
        self._times = np.zeros(2 * self._size)
        self._stretch = np.zeros(2 * self._size, np.int64)
        self._stop = 0
        self._current = 0
        self.n_seen = 0

    @property
    def newest(self) -> float | None:
        """Time of the newest sample, s; None: there is none yet."""
        return float(self._times[self._stop - 1]) if self._stop else None

    def append(
        self, data: np.ndarray, times: np.ndarray, lost: Sequence[int] = ()
    ) -> list[tuple[int, float]]:
        """Add samples ``(n_chans, n)`` and their times ``(n,)``.

        Parameters
        ----------
        lost
            Places before which the device says that samples are missing.

        Returns
        -------
        gaps
            Of each gap the place of the sample after it, in these samples, and its length in s:
            where samples are missing, and where time steps by more than 0.1 s, or goes back.
        """
        if not len(times):
            return []
        back = np.flatnonzero(np.diff(times) <= 0) + 1
        if len(back):
            n = int(back[0])
            first = self.append(data[:, :n], times[:n], [at for at in lost if at < n])
            rest = self.append(data[:, n:], times[n:], [at - n for at in lost if at >= n])
            return first + [(n + at, seconds) for at, seconds in rest]
        before = self.newest
        if before is not None and times[0] <= before:  # a clock that was set back
            self._stop, before = 0, times[0] - 2 * GAP_S
        steps = np.diff(times, prepend=times[0] - 1 / self.sfreq if before is None else before)
        missing = steps - 1 / self.sfreq
        is_gap = missing > GAP_S
        is_gap[list(lost)] = True
        gaps = [(int(place), max(0.0, float(missing[place]))) for place in np.flatnonzero(is_gap)]
        stretch = self._current + np.cumsum(is_gap)
        self._current = int(stretch[-1])
        self.n_seen += len(times)
        for first in range(0, len(times), self._size):
            part = slice(first, first + self._size)
            self._add(data[:, part], times[part], stretch[part])
        return gaps

    def _add(self, data: np.ndarray, times: np.ndarray, stretch: np.ndarray) -> None:
        n = len(times)
        if self._stop + n > 2 * self._size:
            keep = slice(self._stop - self._size, self._stop)
            self._data[:, : self._size] = self._data[:, keep]
            self._times[: self._size] = self._times[keep]
            self._stretch[: self._size] = self._stretch[keep]
            self._stop = self._size
        place = slice(self._stop, self._stop + n)
        self._data[:, place], self._times[place], self._stretch[place] = data, times, stretch
        self._stop += n

    def last(self, seconds: float) -> np.ndarray:
        """Return a copy of the newest samples ``(n_chans, n)``, without a gap between them."""
        first = max(0, self._stop - round(seconds * self.sfreq))
        same = self._stretch[first : self._stop] == self._current
        return self._data[:, first : self._stop][:, same].copy()

    def cut(
        self, time: float, n_window: int, n_before: int, n_after: int, least_before: int
    ) -> tuple[np.ndarray, float] | str:
        """Return the samples around a window that begins at ``time``.

        Parameters
        ----------
        n_window, n_after
            Samples that must be there.
        n_before, least_before
            Samples before it that are taken where they are there, and that must be.

        Returns
        -------
        data, start
            A copy ``(n_chans, n)``, and where in it ``time`` lies, in samples. Or, as a word, why
            there is no such window: ``early`` (its end has not come yet), ``gap`` (it touches one,
            or the start), ``late`` (no longer kept).
        """
        times = self._times[: self._stop]
        if not len(times) or time > times[-1] + 0.5 / self.sfreq:
            return "early"
        if time < times[0]:
            return "gap" if self.n_seen == self._stop else "late"
        place = int(np.searchsorted(times, time + 0.5 / self.sfreq)) - 1  # the sample nearest to it
        stop = place + n_window + n_after
        stretch = self._stretch[: self._stop]
        began, ended = np.searchsorted(stretch, [stretch[place], stretch[place] + 1])
        first = max(place - n_before, int(began))
        away = (time - times[place]) * self.sfreq
        if ended == self._stop and stop > self._stop:
            return "early"
        if stop > ended or abs(away) > 1 or place - first < least_before:
            return "gap"
        return self._data[:, first:stop].copy(), place - first + away
