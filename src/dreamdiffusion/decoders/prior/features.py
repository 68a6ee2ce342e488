"""What any picture has, label or not: light, contrast, colour and edges in a coarse grid.

The features that encoding models of the visual cortex begin with (Naselaris et al. 2011,
NeuroImage 56), beside the picture's CLIP embedding and, where they are known, its attributes.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from dreamdiffusion.decoders.attributes import value_places

GRID = 4
"""Cells on a side; finer ones (8) told no more of the simulated person's EEG."""
N_ORIENTATIONS = 4
PICTURE_SHARE = 0.3
"""Scale of each kind of a picture's own features beside its attributes: the ridge penalty holds
them back more, as there are more of them. Chosen within the simulated person's training runs."""


def low_level(pictures: torch.Tensor) -> torch.Tensor:
    """Describe pictures without labels.

    Parameters
    ----------
    pictures
        ``(n, 3, height, width)`` in [0, 1].

    Returns
    -------
    tensor
        ``(n, 8, GRID * GRID)``: mean luminance of each cell, its standard deviation, red against
        green, blue against yellow, and the gradients' size along each of four orientations.
    """
    red, green, blue = pictures.unbind(dim=1)
    light = pictures.mean(dim=1)
    down, across = torch.gradient(light, dim=(1, 2))
    size, angle = torch.hypot(across, down), torch.atan2(down, across)
    turns = [k * math.pi / N_ORIENTATIONS for k in range(N_ORIENTATIONS)]
    edges = [size * torch.cos(2 * (angle - turn)).clamp(min=0) for turn in turns]
    maps = [light, light**2, red - green, blue - (red + green) / 2, *edges]
    cells = F.adaptive_avg_pool2d(torch.stack(maps, dim=1), GRID).flatten(2)
    cells[:, 1] = (cells[:, 1] - cells[:, 0] ** 2).clamp(min=0).sqrt()
    return cells


def picture_features(
    cells: torch.Tensor,
    embeddings: torch.Tensor,
    shown: pd.DataFrame,
    attributes: dict[str, list[str]],
) -> list[np.ndarray]:
    """Gather the kinds of features of n pictures.

    Parameters
    ----------
    cells
        What `low_level` gives.
    embeddings
        ``(n, clip_dim)``.
    shown
        n rows, a column for each attribute.
    attributes
        Values of each; a value that is none of them has no part.

    Returns
    -------
    list of array
        ``(n, n_features)`` of each kind: the attributes (zeros and ones) first.
    """
    ones = [
        value_places(shown[name].astype(str).tolist(), values, -1)[:, None]
        == np.arange(len(values))
        for name, values in attributes.items()
    ]
    words = np.concatenate(ones, axis=1) if ones else np.zeros((len(shown), 0))
    light, contrast, colour, edges = cells.split((1, 1, 2, N_ORIENTATIONS), dim=1)
    own = [part.flatten(1).numpy() for part in (light, contrast, colour, edges)]
    return [part.astype(np.float32) for part in (words, *own, embeddings.numpy())]


def scales(kinds: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of every feature and what it is divided by, over all kinds in order.

    Each kind then varies by 1 in all (the attributes) or by the square of `PICTURE_SHARE`.
    """
    center = np.concatenate([kind.mean(axis=0) for kind in kinds])
    spread = []
    for place, kind in enumerate(kinds):
        share = PICTURE_SHARE if place else 1.0
        total = float(np.sqrt(kind.var(axis=0).sum()))
        spread.append(np.full(kind.shape[1], total / share if total else 1.0))
    return center, np.concatenate(spread)
