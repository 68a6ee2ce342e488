"""Trials that another program cut: `-epo.fif` of MNE-Python, and EEGLAB's `.set` with epochs.

They are put end to end with a boundary between neighbours, so that whatever reads a recording
reads them: no filter, window or trial crosses from one into the next.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import pymatreader

from dreamdiffusion.recordings.gaps import annotate_boundaries
from dreamdiffusion.recordings.recording import Cut

EPOCHS_NAME = re.compile(r".*[-_]epo\.fif(\.gz)?", re.IGNORECASE)
"""As MNE-Python names files of epochs."""


def read_epochs(path: Path) -> tuple[mne.io.BaseRaw, pd.DataFrame, Cut]:
    """Read trials that were cut elsewhere.

    Parameters
    ----------
    path
        `.fif`, `.fif.gz` or `.set`.

    Returns
    -------
    raw
        Volts, (n_chans, n_trials * n_times): the trials in the file's order.
    events
        One per trial: `onset` (s from the first sample, as samples count), `duration`, `category`,
        `code`, `recorded_onset` (s, in the recording that the trials were cut from, as far as the
        file says it), and the columns of the metadata of MNE-Python.
    cut
        What the other program did.

    Raises
    ------
    Exception
        Whatever MNE-Python raises for a file that it cannot read.
    """
    content = _eeglab(path) if path.suffix.lower() == ".set" else None
    if content is not None:
        epochs = mne.read_epochs_eeglab(path)
    else:
        epochs = mne.read_epochs(path, proj=False, preload=True)
    epochs.drop_bad()
    sfreq, n_times = float(epochs.info["sfreq"]), len(epochs.times)
    data = epochs.get_data(copy=False)
    joined = data.transpose(1, 0, 2).reshape(data.shape[1], -1)
    raw = mne.io.RawArray(joined, epochs.info, verbose="ERROR")
    starts = np.arange(len(data)) * n_times
    annotate_boundaries(raw, starts[1:])
    names = {code: name for name, code in epochs.event_id.items()}
    codes = epochs.events[:, 2]
    events = pd.DataFrame(
        {
            "onset": starts / sfreq - float(epochs.tmin),
            "duration": 0.0,
            "category": [names[code] for code in codes],
            "code": codes,
            "recorded_onset": epochs.events[:, 0] / sfreq,
        }
    )
    if content is not None:
        events = events.assign(**_locking_events(content, sfreq, len(data)))
    if epochs.metadata is not None:
        metadata = epochs.metadata.reset_index(drop=True)
        metadata = metadata.rename(columns={"onset": "recorded_onset"})
        events[list(metadata.columns)] = metadata
    info = epochs.info
    cut = Cut(
        tmin=float(epochs.tmin),
        n_times=n_times,
        l_freq=float(f"{info['highpass']:.6g}") or None,  # kept as float32
        h_freq=float(f"{info['lowpass']:.6g}") if info["lowpass"] < sfreq / 2 else None,
        n_dropped=sum(any(why != "IGNORED" for why in reasons) for reasons in epochs.drop_log),
    )
    return raw, events, cut


def _eeglab(path: Path) -> dict[str, Any]:
    """Return what a `.set` holds, if its samples are beside it and as many as it declares."""
    content = pymatreader.read_mat(path)
    content = content.get("EEG", content)
    samples = content.get("data")
    if isinstance(samples, str) and Path(samples).name != samples:
        raise ValueError(
            f"{path} cannot be read: it names {samples}, expected a file beside it; put both into "
            "one folder and correct the name"
        )
    shape = [int(np.asarray(content.get(key, 0)).max()) for key in ("nbchan", "pnts", "trials")]
    found = (
        path.with_name(samples).stat().st_size // 4
        if isinstance(samples, str)
        else np.size(samples)
    )
    if math.prod(shape) != found:
        raise ValueError(
            f"{path} cannot be read: it declares {shape[2]} trials of {shape[0]} channels and "
            f"{shape[1]} samples, and holds {found} numbers; save it again"
        )
    return content


def _locking_events(content: dict[str, Any], sfreq: float, n_trials: int) -> dict[str, Any]:
    """Return `category` and `recorded_onset` of the event at 0 s of each of EEGLAB's epochs.

    MNE-Python joins the names of all events of an epoch. `urevent` has the events of the
    recording before it was cut. Nothing is returned of a file that says it in another way.
    """
    epochs, before = content.get("epoch"), content.get("urevent")
    if not isinstance(epochs, dict) or not {"eventtype", "eventlatency"} <= set(epochs):
        return {}
    kinds, latencies = epochs["eventtype"], epochs["eventlatency"]
    if len(kinds) != n_trials or len(latencies) != n_trials:
        return {}
    places = [_locking_place(latency) for latency in latencies]
    if None in places:
        return {}
    found: dict[str, Any] = {
        "category": [str(_nth(k, place)) for k, place in zip(kinds, places, strict=True)]
    }
    numbers = epochs.get("eventurevent")
    if isinstance(before, dict) and "latency" in before and numbers is not None:
        samples = np.atleast_1d(before["latency"]).astype(float)
        rows = [int(_nth(n, place)) - 1 for n, place in zip(numbers, places, strict=True)]
        if all(0 <= row < len(samples) for row in rows):
            found["recorded_onset"] = (samples[rows] - 1) / sfreq
    return found


def _locking_place(latencies: Any) -> int | None:
    """Return which of an epoch's events (ms from its 0 s) is at 0 s; None: not exactly one."""
    values = np.atleast_1d(np.asarray(latencies, float)).ravel()
    places = np.flatnonzero(np.abs(values) < 1e-6)
    return int(places[0]) if len(places) == 1 else None


def _nth(values: Any, place: int | None) -> Any:
    return values if isinstance(values, str) or np.ndim(values) == 0 else values[place]
