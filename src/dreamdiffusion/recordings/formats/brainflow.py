"""BrainFlow csv: numbers without names, microvolts; which board wrote them has to be stated.

`DataFilter.write_file` and the streamer `file://` write one row per sample, parted by tabs, and no
header (brainflow.readthedocs.io, "Data Format Description"). Samples of one packet bear one time.
"""

from __future__ import annotations

import logging
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from dreamdiffusion.recordings.formats.brainflow_boards import BOARDS, find_board
from dreamdiffusion.recordings.formats.csv_table import events_of, raw_of, read_table, to_numbers
from dreamdiffusion.recordings.gaps import arrival_rate

logger = logging.getLogger(__name__)


def is_numbers(head: str, separators: str = "\t,") -> bool:
    """Whether a file begins with a line of numbers alone, four or more."""
    line = head.split("\n", 1)[0].strip()
    for separator in separators:
        fields = line.split(separator)
        if len(fields) >= 4:
            try:
                return all(np.isfinite([float(field) for field in fields]))
            except ValueError:
                return False
    return False


def read_brainflow(path: Path, board: str | None) -> tuple[mne.io.RawArray, pd.DataFrame]:
    """Read a csv of BrainFlow.

    Parameters
    ----------
    path
        The csv.
    board
        Name or number of the board (`brainflow_boards.BOARDS`).

    Returns
    -------
    raw
        The board's EEG channels, volts, at its rate; named as BrainFlow names its electrodes,
        which is where a maker's headset has them, else `EEG 1`, ...
    events
        Where the marker column is not 0.

    Raises
    ------
    ValueError
        If no board is stated, the file has another number of columns than the board, a cell is no
        number, or the clock contradicts the board's rate.
    """
    content, name = path.read_bytes(), str(path)
    separator = "\t" if b"\t" in content[:2000] else ","
    n_columns = content.split(b"\n", 1)[0].strip().count(separator.encode()) + 1
    fitting = [known for known, item in BOARDS.items() if item.n_columns == n_columns]
    fits = f"; boards of {n_columns} columns: {', '.join(fitting) or 'none'}"
    if board is None:
        raise ValueError(
            f"{name} has {n_columns} columns of numbers without names, as BrainFlow writes; state "
            f"the board (prepare: --signal.board; inspect and bids: --board){fits}"
        )
    which, known = find_board(board)
    if known.n_columns != n_columns:
        raise ValueError(
            f"{name} has {n_columns} columns, and {which} writes {known.n_columns}{fits}"
        )
    titles = [f"c{n}" for n in range(n_columns)]
    table = read_table(content, name, separator, titles)
    if len(table) < 2:
        raise ValueError(f"{name} holds {len(table)} samples; expected a recording")
    names = known.electrodes.split() or [f"EEG {n + 1}" for n in range(known.n_eeg)]
    if known.electrodes:
        logger.warning(
            "%s: the electrodes are those that BrainFlow names for %s (%s); where yours sit "
            "elsewhere, state file_channels",
            name, which, ", ".join(names),
        )  # fmt: skip
    eeg = dict(zip(titles[known.first_eeg : known.first_eeg + known.n_eeg], names, strict=True))
    stamp, marker = titles[known.timestamp], titles[known.marker]
    to_numbers(table, [*eeg, stamp, marker], name)
    sfreq, gaps = arrival_rate(table[stamp].to_numpy(float), name, float(known.sfreq))
    values = table[marker].fillna(0).to_numpy(float)
    rows = np.flatnonzero(values)
    return raw_of(table, eeg, sfreq, gaps), events_of(rows / sfreq, values[rows].tolist())
