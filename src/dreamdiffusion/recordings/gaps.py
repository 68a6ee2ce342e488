"""Where a recording was not recorded in one go: trials put end to end, samples lost by radio."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import mne
import numpy as np

# EEGLAB, BrainVision, MNE's concatenation, and `annotate_boundaries`.
_BOUNDARY = re.compile(r"boundary|new segment(/.*)?|(edge|bad) boundary|bad_gap", re.IGNORECASE)


@dataclass
class Clock:
    """When the stretches of a recording were recorded; all arrays (n_stretches,).

    Attributes
    ----------
    starts
        s from the beginning of the first.
    samples
        The first sample of each.
    lengths
        Number of samples of each.
    sfreq
        Hz.
    """

    starts: np.ndarray
    samples: np.ndarray
    lengths: np.ndarray
    sfreq: float

    def place(self, onsets: np.ndarray) -> np.ndarray:
        """Return where moments of this clock lie among the samples.

        Parameters
        ----------
        onsets
            s from the beginning of the first stretch, ``(n,)``.

        Returns
        -------
        placed
            s from the first sample, as samples count (a gap takes no time); NaN in a gap, where
            nothing was recorded. What lies before the first or after the last sample stays so.
        """
        which = np.searchsorted(self.starts - 0.5 / self.sfreq, onsets, side="right") - 1
        which = np.clip(which, 0, len(self.starts) - 1)
        inside = onsets - self.starts[which]
        in_gap = (inside >= (self.lengths[which] - 0.5) / self.sfreq) & (
            which < len(self.starts) - 1
        )
        return np.where(in_gap, np.nan, self.samples[which] / self.sfreq + inside)


def is_boundary(text: str) -> bool:
    """Whether an annotation or marker says that time jumps there, in the words of any format."""
    return _BOUNDARY.fullmatch(text.strip()) is not None


def annotate_boundaries(raw: mne.io.BaseRaw, samples: Iterable[int]) -> None:
    """Mark that time jumps just before each of these samples.

    `EDGE boundary` is what MNE's filters stop at, `BAD_gap` what no trial or window may cross. Both
    last 0 s: they lie between two samples, so a window that begins at the boundary is whole.
    """
    sfreq = float(raw.info["sfreq"])
    onsets = np.array(list(samples), float) / sfreq + raw.first_time
    for text in ("BAD_gap", "EDGE boundary"):
        raw.annotations.append(onsets, np.zeros(len(onsets)), [text] * len(onsets))


def mark_boundaries(raw: mne.io.BaseRaw, onsets: Iterable[float] = ()) -> None:
    """Say in one way, by `annotate_boundaries`, where time jumps.

    Parameters
    ----------
    raw
        Its annotations that are boundaries in the words of their format (`is_boundary`) are
        replaced. Those that last (`EDGE` and `BAD` of MNE-Python, over samples) stay.
    onsets
        More boundaries, s from the first sample. One between two samples (EEGLAB: 511.5) stands
        before the second; at either end there is none.
    """
    notes, sfreq = raw.annotations, float(raw.info["sfreq"])
    own = [
        place
        for place, (text, lasts) in enumerate(zip(notes.description, notes.duration, strict=True))
        if is_boundary(str(text)) and not (lasts > 0 and str(text).lower()[:4] in ("edge", "bad "))
    ]
    seconds = np.concatenate([notes.onset[own] - raw.first_time, np.array(list(onsets), float)])
    notes.delete(own)
    places = seconds[np.isfinite(seconds)] * sfreq
    samples = np.unique(np.ceil(places - 0.01).astype(int))
    annotate_boundaries(raw, samples[(samples > 0) & (samples < raw.n_times)])


def stretches(raw: mne.io.BaseRaw) -> list[tuple[int, int]]:
    """Return (first sample, sample after the last) of every stretch recorded in one go.

    As MNE's filters see it: `EDGE` annotations and skipped acquisition part the stretches.
    """
    sfreq, notes = float(raw.info["sfreq"]), raw.annotations
    found, start = [], 0
    for onset, duration, text in zip(notes.onset, notes.duration, notes.description, strict=True):
        if not str(text).lower().startswith(("edge", "bad_acq_skip")):
            continue
        stop = round((onset - raw.first_time) * sfreq)
        if stop > start:
            found.append((start, min(stop, int(raw.n_times))))
        start = max(start, stop + round(duration * sfreq))
    if start < raw.n_times:
        found.append((start, int(raw.n_times)))
    return found


GAP_S = 0.1  # two lost packets of 12 samples at 256 Hz; packet jitter stays below 0.04 s


NOMINAL_HZ = (100.0, 125.0, 128.0, 200.0, 220.0, 250.0, 256.0, 300.0, 500.0, 512.0, 1000.0, 1024.0)


def sampling_rate(stamps: np.ndarray, name: str) -> tuple[float, np.ndarray]:
    """Return the rate of a recording from its timestamps, and where samples are missing.

    Parameters
    ----------
    stamps
        Timestamps in seconds, (n_times,).
    name
        What the error messages call the recording.

    Returns
    -------
    sfreq
        Hz; the nominal rate where the measured one is within 0.5 % of it,
        or within the precision of timestamps in milliseconds.
    gaps
        Indices of the samples that follow a jump of more than 0.1 s.

    Raises
    ------
    ValueError
        For timestamps that are missing, go back by more than 0.1 s or are unevenly spaced, and
        for a rate outside 50 to 20,000 Hz.
    """
    if not np.isfinite(stamps).all():
        row = int(np.flatnonzero(~np.isfinite(stamps))[0])
        raise ValueError(f"{name}: the timestamp of data row {row} is missing")
    steps = np.diff(stamps)
    span = stamps[-1] - stamps[0]
    rough = len(steps) / span if span > 0 else np.inf
    typical = float(np.median(steps))
    if not 1 / 20000 <= typical <= 1 / 50:
        raise ValueError(
            f"{name}: timestamps advance by {typical:.4g} per sample (about {rough:.4g} Hz); "
            "expected seconds at 50 to 20,000 Hz"
        )
    back = np.flatnonzero(steps < -GAP_S)
    if len(back):
        raise ValueError(
            f"{name}: timestamps go back by {-steps[back[0]]:.3f} s at data row {back[0] + 1}; "
            "split the file there: it holds more than one recording"
        )
    gaps = np.flatnonzero(steps > GAP_S) + 1
    whole = np.delete(steps, gaps - 1)
    measured = 1 / float(whole.mean()) if len(whole) and whole.mean() > 0 else np.inf
    # Rounding to milliseconds moves the median step by up to 0.5 ms, never by more.
    if abs(typical - 1 / measured) > 0.001 + 0.2 / measured:
        raise ValueError(
            f"{name}: timestamps are unevenly spaced (median step {typical:.4g} s, mean "
            f"{1 / measured:.4g} s); export the recording with its sample clock"
        )
    # A short file's rate is only as exact as the rounding of its first and last timestamp.
    return nominal_rate(measured, max(0.005, 0.001 / float(whole.sum()))), gaps


def arrival_rate(
    stamps: np.ndarray, name: str, stated: float | None = None
) -> tuple[float, np.ndarray]:
    """`sampling_rate` of timestamps that say when samples arrived: in bursts, several at one time.

    Radio and USB deliver some ten samples at once. A pause is a gap only where the samples after it
    stay late: those of a late burst catch up.

    Parameters
    ----------
    stamps, name
        As in `sampling_rate`.
    stated
        Hz, where the file says the rate; it is returned.
    """
    if not np.isfinite(stamps).all():
        row = int(np.flatnonzero(~np.isfinite(stamps))[0])
        raise ValueError(f"{name}: the timestamp of data row {row} is missing")
    steps = np.diff(stamps)
    back = np.flatnonzero(steps < -GAP_S)
    if len(back):
        raise ValueError(
            f"{name}: timestamps go back by {-steps[back[0]]:.3f} s at data row {back[0] + 1}; "
            "split the file there: it holds more than one recording"
        )
    going = steps[steps <= GAP_S]
    if 2 * len(going) < len(steps) or not going.sum() > 0:
        raise ValueError(
            f"{name}: rows come every {float(np.median(steps)):.3g} s, expected samples of EEG "
            "(50 Hz or more); record every sample, not averages"
        )
    measured = len(going) / float(going.sum())
    sfreq = stated or nominal_rate(measured, 0.03)
    if abs(measured / sfreq - 1) > 0.1 or not 50 <= sfreq <= 20000:
        raise ValueError(
            f"{name}: samples come at {measured:.4g} Hz by their timestamps, expected "
            + (f"{sfreq:g} Hz, as the file says" if stated else "50 to 20,000 Hz")
        )
    late = stamps - np.arange(len(stamps)) / sfreq
    reach, gaps = round(sfreq), []
    for row in np.flatnonzero(steps > GAP_S) + 1:
        start = max(row - reach, gaps[-1] if gaps else 0)
        if np.median(late[row : row + reach]) - np.median(late[start:row]) > GAP_S / 2:
            gaps.append(int(row))
    return sfreq, np.array(gaps, int)


def counter_gaps(counter: np.ndarray, size: int, sfreq: float) -> np.ndarray:
    """Indices of the samples that follow more than 0.1 s lost, by a counter that begins anew.

    Parameters
    ----------
    counter
        Of the samples, whole numbers (n_times,).
    size
        How many different numbers it has.
    sfreq
        Hz.
    """
    lost = (np.diff(counter.astype(np.int64)) - 1) % size
    return np.flatnonzero(lost > GAP_S * sfreq) + 1


def sample_clock(stamps: np.ndarray, sfreq: float, gaps: np.ndarray) -> tuple[Clock, float]:
    """Return the clock of stamped samples, and the time of the first.

    Within a stretch the samples are evenly spaced; the median of what their timestamps say is
    where it begins.
    """
    bounds = np.array([0, *gaps, len(stamps)], int)
    starts = np.array(
        [
            float(np.median(stamps[first:stop] - np.arange(stop - first) / sfreq))
            for first, stop in pairwise(bounds)
        ]
    )
    return Clock(starts - starts[0], bounds[:-1], np.diff(bounds), sfreq), float(starts[0])


def nominal_rate(measured: float, tolerance: float = 0.005) -> float:
    """Return the rate in Hz that a device is sold with, if it is within `tolerance` of `measured`.

    `measured` itself where no such rate is near.
    """
    nearest = min(NOMINAL_HZ, key=lambda rate: abs(rate - measured))
    return nearest if abs(nearest / measured - 1) < tolerance else measured
