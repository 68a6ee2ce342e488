"""Picture files -> pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """Turn uint8 ``(n, h, w, 3)`` into float32 ``(n, 3, h, w)`` in [0, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float() / 255


def read_image(path: Path, size: int) -> np.ndarray:
    """Read one picture as uint8 ``(size, size, 3)``; it is squashed to a square, as the paper.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file cannot be decoded as a picture.
    """
    if not path.is_file():
        raise FileNotFoundError(f"picture {path} does not exist")
    try:
        with Image.open(path) as image:
            rgb = image.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"picture {path} cannot be read: {error}") from error
    return np.asarray(rgb, dtype=np.uint8)


def read_images(paths: list[Path], size: int) -> np.ndarray:
    """Read many pictures as uint8 ``(n, size, size, 3)``; see `read_image` for errors."""
    return np.stack([read_image(path, size) for path in paths])
