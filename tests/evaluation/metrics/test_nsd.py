"""The NSD suite, against scikit-image, numpy and cases worked by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import correlation
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity

from dreamdiffusion.evaluation.metrics.nsd import (
    distance_pairs,
    feature_correlations,
    nsd_ssim_pairs,
    pixcorr_pairs,
    resize,
    two_way_pairs,
)
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.evidence.statistics.score import chance_level


def pictures(n, k, size=(20, 20), seed=0):
    g = torch.Generator().manual_seed(seed)
    seen = torch.rand(n, 3, *size, generator=g)
    return seen, 0.6 * seen[:, None] + 0.4 * torch.rand(n, k, 3, *size, generator=g)


@pytest.mark.parametrize(("size", "to"), [((20, 20), 45), ((50, 50), 31), ((30, 20), 33)])
def test_pixcorr_is_the_correlation_after_resizing(size, to):
    seen, made = pictures(3, 2, size)
    pairs = pixcorr_pairs(seen, made, to)
    x, y = resize(seen.double(), to), resize(made.double(), to)
    for i, j in itertools.product(range(3), range(3)):
        expected = [np.corrcoef(x[i].ravel(), y[j, s].ravel())[0, 1] for s in range(2)]
        assert pairs[i, j] == pytest.approx(np.mean(expected), abs=1e-6)


def test_pixcorr_of_a_plain_picture_is_0():
    seen, made = pictures(2, 1)
    made[0] = 0.4
    assert np.abs(pixcorr_pairs(seen, made)[:, 0]).max() < 1e-5


def test_ssim_is_that_of_scikit_image_at_425():
    seen, made = pictures(2, 2)
    pairs = nsd_ssim_pairs(seen, made)

    def reference(a, b):
        return structural_similarity(
            rgb2gray(resize(a, 425).permute(1, 2, 0).numpy()),
            rgb2gray(resize(b, 425).permute(1, 2, 0).numpy()),
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0,
        )  # fmt: skip

    for i, j in itertools.product(range(2), range(2)):
        expected = np.mean([reference(seen[i], made[j, s]) for s in range(2)])
        assert pairs[i, j] == pytest.approx(expected, abs=1e-4)  # variances in single precision
    diagonal = nsd_ssim_pairs(seen, made, np.arange(2))
    np.testing.assert_allclose(diagonal.diagonal(), pairs.diagonal(), atol=1e-6)
    assert np.isnan(diagonal[0, 1])


def test_two_way_by_hand():
    # One sample; the true picture correlates .5 with it, one other more, one the same, two less.
    r = np.array([[[0.5, 0.9, 0.5, 0.1, -0.2]]])
    assert two_way_pairs(r, np.array([0]))[0, 0] == 2 / 4
    assert two_way_pairs(r, np.array([1]))[0, 0] == 1
    assert two_way_pairs(r, np.array([4]))[0, 0] == 0
    with pytest.raises(ValueError, match="needs two or more pictures, there is 1"):
        two_way_pairs(r[..., :1], np.array([0]))


def test_a_picture_shown_twice_is_no_rival_of_itself():
    g = torch.Generator().manual_seed(1)
    gallery = torch.randn(3, 6, generator=g)
    truth = np.array([0, 0, 1, 2])
    pairs = two_way_pairs(feature_correlations(gallery[truth][:, None], gallery), truth)
    assert pairs.diagonal().tolist() == [1, 1, 1, 1]
    assert pairs[0].tolist() == pairs[1].tolist()


@given(st.integers(2, 9), st.integers(1, 4), st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_chance_of_two_way_is_a_half_whatever_is_generated(n, k, seed):
    """Without ties every place in the order is taken once, so no favourite picture can gain."""
    r = np.random.default_rng(seed).normal(size=(n, k, n)) + np.arange(n)
    assert chance_level(two_way_pairs(r, np.arange(n)), Exchange.one_run(n)) == pytest.approx(0.5)


def test_distance_matches_scipy_and_a_constant_has_none():
    g = torch.Generator().manual_seed(2)
    gallery = torch.randn(3, 8, generator=g, dtype=torch.float64)
    features = torch.randn(3, 2, 8, generator=g, dtype=torch.float64)
    pairs = distance_pairs(feature_correlations(features, gallery), np.arange(3))
    for i, j in itertools.product(range(3), range(3)):
        expected = np.mean([correlation(gallery[i], features[j, s]) for s in range(2)])
        assert pairs[i, j] == pytest.approx(expected, abs=1e-12)
    constant = feature_correlations(torch.full((1, 1, 8), 2.0, dtype=torch.float64), gallery)
    assert (constant == 0).all()
    assert two_way_pairs(constant, np.array([0]))[0, 0] == 0
    with pytest.raises(ValueError, match=r"features have shape \(3, 8\)"):
        feature_correlations(gallery, gallery)
