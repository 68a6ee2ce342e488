"""Linear models beside the networks: how sure cross-validation says they may be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dreamdiffusion.decoders.config import ReaderConfig
from dreamdiffusion.decoders.reader.linear import cross_validate
from dreamdiffusion.decoders.reader.pooling import fit_exponents
from dreamdiffusion.trials.trials import Trials

N, N_CLASSES = 60, 12


def make_trials(effect: float, seed: int = 0) -> Trials:
    """Sixty trials of twelve classes, 8 channels and 8 time points."""
    rng = np.random.default_rng(seed)
    index = rng.permutation(N) % N_CLASSES
    patterns = rng.standard_normal((N_CLASSES, 8, 8))
    data = rng.standard_normal((N, 8, 8)) + effect * patterns[index]
    metadata = pd.DataFrame({"category": [f"class-{i:02d}" for i in index], "color": "red"})
    metadata.loc[7, "color"] = "blue"  # one trial: where it is held out, one value is left
    metadata = metadata.assign(subject="1", session="1", run="1", stim_file="", onset=1.0)
    return Trials(
        data=(1e-6 * data).astype(np.float32), ch_names=[f"C{i}" for i in range(1, 9)],
        sfreq=100.0, tmin=0.0, metadata=metadata, stimuli_root=Path("none"), simulated=True,
    )  # fmt: skip


def exponent(trials: Trials, train: np.ndarray) -> float:
    config = ReaderConfig(attributes=["category"], linear_widths_s=[0.02])
    return fit_exponents(*cross_validate(trials, train, config))["category"]


def test_a_model_of_few_trials_that_says_nothing_may_not_be_sure() -> None:
    assert exponent(make_trials(0.0), np.arange(N)) < 0.2
    assert exponent(make_trials(2.0), np.arange(N)) > 0.5


def test_every_training_trial_is_read_once_and_no_other() -> None:
    trials, train = make_trials(1.0), np.arange(7, 40)
    config = ReaderConfig(attributes=["category", "color"], linear_widths_s=[0.02])
    trials.metadata["row"] = np.arange(N)
    answers, truths = cross_validate(trials, train, config)
    assert sorted(np.concatenate([truth["row"] for truth in truths])) == train.tolist()
    for answer, truth in zip(answers, truths, strict=True):
        assert len(answer["category"]) == len(truth)
        assert ("color" in answer) == (7 not in truth["row"].to_numpy())


@pytest.mark.parametrize("n", [2, 3])
def test_where_nothing_is_left_to_fit_nothing_is_said(n: int) -> None:
    trials = make_trials(1.0)
    trials.metadata["category"] = ["cat", *["house"] * (N - 1)]
    config = ReaderConfig(attributes=["category"], linear_widths_s=[0.02])
    answers, truths = cross_validate(trials, np.arange(n), config)
    assert answers == truths == []
