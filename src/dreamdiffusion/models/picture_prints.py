"""Which pictures a network was trained on: a print of each, laid beside its weights.

A judge or a generator that has seen the test pictures can make or name them without any EEG, so an
evaluation asks for the prints. They are of the exact pixels: a picture that was cropped or
compressed anew has another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from dreamdiffusion.files.whole import write_tensors

FILE = "pictures_trained_on.safetensors"


def picture_prints(pixels: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return a print of each picture ``(n, height, width, 3)``: 8 bytes of its SHA-256."""
    digests = [hashlib.sha256(one.tobytes()).digest()[:8] for one in pixels]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def save_prints(
    folder: Path, pixels: NDArray[np.uint8], others: Iterable[NDArray[np.uint64]] = ()
) -> None:
    """Write the prints of the pictures that a network was trained on, each once.

    Parameters
    ----------
    pixels
        ``(n, height, width, 3)``.
    others
        Prints of further pictures: those of an earlier training, or of pictures drawn in parts.
    """
    prints = np.unique(np.concatenate([picture_prints(pixels), *others]))
    write_tensors(folder / FILE, {"prints": prints})


def load_prints(folder: Path) -> NDArray[np.uint64] | None:
    """Return the prints beside a network, ``(n,)``; None where none were written.

    Raises
    ------
    ValueError
        If the file is something else.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return load_file(path)["prints"]
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path} does not hold prints of pictures: {error}") from error
