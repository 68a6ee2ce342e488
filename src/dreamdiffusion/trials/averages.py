"""Averages of trials that showed the same picture (or class); a record always says how many."""

from __future__ import annotations

import numpy as np
import pandas as pd

COLUMN = "n_averaged"


def n_averaged(metadata: pd.DataFrame) -> int:
    """Return how many trials each row is the average of; 1 for single trials.

    Raises
    ------
    ValueError
        If rows are averages of different numbers of trials.
    """
    if COLUMN not in metadata:
        return 1
    counts = sorted({int(count) for count in metadata[COLUMN]})
    if len(counts) != 1:
        raise ValueError(
            f"{COLUMN} of the metadata is {', '.join(map(str, counts)) or 'empty'}, expected one "
            "number: score averages of different numbers of trials apart"
        )
    return counts[0]


def average_repeats(
    eeg: np.ndarray,
    metadata: pd.DataFrame,
    n: int,
    rng: np.random.Generator,
    by: str = "stim_file",
) -> tuple[np.ndarray, pd.DataFrame]:
    """Average disjoint sets of n trials of one person that showed the same.

    The trials of each person and value of ``by`` are dealt into sets of n at random; what is left
    over is dropped, so no trial is in two averages. Give the trials of one side of a split only.

    Parameters
    ----------
    eeg : array, (n_trials, n_chans, n_times)
        Volts.
    metadata : DataFrame
        One row per trial.
    n : int
        Trials in an average.
    rng : numpy.random.Generator
        Deals them.
    by : str
        Column of what was shown: the picture, or `category` where only that is known.

    Returns
    -------
    averages : float32 array, (n_averages, n_chans, n_times)
        Volts, by the first of their trials. With n = 1 the trials themselves.
    metadata : DataFrame
        A column has the value of the averaged trials where they agree, otherwise texts joined by
        "+" and missing numbers; ``n_averaged`` is n.

    Raises
    ------
    ValueError
        If lengths differ, n < 1, the column is missing or empty for a trial, the trials are
        averages already, or nothing was shown n times.
    """
    if len(eeg) != len(metadata):
        raise ValueError(f"{len(eeg)} trials have {len(metadata)} rows of metadata")
    if n < 1:
        raise ValueError(f"n is {n}, expected 1 or more trials in an average")
    for column in ("subject", by):
        if column not in metadata:
            raise ValueError(f"the metadata have no column {column}, by which trials are averaged")
    if n_averaged(metadata) != 1:
        raise ValueError(f"the trials are averages of {n_averaged(metadata)} trials already")
    shown = metadata[by].astype(str).to_numpy()
    unknown = metadata[by].isna().to_numpy() | (shown == "")
    if unknown.any():
        raise ValueError(
            f"{int(unknown.sum())} trials have no {by}, so it is not known which showed the same; "
            "average by another column"
        )
    people = metadata["subject"].astype(str).to_numpy()
    sets = deal(people, shown, n, rng)
    if not len(sets):
        most = pd.DataFrame({"subject": people, "shown": shown}).value_counts().max()
        raise ValueError(
            f"no {by} was shown {n} times to one person, {most} at most; average fewer"
        )
    averages = np.empty((len(sets), *eeg.shape[1:]), np.float32)
    for place, members in enumerate(sets):  # one at a time: eeg may be a large file
        averages[place] = np.mean(eeg[members], axis=0, dtype=np.float64)
    table = pd.DataFrame(
        {column: [_common(metadata[column].iloc[rows]) for rows in sets] for column in metadata}
    )
    table[COLUMN] = n
    return averages, table


def deal(who: np.ndarray, what: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Deal trials of one ``who`` that showed one ``what`` into disjoint sets of n, at random.

    Returns
    -------
    array of int, (n_sets, n)
        Places of the trials, in the order of the first ones; what is left over is in none.
    """
    keys = pd.DataFrame({"who": who, "what": what})
    sets: list[np.ndarray] = []
    for _, rows in sorted(keys.groupby(["who", "what"]).indices.items()):
        dealt = rng.permutation(rows)[: len(rows) // n * n].reshape(-1, n)
        sets += list(np.sort(dealt, axis=1))
    sets.sort(key=lambda members: int(members[0]))
    return np.array(sets, dtype=int).reshape(-1, n)


def _common(values: pd.Series) -> object:
    """Return the value that all share; else texts joined, and a missing number."""
    different = list(dict.fromkeys(values))
    if len(different) == 1:
        return different[0]
    if all(isinstance(value, str) for value in different):
        return "+".join(sorted(different))
    return np.nan
