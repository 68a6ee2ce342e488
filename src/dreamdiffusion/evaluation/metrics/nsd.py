"""The NSD suite: what MindEye2, Brain-Diffuser and ATM report of reconstructed images.

Pixel correlation, structural similarity, and identification among the pictures in the feature
spaces of networks that had no part in the decoding. As everywhere, each function returns a matrix
``pairs`` (n, n) (see `metrics.pairs`), averaged over the k samples of a trial; the papers keep one
image.

Notation: n trials, k samples per trial, m pictures that differ, d features.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional as F

from dreamdiffusion.evaluation.metrics.pairs import ssim_pairs

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SIZE = 425  # pixels; the size of the NSD's pictures


def resize(images: Tensor, size: int) -> Tensor:
    """Resize pictures (..., 3, H, W) to a square, bilinear and anti-aliased, as the suite does."""
    if images.shape[-2:] == (size, size):
        return images
    flat = images.reshape(-1, *images.shape[-3:])
    flat = F.interpolate(flat, (size, size), mode="bilinear", antialias=True)
    return flat.reshape(*images.shape[:-2], size, size)


def pixcorr_pairs(seen: Tensor, generated: Tensor, size: int = SIZE) -> Floats:
    """PixCorr: Pearson correlation of all pixel values after resizing to 425.

    Parameters
    ----------
    seen : Tensor, (n, 3, H, W)
    generated : Tensor, (n, k, 3, H, W)
    size : int

    Returns
    -------
    array, (n, n)
        A picture of one colour throughout has no correlation; it scores 0.
    """
    # Resizing is linear, A X B^T. With A = QR the picture R X R'^T has the same products with
    # others as the resized one, in no more numbers than the smaller of the two.
    steps = [_resizing(length, size) for length in seen.shape[-2:]]
    (rows, cols), (a, b) = [torch.linalg.qr(s).R for s in steps], [s.mean(0) for s in steps]

    def standard(images: Tensor) -> Tensor:
        x = images.double().cpu()
        mean = torch.einsum("h,nchw,w->n", a, x, b) / x.shape[1]
        centred = rows @ (x - mean[:, None, None, None]) @ cols.T
        return F.normalize(centred.flatten(1), dim=1, eps=1e-9)  # a plain picture is 1e-15 long

    means = torch.stack([standard(images).mean(0) for images in generated])
    return (standard(seen) @ means.T).numpy()


def nsd_ssim_pairs(
    seen: Tensor, generated: Tensor, groups: Ints | None = None, size: int = SIZE
) -> Floats:
    """SSIM of the suite, ``(n, n)``: grey, resized to 425; see `pairs.ssim_pairs`."""
    n = len(seen)
    pairs = np.full((n, n), np.nan)
    groups = np.zeros(n, np.int64) if groups is None else groups
    for group in np.unique(groups):  # the large pictures of one group at a time
        members = np.flatnonzero(groups == group)
        x, y = seen[members], generated[members]
        pairs[np.ix_(members, members)] = ssim_pairs(resize(x, size), resize(y, size))
    return pairs


def feature_correlations(features: Tensor, gallery: Tensor) -> Floats:
    """Pearson correlation of features, of every sample with every picture.

    Parameters
    ----------
    features : Tensor, (n, k, d)
        Of the samples.
    gallery : Tensor, (m, d)
        Of the pictures that were shown, each once.

    Returns
    -------
    array, (n, k, m)
        Features that are all the same number have no correlation; it is 0.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    if features.ndim != 3 or gallery.ndim != 2 or features.shape[-1] != gallery.shape[-1]:
        raise ValueError(
            f"features have shape {tuple(features.shape)} and the gallery {tuple(gallery.shape)}, "
            "expected (n, k, d) and (m, d)"
        )
    return (standardise(features) @ standardise(gallery).T).double().cpu().numpy()


def standardise(features: Tensor) -> Tensor:
    """Centre each row of ``(n, d)`` and give it unit length: products are then correlations."""
    return F.normalize(features - features.mean(-1, keepdim=True), dim=-1)


def two_way_pairs(correlations: Floats, truth: Ints) -> Floats:
    """Two-way identification: the fraction of the other pictures that fit the sample worse.

    For each sample, the share of the other m - 1 pictures whose features correlate with the
    sample's strictly less than those of the true picture do.

    Parameters
    ----------
    correlations : array, (n, k, m)
        From `feature_correlations`, of pictures that differ: one that was shown in many trials
        would be its own rival.
    truth : array of int, (n,)
        Place of each trial's picture among the m.

    Returns
    -------
    array, (n, n)

    Raises
    ------
    ValueError
        If there is but one picture.
    """
    m = correlations.shape[-1]
    if m < 2:
        raise ValueError(f"two-way identification needs two or more pictures, there is {m}")
    below = rankdata(correlations, method="min", axis=-1) - 1  # (n, k, m)
    return (below.mean(axis=1) / (m - 1))[:, truth].T


def distance_pairs(correlations: Floats, truth: Ints) -> Floats:
    """Correlation distance 1 - r, ``(n, n)``; less is better. Arguments: `two_way_pairs`."""
    return 1 - correlations.mean(axis=1)[:, truth].T


def _resizing(length: int, size: int) -> Tensor:
    """Matrix (size, length) that resizes one side of a picture as `resize` does."""
    basis = torch.eye(length, dtype=torch.float64)[None, None]
    return F.interpolate(basis, (size, length), mode="bilinear", antialias=True)[0, 0]
