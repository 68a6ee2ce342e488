"""A session holds no more after many windows than after some."""

from __future__ import annotations

import gc
import time
import tracemalloc
from pathlib import Path

import numpy as np
from live_stand_in import StandIn

from dreamdiffusion.cli.config import LiveConfig
from dreamdiffusion.cli.live.session import Session
from dreamdiffusion.recordings.streams.source import Chunk, Marker, Source, StreamInfo

N = 40
LARGEST = 200_000
"""Bytes; 40 windows or chunks that are kept are half a megabyte and more."""


class Hurried(Source):
    """Sends a second, with a marker, each time it is read, and looks at the memory on the way."""

    def __init__(self) -> None:
        self.info = StreamInfo("hurried", ["C1", "C2", "C3"], 500.0)
        self.held: list[int] = []
        self._sent = 0

    def clock(self) -> float:
        return float(self._sent)

    def read(self) -> Chunk | None:
        time.sleep(0.005)  # for the thread that decodes
        if self._sent in (N, 2 * N):
            gc.collect()
            self.held.append(tracemalloc.get_traced_memory()[0])
        if self._sent == 2 * N:
            return None
        times = self._sent + np.arange(500) / 500
        data = np.random.default_rng(self._sent).normal(0, 2e-5, (3, 500))
        self._sent += 1
        return Chunk(data, times, [Marker(float(times[0]), "cat")])


def test_memory_stays_while_windows_come(tmp_path: Path) -> None:
    class Forgetful(StandIn):
        def decode(self, window, number):
            named = super().decode(window, number)
            self.windows.clear()
            return named

    source = Hurried()
    tracemalloc.start()
    try:
        session = Session(LiveConfig(output=tmp_path / "out"), Forgetful(), source)
        try:
            session.run()
        finally:
            session.close()
    finally:
        tracemalloc.stop()
    assert session.summary()["decoded"] > N / 4
    assert source.held[1] - source.held[0] < LARGEST
