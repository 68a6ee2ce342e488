"""Muse csv files (muse-lsl and its kin): microvolts with timestamps and marker columns -> Raw.

The timestamps of these files are rounded to milliseconds and arrive in radio packets, so that
neighbouring ones differ by 3 or 4 ms, and at packet borders by -30 to +30 ms although no sample is
missing. The rate is therefore taken over the whole file, and only a jump that no packet explains
counts as a gap.
"""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np
import pandas as pd

from .electrodes import standard_names

GAP_S = 0.1  # two lost packets of 12 samples at 256 Hz; packet jitter stays below 0.04 s
NOMINAL_HZ = (100.0, 125.0, 128.0, 200.0, 220.0, 250.0, 256.0, 300.0, 500.0, 512.0, 1000.0, 1024.0)


def read_muse_csv(path: Path) -> tuple[mne.io.RawArray, pd.DataFrame]:
    """Read one csv with `timestamps`, EEG columns in microvolts and marker columns.

    A column is EEG when its name is a position of the 10-05 system or contains "AUX" (an AUX
    column gets the type misc: it is kept when asked for by name). Every other column is a marker;
    an event is where the first marker column changes to a value other than 0. The other marker
    columns are kept as columns of the events (gratings: `Contrast`, `Orientation`).

    Parameters
    ----------
    path
        The csv file.

    Returns
    -------
    raw
        Signal in volts, (n_chans, n_times). A jump of more than 0.1 s between timestamps is
        annotated `BAD_gap` and `EDGE boundary`, so that filters and trials do not cross it.
    events
        Columns `onset` (s from the first sample), `duration`, `category` (the code as text),
        `code`, and one per further marker column. Empty where the file has no marker column.

    Raises
    ------
    ValueError
        For a missing column, a text value, timestamps that go back or are not in seconds.
    """
    try:
        table = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as csv: {error}") from error
    table.columns = [str(name).strip() for name in table.columns]
    time_name = next((n for n in ("timestamps", "timestamp", "time") if n in table.columns), None)
    if time_name is None:
        raise ValueError(
            f"{path} has the columns {list(table.columns)}; expected `timestamps`, then EEG "
            "channels in microvolts, then marker columns (as muse-lsl writes)"
        )
    rest = [name for name in table.columns if name != time_name]
    eeg = [name for name in rest if name.lower() in standard_names() or "AUX" in name.upper()]
    markers = [name for name in rest if name not in eeg]
    if not eeg:
        raise ValueError(f"{path} has no EEG column among {rest}; expected names such as TP9, AF7")
    if len(table) < 2:
        raise ValueError(f"{path} holds {len(table)} samples; expected a recording")
    for name in [time_name, *eeg, *markers]:
        numbers = np.asarray(pd.to_numeric(table[name], errors="coerce"), dtype=float)
        wrong = np.flatnonzero(np.isnan(numbers) & table[name].notna().to_numpy())
        if len(wrong):
            row = int(wrong[0])
            raise ValueError(
                f"{path}, data row {row}, column {name}: {table[name][row]!r} is not a number"
            )
        table[name] = numbers
    stamps = table[time_name].to_numpy(float)
    sfreq, gaps = sampling_rate(stamps, str(path))

    types = ["misc" if "AUX" in name.upper() else "eeg" for name in eeg]
    info = mne.create_info(eeg, sfreq, types)  # pyright: ignore[reportArgumentType]
    raw = mne.io.RawArray(table[eeg].to_numpy(float).T * 1e-6, info, verbose="ERROR")
    for sample in gaps:
        raw.annotations.append(sample / sfreq, 1 / sfreq, "BAD_gap")
        raw.annotations.append(sample / sfreq, 1 / sfreq, "EDGE boundary")
    return raw, _events(table, markers, sfreq)


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
        or within what timestamps in milliseconds can tell.
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
    nearest = min(NOMINAL_HZ, key=lambda rate: abs(rate - measured))
    # A short file's rate is only as exact as the rounding of its first and last timestamp.
    tolerance = max(0.005, 0.001 / float(whole.sum()))
    return (nearest if abs(nearest / measured - 1) < tolerance else measured), gaps


def _events(table: pd.DataFrame, markers: list[str], sfreq: float) -> pd.DataFrame:
    columns = ["onset", "duration", "category", "code"]
    if not markers:
        return pd.DataFrame({name: [] for name in columns})
    values = table[markers[0]].fillna(0).to_numpy(float)
    before = np.concatenate([[0.0], values[:-1]])
    samples = np.flatnonzero((values != 0) & (values != before))
    codes = values[samples].astype(int)
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
