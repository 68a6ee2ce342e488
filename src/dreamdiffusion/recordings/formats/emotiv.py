"""Emotiv csv, of EmotivPRO and of the older TestBench and Xavier: microvolts around 4,200 -> Raw.

EmotivPRO (emotiv.gitbook.io/emotivpro-v3, page "CSV files"): a line of `key:value` pairs, a line of
column names, rows with a clock. TestBench: one line of pairs, of which `labels` names the columns.
Where `EEG.Interpolated` is above 0 a sample was lost by radio and made up.
"""

from __future__ import annotations

import re
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from dreamdiffusion.recordings.channels import standard_name
from dreamdiffusion.recordings.formats.csv_table import events_of, raw_of, read_table, to_numbers
from dreamdiffusion.recordings.formats.text import decode_text
from dreamdiffusion.recordings.gaps import GAP_S, arrival_rate, counter_gaps

_RATE = re.compile(r"sampling(?: rate)?:\s*(?:eeg_)?(\d+(?:\.\d+)?)")
_LABELS = re.compile(r"labels:([^,]+)")
_STATE = {"Counter", "Interpolated", "RawCq", "Battery", "BatteryPercent", "MarkerHardware"}
"""What EmotivPRO writes among the sensors, as `EEG.Counter`."""


def is_emotiv(head: str) -> bool:
    """Whether a file that begins so is one of Emotiv."""
    line = head.split("\n", 1)[0]
    return line.startswith("title:") and ("sampling" in line)


def read_emotiv(path: Path) -> tuple[mne.io.RawArray, pd.DataFrame]:
    """Read one csv of EmotivPRO or TestBench.

    Returns
    -------
    raw
        The sensors, volts; the rate that the first line states. More than 0.1 s that were lost and
        made up are annotated `BAD_interpolated`.
    events
        One per marker: `MarkerValueInt`, else where `MARKER` or the hardware's marker changes to a
        value other than 0.

    Raises
    ------
    ValueError
        For a first line without a rate, no sensor, a cell that is no number, a rate that the clock
        contradicts.
    """
    name = str(path)
    text = decode_text(path.read_bytes())
    first, _, rest = text.partition("\n")
    rate, labels = _RATE.search(first), _LABELS.search(first)
    sfreq = float(rate[1]) if rate else 0.0
    if not 50 <= sfreq <= 20000:
        raise ValueError(
            f"{name}: its first line states the rate {rate[1] if rate else 'of nothing'}, expected "
            "`sampling rate:128` or such, of 50 to 20,000 Hz"
        )
    titles = labels[1].split() if labels else None
    table = read_table(rest.encode("utf-8"), name, titles=titles)
    if labels:
        eeg = {column: column for column in table.columns if standard_name(column)}
    else:
        short = {c: c[4:] for c in table.columns if c.startswith("EEG.")}
        eeg = {column: name for column, name in short.items() if name not in _STATE}
    if not eeg:
        raise ValueError(f"{name} has no EEG column among {list(table.columns)[:12]}")
    to_numbers(table, eeg, name)
    rows, names = _markers(table, name)
    # Other rows hold motion, which is slower.
    sampled = np.flatnonzero(table[list(eeg)].notna().to_numpy().any(axis=1))
    rows = np.searchsorted(sampled, rows)
    table = table.iloc[sampled].reset_index(drop=True)
    if len(table) < 2:
        raise ValueError(f"{name} holds {len(table)} samples of EEG; expected a recording")
    gaps = np.array([], int)
    if "Timestamp" in table:
        to_numbers(table, ["Timestamp"], name)
        sfreq, gaps = arrival_rate(table["Timestamp"].to_numpy(float), name, sfreq)
    elif "COUNTER" in table:
        to_numbers(table, ["COUNTER"], name)
        counter = np.nan_to_num(table["COUNTER"].to_numpy(float))
        gaps = counter_gaps(counter, int(counter.max()) + 1, sfreq)
    raw = raw_of(table, eeg, sfreq, gaps)
    _mark_interpolated(raw, table, name)
    return raw, events_of(rows / sfreq, names)


def _mark_interpolated(raw: mne.io.BaseRaw, table: pd.DataFrame, name: str) -> None:
    column = next((c for c in ("EEG.Interpolated", "INTERPOLATED") if c in table), None)
    if column is None:
        return
    to_numbers(table, [column], name)
    made_up = np.concatenate([[False], table[column].to_numpy(float) > 0, [False]])
    starts, stops = np.flatnonzero(np.diff(made_up.astype(int))).reshape(-1, 2).T
    sfreq = raw.info["sfreq"]
    for start, stop in zip(starts, stops, strict=True):
        if stop - start > GAP_S * sfreq:
            raw.annotations.append(start / sfreq, (stop - start) / sfreq, "BAD_interpolated")


def _markers(table: pd.DataFrame, name: str) -> tuple[np.ndarray, list[str]]:
    """Return the rows of the markers, and what they say."""
    if "MarkerValueInt" in table and bool(table["MarkerValueInt"].notna().any()):
        to_numbers(table, ["MarkerValueInt"], name)
        rows = np.flatnonzero(table["MarkerValueInt"].notna())
        return rows, [f"{table['MarkerValueInt'].iloc[row]:g}" for row in rows]
    found = [c for c in ("MARKER", "EEG.MarkerHardware", "MARKER_HARDWARE") if c in table]
    to_numbers(table, found, name)
    for column in found:
        values = table[column].fillna(0).to_numpy(float)
        rows = np.flatnonzero((values != 0) & (values != np.concatenate([[0.0], values[:-1]])))
        if len(rows):
            return rows, [f"{values[row]:g}" for row in rows]
    return np.array([], int), []
