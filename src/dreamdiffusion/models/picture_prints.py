"""Which pictures a network was trained on: a print of each, laid beside its weights.

A judge or a generator that has seen the test pictures can make or name them without any EEG, so an
evaluation asks for the prints. They are of the exact pixels; descriptions beside them
(`picture_descriptors`) are nearly the same for a picture that was cropped, mirrored or compressed
anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from dreamdiffusion.files.arrays import read_arrays
from dreamdiffusion.files.pictures import is_square, picture_path, read_images
from dreamdiffusion.files.schema import PictureFit
from dreamdiffusion.files.whole import write_tensors
from dreamdiffusion.models.picture_descriptors import (
    N_NUMBERS,
    alike_pictures,
    describe_pictures,
)
from dreamdiffusion.trials.trials import Trials

FILE = "pictures_trained_on.safetensors"
PRINT_BYTES = 6
"""Of a print: few enough that a million take little room, and enough that one of 240 other pictures
is among a million by chance in one of a million evaluations."""
SHOWN_SIZE = 64
"""Pixels at which pictures of trials are compared."""


def picture_prints(pixels: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return a print of each picture ``(n, height, width, 3)``: 6 bytes of its SHA-256."""
    digests = [hashlib.sha256(one.tobytes()).digest()[:PRINT_BYTES] for one in pixels]
    return _from_bytes(np.frombuffer(b"".join(digests), np.uint8).reshape(-1, PRINT_BYTES))


def _from_bytes(lowest_first: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return prints ``(n,)`` of their bytes ``(n, 6)``, the lowest first."""
    whole = np.zeros((len(lowest_first), 8), np.uint8)
    whole[:, :PRINT_BYTES] = lowest_first
    return whole.view("<u8")[:, 0].astype(np.uint64)


def _to_bytes(prints: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return the bytes ``(n, 6)`` of prints ``(n,)``, the lowest first."""
    every = prints.astype("<u8").view(np.uint8).reshape(-1, 8)
    return np.ascontiguousarray(every[:, :PRINT_BYTES])


def save_prints(
    folder: Path,
    pixels: NDArray[np.uint8],
    others: Iterable[NDArray[np.uint64]] = (),
    other_descriptions: NDArray[np.int8] | None = None,
    drawn: bool = False,
) -> None:
    """Write the prints of the pictures that a network was trained on, each once.

    Parameters
    ----------
    pixels
        ``(n, height, width, 3)``.
    others
        Prints of further pictures: those of an earlier training, or of pictures drawn in parts.
    other_descriptions
        Descriptions of an earlier training (`load_descriptions`).
    drawn
        Whether a program drew them. They are not described: nobody has a file of one to change.
    """
    prints = np.unique(np.concatenate([picture_prints(pixels), *others]))
    descriptions = [describe_pictures(pixels[:0] if drawn else pixels)]
    descriptions += [] if other_descriptions is None else [other_descriptions]
    every = np.unique(np.concatenate(descriptions), axis=0)
    tensors = {"prints": _to_bytes(prints), "descriptions": every}
    write_tensors(folder / FILE, tensors)


def save_shown(folder: Path, trials: Trials, rows: NDArray[np.integer]) -> None:
    """Write the prints of the pictures that training trials showed, as far as they are known.

    An evaluation of another recording asks for them: what it showed may have been shown before.
    """
    names = sorted(set(trials.metadata["stim_file"].iloc[rows].astype(str)) - {""})
    if trials.pairing != "stim_file" or not names or trials.stimuli_root is None:
        return
    paths = [trials.stimuli_root / name for name in names]
    if all(path.is_file() for path in paths):  # some decoders need no picture
        paths = [picture_path(trials.stimuli_root, name) for name in names]
        save_prints(folder, trials.read_pictures(paths, SHOWN_SIZE))


def shown_before(folder: Path, trials: Trials) -> NDArray[np.bool_] | None:
    """Return which of the pictures of trials a decoder was trained on, each once (m,).

    Also cropped, mirrored or compressed anew. None where the decoder or the trials do not say.
    """
    prints, descriptions = load_prints(folder), load_descriptions(folder)
    if prints is None or descriptions is None or trials.pairing != "stim_file":
        return None
    paths = list(dict.fromkeys(trials.images()))
    found = np.zeros(len(paths), bool)
    for fit in get_args(PictureFit):  # those of training may have been made square in another way
        pixels = read_images(paths, SHOWN_SIZE, fit)
        found |= np.isin(picture_prints(pixels), prints) | alike_pictures(pixels, descriptions)
        if all(map(is_square, paths)):
            break
    return found


def load_prints(folder: Path) -> NDArray[np.uint64] | None:
    """Return the prints beside a network, ``(n,)``; None where none were written.

    Raises
    ------
    ValueError
        If the file is something else.
    """
    tensors = _load(folder)
    return None if tensors is None else _from_bytes(tensors["prints"])


def load_descriptions(folder: Path) -> NDArray[np.int8] | None:
    """Return the descriptions beside a network; None where none were written.

    Raises
    ------
    ValueError
        If the file is something else.
    """
    tensors = _load(folder)
    return None if tensors is None else tensors.get("descriptions")


def _load(folder: Path) -> dict[str, NDArray] | None:
    path = folder / FILE
    if not path.is_file():
        return None
    tensors = read_arrays(path, "prints of pictures", ("prints",))
    prints = tensors["prints"]
    if prints.dtype == np.uint64 and prints.ndim == 1:  # of 8 bytes, as they were written at first
        tensors["prints"] = _to_bytes(prints)
    expected = {"prints": (np.uint8, (PRINT_BYTES,)), "descriptions": (np.int8, (N_NUMBERS,))}
    for key, found in tensors.items():
        dtype, shape = expected.get(key, (found.dtype, found.shape[1:]))
        if found.dtype != dtype or found.ndim != len(shape) + 1 or found.shape[1:] != shape:
            raise ValueError(
                f"{path} does not hold prints of pictures: {key} is {found.dtype} of shape "
                f"{found.shape}, expected {np.dtype(dtype)} of shape {('n', *shape)}"
            )
    return tensors
