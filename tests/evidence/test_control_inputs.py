"""What controls are made from: what each function takes away from the EEG, and what it leaves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamdiffusion.evidence.control_inputs import (
    nearest_pictures,
    phase_randomised,
    time_removed,
)


@settings(max_examples=20)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(8, 33), st.integers(0, 99))
def test_random_phases_keep_spectra_and_relations_of_channels(
    n: int, n_chans: int, n_times: int, seed: int
) -> None:
    eeg = np.random.default_rng(seed).standard_normal((n, n_chans, n_times))
    turned = phase_randomised(eeg, np.random.default_rng(seed + 1))
    before, after = (np.fft.rfft(x, axis=2) for x in (eeg, turned))
    cross = [np.einsum("ncf,ndf->ncdf", x, x.conj()) for x in (before, after)]
    np.testing.assert_allclose(cross[1], cross[0], atol=1e-8)
    np.testing.assert_allclose(turned.mean(axis=2), eeg.mean(axis=2), atol=1e-12)


def test_random_phases_destroy_what_is_locked_to_the_stimulus() -> None:
    rng = np.random.default_rng(0)
    wave = np.exp(-((np.arange(128) - 40) ** 2) / 50.0)
    eeg = (wave + 0.1 * rng.standard_normal((400, 3, 128))).astype(np.float32)
    turned = phase_randomised(eeg, rng)
    assert turned.dtype == np.float32
    moving = turned.mean(axis=0) - turned.mean()
    assert np.abs(moving).max() < 0.1  # the evoked response had a peak of 1
    assert not np.allclose(turned[0], turned[1])


def test_time_removed_takes_drift_and_leaves_the_response() -> None:
    rng = np.random.default_rng(0)
    n = 64
    response = rng.choice([-1.0, 1.0], n)  # changes from trial to trial, so it is no slow course
    drift = 5 * np.cos(np.pi * 2 * (np.arange(n) + 0.5) / n)
    eeg = (response + drift)[:, None, None] * np.ones((1, 2, 4)) + 3
    order = rng.permutation(n)  # the trials of a folder need not lie in order
    cleaned = np.empty_like(eeg)
    cleaned[order] = time_removed(eeg[order], np.zeros(n), np.arange(n, dtype=float)[order])
    alone = time_removed(eeg - drift[:, None, None], np.zeros(n), np.arange(n, dtype=float))
    np.testing.assert_allclose(cleaned, alone, atol=1e-9)  # nothing of the drift is left
    assert np.corrcoef(cleaned[:, 0, 0], response)[0, 1] > 0.8
    assert cleaned.mean() == pytest.approx(eeg.mean())


def test_time_removed_works_in_each_run_by_itself() -> None:
    eeg = np.random.default_rng(1).standard_normal((24, 1, 3))
    runs, onsets = np.repeat([0, 1], 12), np.tile(np.arange(12.0), 2)
    both = time_removed(eeg, runs, onsets)
    np.testing.assert_allclose(both[12:], time_removed(eeg[12:], runs[12:], onsets[12:]))
    short = time_removed(eeg[:7], np.zeros(7), onsets[:7])
    np.testing.assert_array_equal(short, eeg[:7])  # too few trials for the slowest wave


def test_nearest_picture_is_by_angle_not_length() -> None:
    gallery = torch.tensor([[10.0, 10.0], [0.0, 1.0], [1.0, 0.0]])
    embeddings = torch.tensor([[0.1, 0.2], [0.0, 5.0], [2.0, 0.1]])
    assert nearest_pictures(embeddings, gallery).tolist() == [0, 1, 2]
