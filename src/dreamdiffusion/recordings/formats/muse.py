"""Muse csv files (muse-lsl and its kin): microvolts with timestamps and marker columns -> Raw."""

from __future__ import annotations

import re
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from dreamdiffusion.recordings.channels import standard_name
from dreamdiffusion.recordings.formats.csv_table import is_sampled, read_table, to_numbers
from dreamdiffusion.recordings.gaps import annotate_boundaries, sampling_rate

_MARKER = re.compile("marker|trigger|label|event", re.IGNORECASE)


def read_muse_csv(path: Path) -> tuple[mne.io.RawArray, pd.DataFrame]:
    """Read one csv with `timestamps`, EEG columns in microvolts and marker columns.

    A column is a channel when its name means a place of the 10-05 system (`channels`), contains
    "AUX", or when it holds a signal (`csv_table.is_sampled`) and is not named marker, trigger,
    label or event. Every other column is a marker. An event is where the first that is named so,
    else the first, changes to a value other than 0. The other marker columns are kept as columns of
    the events (gratings: `Contrast`, `Orientation`).

    Parameters
    ----------
    path
        The csv file.

    Returns
    -------
    raw
        Signal in volts, (n_chans, n_times). A jump of more than 0.1 s between timestamps is a
        boundary (`gaps.annotate_boundaries`), which filters and trials do not cross.
    events
        Columns `onset` (s from the first sample), `duration`, `category` (the code as text),
        `code`, and one per further marker column. Empty where the file has no marker column.

    Raises
    ------
    ValueError
        For a missing column, a row too short or long, a text value, a marker that is no whole
        number, timestamps that go back or are not in seconds.
    """
    table = read_table(path.read_bytes(), str(path))
    time_name = next((n for n in ("timestamps", "timestamp", "time") if n in table.columns), None)
    if time_name is None:
        raise ValueError(
            f"{path} has the columns {list(table.columns)}; expected `timestamps`, then EEG "
            "channels in microvolts, then marker columns (as muse-lsl writes)"
        )
    rest = [name for name in table.columns if name != time_name]
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
    to_numbers(table, [time_name, *eeg, *markers], str(path))
    stamps = table[time_name].to_numpy(float)
    sfreq, gaps = sampling_rate(stamps, str(path))

    info = mne.create_info(eeg, sfreq, "eeg")
    raw = mne.io.RawArray(table[eeg].to_numpy(float).T * 1e-6, info, verbose="ERROR")
    annotate_boundaries(raw, gaps)
    return raw, _events(table, markers, sfreq, path)


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
