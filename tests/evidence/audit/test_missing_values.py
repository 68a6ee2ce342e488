"""Trials that lack an onset, a category or a picture: every check says what it can, none breaks."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from experiments import blocked, experiment, named, severe, split_at_random, split_by_run
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamdiffusion.evidence.audit.figure import save_figure
from dreamdiffusion.evidence.audit.run import audit_trials
from dreamdiffusion.evidence.audit.trial_order import TrialOrder
from dreamdiffusion.evidence.config import AuditConfig
from dreamdiffusion.trials.trials import Trials

TIMES = ("time_across_split", "event_timing")
MISSING = {
    "onset": [np.nan, np.inf, -np.inf, None],
    "category": [np.nan, None, ""],
    "stim_file": [np.nan, None, ""],
}


def without(trials: Trials, column: str, rows: np.ndarray, value: object = np.nan) -> Trials:
    """Return the same trials with one value in these rows of a column."""
    cells = trials.metadata[column].astype(object)
    cells[rows] = value
    return replace(trials, metadata=trials.metadata.assign(**{column: cells}))


@given(st.data())
@settings(max_examples=20)
def test_no_check_breaks_and_a_clean_experiment_stays_clean(data: st.DataObject) -> None:
    n_runs, n_trials = data.draw(st.integers(2, 3)), data.draw(st.sampled_from([1, 3, 12, 20]))
    trials = experiment(data.draw(st.integers(0, 3)), n_runs, n_trials, rejected=0.0)
    split = data.draw(st.sampled_from([None, split_by_run]))
    lacking: set[str] = set()
    for column in data.draw(st.lists(st.sampled_from(list(MISSING)), unique=True)):
        share = data.draw(st.sampled_from([0.1, 0.5, 1.0]))
        rows = np.random.default_rng(data.draw(st.integers(0, 99))).random(len(trials)) <= share
        trials = without(trials, column, rows, data.draw(st.sampled_from(MISSING[column])))
        lacking |= {column} if rows.any() else set()
    findings = audit_trials(trials, split and split(trials))
    found = {finding.name: finding for finding in findings}
    assert len(found) == len(findings)
    json.dumps([asdict(finding) for finding in findings], allow_nan=False)
    assert ("missing_values" in found) == bool(lacking)
    if lacking:
        counts = found["missing_values"].evidence
        assert {key.removeprefix("n_without_") for key in counts} - {"n_trials"} == lacking
    # A missing value is no sign of a fault of the experiment: nothing becomes severe by it.
    assert severe(found) <= {"shared_stimuli"}


@pytest.mark.parametrize("some", [0.0, 0.3, 1.0])
def test_classes_in_blocks_are_found_without_onsets_in_the_order_of_the_rows(some: float) -> None:
    trials = blocked(experiment(2))
    rows = np.random.default_rng(3).random(len(trials)) < some
    found = named(without(trials, "onset", rows), split_at_random(trials))
    assert found["block_design"].severity == "severe"
    for name in TIMES:
        assert found[name].what.startswith("Not checked") == (some == 1.0), name
    assert (found["time_across_split"].severity == "severe") == (some < 1.0)


def test_one_order_in_all_runs_is_found_without_onsets() -> None:
    trials = experiment(1, rejected=0.0)
    first = trials.metadata["label"].to_numpy()[:40]
    metadata = trials.metadata.assign(category=[f"class {kind}" for kind in np.tile(first, 6)])
    same = without(replace(trials, metadata=metadata), "onset", np.arange(len(trials)))
    finding = named(same)["fixed_order"]
    assert finding.severity == "severe"
    assert not any("onset" in key for key in finding.evidence)


def test_a_trial_without_onset_stands_after_the_one_before_it() -> None:
    metadata = pd.DataFrame(
        {
            "subject": "1", "session": "", "category": "a",
            "run": ["1", "1", "1", "1", "2", "2"],
            "onset": [3.0, np.nan, 1.0, np.inf, np.nan, 5.0],
        }
    )  # fmt: skip
    design = TrialOrder.of(metadata)
    assert design.rows.tolist() == [2, 3, 0, 1, 4, 5]
    assert design.timed.tolist() == [True, False, True, False, False, True]


def test_trials_without_words_and_without_seconds() -> None:
    trials = experiment(0, 1, 6, rejected=0.0)
    unknown = without(trials, "stim_file", np.array([2]), None)
    names = unknown.metadata["stim_file"].tolist()
    assert names == ["0.png", "1.png", "", "3.png", "4.png", "5.png"]
    assert trials.metadata["stim_file"][2] == "2.png"
    with pytest.raises(ValueError, match=r"onsets of the metadata are no seconds: .*'soon'"):
        without(trials, "onset", np.array([1]), "soon")


def test_the_figure_and_the_folder_of_an_audit_without_onsets(tmp_path: Path) -> None:
    from dreamdiffusion.evidence.audit.run import audit

    trials = without(experiment(0), "onset", np.arange(len(experiment(0))))
    trials.save(tmp_path / "trials")
    result = audit(AuditConfig(data=tmp_path / "trials", output=tmp_path / "audit"))
    assert "missing_values" in result["note"]
    save_figure(tmp_path / "again.png", trials, audit_trials(trials))
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "audit" / "audit.png").read_bytes()
