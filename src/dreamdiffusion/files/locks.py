"""Locks between processes: one at a time writes a folder, or does a piece of work.

The lock itself is the operating system's (filelock): it ends with the process that holds it,
however that ends, so no lock is ever left behind. On a network disk that holds for every machine
that sees it, where the disk keeps locks. A file beside the lock says who holds it.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dreamdiffusion.files.whole import HOLDER, LOCK, remove_unfinished

logger = logging.getLogger(__name__)

_held: dict[Path, int] = {}
"""Folders that this process holds, each with the thread that does."""


@contextlib.contextmanager
def hold(folder: Path, command: str) -> Iterator[None]:
    """Hold an output folder for the time of the block; make it where it is missing.

    A command may run others on the same folder. Of several processes that share one training, the
    first holds the folder. What the block leaves empty is removed.

    Parameters
    ----------
    folder
        What the command writes into.
    command
        Its name, for the message that another process gets.

    Raises
    ------
    BlockingIOError
        If another process, or another thread of this one, holds the folder; it says which and
        since when.
    FileExistsError
        If the folder is a file.
    """
    place = folder.resolve()
    if os.environ.get("RANK", "0") != "0" or _held.get(place) == threading.get_ident():
        yield
        return
    if place.exists() and not place.is_dir():
        raise FileExistsError(f"output {folder} is a file, expected a folder")
    new = [path for path in (place, *place.parents) if not path.exists()]
    place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BlockingIOError(
            f"{folder} is in use by {_describe(_read(place / HOLDER))}; wait until that has ended, "
            "or give another output folder"
        ) from None
    _held[place] = threading.get_ident()
    try:
        _take(place, command)
        yield
    finally:
        del _held[place]
        _remove(place / HOLDER)
        _remove(place / LOCK)
        lock.release()
        with contextlib.suppress(OSError):  # it holds something
            for path in new:
                path.rmdir()


@contextlib.contextmanager
def wait_for(path: Path, work: str, poll_s: float = 2.0) -> Iterator[None]:
    """Hold a lock for the time of the block; wait while another process holds it.

    Parameters
    ----------
    path
        The lock file; its folder is made. It has to lie where all processes see it.
    work
        What is done under the lock, for the message.
    poll_s
        Seconds between two attempts.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(path), path.with_name(f"{path.name}.json")
    announced: dict[str, Any] | None = {}
    while True:
        try:
            lock.acquire(timeout=0)
            break
        except Timeout:
            found = _read(holder)
            if found != announced:
                logger.info("%s: waiting for %s", work, _describe(found))
                announced = found
            time.sleep(poll_s)
    try:
        _write(holder, work)
        yield
    finally:
        _remove(holder)
        _remove(path)
        lock.release()


def _take(folder: Path, command: str) -> None:
    """Write who holds the folder; what a process left there that was killed is removed."""
    killed = _read(folder / HOLDER)
    if killed is not None:
        logger.warning("%s: taken over from %s, which was killed", folder, _describe(killed))
        remove_unfinished(folder)
    _write(folder / HOLDER, command)


def _write(path: Path, command: str) -> None:
    """Write who holds a lock; whoever reads half of it learns less, no more."""
    since = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    holder = {"command": command, "pid": os.getpid(), "host": socket.gethostname(), "since": since}
    path.write_text(json.dumps(holder, indent=1) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _describe(holder: dict[str, Any] | None) -> str:
    if holder is None:
        return "another process"
    found = {key: str(holder.get(key, "?")) for key in ("command", "pid", "host", "since")}
    since = found["since"].replace("T", " ")
    return f"{found['command']} (process {found['pid']} on {found['host']}, since {since})"


def _remove(path: Path) -> None:
    # Windows removes no open file; what is left there is an empty lock that nobody holds.
    with contextlib.suppress(OSError):
        path.unlink()
