"""The ring: what it keeps, where it sees gaps, which windows it gives."""

from __future__ import annotations

import numpy as np
import pytest

from dreamdiffusion.recordings.streams.ring import Ring


def ramp(first: int, n: int, sfreq: float = 100.0, later: float = 0.0):
    """Samples that hold their own number, and their times."""
    numbers = np.arange(first, first + n)
    return numbers[None].astype(float), 5.0 + numbers / sfreq + later


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
def test_a_window_is_the_same_however_the_samples_come(size: int) -> None:
    ring = Ring(1, 100.0, 4.0)
    for first in range(0, 1000, size):
        ring.append(*ramp(first, min(size, 1000 - first)))
    data, start = ring.cut(5 + 8.0, n_window=50, n_before=30, n_after=20, least_before=10)
    assert data[0].tolist() == list(range(770, 870))
    assert start == pytest.approx(30)
    assert ring.n_seen == 1000


def test_a_window_between_two_samples_begins_at_a_fraction() -> None:
    ring = Ring(1, 100.0, 4.0)
    ring.append(*ramp(0, 300))
    _, start = ring.cut(5 + 1.0 + 0.0025, 50, 30, 20, 10)
    assert start == pytest.approx(30.25)


def test_what_has_not_come_yet_is_early_and_what_is_gone_is_late() -> None:
    ring = Ring(1, 100.0, 4.0)
    assert ring.cut(5.0, 50, 0, 0, 0) == "early"
    ring.append(*ramp(0, 100))
    assert ring.cut(5.6, 50, 0, 0, 0) == "early"
    assert not isinstance(ring.cut(5.5, 50, 0, 0, 0), str)
    assert ring.cut(9.0, 50, 0, 0, 0) == "early"  # a marker that came before its samples
    ring.append(*ramp(100, 900))
    assert ring.cut(5.5, 50, 0, 0, 0) == "late"


def test_a_gap_is_found_and_no_window_touches_it() -> None:
    ring = Ring(1, 100.0, 10.0)
    assert ring.append(*ramp(0, 200)) == []
    ((place, seconds),) = ring.append(*ramp(200, 200, later=1.5))
    assert (place, seconds) == (0, pytest.approx(1.5))
    assert ring.append(*ramp(400, 10, later=1.5)) == []
    assert not isinstance(ring.cut(5 + 1.5, 50, 30, 0, 10), str)  # ends before it
    for time in (6.6, 7.0, 8.0, 8.49):  # across, in, in, in
        assert ring.cut(time, 50, 30, 0, 0) == "gap"
    assert ring.cut(8.55, 50, 30, 0, least_before=10) == "gap"  # too near after it
    data, start = ring.cut(8.6, 50, 30, 0, least_before=10)
    assert data[0].tolist() == list(range(200, 260))  # nothing of before the gap
    assert start == pytest.approx(10)
    assert ring.last(3.0)[0].tolist() == list(range(200, 410))


def test_a_window_whose_end_a_gap_swallows_is_dropped_and_does_not_wait() -> None:
    ring = Ring(1, 100.0, 10.0)
    ring.append(*ramp(0, 200))
    assert ring.cut(6.8, 50, 0, 0, 0) == "early"
    ring.append(*ramp(200, 5, later=3.0))
    assert ring.cut(6.8, 50, 0, 0, 0) == "gap"


def test_jitter_is_no_gap() -> None:
    ring = Ring(1, 100.0, 10.0)
    data, times = ramp(0, 500)
    times = np.sort(times + np.random.default_rng(0).uniform(-0.04, 0.04, 500))
    assert ring.append(data, times) == []


def test_a_clock_that_is_set_back_is_a_gap() -> None:
    ring = Ring(1, 100.0, 10.0)
    ring.append(*ramp(0, 200))
    data, times = ramp(200, 100)
    times[50:] -= 60.0
    ((place, _),) = ring.append(data, times)
    assert place == 50
    data, start = ring.cut(float(times[60]), 30, 30, 0, 10)
    assert (data[0, 0], start) == (250, pytest.approx(10))
