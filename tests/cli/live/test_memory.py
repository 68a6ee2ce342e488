"""What a session must not hold on to: freed memory, and rings of objects."""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

from dreamdiffusion.cli.live.memory import give_back, settled


def resident() -> float:
    """Return the memory of this process, MiB."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ValueError("no VmRSS")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and asks glibc")
def test_memory_that_was_freed_between_other_pieces_is_given_back() -> None:
    before = resident()
    pieces = [np.ones(4096) for _ in range(3000)]  # 32 KiB each, 94 MiB in all
    kept = pieces[::50]  # and so glibc cannot shrink its heap
    del pieces
    held = resident()
    if held - before < 40:
        pytest.skip("this C library gives memory back by itself")
    give_back()
    assert resident() - before < 20
    assert len(kept) == 60


class Ring:
    def __init__(self) -> None:
        self.itself = self


def test_what_was_there_is_not_looked_through_again_and_new_rings_are_found() -> None:
    with settled():
        assert gc.get_freeze_count() > 10_000
        assert gc.get_count()[2] == 0
        gone = weakref.ref(Ring())
        gc.collect()
        assert gone() is None
    assert gc.get_freeze_count() == 0
