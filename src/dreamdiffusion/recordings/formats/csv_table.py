"""A csv of numbers -> a table, with errors that name the file, the row and the column."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

import mne
import numpy as np
import pandas as pd

from dreamdiffusion.recordings.formats.text import decode_text
from dreamdiffusion.recordings.gaps import annotate_boundaries


def read_table(
    content: bytes, name: str, separator: str = ",", titles: list[str] | None = None
) -> pd.DataFrame:
    """Parse a csv whose first line names the columns.

    pandas fills a short row with missing values, and takes the first column for an index where
    rows are longer than the header; here both are errors.

    Parameters
    ----------
    content
        The file, in any code page that `decode_text` knows.
    name
        What the error messages call it.
    separator
        Of the fields: one character.
    titles
        Names of the columns, for a table without a line that names them.

    Raises
    ------
    ValueError
        For an empty file, a column without a name, columns of one name, or a row whose number of
        fields is not the header's.
    """
    if not content.isascii():
        content = decode_text(content).encode("utf-8")
    if titles is not None:
        content = separator.join(titles).encode("utf-8") + b"\n" + content
    lines, mark = content.splitlines(), separator.encode()
    if not lines or not lines[0].strip():
        raise ValueError(f"{name} cannot be read as csv: it has no line with column names")
    expected = lines[0].count(mark)
    for row, line in enumerate(lines[1:]):
        if line.count(mark) != expected and line.strip() and b'"' not in line:
            n_fields, is_last = line.count(mark) + 1, row == len(lines) - 2
            cut_off = is_last and n_fields <= expected and not content.endswith((b"\n", b"\r"))
            fix = "the file is cut off there: copy it" if cut_off else "correct or delete that row"
            raise ValueError(
                f"{name}, data row {row} has {n_fields} fields, expected {expected + 1} as in the "
                f"first line; {fix}, or export it again"
            )
    try:
        table = pd.read_csv(
            io.BytesIO(content), sep=separator, index_col=False, low_memory=False,
            skipinitialspace=True,
        )  # fmt: skip
        # pandas itself would call a second column of one name TP9.1.
        titles = next(csv.reader([lines[0].decode("utf-8")], delimiter=separator))
    except (ValueError, csv.Error) as error:  # pandas' own errors are ValueErrors
        raise ValueError(f"{name} cannot be read as csv: {error}") from error
    columns = [title.strip() for title in titles]
    twice = [column for place, column in enumerate(columns) if column in columns[:place]]
    if twice:
        raise ValueError(f"{name} has two columns of the name {twice[0]!r}")
    if "" in columns:
        raise ValueError(
            f"{name} has no name for column {columns.index('')} in its first line; name it, or "
            "leave it out (pandas: to_csv(..., index=False))"
        )
    if len(columns) != table.shape[1]:
        raise ValueError(
            f"{name} cannot be read as csv: its first line names {len(columns)} columns, and its "
            f"rows have {table.shape[1]} fields"
        )
    table.columns = columns
    return table


def separator_of(line: str) -> str:
    """Return what parts the fields of a table's first line: a tab, a semicolon or a comma."""
    return max(",\t;", key=line.count)


def raw_of(
    table: pd.DataFrame, columns: dict[str, str], sfreq: float, gaps: Iterable[int]
) -> mne.io.RawArray:
    """Make a recording of columns of microvolts.

    Parameters
    ----------
    table
        Its columns are numbers (`to_numbers`).
    columns
        Of the EEG: column -> name of the channel.
    sfreq
        Hz.
    gaps
        Samples before which time jumps (`gaps.annotate_boundaries`).
    """
    info = mne.create_info(list(columns.values()), sfreq, "eeg")
    data = table[list(columns)].to_numpy(float).T * 1e-6
    raw = mne.io.RawArray(data, info, verbose="ERROR")
    annotate_boundaries(raw, gaps)
    return raw


def events_of(onsets: Iterable[float], names: Iterable[object]) -> pd.DataFrame:
    """Make a table of events: a name that is a whole number is a code as well.

    Parameters
    ----------
    onsets
        s from the first sample; NaN: in a gap.
    names
        Text or numbers.

    Returns
    -------
    events
        Columns `onset`, `duration` (0), `category`, and `code` where every event has one.
    """
    texts = [f"{x:g}" if isinstance(x, float) else str(x).strip() for x in names]
    events = pd.DataFrame({"onset": np.array(list(onsets), float), "duration": 0.0})
    events["category"] = pd.Series(texts, dtype=object)
    if all(re.fullmatch(r"[+-]?\d{1,15}", text) for text in texts):
        events["code"] = np.array(texts, float).astype(np.int64)
    return events


def is_sampled(column: pd.Series) -> bool:
    """Whether a column holds a signal: finite numbers that change in more than 5 % of the rows.

    Markers, and what is written beside markers only, do not.
    """
    if not pd.api.types.is_numeric_dtype(column):
        return False
    values = column.to_numpy(float)
    both = np.isfinite(values[1:]) & np.isfinite(values[:-1])
    return bool(np.sum(both & (values[1:] != values[:-1])) > 0.05 * len(values))


def to_numbers(table: pd.DataFrame, columns: Iterable[str], name: str) -> None:
    """Turn columns into float64 in place; an empty cell is a missing value (NaN).

    Raises
    ------
    ValueError
        For a cell that is no finite number.
    """
    for column in columns:
        numbers = np.asarray(pd.to_numeric(table[column], errors="coerce"), dtype=float)
        wrong = ~np.isfinite(numbers) & table[column].notna().to_numpy()
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            cell = table[column].iloc[row]
            raise ValueError(f"{name}, data row {row}, column {column}: {cell!r} is not a number")
        table[column] = numbers
