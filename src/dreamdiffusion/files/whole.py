"""Folders and files written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

LOOK_LOG = "looks.jsonl"
"""The log of looks at test trials, which stays where trials are prepared anew."""


@contextlib.contextmanager
def new_folder(folder: Path, kind: str, keep: Sequence[str] = ()) -> Iterator[Path]:
    """Give a temporary folder that becomes `folder` when the block ends without an error.

    An older folder of the same kind is replaced, but for the files named in `keep`, which move to
    the new one; anything else in the way is an error.
    """
    if folder.exists() and any(folder.iterdir()):
        try:
            read_info(folder, kind)
        except (FileNotFoundError, ValueError) as error:
            raise FileExistsError(
                f"{folder} exists and does not hold {kind}; choose another output"
            ) from error
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        yield unfinished
        if folder.exists():
            for name in keep:
                if (folder / name).is_file():
                    shutil.copy2(folder / name, unfinished / name)
            older = folder.with_name(f".{folder.name}.{os.getpid()}.older")
            folder.rename(older)
            unfinished.rename(folder)
            shutil.rmtree(older)
        else:
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def read_info(folder: Path, kind: str) -> dict[str, Any]:
    """Read `info.json` of a prepared folder and check that it is of the expected kind."""
    path = folder / "info.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no info.json; expected a folder of {kind}")
    try:
        info = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(info, dict) or info.get("kind") != kind:
        found = info.get("kind") if isinstance(info, dict) else type(info).__name__
        raise ValueError(f"{folder} holds {found}, expected {kind}; run prepare with kind {kind}")
    return info


def open_array(path: Path) -> np.ndarray:
    """Memory-map an npy file; an array of Python objects is refused, nothing is unpickled."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    return np.lib.format.open_memmap(path, mode="r")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file that takes the place of `path`, whole and on the disk, when the block ends.

    An OSError names the file.
    """
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.unfinished")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # as writing leaves it
            error.filename = str(path)
        raise
    with contextlib.suppress(PermissionError):  # Windows opens no folder
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
