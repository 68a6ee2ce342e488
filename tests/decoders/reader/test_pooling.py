"""Pooling of networks and a linear model: by hand, and weights that are found again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from dreamdiffusion.decoders.reader.pooling import (
    fit_exponents,
    fit_pooling,
    mean_table,
    no_surer,
    pool,
)

VALUES = ["cat", "house", "key"]


def table(values: np.ndarray) -> dict[str, pd.DataFrame]:
    return {"category": pd.DataFrame(values, columns=pd.Index(VALUES))}


def test_pooling_by_hand() -> None:
    network, linear = table(np.array([[0.5, 0.25, 0.25]])), table(np.array([[0.2, 0.8, 0.0]]))
    got = pool(network, linear, {"category": [2.0, 1.0]})["category"].to_numpy()[0]
    raw = np.array([0.5**2 * 0.2, 0.25**2 * 0.8, 0.25**2 * 1e-12])
    np.testing.assert_allclose(got, raw / raw.sum(), rtol=1e-9)


def draw(chances: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    return pd.DataFrame({"category": [rng.choice(VALUES, p=row) for row in chances]})


def test_the_weights_are_found_again() -> None:
    rng = np.random.default_rng(0)
    logs = rng.standard_normal((2, 20_000, 3))
    shown = draw(softmax(1.3 * logs[0] + 0.4 * logs[1], axis=1), rng)
    shown.loc[:9, "category"] = "unheard of"
    one, two = (table(softmax(part, axis=1)) for part in logs)
    for exponent in (1.0, 0.5):  # with many trials it makes no difference
        found = fit_pooling(one, two, shown, {"category": exponent})
        assert found["category"] == pytest.approx([1.3, 0.4], abs=0.05)


def test_trials_that_are_all_right_leave_the_weights_finite() -> None:
    right = table(np.full((20, 3), 0.01) + np.eye(3)[np.arange(20) % 3] * 0.97)
    truth = pd.DataFrame({"category": [VALUES[i % 3] for i in range(20)]})
    one, two = fit_pooling(right, right, truth, {})["category"]
    assert 0.5 < one < 3 and 0.5 < two < 3
    nobody = pd.DataFrame({"category": ["unheard of"] * 20})
    none = fit_pooling(right, right, nobody, {"category": 0.2})["category"]
    assert none == pytest.approx([0.5, 0.5 * 0.2], abs=1e-3)


def test_the_exponent_is_found_again() -> None:
    rng = np.random.default_rng(0)
    logs = rng.standard_normal((6000, 3))
    shown = draw(softmax(0.3 * logs, axis=1), rng)
    shown.loc[:9, "category"] = "unheard of"
    halves = [slice(0, 3000), slice(3000, 6000)]
    answers = [table(softmax(logs[half], axis=1)) for half in halves]
    truths = [shown.iloc[half] for half in halves]
    assert fit_exponents(answers, truths)["category"] == pytest.approx(0.3, abs=0.05)
    nothing_of_it = [{}, *answers], [shown.iloc[halves[0]], *truths]
    assert fit_exponents(*nothing_of_it) == fit_exponents(answers, truths)
    nobody = pd.DataFrame({"category": ["unheard of"] * 3000})
    assert fit_exponents(answers[:1], [nobody])["category"] == pytest.approx(1, abs=1e-3)
    assert fit_exponents([], []) == {}


def test_who_is_sure_and_knows_nothing_is_not_believed_though_few_trials_validate() -> None:
    """45 trials of their own say it of the linear model; the 5 that validate could not."""
    rng = np.random.default_rng(1)
    shown = rng.integers(3, size=1050)
    truth = pd.DataFrame({"category": [VALUES[i] for i in shown]})
    networks = table(softmax(2 * np.eye(3)[shown] + rng.standard_normal((1050, 3)), axis=1))
    sure = table(softmax(20 * rng.standard_normal((1050, 3)), axis=1))

    def rows(of: dict[str, pd.DataFrame], where: slice) -> dict[str, pd.DataFrame]:
        return {"category": of["category"].iloc[where].reset_index(drop=True)}

    training, validation, new = slice(0, 45), slice(45, 50), slice(50, 1050)
    exponents = fit_exponents([rows(sure, training)], [truth.iloc[training]])
    assert exponents["category"] < 0.05

    def right(answer: dict[str, pd.DataFrame]) -> float:
        return float(np.mean(answer["category"].to_numpy().argmax(axis=1) == shown[new]))

    def pooled(exponents: dict[str, float]) -> float:
        one, two = rows(networks, validation), rows(sure, validation)
        weights = fit_pooling(one, two, truth.iloc[validation], exponents)
        return right(pool(rows(networks, new), rows(sure, new), weights))

    alone = right(rows(networks, new))
    assert pooled(exponents) > alone - 0.02
    assert pooled({}) < alone - 0.1  # without the exponent


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
