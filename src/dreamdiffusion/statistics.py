"""From a matrix of pair scores to a record: value, chance, control, interval, p.

A matrix ``pairs`` (n, n) holds at [i, j] the score of the images decoded from trial *j* against
what was shown in trial *i* (see `metrics`). Trials are the unit of everything here: the samples of
one trial are never treated as independent.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.integer]

_CHUNK = 2_000_000


class Score(TypedDict):
    """One record of ``scores.json``.

    ``chance`` is what this very set of images scores when truths are dealt at random; it already
    contains the generator's habits (a favourite class, a typical brightness). ``shuffled_eeg`` is
    the score of images decoded anew from other trials' EEG. ``p`` is one-sided.
    """

    metric: str
    value: float
    n: int
    chance: float
    shuffled_eeg: float
    ci95: list[float]
    p: float


def random_derangement(n: int, rng: np.random.Generator) -> Ints:
    """Draw a cyclic permutation of n trials: none keeps its place (Sattolo 1986).

    Raises
    ------
    ValueError
        If n is below 2.
    """
    if n < 2:
        raise ValueError(f"there is {n} trial, shuffling needs two or more")
    order = rng.permutation(n)
    result = np.empty(n, dtype=np.int64)
    result[order] = np.roll(order, 1)
    return result


def permutations(n: int, count: int, rng: np.random.Generator, groups: Ints | None = None) -> Ints:
    """Draw ``count`` permutations of n trials, within groups where these are given.

    Returns
    -------
    array of int, (count, n)
    """
    keys = rng.random((count, n))
    if groups is None:
        return np.argsort(keys, axis=1)
    # Sorting by group and then by a random key deals the members of each group over its own places.
    places = np.argsort(groups, kind="stable")
    dealt = np.argsort(keys + groups, axis=1)
    result = np.empty((count, n), dtype=np.int64)
    result[:, places] = dealt
    return result


def chance_level(pairs: Floats) -> float:
    """Return the expected score when truths are dealt at random to the trials.

    Over all permutations each truth meets each trial equally often, so the expectation is the mean
    of the matrix (of its computed entries, where pairs were restricted to equal groups): exact,
    with no permutation drawn. For labels it is the sum over classes of how often the class is
    shown times how often it is named.
    """
    return float(np.nanmean(np.nanmean(pairs, axis=0)))


def permutation_p(
    pairs: Floats, count: int, rng: np.random.Generator, groups: Ints | None = None
) -> float:
    """One-sided p of the mean diagonal under permutation of the trials: (1 + hits) / (1 + count).

    Raises
    ------
    ValueError
        If the matrix is not square.
    """
    n = _square(pairs)
    value = np.diagonal(pairs).mean()
    columns = np.arange(n)
    hits, left = 0, count
    while left:
        some = min(left, max(1, _CHUNK // n))
        drawn = pairs[permutations(n, some, rng, groups), columns].mean(axis=1)
        # Sums in another order differ in the last digits; an equal score counts as a hit.
        hits += int((drawn >= value - 1e-12).sum())
        left -= some
    return (1 + hits) / (1 + count)


def bootstrap_ci(scores: Floats, count: int, rng: np.random.Generator) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean over trials.

    Parameters
    ----------
    scores : array, (n,)
        One score per trial.
    """
    n, left = len(scores), count
    means = []
    while left:
        some = min(left, max(1, _CHUNK // n))
        means.append(scores[rng.integers(n, size=(some, n))].mean(axis=1))
        left -= some
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


def score(
    metric: str,
    pairs: Floats,
    shuffled: Floats,
    rng: np.random.Generator,
    n_permutations: int = 2000,
    n_bootstrap: int = 2000,
    groups: Ints | None = None,
) -> Score:
    """Make the record of one metric.

    Parameters
    ----------
    metric : str
        Its name.
    pairs : array, (n, n)
        Pair scores of the images; the diagonal is the score.
    shuffled : array, (n,) or (n, n)
        Scores of the images decoded from shuffled EEG, per trial, or their pairs.
    rng : numpy.random.Generator
    n_permutations, n_bootstrap : int
    groups : array of int, (n,), optional
        Where only pairs within groups were computed.

    Raises
    ------
    ValueError
        If there are fewer than two trials, shapes differ or a score is not finite.
    """
    n = _square(pairs)
    if n < 2:
        raise ValueError(f"{metric} has {n} trial; chance and interval need two or more")
    own = np.diagonal(pairs)
    control = np.diagonal(shuffled) if shuffled.ndim == 2 else shuffled
    if control.shape != (n,):
        raise ValueError(f"{metric}: {n} trials but {control.shape[0]} of shuffled EEG")
    if not (np.isfinite(own).all() and np.isfinite(control).all()):
        raise ValueError(f"{metric}: a trial's score is not finite")
    return Score(
        metric=metric,
        value=float(own.mean()),
        n=n,
        chance=chance_level(pairs),
        shuffled_eeg=float(control.mean()),
        ci95=list(bootstrap_ci(own, n_bootstrap, rng)),
        p=permutation_p(pairs, n_permutations, rng, groups),
    )


def _square(pairs: Floats) -> int:
    if pairs.ndim != 2 or pairs.shape[0] != pairs.shape[1]:
        raise ValueError(f"pairs has shape {pairs.shape}, expected (n, n)")
    return len(pairs)
