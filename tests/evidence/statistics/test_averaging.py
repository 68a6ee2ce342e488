"""The curve from single trials to averages of many."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from trial_rows import metadata, shuffled

from dreamdiffusion.evidence.statistics.averaging import n_trial_curve


def signed(eeg, frame):
    """Right where the sign of the mean voltage gives the category."""
    named = (eeg.mean(axis=(1, 2)) > 0).astype(int)
    return (named[None] == frame["category"].to_numpy()[:, None]).astype(float)


def test_averages_raise_the_score_as_the_noise_falls():
    rng = np.random.default_rng(0)
    frame = pd.concat([metadata(shuffled(160, r), run=str(r)) for r in range(3)], ignore_index=True)
    signal = 0.5 * (2 * frame["category"].to_numpy() - 1)
    eeg = (signal[:, None, None] + rng.standard_normal((480, 1, 1))).astype(np.float32)
    curve = n_trial_curve("sign", eeg, frame, signed, rng, (1, 4, 16), 300)
    assert curve.metric == "sign"
    assert curve.n_averaged == [1, 4, 16]
    assert curve.n == [480, 120, 30]
    # Phi(.5), Phi(1), Phi(2).
    assert curve.value == pytest.approx([0.691, 0.841, 0.977], abs=0.06)
    assert curve.chance == pytest.approx([0.5, 0.5, 0.5], abs=0.02)
    assert all(low <= v <= high for v, (low, high) in zip(curve.value, curve.ci95, strict=True))
    width = [high - low for low, high in curve.ci95]
    assert width[0] == pytest.approx(2 * 1.96 * np.sqrt(0.691 * 0.309 / 480), rel=0.2)


def test_no_trial_is_in_two_averages_nor_two_people_or_pictures_in_one():
    rng, seen = np.random.default_rng(1), {}
    frame = pd.concat(
        [
            metadata(
                [i % 2 for i in range(60)],
                who,
                stim_file=[f"{i % 12}.png" for i in range(60)],
            )
            for who in "12"
        ],
        ignore_index=True,
    )
    # Each trial is a time point of its own, so that a mean shows its trials.
    eeg = np.zeros((120, 1, 120))
    eeg[np.arange(120), 0, np.arange(120)] = 1

    def look(averages, rows):
        members = [np.flatnonzero(average[0]) for average in averages]
        seen[len(members[0])] = members, rows
        return np.zeros((len(members),) * 2)

    curve = n_trial_curve("none", eeg, frame, look, rng, (1, 2, 4, 8), 50)
    assert curve.n_averaged == [1, 2, 4]  # a picture is shown five times to each
    assert curve.n == [120, 48, 24]
    for size, (members, rows) in seen.items():
        assert all(len(own) == size for own in members)
        assert len(np.unique(np.concatenate(members))) == size * len(members)
        for own, (_, row) in zip(members, rows.iterrows(), strict=True):
            assert set(frame["stim_file"][own]) == {row["stim_file"]}
            assert set(frame["subject"][own]) == {row["subject"]}


def test_blocks_are_not_mixed():
    order = np.tile(np.repeat([0, 1], 12), 10)
    frame = metadata(order, block=np.arange(240) // 12)
    eeg = np.arange(240.0)[:, None, None]
    blocks = []

    def look(averages, rows):
        blocks.append((averages.ravel() // 12).astype(int).tolist())
        return np.eye(len(rows))

    curve = n_trial_curve("none", eeg, frame, look, np.random.default_rng(0), (12,), 50)
    assert blocks == [list(range(20))]
    assert curve.chance == pytest.approx([1 / 20])


def test_errors_name_what_is_missing():
    frame, rng = metadata(shuffled(4)), np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"no two averages of 8 trials .* there are 4 trials"):
        n_trial_curve("a", np.zeros((4, 1, 2)), frame, signed, rng, (8,))
    with pytest.raises(ValueError, match="3 trials have 4 rows"):
        n_trial_curve("a", np.zeros((3, 1, 2)), frame, signed, rng)
