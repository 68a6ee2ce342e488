"""The header of EDF, EDF+ and BDF files, checked before a reader believes it.

MNE infers the number of records from the file's size, and a missing sampling rate as 1 Hz, when a
header cannot be true; what it then reads may be cut off or noise. Field layout: Kemp et al. 1992,
Electroencephalogr. Clin. Neurophysiol. 82, and https://www.biosemi.com/faq/file_format.htm.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import NamedTuple

_ANNOTATIONS = ("EDF Annotations", "BDF Annotations")


class EdfHeader(NamedTuple):
    """How a file is laid out."""

    n_bytes: int
    """Length of the header."""
    n_records: int
    record: int
    """Bytes of a data record."""
    seconds: float
    """Duration of a data record."""
    annotations: list[tuple[int, int]]
    """(first byte, byte after the last) in a record, of every annotation signal."""
    sfreq: float
    """Hz, of the fastest signal: the rate that MNE reads all of them at."""
    discontinuous: bool
    """The header says EDF+D or BDF+D: records may lie apart in time."""


def check_edf_header(path: Path) -> EdfHeader:
    """Read a header; raise a ValueError, which names the file, where it and the size disagree.

    Checked: the header's own length against the number of channels, sampling rates above zero,
    ranges that are not empty, and records x bytes per record against the size of the file. The
    number of records may be -1 (EDF: not yet known) when the file holds whole records.
    """
    name = f"{path} cannot be read:"
    size = path.stat().st_size
    with path.open("rb") as file:
        fixed = file.read(256)
        if len(fixed) < 256:
            raise ValueError(f"{name} it has {size} bytes, and the header of an EDF alone 256")
        n_chans = _integer(fixed[252:256], "number of channels", name)
        header_bytes = _integer(fixed[184:192], "length of the header", name)
        if n_chans < 1 or header_bytes != 256 * (n_chans + 1) or size < header_bytes:
            raise ValueError(
                f"{name} the header declares {n_chans} channels and {header_bytes} bytes of "
                f"header in a file of {size} bytes; expected 256 bytes, and 256 per channel"
            )
        fields = file.read(header_bytes - 256)
    n_records = _integer(fixed[236:244], "number of records", name)
    seconds = _number(fixed[244:252], "duration of a record", name)
    labels = _column(fields, n_chans, 0, 16)
    samples = [
        _integer(text, f"samples per record of {label}", name)
        for label, text in zip(labels, _column(fields, n_chans, 216, 8), strict=True)
    ]
    ranges = [
        (what, _column(fields, n_chans, at, 8), _column(fields, n_chans, at + 8, 8))
        for what, at in (("physical", 104), ("digital", 120))
    ]
    signals = [i for i, label in enumerate(labels) if label not in _ANNOTATIONS]
    for i in signals:
        if samples[i] < 1 or seconds <= 0:
            raise ValueError(
                f"{name} channel {labels[i]} has {samples[i]} samples in a record of "
                f"{seconds:g} s; a sampling rate must be above zero"
            )
        for what, lowest, highest in ranges:
            low = _number(lowest[i], f"{what} minimum", name)
            high = _number(highest[i], f"{what} maximum", name)
            if low == high:
                raise ValueError(
                    f"{name} channel {labels[i]} has the {what} range {low:g} to {high:g}, from "
                    "which no voltage follows; export the recording again"
                )
    width = 3 if fixed[:1] == b"\xff" or b"BDF" in fixed[192:197] else 2
    record = sum(samples) * width
    n_found, rest = divmod(size - header_bytes, record) if record > 0 else (0, 1)
    if rest or n_found < 1 or n_records not in (-1, n_found):
        raise ValueError(
            f"{name} the header declares {n_records} records of {record} bytes, and the file has "
            f"room for {n_found} and {rest} bytes more; copy or export it again"
        )
    edges = [0, *itertools.accumulate(n * width for n in samples)]
    annotations = [(edges[i], edges[i + 1]) for i in range(n_chans) if i not in signals]
    apart = fixed[192:197] in (b"EDF+D", b"BDF+D")
    sfreq = max((samples[i] / seconds for i in signals), default=0.0)
    return EdfHeader(header_bytes, n_found, record, seconds, annotations, sfreq, apart)


def recording_equipment(path: Path) -> str | None:
    """Return the equipment that an EDF+ or BDF+ header names, None where it names none."""
    with path.open("rb") as file:
        words = file.read(168)[88:].decode("ascii", errors="replace").split()
    known = len(words) >= 5 and words[0] == "Startdate" and words[4] != "X"
    return words[4].replace("_", " ") if known else None


def _column(fields: bytes, n_chans: int, offset: int, width: int) -> list[str]:
    """Return one field of every channel; `offset` counts bytes per channel before it."""
    start = offset * n_chans
    texts = [fields[start + i * width : start + (i + 1) * width] for i in range(n_chans)]
    return [text.decode("latin-1").strip(" \0") for text in texts]


def _number(text: str | bytes, what: str, name: str) -> float:
    word = text.decode("latin-1") if isinstance(text, bytes) else text
    try:
        number = float(word.strip(" \0").replace(",", "."))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name} the {what} is {word!r}, expected a number")
    return number


def _integer(text: str | bytes, what: str, name: str) -> int:
    number = _number(text, what, name)
    if not number.is_integer():
        raise ValueError(f"{name} the {what} is {number:g}, expected a whole number")
    return int(number)
