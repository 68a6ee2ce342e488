"""Compressed files, read in place and never beyond a limit: a small one can unpack to terabytes."""

from __future__ import annotations

import gzip
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO

MAX_BYTES = 512 << 20
"""Of a member of a zip: 4 hours of 14 channels at 256 Hz, as text."""
MAX_RATIO = 50
_BROKEN = (
    zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, struct.error, EOFError, RuntimeError,
    NotImplementedError, OverflowError, OSError, UnicodeDecodeError,
)  # fmt: skip
"""What Python's readers raise for archives that are broken or lie."""


def read_zip_csv(path: Path, limit: int | None = None) -> bytes:
    """Return the only csv file in a zip.

    Parameters
    ----------
    path
        The zip file.
    limit
        Bytes that the csv may have, unpacked; `MAX_BYTES` by default.

    Raises
    ------
    ValueError
        If the zip is broken, encrypted, holds no csv or several, or the csv exceeds the limit.
    """
    limit = MAX_BYTES if limit is None else limit
    try:
        with zipfile.ZipFile(path) as archive:
            names = _csv_names(archive)
            if len(names) != 1:
                raise ValueError(
                    f"{path} holds {len(names)} csv files, expected one"
                    + (f" ({', '.join(names[:5])}); unpack them" if names else "")
                )
            declared = archive.getinfo(names[0]).file_size
            if declared > limit:
                raise _too_large(f"{path}: {names[0]}", declared, limit)
            with archive.open(names[0]) as member:
                # zipfile stops at the declared size and then compares the checksum.
                return _read(member, f"{path}: {names[0]}", declared, limit)
    except _BROKEN as error:
        raise ValueError(
            f"{path} cannot be read as zip: {error or type(error).__name__}"
        ) from error


def starts_with(path: Path, text: bytes) -> bool:
    """Whether a zip's only csv starts with `text`; true for a broken zip, which reading names."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = _csv_names(archive)
            if len(names) != 1:
                return False
            with archive.open(names[0]) as member:
                return member.read(len(text)) == text
    except _BROKEN:
        return True


def read_gzip(path: Path, limit: int) -> bytes:
    """Return what a gzip file unpacks to, at most `limit` bytes.

    Raises
    ------
    ValueError
        If the file is broken or cut off, or unpacks to more than `limit` bytes.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - 4, 0))
        tail = file.read(4)
    declared = struct.unpack("<I", tail)[0] if len(tail) == 4 else 0
    try:
        with gzip.open(path) as file:
            # What a gzip declares about itself may be a lie, so it is shown, not believed.
            return _read(file, str(path), declared, limit)
    except _BROKEN as error:
        raise ValueError(f"{path} cannot be read as gzip: {error}") from error


def check_gzip(path: Path) -> None:
    """Raise a ValueError where a gzip that another library will read is broken or a bomb.

    Samples of EEG shrink to no less than a tenth; what unpacks to over `MAX_RATIO` times its size,
    and beyond `MAX_BYTES`, is refused.
    """
    limit = max(MAX_BYTES, MAX_RATIO * path.stat().st_size)
    n_bytes = 0
    try:
        with gzip.open(path) as file:
            while n_bytes <= limit and (chunk := file.read(1 << 20)):
                n_bytes += len(chunk)
    except _BROKEN as error:
        raise ValueError(f"{path} cannot be read as gzip: {error}") from error
    if n_bytes > limit:
        raise _too_large(str(path), n_bytes, limit)


def _csv_names(archive: zipfile.ZipFile) -> list[str]:
    return [
        name for name in archive.namelist()
        if name.lower().endswith(".csv") and not name.startswith("__MACOSX")
    ]  # fmt: skip


def _read(file: IO[bytes] | gzip.GzipFile, name: str, declared: int, limit: int) -> bytes:
    content = file.read(limit + 1)
    if len(content) > limit:
        raise _too_large(name, declared, limit)
    return content


def _too_large(name: str, declared: int, limit: int) -> ValueError:
    return ValueError(
        f"{name} unpacks to more than the limit of {limit:,} bytes ({declared:,} or more); "
        "if it is a recording and no bomb, unpack it and give the unpacked file"
    )
