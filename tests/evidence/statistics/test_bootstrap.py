"""Intervals against scipy, their width for pictures and people, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from dreamdiffusion.evidence.statistics.bootstrap import (
    bootstrap_ci,
    bootstrap_means,
    seed_interval,
)
from dreamdiffusion.evidence.statistics.exchange import Exchange


def people_of(n_people, n_trials):
    each = np.arange(n_people * n_trials)
    return Exchange(each // n_trials, each // n_trials, each, each)


def test_interval_agrees_with_scipy():
    scores = np.random.default_rng(6).exponential(size=150)
    found = bootstrap(
        (scores,), np.mean, n_resamples=8000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    own = bootstrap_ci(scores, Exchange.one_run(150), 8000, np.random.default_rng(0))
    assert own == pytest.approx((found.low, found.high), abs=0.008)


def test_the_mean_is_over_trials_though_clusters_differ_in_size():
    clusters = np.array([0, 0, 0, 1])
    design = Exchange(np.zeros(4, int), np.zeros(4, int), np.arange(4), clusters)
    drawn = bootstrap_means(
        np.array([[1.0], [1.0], [1.0], [0.0]]), design, 4000, np.random.default_rng(0)
    )[:, 0]
    # Both clusters: 3 of 4 trials; the first or the second twice: 1 or 0.
    values, counts = np.unique(drawn, return_counts=True)
    np.testing.assert_allclose(values, [0, 0.75, 1])
    np.testing.assert_allclose(counts / 4000, [0.25, 0.5, 0.25], atol=0.03)


def test_people_are_drawn_and_trials_within_them():
    design, rng = people_of(6, 50), np.random.default_rng(0)
    of_person = np.arange(6.0)[design.people]
    drawn = bootstrap_means(of_person[:, None], design, 4000, rng)[:, 0]
    assert drawn.std() == pytest.approx(np.arange(6).std() / np.sqrt(6), rel=0.05)
    # Without differences between people what is left is the draw of trials in each.
    same = np.tile(np.arange(50.0), 6)
    drawn = bootstrap_means(same[:, None], design, 4000, rng)[:, 0]
    assert drawn.std() == pytest.approx(np.arange(50).std() / np.sqrt(300), rel=0.05)
    # Columns are drawn together.
    both = bootstrap_means(np.stack([same, same + 2], axis=1), design, 50, rng)
    np.testing.assert_allclose(both[:, 1] - both[:, 0], 2)
    with pytest.raises(ValueError, match=r"shape \(3, 1\), expected \(300, m\)"):
        bootstrap_means(np.zeros((3, 1)), design, 10, rng)


def test_seeds_are_drawn_as_well_as_trials():
    design, rng = Exchange.one_run(100), np.random.default_rng(0)
    seeds = np.array([0.0, 1.0, 2.0, 3.0])[:, None] + np.zeros(100)
    low, high = seed_interval(seeds, design, 4000, rng)
    half = 1.96 * np.arange(4).std() / 2
    assert (low, high) == pytest.approx((1.5 - half, 1.5 + half), abs=0.15)
    trials = np.tile(np.arange(100.0), (4, 1))
    low, high = seed_interval(trials, design, 4000, rng)
    half = 1.96 * np.arange(100).std() / 10
    assert (low, high) == pytest.approx((49.5 - half, 49.5 + half), abs=0.5)


def test_intervals_cover():
    rng, eight = np.random.default_rng(7), people_of(8, 30)
    pictures = Exchange(*[np.zeros(120, int)] * 2, np.arange(120), np.arange(120) // 4)
    covered = np.zeros((300, 4))
    for row in covered:
        hits = (rng.random(80) < 0.4) - 0.4
        repeated = rng.standard_normal(30).repeat(4) + rng.standard_normal(120)
        people = (rng.standard_normal(8) / np.sqrt(30)).repeat(30) + rng.standard_normal(240)
        for at, (scores, design) in enumerate(
            [
                (hits, Exchange.one_run(80)),
                (repeated, pictures),
                (repeated, Exchange.one_run(120)),
                (people, eight),
            ]
        ):
            low, high = bootstrap_ci(scores, design, 300, rng)
            row[at] = low <= 0 <= high
    share = covered.mean(axis=0)
    assert 0.91 <= share[0] <= 0.98
    assert 0.90 <= share[1] <= 0.98
    assert share[2] < 0.87  # what it would be if repeats of a picture were taken as independent
    assert 0.91 <= share[3] <= 0.99
