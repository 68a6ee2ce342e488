"""Which trials a model was fitted on: kept beside it, inherited, recognised under other names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from experiments import experiment
from safetensors.torch import save_file

from dreamdiffusion.evidence.trained_on import FILE, load_trained_on, save_trained_on
from dreamdiffusion.evidence.trained_on import trained_on_reason as reason
from dreamdiffusion.trials.trials import Trials


def rows(trials: Trials, *runs: str) -> np.ndarray:
    return np.flatnonzero(trials.metadata["run"].isin(runs))


def renamed(trials: Trials) -> Trials:
    return replace(trials, metadata=trials.metadata.assign(subject="other", run="9"))


def test_other_runs_are_unknown_and_the_own_known_under_any_name(tmp_path: Path) -> None:
    trials = experiment(2)
    save_trained_on(tmp_path, trials, rows(trials, "1", "2"))
    assert reason(tmp_path, trials, rows(trials, "0", "3")) is None
    n = len(rows(trials, "2"))
    for same in (trials, renamed(trials)):
        found = reason(tmp_path, same, rows(trials, "0", "2"))
        assert found is not None and found.name == "trained_on_these_trials"
        assert f"{n} of the {n + len(rows(trials, '0'))} trials that are scored" in found.what


def test_a_recording_that_was_prepared_in_another_way_is_known_by_its_names(tmp_path: Path) -> None:
    trials = experiment(2)
    save_trained_on(tmp_path, trials, rows(trials, "1", "2"))
    filtered = replace(trials, data=np.diff(trials.data, axis=2))
    found = reason(tmp_path, filtered, rows(trials, "2"))
    assert found is not None and "prepared in another way" in found.what
    assert reason(tmp_path, filtered, rows(trials, "3")) is None
    assert reason(tmp_path, renamed(filtered), rows(trials, "2")) is None  # nothing is the same


def test_what_the_start_was_fitted_on_is_inherited(tmp_path: Path) -> None:
    trials = experiment(2)
    for name in ("first", "second", "third"):
        (tmp_path / name).mkdir()
    save_trained_on(tmp_path / "first", trials, rows(trials, "0"))
    save_trained_on(tmp_path / "second", trials, rows(trials, "1"), tmp_path / "first")
    save_trained_on(tmp_path / "third", trials, rows(trials, "2"), tmp_path / "second")
    assert [reason(tmp_path / "third", trials, rows(trials, run)) is None for run in "0123"] == [
        False, False, False, True,
    ]  # fmt: skip


def test_one_trial_alone_may_be_alike_by_chance(tmp_path: Path) -> None:
    trials = experiment(2)
    save_trained_on(tmp_path, trials, rows(trials, "1"))
    few = np.concatenate([rows(trials, "1")[:1], rows(trials, "0")])
    assert reason(tmp_path, trials, few) is None


def test_a_model_without_the_file_says_nothing_and_another_file_is_refused(tmp_path: Path) -> None:
    trials = experiment(2)
    assert load_trained_on(tmp_path) is None
    assert reason(tmp_path, trials, rows(trials, "0")) is None
    (tmp_path / FILE).write_bytes(b"\x00")
    with pytest.raises(ValueError, match="does not hold hashes of trials"):
        load_trained_on(tmp_path)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (
            {"samples": torch.zeros(3), "names": torch.zeros(3)},
            "samples has to be uint64 of one axis, found float32",
        ),
        ({"samples": torch.zeros(3, dtype=torch.bfloat16)}, "does not hold hashes of trials"),
        (
            {key: torch.zeros((2, 2), dtype=torch.uint64) for key in ("samples", "names")},
            r"found uint64 of shape \(2, 2\)",
        ),
        (
            {"names": torch.zeros(3, dtype=torch.uint64)},
            "does not hold hashes of trials: no samples, but names",
        ),
        (
            {"samples": torch.zeros(3, dtype=torch.uint64)},
            "does not hold hashes of trials: no names, but samples",
        ),
    ],
)
def test_what_others_wrote_into_the_file_is_refused(
    tmp_path: Path, tensors: dict[str, torch.Tensor], said: str
) -> None:
    save_file(tensors, tmp_path / FILE)
    with pytest.raises(ValueError, match=said):
        load_trained_on(tmp_path)


def test_flat_trials_and_first_trials_at_the_same_time_prove_nothing(tmp_path: Path) -> None:
    """Others' weights, a person called the same: flat trials, and each run begins at 2 s."""
    trials = experiment(2)
    other = experiment(3)
    for made in (trials, other):
        first = ~made.metadata.duplicated("run").to_numpy()
        made.metadata.loc[first, ["onset", "stim_file"]] = [2.0, "0.png"]
        made.data[:5] = 0.0
    save_trained_on(tmp_path, trials, np.arange(len(trials)))
    assert reason(tmp_path, other, np.arange(len(other))) is None


def test_trials_without_onset_have_no_name(tmp_path: Path) -> None:
    trials = experiment(2)
    trials.metadata[["onset", "stim_file"]] = [np.nan, ""]
    save_trained_on(tmp_path, trials, np.arange(0, len(trials), 2))
    assert reason(tmp_path, trials, np.arange(1, len(trials), 2)) is None


def test_the_file_of_two_thousand_trials_is_small(tmp_path: Path) -> None:
    trials = experiment(2, n_trials=360, rejected=0.0)
    save_trained_on(tmp_path, trials, np.arange(len(trials)))
    assert len(trials) == 2160
    assert (tmp_path / FILE).stat().st_size < 20_000
