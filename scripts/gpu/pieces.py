"""Folders as numbered pieces of a size that can be carried, and back."""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

PIECE = 16 * 2**20
"""Bytes of a piece at most."""


class _Pieces:
    """What a tar archive is written to: the next file is begun where one is full."""

    def __init__(self, folder: Path, name: str, size: int) -> None:
        self._folder, self._name, self._size, self._left = folder, name, size, 0
        self.paths: list[Path] = []

    def write(self, content: bytes) -> int:
        rest = memoryview(content)
        while rest:
            if not self._left:
                self.paths.append(self._folder / f"{self._name}.tar.{len(self.paths):02d}")
                self._left = self._size
            with self.paths[-1].open("ab") as file:
                done = file.write(rest[: self._left])
            self._left, rest = self._left - done, rest[done:]
        return len(content)


def pack(root: Path, paths: Iterable[Path], folder: Path, name: str, size: int = PIECE) -> None:
    """Write files and folders below ``root`` as ``name.tar.00`` and so on.

    Their list with a sum of each, ``name.json``, is written last: without it they are not whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{name}.*"):
        old.unlink()
    pieces = _Pieces(folder, name, size)
    with tarfile.open(fileobj=pieces, mode="w|", bufsize=2**20) as archive:  # type: ignore[call-overload]
        for path in paths:
            archive.add(path, str(path.relative_to(root)))
    sums = {path.name: _sum(path) for path in pieces.paths}
    (folder / f"{name}.json").write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")


def unpack(folder: Path, name: str, into: Path) -> None:
    """Put the pieces of `pack` together again below ``into``.

    Raises
    ------
    FileNotFoundError
        If a piece is missing.
    ValueError
        If one is not what was packed.
    """
    sums = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    for piece, expected in sums.items():
        path = folder / Path(piece).name
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing, one of {len(sums)} pieces; fetch it from the same machine"
            )
        if _sum(path) != expected:
            raise ValueError(f"{path} is not the piece that was packed; fetch it again")
    with tempfile.TemporaryFile() as whole:
        for piece in sums:
            whole.write((folder / Path(piece).name).read_bytes())
        whole.seek(0)
        with tarfile.open(fileobj=whole) as archive:
            archive.extractall(into, filter="data")  # nothing outside, no links out


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
