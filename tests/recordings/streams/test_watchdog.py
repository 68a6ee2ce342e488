"""Silence is noticed, looked after, and its end; samples are counted against their times."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dreamdiffusion.recordings.streams.watchdog import RETRY, SILENT, CountedRate, Watchdog


def test_silence_is_a_loss_that_is_looked_after_until_samples_come() -> None:
    dog = Watchdog(now=0.0)
    assert dog.update(5, 0.5) is None
    assert dog.update(0, 0.5 + 0.9 * SILENT) is None
    assert dog.update(0, 0.5 + SILENT) == "lost"
    assert dog.update(0, 0.5 + SILENT + 0.9 * RETRY) is None
    assert dog.update(0, 0.5 + SILENT + RETRY) == "retry"
    assert dog.update(0, 0.5 + SILENT + 1.5 * RETRY) is None
    assert dog.update(1, 9.0) == "resumed"
    assert dog.update(0, 9.1) is None
    assert dog.n_lost == 1


def test_a_stream_that_says_it_is_gone_is_lost_once() -> None:
    dog = Watchdog(now=0.0)
    assert dog.lose(0.1) == "lost"
    assert dog.lose(0.2) is None
    assert dog.update(0, 0.3) is None
    assert dog.n_lost == 1


def test_the_rate_is_counted_and_begins_anew_after_a_gap() -> None:
    rate = CountedRate()
    times = np.arange(0, 20, 1 / 255.5)
    rate.add(times[:100], False)
    assert math.isnan(rate.hz)
    for part in np.array_split(times[100:], 50):
        rate.add(part, False)
    assert rate.hz == pytest.approx(255.5, rel=1e-6)
    rate.add(times + 100, True)
    assert math.isnan(rate.hz)
