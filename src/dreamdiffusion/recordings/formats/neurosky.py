"""NeuroSky MindWave: the phone app eegID's csv, and raw files of NeuroView -> Raw, one channel.

The electrode sits at Fp1, against the left ear. Raw values are steps of the converter; volts are
`value * (1.8 / 4096) / 2000` (support.neurosky.com; isomerprogramming.com, eegID). NeuroView writes
a timestamp and a raw value per row, without names (support.neurosky.com, "NeuroView log files").
"""

from __future__ import annotations

import re
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from dreamdiffusion.recordings.formats.csv_table import events_of, raw_of, read_table, to_numbers
from dreamdiffusion.recordings.gaps import arrival_rate

MICROVOLTS = 1.8 / 4096 / 2000 * 1e6
_PAIR = re.compile(r"\s*\d+(\.\d+)?\s*,\s*-?\d+(\.0*)?\s*")


def is_neurosky(head: str) -> bool:
    """Whether a file that begins so holds raw values of a NeuroSky headset."""
    lines = [line for line in head.split("\n")[:3] if line.strip()]
    return "eegRawValue" in head.split("\n", 1)[0] or (
        len(lines) == 3 and all(_PAIR.fullmatch(line) for line in lines)
    )


def read_neurosky(path: Path) -> tuple[mne.io.RawArray, pd.DataFrame]:
    """Read one csv of eegID, or a raw file of NeuroView.

    Returns
    -------
    raw
        The channel Fp1, volts; the rate by the clock (512 Hz, where every sample was recorded).
    events
        Where eegID's `tagEvent` changes to another tag.

    Raises
    ------
    ValueError
        For a cell that is no number, or a clock whose rows come too seldom to be samples.
    """
    content, name = path.read_bytes(), str(path)
    titles = None if b"eegRawValue" in content[:1000] else ["timestampMs", "eegRawValue"]
    table = read_table(content, name, titles=titles)
    time = str(table.columns[0])
    if len(table) < 2:
        raise ValueError(f"{name} holds {len(table)} samples; expected a recording")
    to_numbers(table, [time, "eegRawValue"], name)
    stamps = table[time].to_numpy(float)
    in_ms = time == "timestampMs" and float(np.median(np.diff(stamps))) >= 0.05
    sfreq, gaps = arrival_rate(stamps / (1000 if in_ms or stamps[0] > 1e11 else 1), name)
    table["eegRawValue"] *= MICROVOLTS
    raw = raw_of(table, {"eegRawValue": "Fp1"}, sfreq, gaps)
    if "tagEvent" not in table:
        return raw, events_of([], [])
    tags = table["tagEvent"].fillna("").astype(str).str.strip()
    rows = np.flatnonzero((tags != "") & (tags != tags.shift()))
    return raw, events_of(rows / sfreq, tags.iloc[rows].tolist())
