"""Where a recording was not recorded in one go: trials put end to end, samples lost by radio."""

from __future__ import annotations

from collections.abc import Iterable

import mne
import numpy as np


def annotate_boundaries(raw: mne.io.BaseRaw, samples: Iterable[int]) -> None:
    """Mark that time jumps just before each of these samples.

    `EDGE boundary` is what MNE's filters stop at, `BAD_gap` what no trial or window may cross. Both
    last 0 s: they lie between two samples, so a window that begins at the boundary is whole.
    """
    sfreq = float(raw.info["sfreq"])
    onsets = np.array(list(samples), float) / sfreq
    for text in ("BAD_gap", "EDGE boundary"):
        raw.annotations.append(onsets, np.zeros(len(onsets)), [text] * len(onsets))


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
            found.append((start, min(stop, raw.n_times)))
        start = max(start, stop + round(duration * sfreq))
    if start < raw.n_times:
        found.append((start, raw.n_times))
    return found
