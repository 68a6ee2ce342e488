"""A csv of numbers -> a table, with errors that name the file, the row and the column."""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
import pandas as pd


def read_table(content: bytes, name: str) -> pd.DataFrame:
    """Parse a csv whose first line names the columns.

    pandas fills a short row with missing values, and takes the first column for an index where
    rows are longer than the header; here both are errors.

    Parameters
    ----------
    content
        The file.
    name
        What the error messages call it.

    Raises
    ------
    ValueError
        For an empty file, text that is not UTF-8, columns of one name, or a row whose number of
        fields is not the header's.
    """
    lines = content.splitlines()
    if not lines or not lines[0].strip():
        raise ValueError(f"{name} cannot be read as csv: it has no line with column names")
    expected = lines[0].count(b",")
    for row, line in enumerate(lines[1:]):
        if line.count(b",") != expected and line.strip() and b'"' not in line:
            raise ValueError(
                f"{name}, data row {row} has {line.count(b',') + 1} fields, expected "
                f"{expected + 1} as in the first line; the file is cut off or damaged there"
            )
    try:
        table = pd.read_csv(io.BytesIO(content), index_col=False, low_memory=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{name} cannot be read as csv: {error}") from error
    table.columns = [str(column).strip() for column in table.columns]
    twice = table.columns[table.columns.duplicated()].tolist()
    if twice:
        raise ValueError(f"{name} has two columns of the name {twice[0]}")
    return table


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
            raise ValueError(
                f"{name}, data row {row}, column {column}: {table[column][row]!r} is not a number"
            )
        table[column] = numbers
