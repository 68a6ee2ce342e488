"""A description of a picture that changes little when it is cropped a little, or compressed anew.

Coefficients of the cosine transform of luminance and the two colour differences, weighted against
the 1/f spectrum of pictures, so that detail counts as much as the large course. Mirrored and
cropped pictures are found by mirroring and cropping the picture that is asked about.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

LIKENESS = 0.993
"""Correlation of two descriptions of one picture; what others reach: docs/evidence.md."""
CROPS = (0.0, 0.03, 0.06)
"""Parts of the side that are tried to be cut off at each edge."""
FINER, LEAST_FINER = (0.016, 0.016, 0.008, 0.008), 0.9
"""Steps by which the edges of the best crop are moved, where it is as alike as this."""

Box = tuple[float, float, float, float]
"""Parts of the side that are cut off: left, top, right, bottom."""
N_CANDIDATES = 8
LEAST_CANDIDATE = 0.6
_SIDE, _N_LUMINANCE, _N_CHROMA = 32, 12, 6
N_NUMBERS = _N_LUMINANCE**2 - 1 + 2 * (_N_CHROMA**2 - 1)


def describe_pictures(pixels: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Return descriptions (n, 213) of pictures (n, height, width, 3), each of length about 127."""
    parts = [_describe(part) for part in np.array_split(pixels, len(pixels) // 512 + 1)]
    return np.concatenate(parts)


def alike_pictures(pixels: NDArray[np.uint8], known: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Return which pictures are among the known ones, also cropped, mirrored or compressed anew.

    Parameters
    ----------
    pixels
        ``(n, height, width, 3)``.
    known
        ``(m, 213)``, of `describe_pictures`.

    Returns
    -------
    array of bool, (n,)
    """
    found = np.zeros(len(pixels), bool)
    if not len(known):
        return found
    table = _unit(known)
    for place, picture in enumerate(pixels):
        coarse = _unit(describe_pictures(np.stack([picture, picture[:, ::-1]]))) @ table.T
        nearest = np.argsort(coarse.max(axis=0))[-N_CANDIDATES:]
        if coarse.max() < LEAST_CANDIDATE:
            continue
        found[place] = _best_likeness(picture, table[nearest]) >= LIKENESS
    return found


def _best_likeness(picture: NDArray[np.uint8], candidates: NDArray[np.float32]) -> float:
    """Return the most that a crop, mirrored or not, is like one of the candidates (k, 213)."""
    crops: list[tuple[Box, bool]] = [
        ((left, top, right, bottom), flip)
        for left, top, right, bottom in itertools.product(CROPS, repeat=4)
        for flip in (False, True)
    ]
    likeness = _describe_crops(picture, crops) @ candidates.T
    place, which = np.unravel_index(likeness.argmax(), likeness.shape)
    best, (box, flip) = float(likeness.max()), crops[place]
    for step in FINER:
        if not LEAST_FINER <= best < LIKENESS:
            break
        moved: list[tuple[Box, bool]] = [
            (_moved(box, edge, change), flip) for edge in range(4) for change in (-step, step)
        ]
        likeness = _describe_crops(picture, moved) @ candidates[which]
        if likeness.max() > best:
            best, (box, flip) = float(likeness.max()), moved[likeness.argmax()]
    return best


def _moved(box: Box, edge: int, change: float) -> Box:
    parts = list(box)
    parts[edge] = max(0.0, parts[edge] + change)
    return parts[0], parts[1], parts[2], parts[3]


def _describe(pixels: NDArray[np.uint8]) -> NDArray[np.int8]:
    small = np.zeros((len(pixels), _SIDE, _SIDE, 3), np.float32)
    for place, picture in enumerate(pixels):
        image = Image.fromarray(picture).resize((_SIDE, _SIDE), Image.Resampling.BOX)
        small[place] = np.asarray(image)
    luminance = small @ np.array([0.299, 0.587, 0.114], np.float32)
    parts = []
    for plane, n in (
        (luminance, _N_LUMINANCE),
        (small[..., 2] - luminance, _N_CHROMA),
        (small[..., 0] - luminance, _N_CHROMA),
    ):
        frequency = np.arange(n)
        weight = np.sqrt(1 + frequency[:, None] ** 2 + frequency**2)
        coefficients = np.asarray(dctn(plane, axes=(1, 2), norm="ortho"))[:, :n, :n] * weight
        parts.append(coefficients.reshape(len(small), n * n)[:, 1:])  # without the mean
    return np.round(127 * _unit(np.concatenate(parts, axis=1))).astype(np.int8)


def _unit(descriptions: NDArray) -> NDArray[np.float32]:
    vectors = descriptions.astype(np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def _describe_crops(
    picture: NDArray[np.uint8], crops: Sequence[tuple[Box, bool]]
) -> NDArray[np.float32]:
    """Return unit descriptions (n, 213) of crops of a picture (height, width, 3), at its size."""
    height, width = picture.shape[:2]
    image, changed = Image.fromarray(picture), []
    for (left, top, right, bottom), flip in crops:
        box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
        crop = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box=box))
        changed.append(crop[:, ::-1] if flip else crop)
    return _unit(describe_pictures(np.stack(changed)))
