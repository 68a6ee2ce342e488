"""Files and folders written whole or not at all; an error names the file that could not be written.

All writing of files goes through here, so that a full disk, a quota or a limit on the size of files
looks the same wherever it strikes: an OSError with number, cause and file.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError

LOOK_LOG = "looks.jsonl"
"""The log of looks at test trials, which stays where trials are prepared anew."""
LOCK, HOLDER = ".running.lock", "running.json"
"""In an output folder, while a command writes it: the lock, and who holds it (`files.locks`)."""
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""Numbers of errors of the disk: full, over a quota, over the limit of a file's size, broken."""


_UNFINISHED_FILE = re.compile(r".+\.(\d+)-[0-9a-f]{8}\.unfinished")


class DiskError(OSError):
    """An error of the disk whose text says what stays and how to go on."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file that takes the place of `path`, whole and on the disk, when the block ends.

    Raises
    ------
    OSError
        If it cannot be written; number, cause and file are set.
    """
    unfinished = _unfinished_file(path)
    try:
        with naming(path), unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole; see `replacing`."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole; see `replacing`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, content: Any, indent: int | None = 1) -> None:
    """Write JSON, whole, with a line break at its end; see `replacing`."""
    write_text(path, json.dumps(content, indent=indent) + "\n")


def write_tensors(
    path: Path, tensors: Mapping[str, Any], metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file whole.

    Parameters
    ----------
    tensors
        Torch tensors, or numpy arrays, by name.

    Raises
    ------
    OSError
        If it cannot be written; number, cause and file are set.
    """
    arrays = all(isinstance(value, np.ndarray) for value in tensors.values())
    if arrays and tensors:
        from safetensors.numpy import save_file
    else:
        from safetensors.torch import save_file
    unfinished = _unfinished_file(path)
    try:
        with naming(path):
            save_file(dict(tensors), unfinished, metadata)
            _sync(unfinished)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_picture(path: Path, picture: Any, **options: Any) -> None:
    """Write a PIL image, or a matplotlib figure, whole, in the format that the name says.

    Parameters
    ----------
    options
        As ``Image.save`` or ``Figure.savefig`` takes them.
    """
    kind = path.suffix.removeprefix(".").lower()
    content = io.BytesIO()  # encoders write files in C, where an error loses its cause
    if hasattr(picture, "savefig"):
        picture.savefig(content, format=kind, **options)
    else:
        picture.save(content, format={"jpg": "jpeg"}.get(kind, kind), **options)
    write_bytes(path, content.getvalue())


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give every error of the disk in the block its number, its cause and the name `path`.

    For libraries that write a file themselves: safetensors' own error and numpy's ``N requested
    and M written`` become an OSError; what names another file keeps that name.

    Raises
    ------
    OSError
        In place of either.
    """
    try:
        yield
    except Exception as error:
        found = as_disk_error(error, path)
        if found is None or found is error:
            raise
        raise found from error


def as_disk_error(error: BaseException, path: Path) -> OSError | None:
    """Return what says file and cause of an error that writing gave; None for any other error.

    An error that names its file and number is returned as it is.
    """
    if isinstance(error, OSError) and error.errno is not None:
        if error.filename is None:  # as writing leaves it
            error.filename = str(path)
        return error
    if isinstance(error, SafetensorError):
        number = re.search(r"os error (\d+)", str(error))
        return None if number is None else _disk_error(int(number[1]), path)
    if isinstance(error, OSError) and re.search(r"requested and \d+ written", str(error)):
        return _disk_error(_likely_cause(path), path)
    return None


def _disk_error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


def _likely_cause(path: Path) -> int:
    """Return why a library that does not say so could not write all of a file."""
    folder = next(parent for parent in (path, *path.parents) if parent.is_dir())
    return errno.ENOSPC if shutil.disk_usage(folder).free < 1 << 20 else errno.EFBIG


@contextlib.contextmanager
def whole_folder(folder: Path, keep: Sequence[str] = ()) -> Iterator[Path]:
    """Give a temporary folder that takes the place of `folder` when the block ends.

    After an error in the block the temporary folder is gone and `folder` is as it was. What a
    process left that was killed in such a block is removed by the next.

    Parameters
    ----------
    keep
        Files of the older folder that move to the new one.

    Raises
    ------
    OSError
        If the disk is full or fails; number, cause and file are set, the file as it would have
        been called in `folder`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        with _renaming(unfinished, folder):
            yield unfinished
            for path in unfinished.rglob("*"):
                if path.is_file():
                    _sync(path)
            if folder.exists():
                _keep(folder, unfinished, keep)
        _swap(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    _sync_folder(folder.parent)


def remove_unfinished(folder: Path) -> None:
    """Remove what processes left that were killed while they wrote `folder`, or files in it.

    The one that the older content of `folder` was moved to is removed only where the new stands.
    Commands hold what they write (`files.locks`), so that no process of another machine is meant.
    """
    pattern = re.compile(rf"\.{re.escape(folder.name)}\.(\d+)\.(unfinished|older)")
    for path in folder.parent.iterdir():
        found = pattern.fullmatch(path.name)
        if found is None or path.is_symlink() or not path.is_dir() or _is_alive(int(found[1])):
            continue
        if found[2] == "unfinished" or folder.exists():
            shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob("*.unfinished"):
        found = _UNFINISHED_FILE.fullmatch(path.name)
        if found and path.is_file() and not _is_alive(int(found[1])):
            path.unlink(missing_ok=True)


def _unfinished_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.unfinished")


def _is_alive(pid: int) -> bool:
    if os.name == "nt":  # where asking ends the process
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # there is one, of somebody else; or the system does not say
        return True
    return True


def new_folder(
    folder: Path, kind: str, keep: Sequence[str] = ()
) -> contextlib.AbstractContextManager[Path]:
    """Give a `whole_folder` in place of one of the same kind; anything else there is an error.

    Raises
    ------
    FileExistsError
        If the folder holds something else than `kind`.
    """
    if not is_unused(folder):
        try:
            read_info(folder, kind)
        except (FileNotFoundError, ValueError) as error:
            raise FileExistsError(
                f"{folder} exists and does not hold {kind}; choose another output"
            ) from error
    return whole_folder(folder, keep)


def is_unused(folder: Path) -> bool:
    """Whether a folder is missing, or holds nothing but the lock of the command that runs."""
    return not folder.exists() or {path.name for path in folder.iterdir()} <= {LOCK, HOLDER}


@contextlib.contextmanager
def _renaming(unfinished: Path, folder: Path) -> Iterator[None]:
    """Name files of the temporary folder, in errors of the disk, as they were to be called."""
    try:
        with naming(folder):
            yield
    except OSError as error:
        if isinstance(error.filename, str) and error.filename.startswith(str(unfinished)):
            error.filename = str(folder / Path(error.filename).relative_to(unfinished))
        raise


def _keep(folder: Path, unfinished: Path, keep: Sequence[str]) -> None:
    for name in keep:
        if (folder / name).is_file():
            shutil.copy2(folder / name, unfinished / name)
    for name in (LOCK, HOLDER):  # the lock is that of the file itself, not of a copy
        with contextlib.suppress(OSError):
            os.link(folder / name, unfinished / name)


def _swap(unfinished: Path, folder: Path) -> None:
    if not folder.exists():
        unfinished.rename(folder)
        return
    older = folder.with_name(f".{folder.name}.{os.getpid()}.older")
    folder.rename(older)
    unfinished.rename(folder)
    shutil.rmtree(older)


def _sync(path: Path) -> None:
    """Wait until the content of a file is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    with contextlib.suppress(PermissionError):  # Windows opens no folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def parse_json(text: str) -> Any:
    """Return what a JSON text says.

    Raises
    ------
    ValueError
        If it is none, or brackets in it are nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("its brackets are nested too deeply") from error


def read_info(folder: Path, kind: str) -> dict[str, Any]:
    """Read `info.json` of a prepared folder and check that it is of the expected kind."""
    path = folder / "info.json"
    if not path.is_file():
        found = "holds no info.json" if folder.is_dir() else "is no folder"
        raise FileNotFoundError(
            f"{folder} {found}; --data names a folder of {kind}, as prepare writes it"
        )
    try:
        info = parse_json(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(info, dict) or info.get("kind") != kind:
        found = info.get("kind") if isinstance(info, dict) else type(info).__name__
        raise ValueError(f"{folder} holds {found}, expected {kind}; run prepare with kind {kind}")
    return info


def open_array(path: Path) -> np.ndarray:
    """Memory-map an npy file of any shape; Python objects are refused, nothing is unpickled."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    return np.lib.format.open_memmap(path, mode="r")
