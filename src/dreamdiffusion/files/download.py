"""Files from the web: resumed where they were cut off, checked, never half there.

pooch, which MNE brings, starts a broken download from the beginning; the files here can have
gigabytes. A file is written to ``<name>.part`` and renamed when it is complete and its checksum is
right. Where nobody publishes a checksum, that of the first download is kept in `LOCK` beside the
data, and every later download has to match it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import logging
import os
import shutil
import stat
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dreamdiffusion.files.progress import progress
from dreamdiffusion.files.whole import write_json

logger = logging.getLogger(__name__)

LOCK = "checksums.json"
_BLOCK = 1 << 20
_TIMEOUT_S = 60
_LARGEST_UNPACKED = 100 << 30  # bytes; the largest picture archive of our data sets has a few GB
_LARGEST_RATIO = 200  # pictures hardly shrink; a bomb shrinks a thousandfold


@dataclass(frozen=True)
class RemoteFile:
    """A file on the web.

    Attributes
    ----------
    url
        https.
    path
        Where it goes, below the data set's folder, with forward slashes.
    size
        Bytes, where they are known.
    sha256
        Hexadecimal, where it is known; never invented.
    """

    url: str
    path: str
    size: int | None = None
    sha256: str | None = None


def download(file: RemoteFile, folder: Path) -> Path:
    """Download one file, going on where an earlier attempt stopped; nothing if it is there.

    Returns
    -------
    Path
        The complete file below `folder`.

    Raises
    ------
    ValueError
        For a URL that is not https, a path that leaves the folder, or content of another size or
        checksum than expected (it is deleted).
    OSError
        If the server cannot be reached or the connection breaks; the same call goes on from there.
    """
    _check_url(file.url)
    target = inside(folder, file.path)
    expected = file.sha256 or _locked(folder, file.path)
    if target.is_file():
        _check_content(file, target, expected)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    _transfer(file, part)
    try:
        found = _check_content(file, part, expected)
    except ValueError:
        part.unlink()
        raise
    if expected is None:
        _lock(folder, file.path, found)
        logger.warning(
            "%s: not verified, for no checksum of it is published; its own is kept in %s",
            file.path, folder / LOCK,
        )  # fmt: skip
    part.replace(target)
    return target


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip; files that are there already with the same size are left as they are.

    Raises
    ------
    ValueError
        If it is no zip, has an entry that would land outside `folder` or is a link, or would
        unpack to more than its size allows. Nothing is written then.
    """
    try:
        opened = zipfile.ZipFile(archive)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{archive} is not a zip: {error}") from error
    with opened:
        entries = [entry for entry in opened.infolist() if not entry.is_dir()]
        total = sum(entry.file_size for entry in entries)
        packed = archive.stat().st_size
        if total > _LARGEST_UNPACKED or total > _LARGEST_RATIO * max(packed, 1):
            raise ValueError(
                f"{archive} has {packed} bytes and would unpack to {total}; that is no archive of "
                "pictures or recordings"
            )
        targets = [inside(folder, entry.filename) for entry in entries]
        for entry in entries:
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise ValueError(f"{archive} holds the link {entry.filename}")
        for entry, target in zip(entries, targets, strict=True):
            if target.is_file() and target.stat().st_size == entry.file_size:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f"{target.name}.part")
            # Reading stops with an error at the stated size: an entry is never longer than stated.
            with opened.open(entry) as source, part.open("wb") as copy:
                shutil.copyfileobj(source, copy, _BLOCK)
            part.replace(target)


def inside(folder: Path, path: str) -> Path:
    """Return `path` below `folder`; a ValueError where it would lead out of it."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    if not parts or ".." in parts or parts[0].startswith("/") or ":" in parts[0]:
        raise ValueError(f"the path {path!r} leads out of {folder}")
    target = folder.joinpath(*parts)
    if not target.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"the path {path!r} leads out of {folder}")
    return target


def _check_url(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    local = parts.hostname in ("localhost", "127.0.0.1")
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise ValueError(f"{url} is not https")


class _StayOnHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):
        _check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _transfer(file: RemoteFile, part: Path) -> None:
    """Write the rest of the file behind what `part` holds."""
    have = part.stat().st_size if part.is_file() else 0
    if file.size is not None and have == file.size:
        return
    request = urllib.request.Request(file.url, headers={"User-Agent": "dreamdiffusion"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    opener = urllib.request.build_opener(_StayOnHttps)
    by_hand = (
        "give the command again later, or get the file in another way and put it at "
        f"{part.with_suffix('')}"
    )
    try:
        answer = opener.open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # the part is as long as the file, or longer: begin again
            part.unlink()
            _transfer(file, part)
            return
        raise OSError(
            f"{file.url}: the server answers {error.code} {error.reason}; {by_hand}"
        ) from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise OSError(f"{file.url} cannot be reached: {reason}; {by_hand}") from error
    with answer:
        resumed = answer.status == 206
        if resumed and not str(answer.headers["Content-Range"]).startswith(f"bytes {have}-"):
            raise OSError(f"{file.url}: the server sends {answer.headers['Content-Range']}")
        have = have if resumed else 0  # a server without Range sends all of it again
        length = answer.headers["Content-Length"]
        total = have + int(length) if length is not None else None
        if file.size is not None and total is not None and total != file.size:
            raise ValueError(f"{file.url} has {total} bytes, expected {file.size}")
        with (
            part.open("ab" if resumed else "wb") as out,
            progress(desc=part.stem, total=total, initial=have, unit="B") as bar,
        ):
            try:
                while block := answer.read(_BLOCK):
                    have += len(block)
                    if file.size is not None and have > file.size:
                        raise ValueError(
                            f"{file.url} is longer than the {file.size} bytes expected"
                        )
                    out.write(block)
                    bar.update(len(block))
            except (OSError, http.client.HTTPException) as error:  # of the network or of the disk
                raise OSError(
                    f"{file.url} to {part} broke off: {error!r}; the same command goes on there"
                ) from error
            out.flush()
            os.fsync(out.fileno())
    if total is not None and have != total:
        raise OSError(
            f"{file.url} broke off after {have} of {total} bytes; the same command goes on there"
        )


def _check_content(file: RemoteFile, path: Path, expected: str | None) -> str:
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise ValueError(f"{path} has {size} bytes, {file.url} has {file.size}; delete it")
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while block := content.read(_BLOCK):
            digest.update(block)
    found = digest.hexdigest()
    if expected is not None and found != expected:
        raise ValueError(
            f"{path} has the sha256 {found}, expected {expected}; it is not the file "
            f"that {file.url} was: delete it and fetch it again"
        )
    return found


def _read_lock(folder: Path) -> dict[str, str]:
    path = folder / LOCK
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}; delete it") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected an object; delete it")
    return content


def _locked(folder: Path, path: str) -> str | None:
    return _read_lock(folder).get(path)


def _lock(folder: Path, path: str, sha256: str) -> None:
    content = {**_read_lock(folder), path: sha256}
    write_json(folder / LOCK, dict(sorted(content.items())))
