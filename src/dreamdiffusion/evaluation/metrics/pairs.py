"""Scores of generated images, as matrices of every truth against every trial's images.

Each function returns ``pairs`` (n, n): ``pairs[i, j]`` scores the images generated for trial *j*
against what was shown in trial *i*, averaged over that trial's k samples. It is never the best of
the samples. The diagonal is the score; the other entries are what
`evidence.statistics` needs for chance and permutations, which then cost an index, not another pass
over the images.

Notation: n trials, k samples per trial, c classes, m pictures in a gallery, d numbers in an
embedding. Ties count against the truth everywhere, so that a constant answer wins nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import hypergeom, rankdata
from torch import Tensor
from torch.nn import functional as F

from dreamdiffusion.evidence.statistics.exchange import Exchange

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BLOCK = 64
_CELLS = 1 << 22  # numbers of a matrix of cosines held at a time
_GAUSSIAN = torch.exp(-0.5 * (torch.arange(-5.0, 6) / 1.5) ** 2)  # scikit-image: truncated at 3.5
_GAUSSIAN /= _GAUSSIAN.sum()
_FLAT = torch.full((7,), 1 / 7)


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
    ``top`` most probable; they repeat that 50 or 1000 times (`n_way_drawn`). With r other classes
    at least as probable as the truth, the number of those among the draw is hypergeometric, so the
    expectation over all draws has a closed form.

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
    rivals, table = _rivals(probabilities, truth, n_way, top)
    expected = table[rivals].mean(axis=1)  # (n, c)
    return expected[:, truth].T


def n_way_drawn(
    probabilities: Floats, truth: Ints, n_way: int, rng: np.random.Generator, top: int = 1,
    repeats: int = 1000,
) -> Floats:  # fmt: skip
    """N-way top-k accuracy with the papers' random draws (MinD-Vis: 1000, DreamDiffusion: 50).

    Whether a repeat succeeds depends on nothing but the number of rivals (classes at least as
    probable as the truth) among the n_way - 1 classes drawn without replacement, so that number is
    drawn. For comparison with published figures; its expectation is the diagonal of `n_way_pairs`.

    Parameters
    ----------
    probabilities, truth, n_way, top
        See `n_way_pairs`.
    rng : numpy.random.Generator
    repeats : int
        Draws for each sample.

    Returns
    -------
    array, (n,)
        Of each trial, the mean over repeats and samples.

    Raises
    ------
    ValueError
        As `n_way_pairs`.
    """
    rivals, _ = _rivals(probabilities, truth, n_way, top)
    own = rivals[np.arange(len(truth)), :, truth]  # (n, k)
    c = probabilities.shape[-1]
    drawn = rng.hypergeometric(own, c - 1 - own, n_way - 1, size=(repeats, *own.shape))
    return (drawn < top).mean(axis=(0, 2))


def _rivals(probabilities: Floats, truth: Ints, n_way: int, top: int) -> tuple[Ints, Floats]:
    """Return how many other classes are at least as probable as each class, (n, k, c), and the
    chance (c,) of success by that number.
    """
    _shape(probabilities[..., 0], truth)
    c = probabilities.shape[-1]
    if not 2 <= n_way <= c or not 1 <= top <= n_way:
        raise ValueError(f"n_way is {n_way} and top {top}; there are {c} classes")
    if truth.min() < 0 or truth.max() >= c:
        raise ValueError(f"truth holds {truth.min()}..{truth.max()}, there are {c} classes")
    rivals = rankdata(-probabilities, method="max", axis=-1).astype(np.int64) - 1
    return rivals, hypergeom.cdf(top - 1, c - 1, np.arange(c), n_way - 1)


def retrieval_hits(embeddings: Tensor, gallery: Tensor, tops: Sequence[int] = (1,)) -> Floats:
    """Say which pictures of a gallery are among the nearest, by cosine.

    Parameters
    ----------
    embeddings : Tensor, (n, k, d)
        Of the samples; any length.
    gallery : Tensor, (m, d)
        Of the pictures to choose from, each once.
    tops : sequence of int
        How many count as the nearest, each 1 to m.

    Returns
    -------
    array, (len(tops), n, m)
        The fraction of the k samples of each trial that have this picture among their nearest. Of
        pictures that tie for the last place none is.

    Raises
    ------
    ValueError
        If the shapes do not fit or one of ``tops`` is out of range.
    """
    if embeddings.ndim != 3 or gallery.ndim != 2 or embeddings.shape[-1] != gallery.shape[-1]:
        raise ValueError(
            f"embeddings have shape {tuple(embeddings.shape)} and the gallery "
            f"{tuple(gallery.shape)}, expected (n, k, d) and (m, d)"
        )
    (n, k, _), m = embeddings.shape, len(gallery)
    if not all(1 <= top <= m for top in tops):
        raise ValueError(f"top is {max(tops)}; the gallery has {m} pictures")
    choices = F.normalize(gallery.double(), dim=-1).T
    hits = np.empty((len(tops), n, m))
    size = max(1, _CELLS // (m * k))
    for start in range(0, n, size):
        # Only the gallery's lengths matter to the order.
        nearness = embeddings[start : start + size].double() @ choices  # (some, k, m)
        best = nearness.topk(min(m, max(tops) + 1)).values
        for row, top in zip(hits, tops, strict=True):
            # Nearer than the first one left out, so that no tie gets in.
            near = nearness > best[..., top, None] if top < m else torch.ones_like(nearness)
            row[start : start + size] = near.double().mean(1).cpu().numpy()
    return hits


def retrieval_pairs(embeddings: Tensor, gallery: Tensor, truth: Ints, top: int = 1) -> Floats:
    """Retrieval by cosine in an embedding space against a gallery: is the truth in the nearest?

    Parameters
    ----------
    embeddings, gallery
        See `retrieval_hits`.
    truth : array of int, (n,)
        Place in the gallery of what was shown.
    top : int
        1 to m.

    Returns
    -------
    array, (n, n)
    """
    return retrieval_hits(embeddings, gallery, [top])[0][:, truth].T


def mse_pairs(seen: Tensor, generated: Tensor) -> Floats:
    """Mean squared difference of the pixel values in [0, 1]; lower is better. Shape ``(n, n)``.

    The authors' code gives it on values in [0, 255]: 65,025 times as much.
    """
    _check_pictures(seen, generated)
    x = seen.double().flatten(1)
    pairs = torch.empty(len(x), len(x), dtype=torch.float64)
    for j, images in enumerate(generated):
        # The mean over samples of |x - y|^2, from the mean of y and of |y|^2.
        y = images.double().flatten(1)
        both = (x * x).sum(1) - 2 * (x @ y.mean(0)) + (y * y).sum(1).mean()
        pairs[:, j] = both.clamp(min=0) / x.shape[1]
    return pairs.numpy()


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
    means = torch.stack([standard(images).mean(0) for images in generated])
    return (standard(seen) @ means.T).cpu().numpy()


def gray(images: Tensor) -> Tensor:
    """Return luminance (..., H, W) of RGB (..., 3, H, W), weights as scikit-image's rgb2gray."""
    weights = torch.tensor([0.2125, 0.7154, 0.0721], dtype=images.dtype, device=images.device)
    return torch.einsum("...chw,c->...hw", images, weights)


def ssim_pairs(
    seen: Tensor, generated: Tensor, groups: Ints | None = None, color: bool = False
) -> Floats:
    """Structural similarity (Wang et al. 2004), at the pictures' own size.

    Equal to scikit-image's ``structural_similarity`` with ``data_range=1``, for all pairs at once.
    Of the grey pictures as the NSD suite has it: ``gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False`` (`metrics.nsd` enlarges to 425 pixels first). In colour as the
    code of DreamDiffusion has it: ``channel_axis`` and the defaults, which are a flat window of 7
    pixels and the sample covariance.

    Parameters
    ----------
    seen : Tensor, (n, 3, H, W)
        In [0, 1].
    generated : Tensor, (n, k, 3, H, W)
        In [0, 1].
    groups : array of int, (n,), optional
        Only pairs within a group are computed; the others are NaN. For many trials.
    color : bool

    Returns
    -------
    array, (n, n)

    Raises
    ------
    ValueError
        If the shapes do not fit, or a picture is smaller than the window of 11 (7) pixels.
    """
    _check_pictures(seen, generated)
    n = len(generated)
    taps = _FLAT if color else _GAUSSIAN
    rows, cols = (_window(length, taps, seen.device) for length in seen.shape[-2:])
    unbiased = len(taps) ** 2 / (len(taps) ** 2 - 1) if color else 1.0

    def smooth(images: Tensor) -> Tensor:
        return rows @ images @ cols.T

    def channels(images: Tensor) -> Tensor:
        return images.float() if color else gray(images.float())[..., None, :, :]

    c1, c2 = 0.01**2, 0.03**2
    pairs = np.full((n, n), np.nan)
    groups = np.zeros(n, np.int64) if groups is None else groups
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        x = channels(seen[torch.from_numpy(members).to(seen.device)])
        mean_x = smooth(x)
        var_x = (smooth(x * x) - mean_x**2) * unbiased
        for j in members:
            total = torch.zeros(len(members), dtype=torch.float64, device=seen.device)
            for y in channels(generated[j]):
                mean_y = smooth(y)
                var_y = (smooth(y * y) - mean_y**2) * unbiased
                both = mean_x * mean_y
                covariance = (smooth(x * y) - both) * unbiased
                top = (2 * both + c1) * (2 * covariance + c2)
                bottom = (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
                total += (top / bottom).mean((1, 2, 3), dtype=torch.float64)
            pairs[members, j] = (total / generated.shape[1]).cpu().numpy()
    return pairs


def trial_groups(design: Exchange, rng: np.random.Generator, largest: int = _BLOCK) -> Ints:
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


def _window(length: int, taps: Tensor, device: torch.device) -> Tensor:
    """Matrix (length - taps + 1, length) of the window at every place where it fits."""
    if length < len(taps):
        raise ValueError(f"pictures are {length} pixels, SSIM needs {len(taps)} or more")
    matrix = torch.zeros(length - len(taps) + 1, length)
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


def label_pairs(named: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Score one named category for each trial: pairs ``(n, n)`` of 0 and 1."""
    place = {label: i for i, label in enumerate(sorted({*labels, *named}))}
    return top1_pairs(
        np.array([[place[label]] for label in named]),
        np.array([place[label] for label in labels]),
        len(place),
    )
