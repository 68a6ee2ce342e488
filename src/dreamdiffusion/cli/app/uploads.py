"""Takes a file that a person uploads: which are refused, and where the others lie meanwhile."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from dreamdiffusion.cli.app.jobs import delete_upload
from dreamdiffusion.recordings.formats.extensions import FORMATS, extension_of

MANY_FILES = {
    ".vhdr": "is one of three files of BrainVision",
    ".eeg": "is one of several files",
    ".lay": "is one of two files of Persyst",
    ".dap": "is one of several files of Curry",
    ".cdt": "is one of several files of Curry",
    ".mff": "is a folder",
    ".zip": "is an archive",
    ".fif.gz": "is compressed",
    ".xdfz": "is compressed",
}
"""Formats that the commands read and a page cannot take as one file of known size."""
ACCEPTED = tuple(extension for extension in FORMATS if extension not in MANY_FILES)
MOST_UPLOADS = 10
"""Uploads of the largest size that may lie on the disk together."""


class RefusedError(Exception):
    """A file is not taken; the message is one sentence, `status` that of HTTP."""

    def __init__(self, message: str, status: int = 415) -> None:
        super().__init__(message)
        self.status = status


class Uploads:
    """A private folder for files that wait for their job.

    Parameters
    ----------
    folder
        Of this program alone.
    most_mb
        Size of the largest file, megabytes (1,000,000 bytes).
    """

    def __init__(self, folder: Path, most_mb: float) -> None:
        self.folder, self.most_mb = folder, most_mb
        self._most = int(1e6 * most_mb)

    def check(self, name: str, length: int | None) -> str:
        """Return the extension of a file that may come.

        Raises
        ------
        RefusedError
            For a name or a kind that is not taken, and a file that is too large.
        """
        if not name or len(name) > 200 or re.search(r"[/\\\x00-\x1f\x7f]", name):
            raise RefusedError(
                "A file's name may hold neither slashes nor control characters.", 400
            )
        extension = extension_of(Path(name))
        if extension in MANY_FILES:
            raise RefusedError(
                f"{name} {MANY_FILES[extension]}; export it as EDF, or use the command generate."
            )
        if extension is None:
            raise RefusedError(f"{name} is no recording; taken are {', '.join(ACCEPTED)}.")
        if length == 0:
            raise RefusedError(f"{name} is empty.", 400)
        if length is not None and length > self._most:
            raise RefusedError(
                f"{name} has {length / 1e6:.0f} MB; at most {self.most_mb:g} MB are taken.", 413
            )
        return extension

    async def take(self, name: str, length: int | None, content: AsyncIterator[bytes]) -> Path:
        """Write a file into a folder of its own and return its path.

        Raises
        ------
        RefusedError
            As `check`; what came of the file is deleted.
        """
        extension = self.check(name, length)
        if self.used() + (length or self._most) > MOST_UPLOADS * self._most:
            raise RefusedError("The disk's share for uploads is full; try again in a minute.", 503)
        stem = re.sub(r"[^A-Za-z0-9_-]", "_", name[: -len(extension)])[:64] or "recording"
        path = self.folder / secrets.token_hex(8) / f"{stem}{extension}"
        path.parent.mkdir(mode=0o700)
        size = 0
        try:
            with path.open("xb") as file:
                async for chunk in content:
                    size += len(chunk)
                    self.check(name, max(size, 1))
                    file.write(chunk)
            self.check(name, size)
        except BaseException:  # the page was closed too
            delete_upload(path)
            raise
        return path

    def used(self) -> int:
        """Return the bytes that lie there."""
        total = 0
        # Folders and files go while this looks: walk passes over them, as it does over errors.
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    total += os.path.getsize(os.path.join(folder, name))
        return total
