"""Scores of generated images, as matrices of every truth against every trial's images.

Each function returns ``pairs`` (n, n): ``pairs[i, j]`` scores the images generated for trial *j*
against what was shown in trial *i*, averaged over that trial's k samples. It is never the best of
the samples. The diagonal is the score; the other entries are what `statistics` needs for chance and
permutations, which then cost an index, not another pass over the images.

Notation: n trials, k samples per trial, c classes, m pictures in a gallery, d numbers in an
embedding.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import hypergeom, rankdata
from torch import Tensor
from torch.nn import functional as F

from .design import Design

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SSIM_SIGMA = 1.5
SSIM_RADIUS = 5  # scikit-image: truncate 3.5, so int(3.5 * 1.5 + 0.5)
_BLOCK = 64


def top1_pairs(chosen: Ints, truth: Ints, n_classes: int) -> Floats:
    """Score chosen labels: the fraction of samples of trial j that show the class of trial i.

    Parameters
    ----------
    chosen : array of int, (n, k)
        Label that a classifier gives to each sample: its argmax.
    truth : array of int, (n,)
        Label of what was shown.
    n_classes : int

    Returns
    -------
    array, (n, n)
        ``pairs[i, j]`` in [0, 1].

    Raises
    ------
    ValueError
        If the shapes do not fit or a label lies outside ``0..n_classes - 1``.
    """
    n, k = _shape(chosen, truth)
    for name, labels in (("chosen", chosen), ("truth", truth)):
        if labels.min() < 0 or labels.max() >= n_classes:
            raise ValueError(f"{name} holds {labels.min()}..{labels.max()}, there are {n_classes}")
    counts = np.zeros((n_classes, n))
    np.add.at(counts, (chosen, np.arange(n)[:, None]), 1 / k)
    return counts[truth]


def auc_pairs(decision: Floats, truth: NDArray[np.bool_], runs: Ints) -> Floats:
    """Area under the ROC curve within each run, its mean weighted by the trials of the runs.

    Of decisions with one threshold-free order per run, as a matrix: within a run the area is a
    sum over trials of truth times rank (Mann and Whitney 1947), whatever truths are dealt to them.

    Parameters
    ----------
    decision : array, (n,)
        The larger, the more the trial is thought to be of the positive class.
    truth : array of bool, (n,)
    runs : array of int, (n,)

    Returns
    -------
    array, (n, n)
        The mean of the diagonal is the area; the expectation under permutation within runs .5.

    Raises
    ------
    ValueError
        If a run has one class only.
    """
    slope, shift = np.zeros(len(truth)), np.zeros(len(truth))
    for run in np.unique(runs):
        own = runs == run
        positive, n = int(truth[own].sum()), int(own.sum())
        if positive in (0, n):
            raise ValueError(f"all {n} trials of run {run} are of one class: there is no AUC")
        slope[own] = rankdata(decision[own]) * n / (positive * (n - positive))
        shift[own] = (positive + 1) / (2 * (n - positive))
    return truth[:, None] * slope - shift


def n_way_pairs(probabilities: Floats, truth: Ints, n_way: int, top: int = 1) -> Floats:
    """N-way top-k accuracy (MinD-Vis; DreamDiffusion section 4.2), exact instead of drawn.

    The papers draw n_way - 1 of the c - 1 other classes and ask whether the truth is among the
    ``top`` most probable; they repeat that 50 or 1000 times. With r other classes at least as
    probable as the truth, the number of those among the draw is hypergeometric, so the expectation
    over all draws has a closed form. A tie counts against the truth.

    Parameters
    ----------
    probabilities : array, (n, k, c)
        A classifier's output on each sample.
    truth : array of int, (n,)
    n_way : int
        Classes to choose from, 2 to c. With c, this is plain top-k accuracy.
    top : int
        1 to n_way.

    Returns
    -------
    array, (n, n)

    Raises
    ------
    ValueError
        If the shapes do not fit, or n_way or top is out of range.
    """
    n, _ = _shape(probabilities[..., 0], truth)
    c = probabilities.shape[-1]
    if not 2 <= n_way <= c or not 1 <= top <= n_way:
        raise ValueError(f"n_way is {n_way} and top {top}; there are {c} classes")
    above = (probabilities[:, :, None, :] >= probabilities[:, :, :, None]).sum(-1) - 1  # (n, k, c)
    table = hypergeom.cdf(top - 1, c - 1, np.arange(c), n_way - 1)  # by number of rivals above
    expected = table[above].mean(axis=1)  # (n, c)
    return expected[np.arange(n)][:, truth].T


def retrieval_pairs(embeddings: Tensor, gallery: Tensor, truth: Ints) -> Floats:
    """Top-1 retrieval by cosine in an embedding space against a gallery.

    Parameters
    ----------
    embeddings : Tensor, (n, k, d)
        Of the samples; any length.
    gallery : Tensor, (m, d)
        Of the pictures to choose from, each once.
    truth : array of int, (n,)
        Place in the gallery of what was shown.

    Returns
    -------
    array, (n, n)
    """
    scores = F.normalize(embeddings.double(), dim=-1) @ F.normalize(gallery.double(), dim=-1).T
    return top1_pairs(scores.argmax(-1).cpu().numpy(), truth, len(gallery))


def pcc_pairs(seen: Tensor, generated: Tensor) -> Floats:
    """Pearson correlation of the pixel values, all colours together.

    Parameters
    ----------
    seen : Tensor, (n, 3, H, W)
    generated : Tensor, (n, k, 3, H, W)

    Returns
    -------
    array, (n, n)
        A picture of one colour throughout has no correlation; it scores 0.
    """
    _check_pictures(seen, generated)

    def standard(images: Tensor) -> Tensor:
        flat = images.double().flatten(-3)
        return F.normalize(flat - flat.mean(-1, keepdim=True), dim=-1)

    # The mean of the correlations is the product with the mean of the standardised samples.
    return (standard(seen) @ standard(generated).mean(1).T).cpu().numpy()


def gray(images: Tensor) -> Tensor:
    """Return luminance (..., H, W) of RGB (..., 3, H, W), weights as scikit-image's rgb2gray."""
    weights = torch.tensor([0.2125, 0.7154, 0.0721], dtype=images.dtype, device=images.device)
    return torch.einsum("...chw,c->...hw", images, weights)


def ssim_pairs(seen: Tensor, generated: Tensor, groups: Ints | None = None) -> Floats:
    """Structural similarity of the grey pictures (Wang et al. 2004), at their own size.

    Equal to scikit-image's ``structural_similarity(gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1)``, for all pairs at once. (The NSD suite enlarges to
    425 pixels first; do so before the call to compare with it.)

    Parameters
    ----------
    seen : Tensor, (n, 3, H, W)
        In [0, 1].
    generated : Tensor, (n, k, 3, H, W)
        In [0, 1].
    groups : array of int, (n,), optional
        Only pairs within a group are computed; the others are NaN. For many trials.

    Returns
    -------
    array, (n, n)

    Raises
    ------
    ValueError
        If the shapes do not fit, or a picture is smaller than the window of 11 pixels.
    """
    _check_pictures(seen, generated)
    n, k = generated.shape[:2]
    rows, cols = (_window(length, seen.device) for length in seen.shape[-2:])

    def smooth(images: Tensor) -> Tensor:
        return rows @ images @ cols.T

    x, y = gray(seen.float()), gray(generated.float())
    mean_x, mean_y = smooth(x), smooth(y)
    var_x, var_y = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2
    c1, c2 = 0.01**2, 0.03**2
    pairs = np.full((n, n), np.nan)
    groups = np.zeros(n, np.int64) if groups is None else groups
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        at = torch.from_numpy(members).to(seen.device)
        for j in members:
            total = torch.zeros(len(members), dtype=torch.float64, device=seen.device)
            for s in range(k):
                both = mean_x[at] * mean_y[j, s]
                covariance = smooth(x[at] * y[j, s]) - both
                top = (2 * both + c1) * (2 * covariance + c2)
                bottom = (mean_x[at] ** 2 + mean_y[j, s] ** 2 + c1) * (var_x[at] + var_y[j, s] + c2)
                total += (top / bottom).mean((1, 2), dtype=torch.float64)
            pairs[members, j] = (total / k).cpu().numpy()
    return pairs


def trial_groups(design: Design, rng: np.random.Generator, largest: int = _BLOCK) -> Ints:
    """Deal the trials of each run at random into groups of near-equal size, at most ``largest``.

    Permuting within groups is still an exact test, and costs n * largest pairs instead of n * n.
    Blocks that move as a whole stay whole, and a group holds four of them or more where the run
    does (24 permutations), so it may be larger.

    Returns
    -------
    array of int, (n,)
    """
    group_of_block, first = np.empty(design.n_blocks, dtype=np.int64), 0
    for run in range(int(design.runs.max()) + 1):
        own = design.runs == run
        blocks = np.unique(design.blocks[own])
        n_groups = -(-int(own.sum()) // largest)
        if len(blocks) < own.sum():
            n_groups = max(1, min(n_groups, len(blocks) // 4))
        group_of_block[blocks] = first + rng.permutation(np.arange(len(blocks)) % n_groups)
        first += n_groups
    return group_of_block[design.blocks]


def _window(length: int, device: torch.device) -> Tensor:
    """Matrix (length - 10, length) of the Gaussian window at every place where it fits."""
    if length < 2 * SSIM_RADIUS + 1:
        raise ValueError(f"pictures are {length} pixels, SSIM needs {2 * SSIM_RADIUS + 1} or more")
    taps = torch.exp(-0.5 * (torch.arange(-SSIM_RADIUS, SSIM_RADIUS + 1.0) / SSIM_SIGMA) ** 2)
    taps /= taps.sum()
    matrix = torch.zeros(length - 2 * SSIM_RADIUS, length)
    for i in range(len(matrix)):
        matrix[i, i : i + len(taps)] = taps
    return matrix.to(device)


def _shape(chosen: NDArray, truth: Ints) -> tuple[int, int]:
    if chosen.ndim != 2 or truth.shape != (len(chosen),) or not chosen.size:
        raise ValueError(
            f"samples have shape {chosen.shape} and truths {truth.shape}, expected (n, k) and (n,)"
        )
    return chosen.shape[0], chosen.shape[1]


def _check_pictures(seen: Tensor, generated: Tensor) -> None:
    if seen.ndim != 4 or generated.ndim != 5 or seen.shape[1:] != generated.shape[2:]:
        raise ValueError(
            f"seen has shape {tuple(seen.shape)} and generated {tuple(generated.shape)}, "
            "expected (n, 3, H, W) and (n, k, 3, H, W) of one size"
        )
    if len(seen) != len(generated):
        raise ValueError(f"{len(seen)} seen pictures but {len(generated)} trials of generated ones")
