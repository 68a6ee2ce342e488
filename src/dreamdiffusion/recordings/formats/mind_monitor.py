"""Mind Monitor csv (the phone app for Muse headsets): microvolts around 800, a wall clock -> Raw.

The columns: a forum entry by the app's author (forum.choosemuse.com/t/6425: markers stand in the
last column), headers of published recordings, and what the author's receiver of the app's stream
writes (github Enigma644/MindMonitorPython, which calls that column `Marker`). Rows of samples and
rows that hold only an element (`/Marker/1`, `/muse/elements/blink`) alternate; those of samples may
lack the last field.
"""

from __future__ import annotations

import re
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from dreamdiffusion.recordings.formats.csv_table import events_of, raw_of, read_table, to_numbers
from dreamdiffusion.recordings.gaps import arrival_rate, sample_clock

_ELEMENTS = ("Elements", "Marker")
"""Column of what is no sample: of the app, and of its author's MindMonitorPython."""
_HEAD = re.compile(r"TimeStamp,.*\bRAW_", re.IGNORECASE)


def is_mind_monitor(head: str) -> bool:
    """Whether a file that begins so is one of Mind Monitor."""
    return _HEAD.match(head) is not None


def read_mind_monitor(path: Path) -> tuple[mne.io.RawArray, pd.DataFrame]:
    """Read one csv of Mind Monitor, recorded with the interval "Constant".

    Returns
    -------
    raw
        The columns `RAW_` and `AUX_`, volts; the rate by the clock. Blinks and other elements of
        the headset are annotations.
    events
        The markers: `/Marker/1`, or any text that is not the headset's own. They lie where the
        clock says.

    Raises
    ------
    ValueError
        For a time that is none, rows of averages (an interval other than "Constant"), no sample.
    """
    name = str(path)
    table = read_table(_whole_rows(path.read_bytes()), name)
    eeg = {c: c[4:] for c in table.columns if c.startswith("RAW_")}
    eeg |= {c: c for c in table.columns if c.startswith("AUX")}
    seconds = _seconds(table, name)
    to_numbers(table, eeg, name)
    rows = np.flatnonzero(table[list(eeg)].notna().to_numpy().any(axis=1))
    if len(rows) < 2:
        raise ValueError(f"{name} holds {len(rows)} samples of raw EEG; expected a recording")
    stamps = seconds[rows]
    sfreq, gaps = arrival_rate(stamps, name)
    raw = raw_of(table.iloc[rows], eeg, sfreq, gaps)
    clock, begin = sample_clock(stamps, sfreq, gaps)
    column = next((name for name in _ELEMENTS if name in table), None)
    said = pd.Series([""]) if column is None else table[column].fillna("").astype(str)
    places = np.flatnonzero((said != "").to_numpy())
    texts = [said.iloc[place] for place in places]
    onsets = np.round(clock.place(seconds[places] - begin) * sfreq) / sfreq  # a clock of 1 ms
    own = np.array([text.startswith("/muse/") for text in texts], bool)
    for onset, text, is_own in zip(onsets, texts, own, strict=True):
        if is_own and 0 <= onset <= raw.times[-1]:
            raw.annotations.append(onset, 0.0, text.rsplit("/", 1)[-1])
    markers = [re.sub(r"^/?Marker/?", "", text, flags=re.IGNORECASE) for text in texts]
    return raw, events_of(onsets[~own], [m for m, o in zip(markers, own, strict=True) if not o])


def _whole_rows(content: bytes) -> bytes:
    """Return the file with the last, empty field of rows that lack it."""
    lines = content.split(b"\n")
    fields = lines[0].count(b",")
    lines[1:-1] = [
        line.rstrip(b"\r") + b"," if line.count(b",") == fields - 1 else line
        for line in lines[1:-1]
    ]
    return b"\n".join(lines)


def _seconds(table: pd.DataFrame, name: str) -> np.ndarray:
    times = pd.to_datetime(table["TimeStamp"], errors="coerce", format="ISO8601")
    if times.isna().any():
        row = int(np.flatnonzero(times.isna())[0])
        raise ValueError(
            f"{name}, data row {row}, column TimeStamp: {table['TimeStamp'].iloc[row]!r} is no "
            "time, expected such as 2020-01-31 10:00:00.123"
        )
    return (times - times.iloc[0]).dt.total_seconds().to_numpy(float)
