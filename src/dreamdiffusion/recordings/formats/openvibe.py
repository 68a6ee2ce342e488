"""OpenViBE csv, such as FEIS (Emotiv EPOC, `feis/NN/articulators.zip`): microvolts by trial -> Raw.

The first line is `Time:256Hz,Epoch,<channels>,Label,Stage,Flag`: the rate stands in it. Time jumps
between trials of 1 s or 5 s, and an Emotiv's electrodes ride on about 4,200 microvolts.
"""

from __future__ import annotations

import re
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from dreamdiffusion.recordings.channels import standard_name
from dreamdiffusion.recordings.formats.archives import read_zip_csv
from dreamdiffusion.recordings.formats.csv_table import is_sampled, read_table, to_numbers
from dreamdiffusion.recordings.gaps import annotate_boundaries

START = b"Time:"
"""How such a file begins, and no other csv."""


def read_openvibe(path: Path) -> tuple[mne.io.RawArray, pd.DataFrame]:
    """Read an OpenViBE csv, or a zip that holds one, in place.

    Parameters
    ----------
    path
        `.csv` or `.zip`.

    Returns
    -------
    raw
        Volts, (n_chans, n_times): the columns whose names mean places of the 10-05 system
        (`channels`), and others that hold a signal (`csv_table.is_sampled`). The trials
        follow each other, with a boundary (`gaps.annotate_boundaries`) where time jumps.
    events
        One per trial that has a label: columns `onset` (s from the first sample), `duration`,
        `category` (the label), `trial`, and `stage` where the file has it.

    Raises
    ------
    ValueError
        For a header without rate, no EEG column, a row too short or long, a missing time, or time
        that goes back.
    """
    name = str(path)
    content = read_zip_csv(path) if path.suffix.lower() == ".zip" else path.read_bytes()
    table = read_table(content, name)
    sfreq, time = _rate(table, name)
    rest = [column for column in table.columns if column not in (time, "Epoch")]
    if not any(standard_name(column) for column in rest):
        raise ValueError(f"{name} has no EEG column among {rest}; expected names such as AF3, O1")
    eeg = [n for n in rest if standard_name(n) or is_sampled(pd.Series(table[n]))]
    if "Epoch" not in table:
        raise ValueError(f"{name} has no column Epoch, which numbers the trials")
    if not len(table):
        raise ValueError(f"{name} holds 0 samples; expected a recording")
    to_numbers(table, [time, "Epoch", *eeg], name)
    starts = _starts(table[time].to_numpy(float), sfreq, name)
    info = mne.create_info(eeg, sfreq, "eeg")
    raw = mne.io.RawArray(table[eeg].to_numpy(float).T * 1e-6, info, verbose="ERROR")
    annotate_boundaries(raw, starts)
    return raw, _events(table, sfreq)


def _rate(table: pd.DataFrame, name: str) -> tuple[float, str]:
    time = str(table.columns[0])
    rate = re.fullmatch(r"Time:(\d+(?:\.\d+)?)Hz", time)
    if rate is None or not 50 <= float(rate[1]) <= 20000:
        raise ValueError(
            f"{name}: the first column is {time!r}; expected Time:256Hz, with a rate of 50 to "
            "20,000 Hz"
        )
    return float(rate[1]), time


def _starts(time: np.ndarray, sfreq: float, name: str) -> np.ndarray:
    """Return the samples before which time jumps."""
    if not np.isfinite(time).all():
        row = int(np.flatnonzero(~np.isfinite(time))[0])
        raise ValueError(f"{name}: the time of data row {row} is missing")
    steps = np.diff(time)
    back = np.flatnonzero(steps <= 0)
    if len(back):
        row = int(back[0]) + 1
        raise ValueError(
            f"{name}: time goes from {time[row - 1]:g} to {time[row]:g} s at data row {row}; "
            "expected it to increase"
        )
    return np.flatnonzero(np.abs(steps * sfreq - 1) > 0.5) + 1


def _events(table: pd.DataFrame, sfreq: float) -> pd.DataFrame:
    empty = pd.Series([""] * len(table))
    labels = pd.DataFrame({"trial": table["Epoch"].to_numpy(float)})
    for column in ("Label", "Stage"):
        values = table[column].fillna("") if column in table else empty
        labels[column] = values.astype(str).to_numpy()
    first = np.flatnonzero((labels != labels.shift()).any(axis=1))
    stop = np.append(first[1:], len(table))
    labelled = (labels["Label"].iloc[first] != "").to_numpy(bool)
    first, stop = first[labelled], stop[labelled]
    events = pd.DataFrame(
        {
            "onset": first / sfreq,
            "duration": (stop - first) / sfreq,
            "category": labels["Label"].to_numpy()[first],
            "trial": labels["trial"].to_numpy()[first],
        }
    )
    if "Stage" in table:
        events["stage"] = labels["Stage"].to_numpy()[first]
    return events
