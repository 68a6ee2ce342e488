"""The configuration of `evaluate`: controls by their records, a judge that may be missing."""

from __future__ import annotations

import pytest

from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.evidence.controls import CONTROLS


def test_controls_are_those_that_have_a_record():
    drawn = EvaluateConfig().controls
    assert drawn == [
        "phase_randomised_eeg", "mean_embedding", "no_eeg_prior", "label_only",
        "nearest_training_image", "posterior_draws", "bank_picture",
    ]  # fmt: skip
    assert EvaluateConfig(controls=list(CONTROLS)).controls == list(CONTROLS)
    with pytest.raises(ValueError, match=r"control 'shuffled' is unknown; known: shuffled_eeg, "):
        EvaluateConfig(controls=["shuffled"])


def test_a_judge_may_be_missing():
    assert EvaluateConfig(judge=None).judge is None
    assert EvaluateConfig().judge is not None
