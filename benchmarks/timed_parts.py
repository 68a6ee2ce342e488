"""Work in parts that are processes of their own, each within a limit of time, kept as it comes."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Part = tuple[float, Callable[[float], list[str]]]
"""Limit in seconds, and what makes a command of the seconds that it is given."""


def run_part(command: list[str], limit: float, keep: Callable[[Row], None]) -> str | None:
    """Run one part; return why it is not whole, or None.

    Every line of its output that is a JSON object is a row, which ``keep`` gets as it comes.
    """
    deadline, unread = time.monotonic() + limit, b""
    # In a session of its own, so that the processes it started end with it.
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process,
        _ending_with_all_it_started(process),
    ):
        assert process.stdout is not None
        with selectors.DefaultSelector() as ready:
            ready.register(process.stdout, selectors.EVENT_READ)
            while ready.select(timeout=max(0.0, deadline - time.monotonic())):
                got = os.read(process.stdout.fileno(), 65536)
                if not got:
                    break
                *lines, unread = (unread + got).split(b"\n")
                for line in lines:
                    if line.startswith(b"{"):  # libraries print, too
                        keep(json.loads(line))
        if time.monotonic() >= deadline:
            return f"cut at its limit of {limit:.0f} s"
        process.wait()
    return f"ended with code {process.returncode}" if process.returncode else None


@contextlib.contextmanager
def _ending_with_all_it_started(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def run_parts(path: Path, result: Row, parts: Mapping[str, Part], seconds: float) -> None:
    """Run the parts in turn within ``seconds``; what they give is in the file ``path`` at once."""
    start = time.monotonic()
    done = result.setdefault("parts", {})
    for name, (most, command) in parts.items():
        part: Row = {"rows": []}
        done[name] = part

        def keep(row: Row, part: Row = part) -> None:
            part["rows"].append(row)
            write_result(path, result)
            print(json.dumps(row), flush=True)

        limit = min(most, seconds - (time.monotonic() - start))
        began = time.monotonic()
        missing = "no time was left for it"
        if limit > 1:
            missing = run_part(command(limit), limit, keep)
        part["seconds"] = round(time.monotonic() - began, 1)
        if missing:
            part["not_whole"] = missing
            print(f"{name}: {missing}", flush=True)
        write_result(path, result)


def write_result(path: Path, result: Row) -> None:
    """Write the file of what was measured so far."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
