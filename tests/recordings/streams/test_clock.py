"""Even times: jitter and drift are followed, jumps are kept."""

from __future__ import annotations

import numpy as np
import pytest

from dreamdiffusion.recordings.streams.clock import SampleClock


def even(stamps: np.ndarray, size: int = 12) -> np.ndarray:
    clock = SampleClock(250.0)
    parts = [stamps[first : first + size] for first in range(0, len(stamps), size)]
    return np.concatenate([clock.times(part) for part in parts])


def test_jitter_is_smoothed_and_drift_followed() -> None:
    true = 7.0 + np.arange(15_000) / 250 * (1 + 100e-6)  # a minute of a clock 100 ppm too slow
    noisy = true + np.random.default_rng(0).normal(0, 0.004, len(true))
    times = even(noisy)
    assert np.abs(times - true)[2500:].max() < 0.002
    assert np.diff(times).min() > 0.5 / 250
    assert np.diff(times)[2500:].std() < 0.0002


def test_stamps_that_a_whole_packet_shares_become_even() -> None:
    true = np.arange(7500) / 250
    times = even(np.repeat(true[11::12], 12), 12)
    assert np.diff(times)[1000:] == pytest.approx(1 / 250, abs=2e-4)


@pytest.mark.parametrize("jump", [2.0, 0.3, -5.0])
@pytest.mark.parametrize("place", [1200, 1206])  # at the edge of a chunk, and within one
def test_a_jump_stays(jump: float, place: int) -> None:
    stamps = np.arange(3000) / 250
    stamps[place:] += jump
    np.testing.assert_allclose(even(stamps), stamps, atol=1e-9)
