"""Does order, time, recording or timing predict the class? Planted faults and clean twins."""

from __future__ import annotations

import numpy as np
import pytest
from experiments import (
    blocked,
    experiment,
    named,
    relabel,
    severe,
    split_at_random,
    split_by_run,
)

from dreamdiffusion.evidence.audit.trial_order import max_p
from dreamdiffusion.trials.splits import Split


def test_block_design():
    trials = blocked(experiment(2))
    found = named(trials)
    # Runs of equal blocks have one order, or two; what drifts predicts the class, before onset too.
    also = {"fixed_order", "prestimulus_signal"}
    assert {"block_design", "drift"} <= severe(found) <= {"block_design", "drift"} | also
    figures = found["block_design"].evidence
    assert figures["same_class_within_1"] > 0.8
    assert figures["chance_within_1"] == pytest.approx(0.5, abs=0.05)
    assert figures["p"] == 1 / 400
    assert found["block_design"].remedy


def test_block_design_across_a_split():
    trials = blocked(experiment(2))
    assert "time_across_split" in severe(named(trials, split_at_random(trials)))
    apart = named(trials, split_by_run(trials))["time_across_split"]
    assert (apart.severity, apart.evidence["n_shared_runs"]) == ("passed", 0)
    clean = experiment(2)
    found = named(clean, split_at_random(clean))["time_across_split"]
    assert found.severity == "passed"
    assert found.evidence["n_shared_runs"] == 6


def test_class_by_run():
    trials = experiment(2)
    trials = relabel(trials, trials.metadata["run"].astype(int).to_numpy() % 2)
    found = named(trials, split_at_random(trials))
    assert severe(found) == {"class_by_run"}
    assert found["class_by_run"].evidence["n_single_class_runs"] == 6
    assert named(trials, split_by_run(trials))["class_by_run"].severity == "warning"


def test_a_class_for_each_person_is_severe_where_people_are_on_both_sides():
    """Labels cannot be permuted within a person then, so no p says it; the design does."""
    trials = experiment(5, n_runs=8)
    runs = trials.metadata["run"]
    trials = relabel(trials, runs.astype(int).to_numpy() % 2)
    trials.metadata["subject"] = runs
    found = named(trials, split_at_random(trials))
    assert severe(found) == {"class_by_run"}
    assert "class and person cannot be told apart" in found["class_by_run"].what
    assert named(trials, split_by_run(trials))["class_by_run"].severity == "warning"


@pytest.mark.parametrize("column", ["subject", "session"])
def test_a_held_out_run_of_a_person_or_day_of_one_class_is_severe(column: str) -> None:
    """No recording is on both sides, but what tells people or days apart is."""
    trials = experiment(5, n_runs=8)
    half = trials.metadata["run"].astype(int).to_numpy() % 2
    trials = relabel(trials, half)
    trials.metadata[column] = half.astype(str)
    found = named(trials, split_by_run(trials))
    assert severe(found) == {"class_by_run"}
    kind = {"subject": "person", "session": "session"}[column]
    assert f"Every {kind} holds one class only" in found["class_by_run"].what
    held_out = Split(np.flatnonzero(half), [], np.flatnonzero(half == 0), f"by {column}")
    assert named(trials, held_out)["class_by_run"].severity == "warning"


def test_a_class_that_grows_rarer_in_the_course_of_a_run_is_severe():
    """From 3 in 10 to 7 in 10: time alone names 3 of 5 trials; half of that is a warning."""
    for slope, expected in ((0.2, "severe"), (0.0, "passed")):
        trials = experiment(1, n_trials=150, drift=0.0, rejected=0.0)
        rng = np.random.default_rng(5)
        share = 0.5 + slope * np.tile(np.linspace(-1, 1, 150), 6)
        found = named(relabel(trials, (rng.random(900) < share).astype(int)))["block_design"]
        assert found.severity == expected, found
    assert found.evidence["same_class_within_16"] == pytest.approx(0.5, abs=0.01)


def test_event_timing():
    trials = experiment(2, rejected=0)
    delay = trials.metadata["label"].to_numpy() * 0.2
    late = np.concatenate([np.cumsum(part) for part in np.split(delay, 6)])
    trials.metadata["onset"] += late
    assert severe(named(trials)) == {"event_timing"}
    # The same delays, dealt out without regard to the class.
    trials.metadata["onset"] -= late
    dealt = np.random.default_rng(0).permutation(delay)
    trials.metadata["onset"] += np.concatenate([np.cumsum(p) for p in np.split(dealt, 6)])
    assert not severe(named(trials))


def test_event_duration():
    trials = experiment(2)
    trials.metadata["duration"] = 0.3 + 0.1 * trials.metadata["label"]
    assert severe(named(trials)) == {"event_timing"}
    trials.metadata["duration"] = 0.3
    assert not severe(named(trials))


def test_class_balance_and_few_trials():
    trials = experiment(2)
    rows = np.flatnonzero(trials.metadata["label"] == 0)[:16].tolist()
    rows += np.flatnonzero(trials.metadata["label"] == 1).tolist()
    found = named(trials.select(np.sort(rows)))
    share = 1 - 16 / len(rows)
    assert found["class_balance"].severity == "warning"
    assert found["class_balance"].evidence["always_guessing_it"] == pytest.approx(share, abs=1e-3)
    assert found["few_trials"].severity == "passed"
    assert named(trials.select(np.sort(rows[10:])))["few_trials"].severity == "warning"


def test_max_p_by_hand():
    column = np.array([[3.0], [1.0], [3.0], [0.0]])
    assert max_p(column) == 2 / 4
    assert max_p(np.hstack([column, np.array([[1.0], [1.0], [1.0], [1.0]])])) == 2 / 4
    assert max_p(np.ones((5, 2))) == 1.0
