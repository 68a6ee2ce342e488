"""Tables of channels in microvolts (muse-lsl, BlueMuse, EEG-ExPy and their kin) -> Raw.

Columns as muse-lsl writes them (github alexandrebarachant/muse-lsl, record.py): `timestamps`, the
channels, and marker columns. BlueMuse can write milliseconds (eeg-notebooks_v0.1#10), EEG-ExPy
calls its marker `stim`, and stamps a board's samples as they arrive, a packet at once; OpenMuse
calls its channels `EEG_TP9`; exports of an EPOC may have no clock.
"""

from __future__ import annotations

import re
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from dreamdiffusion.recordings.channels import standard_name
from dreamdiffusion.recordings.formats.csv_table import (
    is_sampled,
    raw_of,
    read_table,
    separator_of,
    to_numbers,
)
from dreamdiffusion.recordings.formats.text import decode_text
from dreamdiffusion.recordings.gaps import arrival_rate, counter_gaps, sampling_rate

_MARKER = re.compile("marker|trigger|label|event|^stim", re.IGNORECASE)
_AT_ONCE = 2e-5
"""s between samples of one packet; a board samples no faster than 20,000 Hz."""
_TIMES = ("timestamps", "timestamp", "time", "lsl_timestamp", "lsl_unix_ts", "unix_timestamp")


def read_muse_csv(
    path: Path, file_sfreq: float | None = None
) -> tuple[mne.io.RawArray, pd.DataFrame]:
    """Read one table with `timestamps`, EEG columns in microvolts and marker columns.

    Fields are parted by commas, tabs or semicolons. Timestamps are seconds, or milliseconds.

    A column is a channel when its name means a place of the 10-05 system (`channels`), contains
    "AUX", or when it holds a signal (`csv_table.is_sampled`) and is not named marker, trigger,
    label or event. Every other column is a marker. An event is where the first that is named so,
    else the first, changes to a value other than 0. The other marker columns are kept as columns of
    the events (gratings: `Contrast`, `Orientation`).

    Parameters
    ----------
    path
        The csv file.
    file_sfreq
        Hz, for a table without timestamps.

    Returns
    -------
    raw
        Signal in volts, (n_chans, n_times). A jump of more than 0.1 s between timestamps (of a
        table without any: of a column `COUNTER` of samples) is a boundary
        (`gaps.annotate_boundaries`), which filters and trials do not cross.
    events
        Columns `onset` (s from the first sample), `duration`, `category` (the code as text),
        `code`, and one per further marker column. Empty where the file has no marker column.

    Raises
    ------
    ValueError
        For a missing column, a row too short or long, a text value, a marker that is no whole
        number, timestamps that go back or are not in seconds.
    """
    content = path.read_bytes()
    separator = separator_of(decode_text(content[:4096]).split("\n", 1)[0])
    table = read_table(content, str(path), separator)
    time_name = next((n for n in table.columns if n.lower() in _TIMES), None)
    rest = [name for name in table.columns if name != time_name]
    if time_name is None and (file_sfreq is None or not any(map(standard_name, rest))):
        raise ValueError(
            f"{path} has the columns {list(table.columns)}; expected `timestamps`, then EEG "
            "channels in microvolts, then marker columns (as muse-lsl writes); a table without "
            "timestamps needs its rate (prepare: --signal.file_sfreq; inspect and bids: "
            "--file_sfreq)"
        )
    places = [name for name in rest if standard_name(name)]
    if not places:
        raise ValueError(f"{path} has no EEG column among {rest}; expected names such as TP9, AF7")
    named = [name for name in rest if _MARKER.search(name) and name not in places]
    others = [name for name in rest if name not in named]
    eeg = [
        name
        for name in others
        if name in places or "AUX" in name.upper() or is_sampled(pd.Series(table[name]))
    ]
    markers = named + [name for name in others if name not in eeg]
    if len(table) < 2:
        raise ValueError(f"{path} holds {len(table)} samples; expected a recording")
    to_numbers(table, [*([time_name] if time_name else []), *eeg, *markers], str(path))
    if time_name is None:
        sfreq = float(file_sfreq or 0)
        gaps = _counted_gaps(table, rest, sfreq)
    else:
        stamps = table[time_name].to_numpy(float)
        typical = float(np.median(np.diff(stamps)))
        in_ms = 1 <= typical <= 20  # as seconds: no EEG, 1 Hz or less
        in_bursts = abs(typical) < _AT_ONCE
        rate_of = arrival_rate if in_bursts else sampling_rate
        sfreq, gaps = rate_of(stamps / 1000 if in_ms else stamps, str(path))
    raw = raw_of(table, {name: name for name in eeg}, sfreq, gaps)
    return raw, _events(table, markers, sfreq, path)


def _counted_gaps(table: pd.DataFrame, columns: list[str], sfreq: float) -> np.ndarray:
    """Return the samples that follow a gap by the column `COUNTER` of an EPOC, where there is one.

    One that does not count samples (of packets, of a battery) says nothing.
    """
    name = next((column for column in columns if column.upper() == "COUNTER"), None)
    if name is None:
        return np.array([], int)
    numbers = np.asarray(pd.to_numeric(table[name], errors="coerce"), dtype=float)
    counter = np.nan_to_num(numbers)
    size = int(counter.max()) + 1
    if size < 2 or np.mean(np.diff(counter) % size == 1) < 0.9:
        return np.array([], int)
    return counter_gaps(counter, size, sfreq)


def _events(table: pd.DataFrame, markers: list[str], sfreq: float, path: Path) -> pd.DataFrame:
    columns = ["onset", "duration", "category", "code"]
    if not markers:
        return pd.DataFrame({name: [] for name in columns})
    values = table[markers[0]].fillna(0).to_numpy(float)
    before = np.concatenate([[0.0], values[:-1]])
    samples = np.flatnonzero((values != 0) & (values != before))
    broken = samples[values[samples] % 1 != 0]
    if len(broken):
        raise ValueError(
            f"{path}, data row {broken[0]}, column {markers[0]}: {values[broken[0]]:g} is no whole "
            "number, as markers are; name the column of markers Marker, or drop this one"
        )
    codes = values[samples].astype(np.int64)
    events = pd.DataFrame(
        {
            "onset": samples / sfreq,
            "duration": 0.0,
            "category": [str(code) for code in codes],
            "code": codes,
        }
    )
    for name in markers[1:]:
        events[name] = table[name].to_numpy()[samples]
    return events
