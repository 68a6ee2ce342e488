"""Orders drawn at random, as a whole or within groups."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]


def random_derangement(n: int, rng: np.random.Generator) -> Ints:
    """Draw a cyclic permutation of n trials, int ``(n,)``: none keeps its place (Sattolo 1986).

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
