"""Each trial at its own scale."""

from __future__ import annotations

import numpy as np

from dreamdiffusion.trials.scaling import scale_trials


def test_each_channel_of_each_trial_by_itself() -> None:
    data = np.array([[[1.0, 3.0], [5.0, 5.0]], [[-2e-6, 4e-6], [0.0, 1.0]]])
    expected = [[[-1, 1], [0, 0]], [[-1, 1], [-1, 1]]]  # what does not vary is zero
    np.testing.assert_allclose(scale_trials(data), expected)


def test_neither_gain_nor_offset_of_a_channel_is_left() -> None:
    data = np.random.default_rng(0).standard_normal((3, 2, 50))
    gain, offset = np.array([[[3.0], [0.5]]]), np.array([[[1.0], [-7.0]]])
    np.testing.assert_allclose(scale_trials(gain * data + offset), scale_trials(data), atol=1e-12)
