"""FID, KID and Inception score: how the generated pictures are distributed, all together.

They say whether a set of pictures looks like another set. None of them asks whether a picture
belongs to its trial, so none of them shows decoding: a generator without EEG can do well.

Notation: n and m pictures, d features (2048 of Inception-v3), c classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ENOUGH = 10_000  # pictures; below, FID depends visibly on how many there are
_ROWS = 1000


def frechet_distance(x: NDArray, y: NDArray) -> float:
    """Frechet (Inception) distance of two sets of features (Heusel et al. 2017, equation 6).

    |mean_x - mean_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2)), with the unbiased covariances S.

    Parameters
    ----------
    x, y : array, (n, d) and (m, d)

    Raises
    ------
    ValueError
        If a set has fewer than two pictures, or other features.
    """
    x, y = _check(x, y)
    shift = ((x.mean(0) - y.mean(0)) ** 2).sum()
    # The eigenvalues of S_x S_y are the squared singular values of X Y^T (centred, scaled), which
    # needs no root of a matrix that has fewer pictures than features.
    roots = [(z - z.mean(0)) / np.sqrt(len(z) - 1) for z in (x, y)]
    spread = sum((root**2).sum() for root in roots)
    small: list[Any] = [
        np.linalg.qr(root, mode="r") if len(root) > root.shape[1] else root for root in roots
    ]
    overlap = np.linalg.svd(small[0] @ small[1].T, compute_uv=False).sum()
    return float(shift + spread - 2 * overlap)


def kernel_distance(x: NDArray, y: NDArray) -> float:
    """Kernel (Inception) distance, unbiased (Binkowski et al. 2018).

    The squared maximum mean discrepancy with the kernel (x.y / d + 1)^3, leaving out the pictures'
    products with themselves. All pairs are used; the paper's mean over subsets of 1000 estimates
    the same. It may be a little below 0.

    Parameters
    ----------
    x, y : array, (n, d) and (m, d)

    Raises
    ------
    ValueError
        As `frechet_distance`.
    """
    x, y = _check(x, y)

    def total(a: Floats, b: Floats) -> float:
        parts = (a[i : i + _ROWS] @ b.T / a.shape[1] + 1 for i in range(0, len(a), _ROWS))
        return float(sum((part**3).sum() for part in parts))

    def within(a: Floats) -> float:
        itself = (((a * a).sum(1) / a.shape[1] + 1) ** 3).sum()
        return (total(a, a) - itself) / (len(a) * (len(a) - 1))

    return within(x) + within(y) - 2 * total(x, y) / (len(x) * len(y))


def inception_score(probabilities: NDArray) -> float:
    """Inception score, exp(mean KL(p(class | picture) || p(class))) (Salimans et al. 2016).

    Over the whole set at once, where the paper averages over 10 parts: small sets have none to
    spare. It is 1 to c; higher is better.

    Parameters
    ----------
    probabilities : array, (n, c)
        Rows sum to 1.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or not len(p) or not np.allclose(p.sum(1), 1, atol=1e-4):
        raise ValueError(f"probabilities have shape {p.shape}, expected (n, c) with rows of sum 1")
    mean = np.broadcast_to(p.mean(0), p.shape)
    ratio = np.divide(p, mean, out=np.ones_like(p), where=p > 0)
    return float(np.exp((p * np.log(ratio)).sum(1).mean()))


def few_pictures_note(n_generated: int, n_seen: int) -> str:
    """Return the warning that goes with an FID of so many pictures; empty if there are enough."""
    n = min(n_generated, n_seen)
    if n >= ENOUGH:
        return ""
    return (
        f"FID of {n_generated} generated and {n_seen} seen pictures is biased upwards (published "
        f"figures use {ENOUGH:,} and more): compare it only with sets of these sizes; KID is not"
    )


def _check(x: NDArray, y: NDArray) -> tuple[Floats, Floats]:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(
            f"features have shapes {x.shape} and {y.shape}, expected (n, d) and (m, d) with two "
            "pictures or more"
        )
    return np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
