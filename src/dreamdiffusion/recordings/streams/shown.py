"""The pictures of a recorded stream: each is kept beside it, and named in its events."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path, PurePosixPath

from PIL import Image

from dreamdiffusion.files.pictures import picture_path
from dreamdiffusion.files.whole import write_bytes
from dreamdiffusion.recordings.streams.source import Marker

_DIGITS = 10
"""Of a hash, in a file's name."""


class KeptPictures:
    """The folder ``stimuli`` of a BIDS folder, and what was put into it.

    A name means one picture for ever, since all runs of the folder share it: a picture that differs
    from the one of its name gets another name, one that is there already is not written again.

    Parameters
    ----------
    folder
        Of the pictures; made when the first one is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[Path, str] = {}

    def keep(self, marker: Marker) -> str:
        """Keep the picture of a marker; return its name in the folder, empty where it has none."""
        picture = marker.picture
        if isinstance(picture, Path):
            if picture not in self._kept:
                name = marker.stim_file or picture.name
                self._kept[picture] = self._write(name, picture.read_bytes())
            return self._kept[picture]
        if picture is None:
            return ""
        content = _as_png(picture)
        return self._write(f"{_file_name(marker.value)}-{_hash(content)}.png", content)

    def _write(self, name: str, content: bytes) -> str:
        name = " ".join(name.split())  # a cell of a table
        path = picture_path(self._folder, name)
        if path.is_file() and path.read_bytes() != content:
            other = PurePosixPath(name)
            name = str(other.with_name(f"{other.stem}-{_hash(content)}{other.suffix}"))
            path = picture_path(self._folder, name)
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, content)
        return name


def _as_png(picture: Image.Image) -> bytes:
    written = io.BytesIO()
    picture.save(written, "PNG")
    return written.getvalue()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def _file_name(text: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in text)[:64] or "picture"
