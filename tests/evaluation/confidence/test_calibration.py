"""Calibration error, risk against coverage, the choice of a threshold: by hand, in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from dreamdiffusion.evaluation.confidence.calibration import (
    THRESHOLDS,
    calibration_bins,
    calibration_error,
    choose_threshold,
    error_if_perfect,
    risk_coverage,
    upper_bound,
)


def test_calibration_error_by_hand():
    confidence = [0.9, 0.1, 0.8, 0.3, 0.7, 0.2]
    right = [True, False, False, True, True, False]
    # Sorted: .1 .2 | .3 .7 | .8 .9, right: 0 0 | 1 1 | 0 1.
    found = calibration_bins(confidence, right, n_bins=3)
    assert [(round(b.confidence, 6), b.accuracy, b.n) for b in found] == [
        (0.15, 0.0, 2),
        (0.5, 1.0, 2),
        (0.85, 0.5, 2),
    ]
    assert calibration_error(confidence, right, n_bins=3) == pytest.approx((0.15 + 0.5 + 0.35) / 3)
    # One bin: .5 against .5.
    assert calibration_error(confidence, right, n_bins=1) == pytest.approx(0.0)


def test_equal_confidences_are_never_parted():
    right = np.arange(12) % 2 == 0
    found = calibration_bins(np.full(12, 0.5), right, n_bins=4)
    assert [(b.confidence, b.accuracy, b.n) for b in found] == [(0.5, 0.5, 12)]
    assert calibration_error(np.full(12, 0.5), np.sort(right), n_bins=4) == 0.0
    # The three .2 reach over the edge between the halves.
    found = calibration_bins([0.2, 0.2, 0.2, 0.9], [True, False, False, True], n_bins=2)
    assert [b.n for b in found] == [3, 1]


def test_more_bins_than_trials_give_one_for_each():
    assert [b.n for b in calibration_bins([0.1, 0.4, 0.6], [0, 1, 1], n_bins=10)] == [1, 1, 1]


def test_all_right_and_all_wrong():
    assert calibration_error(np.full(5, 0.75), np.ones(5)) == pytest.approx(0.25)
    assert calibration_error(np.full(5, 0.75), np.zeros(5)) == pytest.approx(0.75)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60),
    st.integers(1, 12),
)
def test_bins_hold_every_trial_once(trials, n_bins):
    confidence, right = (np.array(values) for values in zip(*trials, strict=True))
    found = calibration_bins(confidence, right, n_bins)
    assert len(found) <= n_bins
    assert sum(b.n for b in found) == len(trials)
    assert sum(b.n * b.accuracy for b in found) == pytest.approx(right.sum())
    assert sum(b.n * b.confidence for b in found) == pytest.approx(confidence.sum())


def test_error_of_a_perfect_confidence_is_that_of_its_binomials(rng):
    # One bin of 50 at .3: the mean of |hits/50 - .3| over the binomial distribution.
    hits = np.arange(51)
    exact = np.sum(binom.pmf(hits, 50, 0.3) * np.abs(hits / 50 - 0.3))
    mean, quantile = error_if_perfect(np.full(50, 0.3), rng, n_bins=1, n_draws=20000)
    assert mean == pytest.approx(exact, rel=0.03)
    # P(|hits - 15| <= 6) = .954, <= 5: .907.
    assert quantile == pytest.approx(6 / 50)


def test_known_probabilities_lie_at_the_floor_and_wrong_ones_above(rng):
    p = rng.beta(2, 2, 4000)
    right = rng.random(4000) < p
    mean, quantile = error_if_perfect(p, rng)
    assert calibration_error(p, right) <= quantile < 0.03
    assert mean < quantile
    # Too sure of itself: p moved away from .5 by half as much again.
    sure = np.clip(0.5 + 1.5 * (p - 0.5), 0, 1)
    assert calibration_error(sure, right) == pytest.approx(np.abs(sure - p).mean(), abs=0.02)


def test_risk_coverage_by_hand():
    coverage, risk = risk_coverage([0.9, 0.4, 0.6, 0.8], [True, False, True, False])
    # Kept .9 | .9 .8 | .9 .8 .6 | all: wrong 0 of 1, 1 of 2, 1 of 3, 2 of 4.
    np.testing.assert_allclose(coverage, [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(risk, [0, 1 / 2, 1 / 3, 1 / 2])


def test_risk_coverage_does_not_part_equal_confidences():
    coverage, risk = risk_coverage([0.5, 0.9, 0.5, 0.5], [True, True, False, False])
    np.testing.assert_allclose(coverage, [0.25, 1.0])
    np.testing.assert_allclose(risk, [0.0, 0.5])


def test_upper_bound_is_where_so_few_wrong_ones_become_improbable():
    bound = float(upper_bound(3, 40, 0.05))
    assert binom.cdf(3, 40, bound) == pytest.approx(0.05)
    # None wrong: (1 - r)^n = delta.
    assert float(upper_bound(0, 30, 0.05)) == pytest.approx(1 - 0.05 ** (1 / 30))
    np.testing.assert_array_equal(upper_bound([0, 7], [0, 7], 0.05), [1.0, 1.0])


def test_the_lowest_threshold_below_the_limit_is_chosen():
    confidence = np.repeat([0.3, 0.62, 0.9], 200)
    right = np.concatenate([np.arange(200) % 2 == 0, np.arange(200) % 20 > 0, np.ones(200, bool)])
    # From .35 on the .3 are out: 10 of 400 wrong. With them 110 of 600.
    assert choose_threshold(confidence, right, 0.1) == 0.35
    assert choose_threshold(confidence, right, 0.25) == 0.0
    assert choose_threshold(confidence, ~right, 0.2) is None
    # It begins at .95, which keeps none of these.
    assert choose_threshold(confidence, right, 0.04) is None
    # None wrong of 10 is not enough for 20 %: 1 - .05^(1/10) = .26. Of 14 it is: .19.
    assert choose_threshold(np.full(10, 0.9), np.ones(10), 0.2) is None
    assert choose_threshold(np.full(14, 0.9), np.ones(14), 0.2) == 0.0


def test_what_lies_below_a_threshold_that_failed_is_not_tried():
    # From .8 on 10 of 40 are wrong; with the 400 below it few are, but .8 comes first.
    confidence = np.repeat([0.85, 0.5], [40, 400])
    right = np.concatenate([np.arange(40) % 4 > 0, np.ones(400, bool)])
    assert choose_threshold(confidence, right, 0.2) is None
    assert choose_threshold(confidence[40:], right[40:], 0.5) == 0.0


def test_the_threshold_keeps_its_promise(rng):
    """At most 5 % of fittings keep more wrong answers than asked for; without the bound many do."""
    grid = np.linspace(0.005, 0.995, 199)
    # The confidence is wrong, as it may be: only .85 of what it says is right.
    risk_of = {t: 1 - 0.85 * grid[grid >= t].mean() for t in THRESHOLDS}
    chosen, trusting = [], []
    for _ in range(400):
        confidence = rng.choice(grid, 800)
        right = rng.random(800) < 0.85 * confidence
        chosen.append(choose_threshold(confidence, right, 0.4, delta=0.05))
        low = [t for t in THRESHOLDS if (~right[confidence >= t]).mean() <= 0.4]
        trusting.append(low[0] if low else None)
    too_much = [t is not None and risk_of[t] > 0.4 for t in chosen]
    # From .4 on the risk is .407: just above the limit, so this is nearly the worst of cases.
    assert np.mean(too_much) <= 0.05 + 2 * (0.05 * 0.95 / 400) ** 0.5
    assert np.mean([t is not None for t in chosen]) > 0.7
    assert np.mean([t is not None and risk_of[t] > 0.4 for t in trusting]) > 0.2


@pytest.mark.parametrize(
    ("confidence", "right", "told"),
    [
        ([], [], "one trial or more"),
        ([0.5], [True, False], r"shape \(1,\) and right \(2,\)"),
        ([0.5, 1.2], [True, False], r"\[0.5, 1.2\], expected \[0, 1\]"),
        ([0.5, np.nan], [True, False], "expected"),
    ],
)
def test_what_is_no_confidence_is_refused(confidence, right, told):
    with pytest.raises(ValueError, match=told):
        calibration_bins(confidence, right)


@pytest.mark.parametrize("limit", [0, 1, -0.1])
def test_a_limit_that_is_no_share_is_refused(limit):
    with pytest.raises(ValueError, match=f"risk_limit is {limit}"):
        choose_threshold([0.5], [True], limit)
