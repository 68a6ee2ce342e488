"""When each data record of an EDF+ or BDF+ file was recorded, and its annotations.

Every record of such a file begins with a time-stamped annotation list (TAL) that holds the record's
own time; in a discontinuous file (EDF+D) records may lie apart. MNE-Python puts the records end to
end and drops the annotations that then lie beyond the end. Layout: Kemp & Olivan 2003, Clin.
Neurophysiol. 114, https://www.edfplus.info/specs/edfplus.html.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dreamdiffusion.recordings.formats.edf import EdfHeader
from dreamdiffusion.recordings.gaps import GAP_S, Clock

_TAL = re.compile(
    rb"([+-]\d{1,12}(?:\.\d{0,40})?)(?:\x15(\d{1,12}(?:\.\d{0,40})?))?\x14([^\0]*?)\x14\0"
)


class EdfRecords(NamedTuple):
    """What the annotation signals of a file say."""

    notes: pd.DataFrame
    """`onset` (s from the beginning of the first record), `duration` (s), `category` (the text)."""
    clock: Clock
    encoding: str
    """Of the texts: utf8, as the format demands, or latin1 where they are not."""


def read_edf_records(path: Path, header: EdfHeader) -> EdfRecords | None:
    """Read the annotation signals of a file whose header is checked.

    Parameters
    ----------
    path
        `.edf` or `.bdf`.
    header
        From `check_edf_header`.

    Returns
    -------
    records
        None where the file has no annotation signal.

    Raises
    ------
    ValueError
        If the file says that its records lie apart, and a record has no time or goes back.
    """
    if not header.annotations or not header.sfreq:
        return None
    content = np.memmap(path, np.uint8, "r", header.n_bytes, (header.n_records, header.record))
    records = [
        [content[i, start:stop].tobytes() for start, stop in header.annotations]
        for i in range(header.n_records)
    ]
    text = b"".join(piece for record in records for piece in record)
    encoding = "utf8" if _is_utf8(text) else "latin1"
    starts = _starts([pieces[0] for pieces in records], header, path)
    rows = []
    for pieces in records:
        for onset, duration, texts in _TAL.findall(b"\0".join(pieces)):
            for note in texts.decode(encoding).split("\x14"):
                if note:
                    row = (float(onset) - starts[0], float(duration or 0), note.split("@@")[0])
                    rows.append(row)
    notes = pd.DataFrame(rows, columns=["onset", "duration", "category"])
    return EdfRecords(notes, _clock(starts - starts[0], header), encoding)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _starts(lists: list[bytes], header: EdfHeader, path: Path) -> np.ndarray:
    """Return the time of every record, s, (n_records,)."""
    found = [_TAL.match(text) for text in lists]
    missing = [i for i, match in enumerate(found) if match is None or match[3][:1] not in b"\x14"]
    if missing and not header.discontinuous:
        return np.arange(header.n_records) * header.seconds
    if missing:
        raise ValueError(
            f"{path} cannot be read: the header says that its records lie apart (EDF+D), and "
            f"record {missing[0]} has no time; export the recording again"
        )
    starts = np.array([float(match[1]) for match in found if match is not None])
    steps = np.diff(starts)
    back = np.flatnonzero(steps < header.seconds - GAP_S)
    if len(back):
        raise ValueError(
            f"{path} cannot be read: record {back[0] + 1} begins {steps[back[0]]:g} s after the "
            f"one before it, and a record lasts {header.seconds:g} s; export the recording again"
        )
    return starts


def _clock(starts: np.ndarray, header: EdfHeader) -> Clock:
    """Return the clock of the stretches; where the header says continuous, small jumps are none."""
    jumps = np.diff(starts) - header.seconds
    first = np.flatnonzero(jumps > (0.5 / header.sfreq if header.discontinuous else GAP_S)) + 1
    first = np.concatenate([[0], first]).astype(int)
    per_record = header.seconds * header.sfreq
    stops = np.append(first[1:], header.n_records)
    return Clock(
        starts=starts[first],
        samples=np.round(first * per_record).astype(int),
        lengths=np.round((stops - first) * per_record).astype(int),
        sfreq=header.sfreq,
    )
