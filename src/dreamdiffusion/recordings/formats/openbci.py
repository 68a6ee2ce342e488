"""OpenBCI: the GUI's txt (Cyton, Ganglion, Daisy), microvolts; and the hex file of the SD card.

The GUI's files begin with `%OpenBCI Raw EXG Data` (before version 5 `EEG Data`), its channel count,
rate and board; a line of column names since version 5 (github OpenBCI/OpenBCI_GUI,
DataWriterODF.pde). On the SD card (docs.openbci.com/Cyton/CytonSDCard; DataSourceSDCard.pde) a row
is a counter and one 24-bit number per channel, in hexadecimal.
"""

from __future__ import annotations

import re
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from dreamdiffusion.recordings.formats.csv_table import events_of, raw_of, read_table, to_numbers
from dreamdiffusion.recordings.formats.text import decode_text
from dreamdiffusion.recordings.gaps import annotate_boundaries, arrival_rate, counter_gaps

GAIN = 24
"""Of the Cyton's amplifier, unless it was set otherwise."""
SD_VOLTS = 4.5 / GAIN / (2**23 - 1)
_SD_ROW = re.compile(
    r"([0-9A-Fa-f]{2})((?:,[0-9A-Fa-f]{6}){16}|(?:,[0-9A-Fa-f]{6}){8})(?:,[0-9A-Fa-f]{4}|,[0-9A-Fa-f]{8})*"
)


def is_gui(head: str) -> bool:
    """Whether a file that begins so was written by the OpenBCI GUI."""
    return re.match(r"%OpenBCI Raw E[XE]G Data|%OBCI SD Convert", head) is not None


def is_sd_card(head: str) -> bool:
    """Whether a file that begins so is one of a Cyton's SD card."""
    lines = (line.strip() for line in head.split("\n")[:12])
    return any(_SD_ROW.fullmatch(line) for line in lines)


def read_gui(path: Path) -> tuple[mne.io.RawArray, pd.DataFrame]:
    """Read a recording of the OpenBCI GUI.

    Returns
    -------
    raw
        The EXG channels, volts, named as in the file (`EXG Channel 0`); the rate of the header.
    events
        Where the marker channel changes to a value other than 0; files before version 5 have none.

    Raises
    ------
    ValueError
        For a header without rate or channels, a row too short or long, a cell that is no number, a
        rate that the clock contradicts.
    """
    name, text = str(path), decode_text(path.read_bytes())
    lines = text.split("\n")
    head = "\n".join(lines[:12])
    rate = re.search(r"%\s*Sample Rate = ([\d.]+)", head)
    if rate is None or not 50 <= float(rate[1].rstrip(".")) <= 20000:
        raise ValueError(f"{name} has no line `%Sample Rate = 250 Hz` of 50 to 20,000 Hz")
    sfreq = float(rate[1].rstrip("."))
    start = next((n for n, line in enumerate(lines) if line[:1] != "%"), len(lines))
    first = lines[start] if start < len(lines) else ""
    if first.lower().startswith("sample index"):
        titles, start = [title.strip() for title in first.split(",")], start + 1
    else:
        titles = _old_titles(first, head, name)
    if (marker := _marker_place(titles)) is not None:
        titles[marker] = "Marker Channel"
    unique = [
        f"{n} {title}" if titles.count(title) > 1 else title for n, title in enumerate(titles)
    ]
    table = read_table("\n".join(lines[start:]).encode("utf-8"), name, titles=unique)
    eeg = {column: column for column in table.columns if column.startswith("EXG Channel")}
    if not eeg:
        raise ValueError(f"{name} has no column EXG Channel 0 among {unique[:8]}")
    return _gui_raw(table, eeg, sfreq, name)


def _gui_raw(
    table: pd.DataFrame, eeg: dict[str, str], sfreq: float, name: str
) -> tuple[mne.io.RawArray, pd.DataFrame]:
    if len(table) < 2:
        raise ValueError(f"{name} holds {len(table)} samples; expected a recording")
    index = table.columns[0]
    to_numbers(table, [index, *eeg], name)
    if "Timestamp" in table and pd.api.types.is_numeric_dtype(table["Timestamp"]):
        to_numbers(table, ["Timestamp"], name)
        stamps = table["Timestamp"].to_numpy(float)
        _, gaps = arrival_rate(stamps / (1000 if stamps[0] > 1e11 else 1), name, sfreq)
    else:
        counter = np.nan_to_num(table[index].to_numpy(float))
        # A board counts to 200 or 255; older files to the end.
        gaps = counter_gaps(counter, max(int(counter.max()) + 1, 2), sfreq)
    raw = raw_of(table, eeg, sfreq, gaps)
    if "Marker Channel" not in table:
        return raw, events_of([], [])
    to_numbers(table, ["Marker Channel"], name)
    values = table["Marker Channel"].fillna(0).to_numpy(float)
    rows = np.flatnonzero((values != 0) & (values != np.concatenate([[0.0], values[:-1]])))
    return raw, events_of(rows / sfreq, values[rows].tolist())


def _marker_place(titles: list[str]) -> int | None:
    """Return the column of markers, which follows the clock; version 5.0 calls it `Other`."""
    if "Marker Channel" in titles:
        return titles.index("Marker Channel")
    after = titles.index("Timestamp") + 1 if "Timestamp" in titles else len(titles)
    return after if after < len(titles) and titles[after] == "Other" else None


def _old_titles(row: str, head: str, name: str) -> list[str]:
    """Name the columns of a file before version 5: index, channels, three of motion, clock."""
    n_fields = row.count(",") + 1
    said = re.search(r"%\s*Number of channels = (\d+)", head)
    guess = 16 if n_fields > 20 else 8 if n_fields >= 12 else 4
    n_chans = int(said[1]) if said else guess
    if not 1 <= n_chans < n_fields:
        raise ValueError(f"{name} has rows of {n_fields} fields, too few for {n_chans} channels")
    eeg = [f"EXG Channel {n}" for n in range(n_chans)]
    return ["Sample Index", *eeg, *[f"Other {n}" for n in range(n_fields - 1 - n_chans)]]


def read_sd_card(
    path: Path, file_sfreq: float | None = None
) -> tuple[mne.io.RawArray, pd.DataFrame]:
    """Read the hex file of a Cyton's SD card.

    Parameters
    ----------
    path
        `OBCI_00.TXT` or such.
    file_sfreq
        Hz; None: the 250 of a Cyton, the 125 of one with Daisy. The file does not say.

    Returns
    -------
    raw
        Volts at the gain of 24, (8 or 16, n_times). A boundary where the board was stopped and
        started again, and where its counter says that more than 0.1 s are missing.
    events
        None: empty.

    Raises
    ------
    ValueError
        For a row that is none of counter and 8 or 16 numbers, or no rows.
    """
    counts, samples, starts = [], [], []
    lines = path.read_bytes().rstrip(b"\0\r\n").decode("latin-1").split("\n")
    is_head = True
    for place, line in enumerate(lines):
        row = _SD_ROW.fullmatch(line.strip())
        if row is None:
            # Beside rows there are lines that begin with %, and the number that follows them.
            before = lines[place - 1].strip() if place else ""
            if line.strip() and not line.startswith("%") and not before.startswith("%"):
                raise ValueError(
                    f"{path}, line {place + 1}: {line.strip()[:40]!r} is no row of a counter and 8 "
                    "or 16 numbers of 6 hexadecimal digits; the file is cut off there, or its card "
                    "was not erased before: delete what is not of the recording"
                )
            is_head = is_head or line.startswith(("%START", "%STOP"))
            continue
        values = row[2][1:].split(",")
        if samples and len(values) != len(samples[0]):
            raise ValueError(
                f"{path}, line {place + 1} has {len(values)} channels, the lines before "
                f"{len(samples[0])}; split the file there"
            )
        if is_head:
            starts.append(len(samples))
        is_head = False
        counts.append(int(row[1], 16))
        samples.append([int(value, 16) for value in values])
    if len(samples) < 2:
        raise ValueError(f"{path} holds {len(samples)} samples; expected a recording")
    data = np.array(samples, np.int64).T
    data -= (data >= 2**23) * 2**24
    sfreq = file_sfreq or (250.0 if len(data) == 8 else 125.0)
    names = [f"EXG Channel {n}" for n in range(len(data))]
    raw = mne.io.RawArray(data * SD_VOLTS, mne.create_info(names, sfreq, "eeg"), verbose="ERROR")
    lost = counter_gaps(np.array(counts), 256, sfreq)
    annotate_boundaries(raw, sorted({*starts[1:], *lost.tolist()}))
    return raw, events_of([], [])
