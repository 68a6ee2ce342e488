"""A lock file: one process at a time does a piece of work, whatever else computes beside it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(path: Path, told: str, poll_s: float = 2.0) -> Iterator[None]:
    """Hold a lock for the time of the block; wait while another process holds it.

    The file names the process and its machine. A lock of this machine whose process is gone is
    taken over. Whether a process of another machine lives cannot be seen from here, so its lock
    is waited for; the message says which file to delete if it is gone.

    Parameters
    ----------
    path
        The file; its folder is made. It has to lie where all processes see it.
    told
        What is done under the lock, for the message.
    poll_s
        s between two looks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
    content = json.dumps(owner)
    waiting_for = None
    while not _create(path, content):
        try:
            found = path.read_text(encoding="utf-8")
        except FileNotFoundError:  # released in between
            continue
        holder = _holder(found)
        if holder and _is_gone(*holder):
            logger.warning("%s: taking over the lock of process %d, which is gone", told, holder[0])
            _remove(path, found)
            continue
        if found != waiting_for:
            who = f"process {holder[0]} on {holder[1]}" if holder else "another process"
            logger.info("%s: waiting for %s; if that is gone, delete %s", told, who, path)
            waiting_for = found
        time.sleep(poll_s)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _create(path: Path, content: str) -> bool:
    """Write the file if there is none, whole at once, so that nobody reads half of it."""
    draft = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    draft.write_text(content, encoding="utf-8")
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def _holder(content: str) -> tuple[int, str] | None:
    try:
        told = json.loads(content)
        return int(told["pid"]), str(told["host"])
    except (ValueError, KeyError, TypeError):
        return None


def _is_gone(pid: int, host: str) -> bool:
    """Whether a process of this machine does not run any more."""
    if host != socket.gethostname():
        return False
    if pid == os.getpid():  # numbers come again: this process holds no lock that it waits for
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it runs, as another user's
        return False
    return False


def _remove(path: Path, content: str) -> None:
    """Remove a lock of that content; one that another process has set meanwhile is put back."""
    aside = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if aside.read_text(encoding="utf-8") != content:
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink()
