"""p, chance, records and corrections, against hand-worked values and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test

from dreamdiffusion.evaluation.metrics.pairs import top1_pairs, trial_groups
from dreamdiffusion.evidence.audit.permutation import random_derangement
from dreamdiffusion.evidence.scores import Score
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.evidence.statistics.score import (
    chance_level,
    correct,
    permutation_p,
    score_metric,
)


def runs_of(*lengths):
    each = np.arange(sum(lengths))
    return Exchange(0 * each, np.repeat(np.arange(len(lengths)), lengths), each, each)


def test_permutation_p_by_hand():
    rng = np.random.default_rng(0)
    # Of the 24 permutations of four trials only the identity reaches the value.
    assert permutation_p(np.eye(4), 2000, rng, Exchange.one_run(4)) == 1 / 24
    assert permutation_p(np.eye(4), 20, rng, Exchange.one_run(4)) >= 1 / 21
    assert permutation_p(np.ones((4, 4)), 99, rng, Exchange.one_run(4)) == 1.0
    assert permutation_p(np.eye(40), 999, rng, Exchange.one_run(40)) == 1 / 1000
    # Two runs of three: 3! * 3! orders, whatever the number of draws asked for.
    assert permutation_p(np.eye(6), 10**6, rng, runs_of(3, 3)) == 1 / 36


def test_p_of_few_blocks_is_never_below_their_number():
    # 60 perfect trials, but in three blocks, which could have been in six orders.
    truth = np.repeat([0, 1, 2], 20)
    pairs = top1_pairs(truth[:, None], truth, 3)
    blocks = Exchange(np.zeros(60, int), np.zeros(60, int), truth, truth)
    rng = np.random.default_rng(0)
    assert permutation_p(pairs, 2000, rng, blocks) == pytest.approx(1 / 6)
    assert permutation_p(pairs, 2000, rng, Exchange.one_run(60)) == 1 / 2001


@given(st.integers(2, 12), st.integers(1, 50), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_p_lies_in_0_to_1(n, count, seed):
    rng = np.random.default_rng(seed)
    design = Exchange.one_run(n)
    p = permutation_p(rng.integers(2, size=(n, n)).astype(float), count, rng, design)
    assert 1 / (1 + max(count, design.n_exchanges)) < p <= 1


def test_p_agrees_with_scipy():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal(7), rng.standard_normal(7)
    found = permutation_test(
        (x,), lambda x, axis: (x * y).mean(axis), permutation_type="pairings",
        alternative="greater", n_resamples=np.inf, vectorized=True,
    )  # fmt: skip
    p = permutation_p(x[:, None] * y, 5040, rng, Exchange.one_run(7))
    assert p == pytest.approx(found.pvalue, abs=1e-12)
    assert len(found.null_distribution) == 5040


def test_a_run_that_drifts_alone_is_no_evidence():
    # Class 0 prevails in the first run and class 1 in the second; the decoder names the run.
    truth = np.array([0] * 18 + [1] * 2 + [1] * 18 + [0] * 2)
    pairs = top1_pairs(np.repeat([0, 1], 20)[:, None], truth, 2)
    rng = np.random.default_rng(0)
    assert pairs.diagonal().mean() == 0.9
    assert permutation_p(pairs, 999, rng, Exchange.one_run(40)) == 1 / 1000
    assert permutation_p(pairs, 999, rng, runs_of(20, 20)) == 1.0
    assert chance_level(pairs, runs_of(20, 20)) == pytest.approx(0.9)
    assert chance_level(pairs, Exchange.one_run(40)) == pytest.approx(0.5)


def test_pairs_within_groups_alone_suffice():
    rng = np.random.default_rng(3)
    design = runs_of(30, 30)
    groups = trial_groups(design, rng, largest=10)
    pairs = rng.standard_normal((60, 60)) + 3 * np.eye(60)
    same = groups[:, None] == groups
    known = np.where(same, pairs, np.nan)
    record = score_metric("ssim", known, {"a": np.zeros(60)}, rng, design, 199, 100, groups)
    means = [known[same[:, j], j].mean() for j in range(60)]
    assert record.chance == pytest.approx(np.mean(means))
    assert record.p == 1 / 200
    with pytest.raises(ValueError, match="pass the groups"):
        score_metric("ssim", known, {"a": np.zeros(60)}, rng, design, 199, 100)


def test_score_of_perfect_predictions():
    truth = np.arange(24).repeat(4)
    pairs = top1_pairs(truth[:, None].repeat(4, 1), truth, 24)
    control = pairs[np.arange(96), random_derangement(96, np.random.default_rng(0))]
    rng, design = np.random.default_rng(1), Exchange.one_run(96)
    record = score_metric("category_top1", pairs, {"shuffled_eeg": control}, rng, design, 500, 500)
    assert (record.value, record.n, record.n_people) == (1, 96, 1)
    assert record.chance == pytest.approx(1 / 24)
    assert record.ci95 == (1, 1)
    assert record.p == 1 / 501
    assert record.p_corrected is None
    shuffled = record.controls["shuffled_eeg"]
    assert shuffled.value == control.mean() < 0.15
    assert shuffled.difference == record.difference == 1 - control.mean()
    assert shuffled.difference_ci95 == record.difference_ci95
    assert record.strongest == "shuffled_eeg"


def test_the_strongest_control_is_chosen_anew_in_every_draw():
    rng, n = np.random.default_rng(4), 100
    own = rng.standard_normal(n)
    rivals = {str(at): rng.standard_normal(n) for at in range(6)}
    pairs = np.diag(own)
    one = score_metric("m", pairs, rivals, np.random.default_rng(0), Exchange.one_run(n), 9, 2000)
    means = {name: rival.mean() for name, rival in rivals.items()}
    assert one.strongest == max(means, key=means.get)
    assert one.difference == pytest.approx(own.mean() - max(means.values()))
    fixed = one.controls[one.strongest]
    assert one.difference == fixed.difference
    # With a choice in every draw the interval lies lower than that of the winner alone.
    assert one.difference_ci95[0] < fixed.difference_ci95[0]
    assert one.difference_ci95[1] < fixed.difference_ci95[1]


def test_differences_are_paired():
    rng, n = np.random.default_rng(5), 200
    hard = 3 * rng.standard_normal(n)  # what makes a trial hard for both
    own, control = hard + 0.1 * rng.standard_normal(n) + 0.1, hard
    record = score_metric("m", np.diag(own), {"c": control}, rng, Exchange.one_run(n), 9, 1000)
    low, high = record.difference_ci95
    assert high - low == pytest.approx(2 * 1.96 * 0.1 / np.sqrt(n), rel=0.15)
    assert record.ci95[1] - record.ci95[0] > 0.7


def test_score_is_reproducible_and_checks_shapes():
    pairs, design = np.random.default_rng(8).random((20, 20)), Exchange.one_run(20)

    def made(pairs=pairs, design=design, **controls):
        return score_metric("pcc", pairs, controls, np.random.default_rng(1), design, 200, 200)

    assert made(a=pairs[0]) == made(a=pairs[0])
    assert made(a=pairs) == made(a=pairs.diagonal())
    with pytest.raises(ValueError, match="20 trials but 3 of a"):
        made(a=pairs[0, :3])
    with pytest.raises(ValueError, match="two or more"):
        made(pairs[:1, :1], a=pairs[0, :1])
    with pytest.raises(ValueError, match="no control"):
        made()
    with pytest.raises(ValueError, match="pcc: b of a trial is not finite"):
        made(a=pairs, b=np.full(20, np.nan))
    with pytest.raises(ValueError, match=r"shape \(20, 20\), expected \(21, 21\)"):
        made(design=Exchange.one_run(21), a=pairs)


def record(p):
    blank = {"metric": "m", "value": 0.0, "n": 2, "chance": 0.0, "ci95": (0, 0), "controls": {}}
    return Score(**blank, p=p, strongest="", difference=0.0, difference_ci95=(0, 0))


def test_holm_by_hand():
    found = [r.p_corrected for r in correct([record(p) for p in (0.04, 0.01, 0.03, 0.5)])]
    # 4 * .01, then 3 * .03, then 2 * .04 = .08 which may not fall below .09, then .5.
    assert found == pytest.approx([0.09, 0.04, 0.09, 0.5])
    assert correct([]) == []


@given(st.lists(st.floats(0.0005, 1), min_size=1, max_size=9))
@settings(max_examples=100, deadline=None)
def test_holm_is_monotone_and_never_below_p(ps):
    found = [r.p_corrected for r in correct([record(p) for p in ps])]
    assert all(p <= q <= min(1, len(ps) * p) for p, q in zip(ps, found, strict=True))
    order = np.argsort(ps, kind="stable")
    assert (np.diff(np.array(found)[order]) >= 0).all()
