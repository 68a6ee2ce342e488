"""Retrieval: the nearest by cosine, ties, hubness, and what a gallery must be."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from dreamdiffusion.evaluation.metrics.pairs import retrieval_hits
from dreamdiffusion.evaluation.metrics.retrieval import hubness, score_retrieval

WORDS = {"kind": "the 200 pictures of the test", "repeats": "80", "selection": "last step"}


def test_the_protocol_says_gallery_repeats_rule_and_hubness():
    gallery = torch.eye(6, dtype=torch.float64)
    found = score_retrieval(gallery[:, None], gallery, np.arange(6), **WORDS)
    for words in ("gallery of 6: the 200 pictures", "repeats averaged: 80", "selection: last step"):
        assert words in found.protocol
    assert found.hubness == 0
    np.testing.assert_array_equal(found.pairs("top1"), np.eye(6))
    # top5 of six orthogonal entries: five tie at 0, so none of them gets in.
    np.testing.assert_array_equal(found.pairs("top5"), np.eye(6))


def test_a_small_gallery_has_no_top5():
    found = score_retrieval(torch.eye(5)[:, None], torch.eye(5), np.arange(5), **WORDS)
    assert list(found.hits) == ["top1"]


def test_a_constant_answer_wins_nothing():
    gallery = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    hits = retrieval_hits(torch.zeros(3, 2, 4), gallery, [1, 3, 7])
    assert (hits[:2] == 0).all()
    assert (hits[2] == 1).all()  # all of them are among the nearest seven


def test_hubness_by_hand():
    # Found 4, 0, 0, 0, 0 times: mean .8, variance 2.56, third (3.2^3 - 4 * .8^3) / 5 = 6.144.
    hits = np.zeros((4, 5))
    hits[:, 0] = 1
    assert hubness(hits) == pytest.approx(6.144 / 2.56**1.5)
    assert hubness(np.eye(5)) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gallery": torch.eye(4)[:1]}, "the gallery has 1 entry"),
        ({"gallery": torch.eye(4)[[0, 1, 1, 2]]}, "1 of the 4 entries of the gallery are"),
        ({"truth": np.array([0, 1, 2, 4])}, r"holds 0\.\.4; expected \(4,\) places in a"),
        ({"truth": np.array([0, 1])}, r"truth has shape \(2,\)"),
        ({"embeddings": torch.eye(5)[:4, None]}, r"embeddings have shape \(4, 1, 5\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_retrieval_is_refused(change, message):
    given = {"embeddings": torch.eye(4)[:, None], "gallery": torch.eye(4), "truth": np.arange(4)}
    with pytest.raises(ValueError, match=message):
        score_retrieval(**(given | change), **WORDS)
    with pytest.raises(ValueError, match="top is 9; the gallery has 4"):
        retrieval_hits(torch.eye(4)[:, None], torch.eye(4), [1, 9])


def test_a_whole_data_set_takes_a_second():
    """16,540 x 200; `benchmarks/metrics.py` tells the time, this only that it did not explode."""
    g = torch.Generator().manual_seed(0)
    embeddings, gallery = (
        torch.randn(16540, 1, 512, generator=g),
        torch.randn(200, 512, generator=g),
    )
    truth = np.arange(16540) % 200
    start = time.process_time()
    found = score_retrieval(embeddings, gallery, truth, **WORDS)
    assert time.process_time() - start < 5
    assert found.scores("top5").mean() == pytest.approx(5 / 200, abs=0.006)
