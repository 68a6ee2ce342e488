"""Do runs repeat one order? Planted orders, and the alignment worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from experiments import experiment, named, relabel, severe
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamdiffusion.evidence.audit.order import by_onset, by_sequence
from dreamdiffusion.evidence.audit.trial_order import TrialOrder


@pytest.mark.parametrize("paused", [False, True])
def test_fixed_order(paused):
    """Each run repeats one order; other trials are rejected in each, and pauses may differ."""
    trials = experiment(2, n_trials=48, rejected=0)
    order = np.random.default_rng(9).permutation(np.arange(48) % 2)
    trials = relabel(trials, np.tile(order, 6))
    rng = np.random.default_rng(4)
    if paused:
        pause = [rng.choice([0, 9.7], p=[0.9, 0.1], size=48).cumsum() for _ in range(6)]
        trials.metadata["onset"] += np.concatenate(pause)
    found = named(trials.select(rng.random(len(trials)) > 0.15))
    assert "fixed_order" in severe(found)
    assert found["fixed_order"].evidence["excess"] > 0.4


def test_fixed_order_of_two_runs_only():
    trials = experiment(5, n_trials=60, rejected=0)
    labels = trials.metadata["label"].to_numpy().copy()
    assert not severe(named(trials))
    labels[240:300] = labels[60:120]
    assert severe(named(relabel(trials, labels))) == {"fixed_order"}


def test_fixed_order_of_stimuli():
    trials = experiment(2, n_classes=1, rejected=0)
    order = np.random.default_rng(3).permutation(40)
    trials.metadata["stim_file"] = [f"{i}.png" for i in np.tile(order, 6)]
    assert severe(named(trials)) == {"fixed_order"}
    rng = np.random.default_rng(3)
    orders = np.concatenate([rng.permutation(40) for _ in range(6)])
    trials.metadata["stim_file"] = [f"{i}.png" for i in orders]
    assert not severe(named(trials))


def overlay(how, one, other, onsets=None):
    n = len(one) + len(other)
    onsets = (
        np.concatenate([np.arange(len(one)), np.arange(len(other))]) if onsets is None else onsets
    )
    zeros = np.zeros(n, int)
    design = TrialOrder(np.arange(n), zeros, zeros, np.asarray(onsets, float), zeros, ["a"], ["r"])
    rows = np.arange(len(one)), np.arange(len(one), n)
    return float(how(design, np.array([[*one, *other]]), *rows)[0])


def test_alignment_by_hand():
    assert overlay(by_sequence, [1, 2, 3, 4], [1, 2, 3, 4]) == 1
    assert overlay(by_sequence, [1, 2, 3, 4], [1, 2, 4]) == 2 / 3  # three matches, one gap
    assert overlay(by_sequence, [1, 2, 3, 4], [9, 9, 1, 2, 3, 4, 9]) == 1  # overhang is free
    assert overlay(by_sequence, [1, 2, 3, 4], [5, 6, 7, 8]) == 0
    assert overlay(by_sequence, [1, 2, 3, 4, 5], [1, 2, 9, 4, 5]) == 3 / 5  # one mismatch


def test_overlay_in_time_by_hand():
    assert overlay(by_onset, [1, 2, 1, 2], [1, 2, 1, 2]) == 1
    # The third trial of the other run was rejected: its place stays empty.
    onsets = [0, 1, 2, 3, 4, 0, 1, 3, 4]
    assert overlay(by_onset, [1, 2, 3, 4, 5], [1, 2, 4, 5], onsets) == 1
    # At the same places three agree and one differs, (3 - 1) / 4; one place apart three agree.
    assert overlay(by_onset, [1, 1, 1, 2], [1, 1, 1, 1]) == 3 / 4


@given(st.lists(st.integers(0, 3), min_size=4, max_size=30), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_a_run_is_most_like_itself(values, cut):
    assert overlay(by_sequence, values, values) == 1
    assert overlay(by_onset, values, values) == 1
    part = values[min(cut, len(values) - 2) :]
    assert overlay(by_sequence, values, part) == 1
