"""Arrays out of a safetensors file, or one sentence that says what the file is not."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from numpy.typing import NDArray


def read_arrays(path: Path, what: str, keys: Iterable[str]) -> dict[str, NDArray]:
    """Read all arrays of a safetensors file.

    Parameters
    ----------
    what
        It should hold, for the error.
    keys
        Arrays that have to be there.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is something else.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except (SafetensorError, TypeError) as error:  # NumPy does not know all types of numbers
        raise ValueError(f"{path} does not hold {what}: {error}") from error
    if lacking := [key for key in keys if key not in arrays]:
        found = ", ".join(arrays) or "nothing"
        raise ValueError(f"{path} does not hold {what}: no {', '.join(lacking)}, but {found}")
    return arrays
