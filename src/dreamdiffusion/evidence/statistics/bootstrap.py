"""Intervals: people, and what they were shown, drawn again with replacement.

People first, and within each drawn person its clusters (blocks, pictures or trials; see
`exchange.Exchange`), the hierarchical bootstrap (Davison and Hinkley 1997, section 3.8; Saravanan,
Berman and Sober 2020). All columns of scores are drawn together, so that differences are paired.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dreamdiffusion.evidence.statistics.exchange import Exchange

Floats = NDArray[np.float64]

_CHUNK = 2_000_000


def bootstrap_means(
    scores: Floats, design: Exchange, count: int, rng: np.random.Generator
) -> Floats:
    """Draw the mean over trials again ``count`` times.

    Parameters
    ----------
    scores : array, (n, m)
        m scores of each trial.
    design : Exchange
        Of the n trials.
    count : int
    rng : numpy.random.Generator

    Returns
    -------
    array, (count, m)
        Each row is of one draw of people and clusters, for all columns.

    Raises
    ------
    ValueError
        If the design is of another number of trials.
    """
    if scores.ndim != 2 or len(scores) != len(design):
        raise ValueError(f"scores have shape {scores.shape}, expected ({len(design)}, m)")
    # The last column counts trials: clusters differ in size, and the mean is over trials.
    columns = np.column_stack([scores, np.ones(len(scores))])
    n_people = design.n_people
    # How often each draw takes each person; with one person, once.
    chosen = rng.multinomial(n_people, np.full(n_people, 1 / n_people), size=count)
    totals = np.zeros((count, columns.shape[1]))
    for person in range(n_people):
        own = design.people == person
        _, clusters = np.unique(design.clusters[own], return_inverse=True)
        n = int(clusters.max()) + 1
        sums = np.zeros((n, columns.shape[1]))
        np.add.at(sums, clusters, columns[own])
        # A person taken twice is drawn within anew each time.
        draws = np.repeat(np.arange(count), chosen[:, person])
        for start in range(0, len(draws), step := max(1, _CHUNK // n)):
            part = draws[start : start + step]
            taken = rng.integers(n, size=(len(part), n)) + n * np.arange(len(part))[:, None]
            times = np.bincount(taken.ravel(), minlength=n * len(part)).reshape(-1, n)
            np.add.at(totals, part, times @ sums)
    return totals[:, :-1] / totals[:, -1:]


def percentile_interval(draws: Floats) -> tuple[float, float]:
    """95 % percentile interval of draws, (count,)."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def bootstrap_ci(
    scores: Floats, design: Exchange, count: int, rng: np.random.Generator
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of scores (n,)."""
    return percentile_interval(bootstrap_means(scores[:, None], design, count, rng)[:, 0])


def seed_interval(
    values: Floats, design: Exchange, count: int, rng: np.random.Generator
) -> tuple[float, float]:
    """95 % interval of the mean over seeds and trials, both of them drawn again.

    Every seed was scored on the same trials, so they are drawn independently of each other. With
    two or three seeds the interval knows little of how seeds differ, as nothing could.

    Parameters
    ----------
    values : array, (n_seeds, n)
        Score of each trial with each seed; or differences between two variants.
    design : Exchange
        Of the n trials.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    of_seed = bootstrap_means(values.T, design, count, rng)
    taken = rng.integers(len(values), size=of_seed.shape)
    return percentile_interval(np.take_along_axis(of_seed, taken, axis=1).mean(axis=1))
