"""Does the class of the trial before predict the next? Alternation, cycles, rules without harm."""

from __future__ import annotations

import numpy as np
import pytest
from experiments import blocked, experiment, named, relabel, severe

from dreamdiffusion.evidence.audit.alternation import likeliest_successor
from dreamdiffusion.evidence.audit.findings import Finding


def followed(changes: float, n_classes: int = 2, seed: int = 9) -> Finding:
    """Audit six runs in which the next class, counted upwards, comes with this probability."""
    trials = experiment(3, n_trials=60, rejected=0.0, drift=0.0)
    rng = np.random.default_rng(seed)
    steps = np.where(rng.random(360) < changes, 1, rng.integers(n_classes, size=360))
    order = [np.cumsum(part) % n_classes for part in np.split(steps, 6)]
    return named(relabel(trials, np.concatenate(order)))["alternating_order"]


@pytest.mark.parametrize(("n_classes", "changes"), [(2, 1.0), (2, 0.8), (3, 1.0), (8, 0.7)])
def test_a_class_that_calls_the_next_is_severe(n_classes: int, changes: float) -> None:
    found = followed(changes, n_classes)
    assert found.severity == "severe"
    expected = changes + (1 - changes) / n_classes
    assert found.evidence["class_from_class_before"] == pytest.approx(expected, abs=0.06)
    assert f"predicts that of {100 * found.evidence['class_from_class_before']:.3g} %" in found.what


def never_three_alike(rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw from all orders of two classes in which none comes three times in a row, each alike."""
    golden = (np.sqrt(5) - 1) / 2
    lengths = np.where(rng.random(n) < golden, 1, 2)
    return np.repeat((np.arange(n) + rng.integers(2)) % 2, lengths)[:n]


def test_never_three_alike_in_a_row_is_a_warning() -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        order = np.concatenate([never_three_alike(rng, 60) for _ in range(3)])
        trials = experiment(seed, n_runs=3, n_trials=60, rejected=0.0, drift=0.0)
        found = named(relabel(trials, order))
        assert found["alternating_order"].severity == "warning"
        assert not severe(found)


@pytest.mark.parametrize("n_classes", [3, 40])
def test_each_class_once_before_any_comes_again_is_no_severe_finding(n_classes: int) -> None:
    rng = np.random.default_rng(n_classes)
    order = np.concatenate([rng.permutation(n_classes) for _ in range(240 // n_classes)])
    trials = experiment(1, n_runs=4, n_trials=len(order) // 4, rejected=0.0, drift=0.0)
    assert not severe(named(relabel(trials, order)))


@pytest.mark.parametrize("n_classes", [2, 3, 8, 40])
def test_an_order_by_chance_passes(n_classes: int) -> None:
    assert followed(0.0, n_classes).severity == "passed"


def test_blocks_are_no_alternation() -> None:
    assert named(blocked(experiment(2)))["alternating_order"].severity == "passed"


def test_likeliest_successor_by_hand() -> None:
    """After 0 came 1 twice and 2 once, after 1 came 0 once; twice a class followed itself."""
    before, after = np.array([[0, 0, 0, 1, 0, 2]]), np.array([[1, 1, 2, 0, 0, 2]])
    assert likeliest_successor(before, after).tolist() == [3 / 6]
