"""Keeps the memory of a session the same for hours.

Two things made it grow though nothing was kept (measured, docs/live.md). glibc holds on to what is
freed between other pieces, and every thread adds its own (6 MiB at the start, 58 after two
minutes). And Python looks for rings of objects among all that there are only when these have become
a quarter more: with the 600,000 of the libraries and a model hardly ever, and then for long.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def settled() -> Iterator[None]:
    """Take it that everything there is now stays: Python looks through what comes later alone."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def give_back() -> None:
    """Give freed memory back to the system, where the C library is glibc."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
