"""FID, KID and Inception score, against closed forms and sums worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from dreamdiffusion.evaluation.metrics.distribution import (
    few_pictures_note,
    frechet_distance,
    inception_score,
    kernel_distance,
)


def gaussian(n, mean, covariance, seed):
    """Points whose sample mean and covariance are exactly these."""
    x = np.random.default_rng(seed).normal(size=(n, len(mean)))
    x -= x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return x @ np.linalg.cholesky(covariance).T + mean


def test_fid_of_two_gaussians_in_closed_form():
    # Covariances that commute: |m1 - m2|^2 + sum (s1 - s2)^2 over standard deviations.
    x = gaussian(50, [0, 0, 0], np.diag([1.0, 4.0, 9.0]), 0)
    y = gaussian(80, [1, 2, -2], np.diag([4.0, 1.0, 9.0]), 1)
    assert frechet_distance(x, y) == pytest.approx((1 + 4 + 4) + (1 + 1 + 0), abs=1e-9)


def test_fid_of_covariances_that_do_not_commute():
    one, two = np.array([[2.0, 0.9], [0.9, 1.0]]), np.array([[1.0, -0.5], [-0.5, 3.0]])
    x, y = gaussian(40, [0, 0], one, 0), gaussian(30, [0, 1], two, 1)
    root = np.trace(np.real(sqrtm(one @ two)))
    assert frechet_distance(x, y) == pytest.approx(1 + 3 + 4 - 2 * root, abs=1e-9)


def test_fid_with_fewer_pictures_than_features():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 40)), rng.normal(size=(9, 40)) + 0.3
    a, b = np.cov(x.T), np.cov(y.T)
    values, vectors = np.linalg.eigh(a)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T  # a^(1/2)
    overlap = np.sqrt(np.linalg.eigvalsh(root @ b @ root).clip(0)).sum()
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b) - 2 * overlap
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)


def test_fid_of_few_pictures_is_biased_and_kid_is_not():
    rng = np.random.default_rng(1)
    few = [rng.normal(size=(2, 20, 8)) for _ in range(100)]
    many = rng.normal(size=(2, 2000, 8))
    assert np.mean([frechet_distance(*sets) for sets in few]) > 20 * frechet_distance(*many)
    kid = [kernel_distance(*sets) for sets in few]
    assert abs(np.mean(kid)) < 3 * np.std(kid) / np.sqrt(len(kid))
    assert min(kid) < 0
    assert "20 generated and 30 seen pictures is biased" in few_pictures_note(20, 30)
    assert few_pictures_note(10_000, 50_000) == ""


def test_kid_by_hand():
    x, y = np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]]), np.array([[1.0, -1.0], [0.0, 2.0]])
    # k(a, b) = (a.b / 2 + 1)^3. Within x: products 0, 1, 2 -> 1, 3.375, 8, each twice, over 6.
    within_x = 2 * (1 + 3.375 + 8) / 6
    # Within y: product -2 -> 0. Between: -1, 2; 2, 0; 0, 2 -> .125, 8, 8, 1, 1, 8, over 6.
    between = (0.125 + 8 + 8 + 1 + 1 + 8) / 6
    assert kernel_distance(x, y) == pytest.approx(within_x + 0 - 2 * between, abs=1e-12)


def test_kid_in_blocks_is_the_same(monkeypatch):
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(30, 5)), rng.normal(size=(25, 5))
    whole = kernel_distance(x, y)
    monkeypatch.setattr("dreamdiffusion.evaluation.metrics.distribution._ROWS", 7)
    assert kernel_distance(x, y) == pytest.approx(whole, abs=1e-12)


def test_inception_score_by_hand():
    assert inception_score(np.eye(6)[[0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]]) == pytest.approx(6)
    assert inception_score(np.full((9, 6), 1 / 6)) == pytest.approx(1)
    assert inception_score(np.eye(6)[[2, 2, 2]]) == pytest.approx(1)  # one class only
    # Two pictures, (3/4, 1/4) and (1/4, 3/4): KL to (1/2, 1/2) is ln 2 - H(1/4).
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    p = np.array([[0.75, 0.25], [0.25, 0.75]])
    assert inception_score(p) == pytest.approx(2 * np.exp(-entropy))


def test_what_is_no_set_of_features_is_refused():
    with pytest.raises(ValueError, match=r"shapes \(1, 4\) and \(3, 4\)"):
        frechet_distance(np.ones((1, 4)), np.ones((3, 4)))
    with pytest.raises(ValueError, match=r"shapes \(3, 5\) and \(3, 4\)"):
        kernel_distance(np.ones((3, 5)), np.ones((3, 4)))
    with pytest.raises(ValueError, match="rows of sum 1"):
        inception_score(np.ones((3, 4)))
