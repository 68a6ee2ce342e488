"""The scales of pictures that networks take; everything else takes and gives [0, 1]."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
import torch.nn.functional as F

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def check_range(images: torch.Tensor) -> None:
    """Raise a ValueError unless pictures are in [0, 1]."""
    low, high = (float(value) for value in torch.aminmax(images))
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # also false for NaN
        raise ValueError(
            f"pictures lie in [{low:.3g}, {high:.3g}], expected [0, 1]; for pictures in [-1, 1] "
            "pass (images + 1) / 2"
        )


def distinct_pictures(images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Find the pictures (n, 3, H, W) that differ, so that each is looked at once.

    Returns
    -------
    rows : array of int, (m,)
        The first place of each picture.
    which : array of int, (n,)
        Place of each picture among these.
    """
    plain = images.detach().cpu().contiguous().view(torch.uint8).numpy()
    first: dict[bytes, int] = {}
    which = np.array(
        [
            first.setdefault(hashlib.blake2b(one.tobytes(), digest_size=16).digest(), len(first))
            for one in plain
        ],
        dtype=int,
    )
    return np.unique(which, return_index=True)[1], which


def signed(images: torch.Tensor) -> torch.Tensor:
    """Turn pictures in [0, 1], which everything takes and gives, into [-1, 1] for a VAE.

    Raises
    ------
    ValueError
        If they are not in [0, 1].
    """
    check_range(images)
    return images * 2 - 1


def clip_pixels(images: torch.Tensor, size: int) -> torch.Tensor:
    """Scale images from [0, 1] to what CLIP's image tower takes, ``(n, 3, size, size)``."""
    images = signed(images)  # as in training, to the last digit
    if images.shape[-1] != size:
        images = F.interpolate(images, size=(size, size), mode="bicubic", antialias=True)
    mean = images.new_tensor(CLIP_MEAN).view(1, 3, 1, 1)
    std = images.new_tensor(CLIP_STD).view(1, 3, 1, 1)
    return ((images.clamp(-1, 1) + 1) / 2 - mean) / std
