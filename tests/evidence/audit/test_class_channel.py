"""A channel that names the class late in the trial is no brain, also once it was filtered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from experiments import experiment, named, relabel, severe

from dreamdiffusion.evidence.audit.class_channel import explained_by_class
from dreamdiffusion.trials.trials import Trials


def planted(late: float, n_classes: int = 2, offsets: float = 0.0) -> Trials:
    """Trials, 10 uV of noise, whose channel C1 adds this much for each class, from 0.3 s on."""
    trials = experiment(4, n_classes=n_classes, n_trials=60, drift=0.0)
    data = np.array(trials.data)
    labels = trials.metadata["label"].to_numpy()
    data[:, 1, 26:] += (late * labels)[:, None]
    data += offsets * trials.metadata["run"].astype(int).to_numpy()[:, None, None]
    return replace(trials, data=data.astype(np.float32))


@pytest.mark.parametrize(("late", "n_classes"), [(2e-4, 2), (5e-4, 2), (5e-5, 12)])
def test_a_code_late_in_the_trial_is_severe_and_named(late: float, n_classes: int) -> None:
    found = named(planted(late, n_classes, offsets=1e-3))
    assert severe(found) == {"class_in_channel"}
    evidence = found["class_in_channel"].evidence
    assert evidence["channel"] == "C1" and evidence["time_s"] >= 0.3
    assert evidence["explained_by_class"] > 0.95


@pytest.mark.parametrize("late", [0.0, 1e-5, 4e-5])
def test_a_response_passes(late: float) -> None:
    """Also one of four times the noise, which no real recording has: it explains 0.8."""
    finding = named(planted(late))["class_in_channel"]
    assert finding.severity == "passed"
    expected = (late / 2) ** 2 / ((late / 2) ** 2 + 1e-10)
    assert finding.evidence["explained_by_class"] == pytest.approx(expected, abs=0.08)


def test_what_it_needs_is_said() -> None:
    trials = experiment(4)
    one = named(relabel(trials, np.zeros(len(trials), int)))["class_in_channel"]
    few = named(trials.select(np.arange(20)))["class_in_channel"]
    assert [finding.severity for finding in (one, few)] == ["note", "note"]
    assert "it needs two classes and 20 trials more" in few.what


def test_explained_by_class_by_hand() -> None:
    """Two recordings far apart: 1, 1 against 3, 3 is all of it; 1, 3 against 1, 3 nothing."""
    data = np.array([[1, 1], [1, 3], [3, 1], [3, 3], [11, 5], [13, 5]], float)[:, :, None]
    runs, labels = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 0, 1])
    share = explained_by_class(data, np.arange(6), runs, labels)
    assert share[:, 0].tolist() == [1.0, 0.0]
