"""Scores, against hand-worked values and scikit-image."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
import torch
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity
from sklearn.metrics import roc_auc_score

from dreamdiffusion.evaluation.metrics.pairs import (
    auc_pairs,
    mse_pairs,
    n_way_drawn,
    n_way_pairs,
    pcc_pairs,
    retrieval_pairs,
    ssim_pairs,
    top1_pairs,
    trial_groups,
)
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.evidence.statistics.score import chance_level


def test_top1_is_the_mean_over_samples():
    chosen = np.array([[0, 0, 1, 2], [1, 1, 1, 1]])
    pairs = top1_pairs(chosen, np.array([0, 1]), 3)
    # Trial 0: half of its samples show class 0, a quarter class 1; never "one of four was right".
    np.testing.assert_allclose(pairs, [[0.5, 0.0], [0.25, 1.0]])


def test_top1_rejects_a_label_out_of_range():
    with pytest.raises(ValueError, match=r"chosen holds 0\.\.3, there are 3"):
        top1_pairs(np.array([[0], [3]]), np.array([0, 1]), 3)


def test_chance_of_labels_is_shown_times_named():
    design = Exchange.one_run(4)
    chosen = np.array([[0], [0], [0], [1]])  # names class 0 in three of four
    pairs = top1_pairs(chosen, np.array([0, 0, 1, 1]), 2)
    assert chance_level(pairs, design) == pytest.approx(0.75 * 0.5 + 0.25 * 0.5)
    chosen = np.array([[0], [0], [0], [0]])  # always the class that is shown in three of four
    pairs = top1_pairs(chosen, np.array([0, 0, 0, 1]), 2)
    assert chance_level(pairs, design) == pytest.approx(0.75)


def test_chance_of_a_sharp_generator_that_guesses_is_twice_one_in_n():
    # It draws one of the 40 classes that occur, sharply; the judge knows 400, and the truth, if it
    # was not guessed, has any place among the others.
    rng, n = np.random.default_rng(0), 200
    truth, guessed = np.arange(n) % 40, rng.permutation(np.arange(n) % 40)
    probabilities = rng.random((n, 1, 400)) * 1e-3
    probabilities[np.arange(n), 0, guessed] = 0.9
    level = chance_level(n_way_pairs(probabilities, truth, 50), Exchange.one_run(n))
    # Guessed 1/40; else the guess must miss the draw of 49 of 399, and the truth lead the 50.
    assert level == pytest.approx(1 / 40 + 39 / 40 * (350 / 399) / 50, abs=0.003)
    assert level > 2 * (1 / 50)


def test_n_way_matches_drawing_all_sets():
    probabilities = np.array([0.1, 0.4, 0.2, 0.25, 0.05])
    truth, n_way = 2, 3
    sets = list(itertools.combinations([0, 1, 3, 4], n_way - 1))
    for top in (1, 2):
        hits = [sum(probabilities[list(s)] > probabilities[truth]) < top for s in sets]
        pairs = n_way_pairs(probabilities[None, None], np.array([truth]), n_way, top)
        assert pairs[0, 0] == pytest.approx(np.mean(hits))
    # r = 2 rivals above of 4: both draws must miss them, C(2,2) / C(4,2).
    assert n_way_pairs(probabilities[None, None], np.array([2]), 3)[0, 0] == pytest.approx(1 / 6)


def test_n_way_with_all_classes_is_top1():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(6), size=(10, 3))
    truth = rng.integers(6, size=10)
    np.testing.assert_allclose(
        n_way_pairs(probabilities, truth, 6), top1_pairs(probabilities.argmax(-1), truth, 6)
    )
    with pytest.raises(ValueError, match="n_way is 7"):
        n_way_pairs(probabilities, truth, 7)


def test_n_way_ties_count_against():
    assert n_way_pairs(np.full((1, 1, 4), 0.25), np.array([1]), 2)[0, 0] == 0


def test_n_way_draws_other_classes_only_and_without_replacement():
    """Against drawing the sets themselves, as the papers do, with other random numbers."""
    rng = np.random.default_rng(0)
    probabilities, truth = rng.dirichlet(np.full(12, 0.4), size=(5, 2)), np.array([0, 3, 3, 7, 11])
    for n_way, top in ((4, 1), (9, 2), (12, 3)):
        hits = np.zeros(5)
        for i, t in enumerate(truth):
            others = np.delete(np.arange(12), t)
            for p in probabilities[i]:
                for _ in range(800):
                    drawn = rng.choice(others, n_way - 1, replace=False)
                    hits[i] += (p[drawn] >= p[t]).sum() < top
        expected = n_way_pairs(probabilities, truth, n_way, top).diagonal()
        error = np.sqrt(expected * (1 - expected) / 1600) + 1e-9
        for found in (hits / 1600, n_way_drawn(probabilities, truth, n_way, rng, top, 800)):
            assert (np.abs(found - expected) < 4 * error).all()


def test_n_way_drawn_repeats_by_its_seed():
    rng = np.random.default_rng(1)
    probabilities, truth = rng.dirichlet(np.ones(20), size=(6, 1)), rng.integers(20, size=6)
    one, two, other = (
        n_way_drawn(probabilities, truth, 5, np.random.default_rng(seed), repeats=50)
        for seed in (1, 1, 2)
    )
    assert (one == two).all()
    assert (one != other).any()
    with pytest.raises(ValueError, match=r"truth holds 0\.\.20, there are 20"):
        n_way_drawn(probabilities, np.array([0, 1, 2, 3, 4, 20]), 5, rng)


def test_n_way_of_two_thousand_images_takes_seconds():
    """50-way x 1000 repeats; `benchmarks/metrics.py` tells the time."""
    rng = np.random.default_rng(2)
    probabilities, truth = rng.random((2000, 1, 1000)), rng.integers(1000, size=2000)
    start = time.process_time()
    drawn = n_way_drawn(probabilities, truth, 50, rng, repeats=1000)
    pairs = n_way_pairs(probabilities, truth, 50)
    assert time.process_time() - start < 25
    assert drawn.mean() == pytest.approx(pairs.diagonal().mean(), abs=0.002)
    assert chance_level(pairs, Exchange.one_run(len(pairs))) == pytest.approx(0.02, abs=0.002)


def test_retrieval_uses_the_cosine():
    gallery = torch.tensor([[1.0, 0.0], [0.0, 5.0]])
    embeddings = torch.tensor([[[9.0, 1.0], [1.0, 2.0]], [[0.0, 0.1], [0.1, 0.2]]])
    pairs = retrieval_pairs(embeddings, gallery, np.array([0, 1]))
    np.testing.assert_allclose(pairs, [[0.5, 0.0], [0.5, 1.0]])


def test_pcc_by_hand():
    ramp = torch.linspace(0, 1, 3 * 16).view(3, 4, 4)
    flat = torch.full((3, 4, 4), 0.3)
    seen = torch.stack([ramp, 1 - ramp])
    generated = torch.stack([torch.stack([ramp * 0.5, ramp]), torch.stack([1 - ramp, flat])])
    np.testing.assert_allclose(pcc_pairs(seen, generated), [[1, -0.5], [-1, 0.5]], atol=1e-6)


def test_pcc_matches_numpy():
    g = torch.Generator().manual_seed(0)
    seen, made = torch.rand(3, 3, 8, 8, generator=g), torch.rand(3, 2, 3, 8, 8, generator=g)
    pairs = pcc_pairs(seen, made)
    expected = np.mean([np.corrcoef(seen[1].ravel(), made[2, s].ravel())[0, 1] for s in range(2)])
    assert pairs[1, 2] == pytest.approx(expected, abs=1e-6)


def test_ssim_matches_scikit_image():
    g = torch.Generator().manual_seed(1)
    seen, noise = torch.rand(3, 3, 24, 20, generator=g), torch.rand(3, 2, 3, 24, 20, generator=g)
    made = 0.6 * seen[:, None] + 0.4 * noise
    pairs = ssim_pairs(seen, made)

    def reference(a, b):
        return structural_similarity(
            rgb2gray(a.permute(1, 2, 0).numpy()), rgb2gray(b.permute(1, 2, 0).numpy()),
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0,
        )  # fmt: skip

    for i, j in itertools.product(range(3), range(3)):
        expected = np.mean([reference(seen[i], made[j, s]) for s in range(2)])
        assert pairs[i, j] == pytest.approx(expected, abs=1e-5)
    assert ssim_pairs(seen, seen[:, None]).diagonal() == pytest.approx(1, abs=1e-6)


def test_ssim_in_colour_matches_scikit_image():
    g = torch.Generator().manual_seed(3)
    seen, made = torch.rand(3, 3, 14, 17, generator=g), torch.rand(3, 2, 3, 14, 17, generator=g)
    pairs = ssim_pairs(seen, made, color=True)
    for i, j in itertools.product(range(3), range(3)):
        expected = [
            structural_similarity(
                seen[i].numpy(), made[j, s].numpy(), channel_axis=0, data_range=1.0
            )
            for s in range(2)
        ]
        assert pairs[i, j] == pytest.approx(np.mean(expected), abs=1e-5)


def test_mse_by_hand():
    seen = torch.stack([torch.full((3, 2, 2), v) for v in (0.0, 1.0)])
    made = torch.tensor([[0.5, 0.0], [1.0, 0.8]]).view(2, 2, 1, 1, 1).expand(2, 2, 3, 2, 2)
    # The mean of the two samples' squared differences, not the square of the mean's.
    expected = [[0.25 / 2, (1 + 0.64) / 2], [(0.25 + 1) / 2, 0.04 / 2]]
    np.testing.assert_allclose(mse_pairs(seen, made), expected, atol=1e-7)


def test_ssim_within_groups_only():
    g = torch.Generator().manual_seed(2)
    seen, made = torch.rand(4, 3, 12, 12, generator=g), torch.rand(4, 1, 3, 12, 12, generator=g)
    groups = np.array([0, 1, 0, 1])
    part, whole = ssim_pairs(seen, made, groups), ssim_pairs(seen, made)
    same = groups[:, None] == groups
    np.testing.assert_allclose(part[same], whole[same], atol=1e-6)
    assert np.isnan(part[~same]).all()
    with pytest.raises(ValueError, match="pictures are 8 pixels, SSIM needs 11"):
        ssim_pairs(seen[..., :8, :8], made[..., :8, :8])


def test_trial_groups_are_even():
    rng = np.random.default_rng(0)
    sizes = np.bincount(trial_groups(Exchange.one_run(500), rng, largest=200))
    assert sizes.tolist() == [167, 167, 166]
    assert not trial_groups(Exchange.one_run(5), rng).any()


def test_trial_groups_lie_within_runs_and_keep_blocks():
    rng, each = np.random.default_rng(0), np.arange(240)
    runs = np.repeat([0, 1, 2], 80)
    groups = trial_groups(Exchange(0 * each, runs, each, each), rng, largest=30)
    assert np.bincount(groups).tolist() == [27, 27, 26] * 3
    assert (runs[groups.argsort(kind="stable")] == np.sort(groups) // 3).all()
    # Blocks of 10: 8 in a run, so two groups of four, larger than asked for.
    blocked = Exchange(0 * each, runs, each // 10, each // 10)
    groups = trial_groups(blocked, rng, largest=30)
    assert np.bincount(groups).tolist() == [40] * 6
    assert (groups == groups[each // 10 * 10]).all()
    assert blocked.within(groups).n_exchanges == 24.0**6


def test_auc_pairs_match_scikit_learn():
    rng = np.random.default_rng(9)
    runs, truth = np.repeat([3, 5], [20, 30]), rng.random(50) < 0.4
    decision = rng.standard_normal(50).round(1)  # with ties
    expected = np.average(
        [roc_auc_score(truth[runs == run], decision[runs == run]) for run in (3, 5)],
        weights=[20, 30],
    )
    pairs = auc_pairs(decision, truth, runs)
    assert pairs.diagonal().mean() == pytest.approx(expected, abs=1e-12)
    each = np.arange(50)
    design = Exchange(0 * each, runs, each, each)
    assert chance_level(pairs, design) == pytest.approx(0.5, abs=1e-12)
    dealt = design.exchanges(1, rng)[0]
    area = np.average(
        [roc_auc_score(truth[dealt][runs == run], decision[runs == run]) for run in (3, 5)],
        weights=[20, 30],
    )
    assert pairs[dealt, each].mean() == pytest.approx(area, abs=1e-12)
    with pytest.raises(ValueError, match="of run 3 are of one class"):
        auc_pairs(decision, truth | (runs == 3), runs)
