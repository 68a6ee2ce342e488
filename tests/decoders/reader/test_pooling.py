"""Pooling of networks and a linear model: by hand, and weights that are found again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from dreamdiffusion.decoders.reader.pooling import fit_pooling, mean_table, no_surer, pool

VALUES = ["cat", "house", "key"]


def table(values: np.ndarray) -> dict[str, pd.DataFrame]:
    return {"category": pd.DataFrame(values, columns=pd.Index(VALUES))}


def test_pooling_by_hand() -> None:
    network, linear = table(np.array([[0.5, 0.25, 0.25]])), table(np.array([[0.2, 0.8, 0.0]]))
    got = pool(network, linear, {"category": [2.0, 1.0]})["category"].to_numpy()[0]
    raw = np.array([0.5**2 * 0.2, 0.25**2 * 0.8, 0.25**2 * 1e-12])
    np.testing.assert_allclose(got, raw / raw.sum(), rtol=1e-9)


def test_the_weights_are_found_again() -> None:
    rng = np.random.default_rng(0)
    logs = rng.standard_normal((2, 20_000, 3))
    chances = softmax(1.3 * logs[0] + 0.4 * logs[1], axis=1)
    shown = [rng.choice(VALUES, p=row) for row in chances]
    shown[:10] = ["unheard of"] * 10
    parts = [table(softmax(part, axis=1)) for part in logs]
    found = fit_pooling(*parts, pd.DataFrame({"category": shown}))  # type: ignore[arg-type]
    assert found["category"] == pytest.approx([1.3, 0.4], abs=0.05)


def test_trials_that_are_all_right_leave_the_weights_finite() -> None:
    right = table(np.full((20, 3), 0.01) + np.eye(3)[np.arange(20) % 3] * 0.97)
    truth = pd.DataFrame({"category": [VALUES[i % 3] for i in range(20)]})
    one, two = fit_pooling(right, right, truth)["category"]
    assert 0.5 < one < 3 and 0.5 < two < 3
    nobody = pd.DataFrame({"category": ["unheard of"] * 20})
    assert fit_pooling(right, right, nobody)["category"] == pytest.approx([0.5, 0.5], abs=1e-3)


def test_weights_that_make_surer_are_made_smaller_in_proportion() -> None:
    got = no_surer({"category": [1.2, 0.3], "color": [0.6, 0.1], "place": [0.0, 0.0]})
    assert got["category"] == pytest.approx([0.8, 0.2])
    assert got["color"] == [0.6, 0.1] and got["place"] == [0.0, 0.0]


def test_the_mean_of_answers_is_that_of_their_logarithms() -> None:
    tables = [table(np.array([[0.8, 0.1, 0.1]])), table(np.array([[0.2, 0.4, 0.4]]))]
    got = mean_table(tables)["category"]
    raw = np.sqrt([0.8 * 0.2, 0.1 * 0.4, 0.1 * 0.4])
    np.testing.assert_allclose(got, [raw / raw.sum()])
    assert got.columns.tolist() == VALUES
