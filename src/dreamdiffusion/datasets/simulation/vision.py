"""What early visual cortex takes from a picture: local contrast and opponent colour.

Both are computed from the pixels that were shown, never from the words that describe them.
The cortex that uses them is SIMULATED.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dreamdiffusion.datasets.simulation.sources import GRID, FloatArray

OPPONENTS: tuple[str, ...] = ("luminance", "red-green", "blue-yellow")

_OPPONENT = np.array([[0.299, 0.587, 0.114], [1.0, -1.0, 0.0], [-0.5, -0.5, 1.0]])


def opponent_axes(rgb: FloatArray) -> FloatArray:
    """Luminance, red minus green and blue minus yellow of colours.

    Parameters
    ----------
    rgb : array, shape (..., 3)
        0 to 1.

    Returns
    -------
    array, shape (..., 3)
        0 to 1, -1 to 1, -1 to 1.
    """
    return rgb @ _OPPONENT.T


def as_array(pictures: Sequence[Image.Image]) -> NDArray[np.uint8]:
    """Stack RGB pictures of one size, shape (n, height, width, 3)."""
    return np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])


def local_contrast(pictures: NDArray[np.uint8]) -> FloatArray:
    """Contrast in each cell of a ``GRID`` x ``GRID`` division of the picture.

    Parameters
    ----------
    pictures : array of uint8, shape (n, height, width, 3)
        At least ``GRID`` pixels high and wide.

    Returns
    -------
    array, shape (n, GRID * GRID)
        Root mean square deviation from the cell's mean, over the three opponent axes; rows from
        the top, columns from the left. 0 where a cell is uniform, about 0.2 to 0.5 on an object.
    """
    _check(pictures)
    axes = opponent_axes(pictures.astype(np.float32) / 255)
    rows = np.array_split(np.arange(axes.shape[1]), GRID)
    columns = np.array_split(np.arange(axes.shape[2]), GRID)
    cells = [axes[:, r[0] : r[-1] + 1, c[0] : c[-1] + 1] for r in rows for c in columns]
    return np.stack([np.sqrt(cell.var(axis=(1, 2)).sum(axis=-1)) for cell in cells], axis=1)


def figure_color(pictures: NDArray[np.uint8]) -> FloatArray:
    """Opponent colour of what stands out from its surround.

    The surround at a pixel is interpolated between the left and right edges of its row; pixels
    count by their squared deviation from it and by their own luminance (dark outlines drive
    colour cells little). This is figure-ground segregation at its simplest.

    Parameters
    ----------
    pictures : array of uint8, shape (n, height, width, 3)

    Returns
    -------
    array, shape (n, 3)
        Luminance, red-green and blue-yellow of the figure (see :func:`opponent_axes`). Zero for
        a picture without a figure.
    """
    _check(pictures)
    rgb = pictures.astype(np.float32) / 255
    width = rgb.shape[2]
    edge = max(1, width // 32)
    left = rgb[:, :, :edge].mean(axis=2, keepdims=True)
    right = rgb[:, :, -edge:].mean(axis=2, keepdims=True)
    ramp = np.linspace(0, 1, width, dtype=np.float32)[:, None]
    deviation = np.square(rgb - (left + (right - left) * ramp)).sum(axis=-1)
    weight = np.square(deviation) * np.square(rgb @ _OPPONENT[0].astype(np.float32))
    total = weight.sum(axis=(1, 2))
    mean = (weight[..., None] * rgb).sum(axis=(1, 2)) / np.maximum(total, 1e-12)[:, None]
    return opponent_axes(mean)


def _check(pictures: NDArray[np.uint8]) -> None:
    shape = pictures.shape
    if pictures.ndim != 4 or shape[3] != 3 or pictures.dtype != np.uint8 or min(shape[1:3]) < GRID:
        raise ValueError(
            f"pictures are {pictures.dtype} of shape {shape}, expected uint8 of shape "
            f"(n, height, width, 3), at least {GRID} x {GRID} pixels"
        )
