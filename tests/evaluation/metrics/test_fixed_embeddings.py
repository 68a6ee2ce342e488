"""Retrieval, N-way and two-way on fixed embeddings, against loops that call no library.

``embeddings.json`` holds small whole numbers and the values that `by_hand` gave for them.
"""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from dreamdiffusion.evaluation.metrics.nsd import (
    distance_pairs,
    feature_correlations,
    two_way_pairs,
)
from dreamdiffusion.evaluation.metrics.pairs import n_way_pairs, retrieval_pairs
from dreamdiffusion.evaluation.metrics.retrieval import score_retrieval

FILE = Path(__file__).parent / "embeddings.json"


def cosine(a, b):
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths


def correlation(a, b):
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    return cosine([x - mean_a for x in a], [y - mean_b for y in b])


def by_hand(data):
    """Return what each metric is by its definition, pair by pair and sample by sample."""
    gallery, trials, truth = data["gallery"], data["embeddings"], data["truth"]

    def pairs(trials, truth, score):
        return [[sum(score(s, t) for s in trial) / len(trial) for trial in trials] for t in truth]

    def in_top(k):
        def score(sample, t):
            own = cosine(sample, gallery[t])
            others = [cosine(sample, g) for i, g in enumerate(gallery) if i != t]
            return float(sum(other >= own for other in others) < k)

        return score

    def two_way(sample, t):
        own = correlation(sample, gallery[t])
        others = [correlation(sample, g) for i, g in enumerate(gallery) if i != t]
        return sum(other < own for other in others) / len(others)

    def n_way(n, k):
        def score(p, t):
            others = [i for i in range(len(p)) if i != t]
            draws = list(itertools.combinations(others, n - 1))
            return sum(sum(p[i] >= p[t] for i in drawn) < k for drawn in draws) / len(draws)

        return score

    probabilities, labels = data["probabilities"], data["labels"]
    return {
        "retrieval_top1": pairs(trials, truth, in_top(1)),
        "retrieval_top5": pairs(trials, truth, in_top(5)),
        "two_way": pairs(trials, truth, two_way),
        "distance": pairs(trials, truth, lambda s, t: 1 - correlation(s, gallery[t])),
        "3_way_top1": pairs(probabilities, labels, n_way(3, 1)),
        "5_way_top2": pairs(probabilities, labels, n_way(5, 2)),
    }


@pytest.fixture(scope="module")
def data():
    return json.loads(FILE.read_text(encoding="utf-8"))


def test_the_loops_still_give_what_the_file_says(data):
    for name, values in by_hand(data).items():
        np.testing.assert_allclose(values, data["expected"][name], atol=1e-12, err_msg=name)


def test_the_file_tells_right_from_wrong(data):
    """No metric is constant over the pairs, so that an index in the wrong place shows."""
    for name, values in data["expected"].items():
        pairs = np.array(values)
        assert len(np.unique(pairs)) > 2, name
        assert not np.allclose(pairs, pairs.T), name
        assert np.diagonal(pairs).mean() > 0.2, name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_retrieval(data, dtype):
    embeddings = torch.tensor(data["embeddings"], dtype=dtype)
    gallery, truth = torch.tensor(data["gallery"], dtype=dtype), np.array(data["truth"])
    for top in (1, 5):
        expected = data["expected"][f"retrieval_top{top}"]
        pairs = retrieval_pairs(embeddings, gallery, truth, top)
        np.testing.assert_allclose(pairs, expected, atol=1e-6)
    found = score_retrieval(embeddings, gallery, truth, kind="fixed", repeats="1", selection="none")
    assert list(found.hits) == ["top1", "top5"]
    np.testing.assert_allclose(found.pairs("top5"), data["expected"]["retrieval_top5"], atol=1e-6)
    np.testing.assert_allclose(
        found.scores("top1"), np.diagonal(data["expected"]["retrieval_top1"]), atol=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_two_way_and_distance(data, dtype):
    r = feature_correlations(
        torch.tensor(data["embeddings"], dtype=dtype), torch.tensor(data["gallery"], dtype=dtype)
    )
    truth = np.array(data["truth"])
    np.testing.assert_allclose(two_way_pairs(r, truth), data["expected"]["two_way"], atol=1e-6)
    np.testing.assert_allclose(distance_pairs(r, truth), data["expected"]["distance"], atol=1e-6)


def test_n_way(data):
    probabilities, labels = np.array(data["probabilities"]), np.array(data["labels"])
    for n_way, top in ((3, 1), (5, 2)):
        pairs = n_way_pairs(probabilities, labels, n_way, top)
        expected = data["expected"][f"{n_way}_way_top{top}"]
        np.testing.assert_allclose(pairs, expected, atol=1e-6)
