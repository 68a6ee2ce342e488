"""Calibration: how well confidences hold; error, bins, risk against coverage, a threshold.

A confidence is a probability that an answer is right. Notation: n trials; ``confidence`` float (n,)
in [0, 1]; ``right`` bool (n,).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta

from dreamdiffusion.evidence.scores import Bin

FloatArray = NDArray[np.float64]

N_BINS = 10
THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(20))
"""Confidences that `choose_threshold` may choose from, fixed before any trial is seen."""


def calibration_bins(confidence: ArrayLike, right: ArrayLike, n_bins: int = N_BINS) -> list[Bin]:
    """Sort trials by confidence and cut them into bins of equal numbers of trials.

    Trials of one and the same confidence are never parted, so bins may differ in size and there
    may be fewer of them.

    Parameters
    ----------
    confidence, right : array, (n,)
    n_bins : int

    Raises
    ------
    ValueError
        If there is no trial, lengths differ, or a confidence is no probability.
    """
    confidence, right = _check(confidence, right)
    order = np.argsort(confidence, kind="stable")
    confidence, right = confidence[order], right[order]
    edges = _edges(confidence, n_bins)
    return [
        Bin(
            confidence=float(confidence[a:b].mean()),
            accuracy=float(right[a:b].mean()),
            n=int(b - a),
        )
        for a, b in pairwise(edges)
    ]


def calibration_error(confidence: ArrayLike, right: ArrayLike, n_bins: int = N_BINS) -> float:
    """Expected calibration error: the mean over trials of |confidence - accuracy| of their bin.

    Bins hold equal numbers of trials (`calibration_bins`), as Nguyen and O'Connor (2015) propose:
    bins of equal width leave some with hardly a trial. Both are means over the bin.
    """
    bins = calibration_bins(confidence, right, n_bins)
    return sum(b.n * abs(b.confidence - b.accuracy) for b in bins) / sum(b.n for b in bins)


def error_if_perfect(
    confidence: ArrayLike,
    rng: np.random.Generator,
    n_bins: int = N_BINS,
    n_draws: int = 1000,
) -> tuple[float, float]:
    """Calibration error that a perfectly calibrated confidence with these values would show.

    It is not 0: with few trials in a bin the accuracy scatters about the confidence. Answers are
    drawn that are right with just the stated confidence.

    Parameters
    ----------
    confidence : array, (n,)
    rng : numpy.random.Generator
    n_bins, n_draws : int

    Returns
    -------
    mean, quantile95 : float
        Over the draws.
    """
    confidence, _ = _check(confidence, np.ones(np.shape(confidence), dtype=bool))
    ordered = np.sort(confidence)
    edges = _edges(ordered, n_bins)
    right = rng.random((n_draws, len(ordered))) < ordered
    excess = np.add.reduceat(right - ordered, edges[:-1], axis=1)
    errors = np.abs(excess).sum(axis=1) / len(ordered)
    return float(errors.mean()), float(np.quantile(errors, 0.95))


def risk_coverage(confidence: ArrayLike, right: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Share of wrong answers among those kept, the most confident first.

    Parameters
    ----------
    confidence, right : array, (n,)

    Returns
    -------
    coverage, risk : array, (m,)
        One value for each distinct confidence, from the highest: no threshold parts trials of one
        confidence. The last coverage is 1 and its risk the share of wrong answers.
    """
    confidence, right = _check(confidence, right)
    order = np.argsort(-confidence, kind="stable")
    confidence, right = confidence[order], right[order]
    last = np.flatnonzero(np.append(np.diff(confidence) != 0, True))
    kept = last + 1
    return kept / len(right), np.cumsum(~right)[last] / kept


def upper_bound(n_wrong: ArrayLike, n: ArrayLike, delta: float) -> FloatArray:
    """Clopper-Pearson upper bound of a risk, one-sided, of which ``n_wrong`` of n were seen.

    The risk lies above it with a probability of at most ``delta``; 1 where n is 0. Arguments of
    one shape, ``(m,)`` or scalar, which is that of the result.
    """
    n_wrong, n = np.asarray(n_wrong, dtype=float), np.asarray(n, dtype=float)
    bound = beta.ppf(1 - delta, n_wrong + 1, np.maximum(n - n_wrong, 1e-12))
    return np.where(n_wrong >= n, 1.0, bound)


def choose_threshold(
    confidence: ArrayLike, right: ArrayLike, risk_limit: float, delta: float = 0.05
) -> float | None:
    """Choose from which confidence on answers are kept, so that the risk stays below a limit.

    The `THRESHOLDS` are tried in an order fixed beforehand: downwards from 1 - ``risk_limit``,
    above which nothing would be wrong too often if the confidence were right. Each is accepted
    while the one-sided Clopper-Pearson bound, at ``delta``, of the risk of what it keeps is below
    the limit; the first that is not ends the search (fixed-sequence testing, Angelopoulos et al.
    2021, "Learn then Test"). If the trials are independent, and the function that gives the
    confidence was not fitted on them, the risk among new trials like these is then above the limit
    with a probability of at most ``delta``, however few trials there are and however wrong the
    confidence is.

    Returns
    -------
    float or None
        None where the first one tried does not reach the limit: every answer is then withheld.

    Raises
    ------
    ValueError
        If the limit or ``delta`` is not between 0 and 1, or as `calibration_bins`.
    """
    for name, value in (("risk_limit", risk_limit), ("delta", delta)):
        if not 0 < value < 1:
            raise ValueError(f"{name} is {value}, expected a number between 0 and 1")
    confidence, right = _check(confidence, right)
    chosen = None
    for threshold in sorted(THRESHOLDS, reverse=True):
        if threshold > 1 - risk_limit + 1e-9:
            continue
        kept = confidence >= threshold
        if upper_bound(np.sum(~right[kept]), kept.sum(), delta) > risk_limit:
            break
        chosen = threshold
    return chosen


def _edges(ordered: FloatArray, n_bins: int) -> NDArray[np.int64]:
    """Where bins begin and end in sorted confidences; equal ones stay in the lower bin."""
    if n_bins < 1:
        raise ValueError(f"n_bins is {n_bins}, expected 1 or more")
    cuts = np.arange(1, n_bins) * len(ordered) // n_bins
    moved = np.searchsorted(ordered, ordered[cuts[cuts > 0] - 1], side="right")
    return np.unique(np.concatenate([[0], moved, [len(ordered)]]))


def _check(confidence: ArrayLike, right: ArrayLike) -> tuple[FloatArray, NDArray[np.bool_]]:
    values, flags = np.asarray(confidence, dtype=float), np.asarray(right, dtype=bool)
    if values.ndim != 1 or values.shape != flags.shape or not len(values):
        raise ValueError(
            f"confidence has shape {values.shape} and right {flags.shape}, expected both (n,) of "
            "one trial or more"
        )
    if not ((values >= 0) & (values <= 1)).all():  # also false for NaN
        raise ValueError(
            f"confidence lies in [{values.min():.3g}, {values.max():.3g}], expected [0, 1]"
        )
    return values, flags
