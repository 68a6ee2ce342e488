"""Does drift or the time before onset predict the class? Are units and rates possible?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from experiments import blocked, experiment, named, severe


def test_drift_is_severe_with_time_and_a_note_without():
    """The same course of the signal: a class that follows time, and a slow response."""
    assert "drift" in severe(named(blocked(experiment(2, drift=2.0))))
    assert "drift" not in severe(named(blocked(experiment(2, drift=0.0))))
    trials = experiment(2, drift=0.0)
    data = trials.data.copy()
    after = trials.times >= 0.1
    shown = trials.metadata["label"].to_numpy() == 1
    data[np.ix_(shown, [0], after)] += 6e-6
    found = named(replace(trials, data=data))
    assert found["drift"].severity == "note"
    assert found["drift"].evidence["lda_balanced_accuracy"] > 0.65
    assert found["prestimulus_signal"].severity == "passed"
    assert not severe(found)


def test_drift_is_severe_where_it_tells_the_class_before_onset():
    """Classes in random order, and an offset of the whole trial that follows them."""
    trials = experiment(2, drift=0.0, tmin=-0.3)
    data = trials.data.copy()
    data[trials.metadata["label"].to_numpy() == 1, 1] += 8e-6
    found = named(replace(trials, data=data))
    assert severe(found) == {"drift", "prestimulus_signal"}
    assert "before onset" in found["drift"].what
    assert found["drift"].evidence["lda_balanced_accuracy"] > 0.9
    # A zero-phase high-pass carries a response back before onset: no proof of drift.
    filtered = named(replace(trials, data=data, signal={"l_freq": 1.0}))
    assert not severe(filtered)
    assert filtered["drift"].severity == "note"
    assert filtered["prestimulus_signal"].severity == "warning"


def test_signal_before_onset():
    trials = experiment(2, drift=0.0, tmin=-0.3)
    assert named(trials)["prestimulus_signal"].severity == "passed"
    late = named(replace(trials, tmin=0.0))["prestimulus_signal"]
    assert (late.severity, late.evidence) == ("note", {})
    assert "prepare with tmin below 0" in late.what


def test_classes_that_are_too_rare_to_decode_are_counted():
    trials = experiment(2)
    metadata = trials.metadata.copy()
    metadata.loc[[3, 50, 90], "category"] = "seldom"
    figures = named(replace(trials, metadata=metadata))["drift"].evidence
    assert (figures["n_classes"], figures["n_classes_not_looked_at"]) == (2, 1)
    assert figures["n_trials"] == len(trials) - 3


def test_units():
    trials = experiment(2)
    assert named(replace(trials, data=trials.data * 1e6))["units"].severity == "severe"
    data = trials.data.copy()
    data[(trials.metadata["run"] == "3").to_numpy()] *= 1000
    found = named(replace(trials, data=data))["units"]
    assert "units differ" in found.what
    assert found.severity == "severe"
    data = trials.data.copy()
    data[5, 1, 4] = np.nan
    assert named(replace(trials, data=data))["units"].evidence["n_values_not_finite"] == 1
    data = trials.data.copy()
    data[:, 2] *= 50
    found = named(replace(trials, data=data))["units"]
    assert found.severity == "warning"
    assert "C2" in found.what


def test_channels_whose_values_lie_at_the_end_of_their_range_are_named():
    trials = experiment(2)
    assert named(trials)["units"].severity == "passed"
    data = trials.data.copy()
    limit = np.quantile(np.abs(data[:, 2]), 0.95)
    data[:, 2] = data[:, 2].clip(-limit, limit)
    found = named(replace(trials, data=data))["units"]
    assert found.severity == "warning"
    assert "end of their range: C2 (5.0%)" in found.what


def test_rates():
    trials = experiment(2)
    trials.metadata["onset"] *= 1000
    found = named(trials)["rates"]
    assert found.severity == "warning"
    assert "milliseconds" in found.what
    assert "10 Hz" in named(replace(experiment(2), sfreq=10.0))["rates"].what
