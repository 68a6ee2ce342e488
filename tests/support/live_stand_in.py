"""In place of the model of a live session: answers at once, or in a given time."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
from PIL import Image

from dreamdiffusion.cli.live.model import Expected, Named
from dreamdiffusion.recordings.config import SignalConfig

SIGNAL = SignalConfig(l_freq=1.0, h_freq=30.0, sfreq=100.0)


class StandIn:
    """Keeps the windows, and says ``cat`` of each."""

    def __init__(self, takes: float = 0.0) -> None:
        self.expected = Expected(["C3", "C1"], 0.0, 40, SIGNAL)
        self.decoder = SimpleNamespace(name="stand-in")
        self.windows: dict[int, np.ndarray] = {}
        self._takes = takes

    def warm_up(self) -> None: ...

    def decode(self, window: np.ndarray, number: int) -> Named:
        time.sleep(self._takes)
        self.windows[number] = window
        return Named([Image.new("RGB", (8, 8), (number, 0, 0))], "cat", 0.5)
