"""Each fault of a channel is named, and only where it is."""

from __future__ import annotations

import numpy as np

from dreamdiffusion.recordings.streams.quality import signal_quality


def test_every_fault_is_named() -> None:
    sfreq, t = 250.0, np.arange(1000) / 250
    noise = np.random.default_rng(0).normal(0, 1e-5, (6, 1000))
    noise[1] = 1e-3
    noise[2] = np.clip(20 * noise[2], -1e-4, 1e-4)
    noise[3] += 3e-5 * np.sin(2 * np.pi * 50 * t)
    noise[4] += 4e-4 * t / t[-1]
    found = signal_quality(noise, sfreq)
    assert found[0] == found[5] == ""
    assert found[1:3] == ["flat", "railed"]
    assert found[3].startswith("line 8")  # 4.5 of 5.5 parts of the power
    assert found[4].startswith("drift 30")  # between the middles of first and last second


def test_of_too_little_signal_nothing_is_said() -> None:
    assert signal_quality(np.zeros((2, 100)), 250.0) == ["", ""]
