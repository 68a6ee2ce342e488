"""Which electrodes to trust: by hand, the most likely sizes, and one that says nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal

from dreamdiffusion.decoders import relevance as module
from dreamdiffusion.decoders.relevance import (
    Relevance,
    block_toeplitz,
    expected_sizes,
    learn_relevance,
    shrink_effects,
)
from dreamdiffusion.recordings.electrodes import electrode_positions

TIMES = 0.02 * np.arange(10)
SAME = np.array([0.2, 0.2])


def test_block_toeplitz_by_hand() -> None:
    covariance = np.array(
        [[2.0, 1.0, 5.0, 3.0], [1.0, 4.0, 1.0, 7.0], [5.0, 1.0, 6.0, 0.0], [3.0, 7.0, 0.0, 8.0]]
    )
    # Means of the diagonals of each block of 2 windows; one window apart counts half.
    expected = np.array(
        [[3.0, 0.5, 6.0, 1.5], [0.5, 3.0, 0.5, 6.0], [6.0, 0.5, 7.0, 0.0], [1.5, 6.0, 0.0, 7.0]]
    )
    np.testing.assert_allclose(block_toeplitz(covariance, 2), expected)


def test_effects_before_they_are_measured() -> None:
    got = Relevance(np.array([1.0, 3.0]), 0.02).covariance(TIMES[:2])
    near = np.exp(-0.5)
    expected = [[1, near, 0, 0], [near, 1, 0, 0], [0, 0, 9, 9 * near], [0, 0, 9 * near, 9]]
    np.testing.assert_allclose(got, expected)


def test_effects_are_expected_at_the_back_of_the_head() -> None:
    fz, pz, oz = expected_sizes(["Fz", "Pz", "Oz"])
    places = electrode_positions(["Fz", "Pz"])[:, 1]
    assert fz / pz == pytest.approx(3 ** -((places[0] - places[1]) / 0.1))
    assert fz < pz < oz
    np.testing.assert_allclose(expected_sizes(["TP9", "TP10"]), 0.2, rtol=0.35)  # beside the ears
    assert expected_sizes(["Fz", "EEG 7"]).tolist() == [0.2, 0.2]  # who knows where


def test_an_effect_is_halved_where_noise_is_as_large(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Relevance(np.array([0.5, 1e-6]), 0.02)
    monkeypatch.setattr(module, "learn_relevance", lambda *given: known)
    # Two classes of two trials each: design.T @ design has the one power 2, so that the contrast
    # is measured with half the noise of a trial: 0.25, as large as the effect's 0.5 squared.
    design = np.array([[0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [-0.5, 0.5]])
    effects = np.array([[1.0, 1.0], [-1.0, -1.0]])
    got, _ = shrink_effects(effects, design, 0.5 * np.eye(2), TIMES[:1], SAME)
    np.testing.assert_allclose(got, [[0.5, 0.0], [-0.5, 0.0]], atol=1e-6)


def test_what_is_found_is_the_most_likely() -> None:
    rng = np.random.default_rng(0)
    noise = 0.04 * np.eye(20)
    contrasts = rng.multivariate_normal(np.zeros(20), noise + 0.1, 3)
    found = learn_relevance(contrasts, noise, TIMES, np.array([0.2, 0.1]))

    def loss(logs: np.ndarray) -> float:
        covariance = Relevance(np.exp(logs[:2]), float(np.exp(logs[2]))).covariance(TIMES) + noise
        evidence = multivariate_normal(np.zeros(20), covariance).logpdf(contrasts).sum()
        away = logs - np.log([0.2, 0.1, 0.03])
        sizes = away[:2] @ np.linalg.inv([[2.5, 2.25], [2.25, 2.5]]) @ away[:2]
        return float(0.5 * (sizes + away[2] ** 2 / 0.25) - evidence)

    best = np.log([*found.sizes, found.length_s])
    slope = np.asarray(approx_fprime(best, loss, 1e-6))
    np.testing.assert_allclose(slope, 0, atol=0.02)


def test_an_electrode_that_says_nothing_is_not_trusted() -> None:
    rng = np.random.default_rng(1)
    shown = np.arange(200) % 2 == 0
    data = rng.standard_normal((200, 2, 10))
    data[shown, 0] += 0.5 * np.sin(np.arange(10) / 2)
    hot = np.stack([shown, ~shown], axis=1).astype(float)
    design = hot - hot.mean(axis=0)
    features = data.reshape(200, -1)
    effects = np.linalg.lstsq(design, features - features.mean(axis=0), rcond=None)[0]
    got, relevance = shrink_effects(effects, design, np.eye(20), TIMES, SAME)
    assert relevance.sizes[1] < relevance.sizes[0] / 2
    right, wrong = np.split(got[0], 2)
    np.testing.assert_allclose(right, 0.25 * np.sin(np.arange(10) / 2), atol=0.1)
    assert np.abs(wrong).max() < np.abs(effects[0, 10:]).max() / 2
    np.testing.assert_allclose(got[0], -got[1])


@pytest.mark.parametrize("seed", [1, 10, 11])
def test_effects_far_larger_than_expected_are_found(seed: int) -> None:
    """As 50 trials of 22 classes give; the search once left for sizes of 10 to the 13."""
    times, n_chans = 0.024 * np.arange(10), 4
    near = np.exp(-0.5 * ((times[:, None] - times) / 0.02) ** 2)
    noise = np.kron(0.5 + 0.5 * np.eye(n_chans), near) + 0.1 * np.eye(40)
    noise /= noise[0, 0]
    factor = np.linalg.cholesky(noise)
    contrasts = np.sqrt(2) * np.random.default_rng(seed).normal(size=(21, 40)) @ factor.T
    found = learn_relevance(contrasts, 0.5 * noise, times, np.array([0.17, 0.05, 0.05, 0.17]))
    # What is measured has a variance of 2, of which the noise is 0.5.
    np.testing.assert_allclose(found.sizes, np.sqrt(1.5), rtol=0.35)
