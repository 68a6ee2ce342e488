"""What the person sees: one line that is refreshed on a terminal, a line now and then in a log."""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque

import numpy as np

_TERMINAL, _LOG = 0.25, 10.0
"""s between two lines."""
_NAMED = 3
"""Bad channels that are named."""


class Latencies:
    """Times from the end of a window to its images, of the last thousand windows, ms."""

    def __init__(self) -> None:
        self._rows: dict[str, deque[float]] = {}

    def add(self, row: dict[str, float]) -> None:
        """Add one window's, by part."""
        for name, value in row.items():
            self._rows.setdefault(name, deque(maxlen=1000)).append(value)

    def percentiles(self) -> dict[str, tuple[float, float]]:
        """Return p50 and p95 of each part."""
        return {
            name: (float(np.percentile(row, 50)), float(np.percentile(row, 95)))
            for name, row in self._rows.items()
        }


class Screen:
    """Writes to stderr."""

    def __init__(self) -> None:
        self._refreshed = sys.stderr.isatty()
        self._last = 0.0
        self._open = False

    def line(self, text: str) -> None:
        """Write a line that stays."""
        if self._open:
            sys.stderr.write("\r\x1b[K")
            self._open = False
        print(text, file=sys.stderr, flush=True)

    def is_due(self) -> bool:
        """Whether the status is old enough to be written anew."""
        return time.monotonic() - self._last >= (_TERMINAL if self._refreshed else _LOG)

    def status(self, text: str) -> None:
        """Write the status; on a terminal in place of the one before."""
        self._last = time.monotonic()
        if not self._refreshed:
            print(text, file=sys.stderr, flush=True)
            return
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write("\r\x1b[K" + text[:width])
        sys.stderr.flush()
        self._open = True

    def close(self) -> None:
        """Leave the status standing."""
        if self._open:
            print(file=sys.stderr)
            self._open = False


def signal_words(ch_names: list[str], quality: list[str]) -> str:
    """Return how many channels are good, and the first of those that are not."""
    bad = [f"{name} {what}" for name, what in zip(ch_names, quality, strict=True) if what]
    if not bad:
        return "signal good"
    more = f" +{len(bad) - _NAMED}" if len(bad) > _NAMED else ""
    return f"signal {len(ch_names) - len(bad)}/{len(ch_names)}: {', '.join(bad[:_NAMED])}{more}"
