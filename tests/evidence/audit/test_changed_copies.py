"""Trials there twice, changed in reference, polarity, filter or noise; and trials that are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from experiments import experiment, named, severe, split_by_run
from scipy.signal import butter, sosfiltfilt

from dreamdiffusion.evidence.audit.changed_copies import (
    SLOW_HZ,
    changed_copies,
    fingerprint_spectra,
)
from dreamdiffusion.trials.trials import Trials


def mixed(seed: int = 2) -> Trials:
    """A clean experiment of eight channels that share sources, as electrodes do."""
    trials = experiment(seed, n_chans=8, drift=0.0, rejected=0.0)
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((8, 8)) * np.geomspace(1, 0.1, 8)
    noise = rng.standard_normal((len(trials), 8, 96))
    data = (1e-5 * mix @ noise).astype(np.float32)
    return replace(trials, data=data, sfreq=128.0)


def lowpass(eeg: np.ndarray) -> np.ndarray:
    return sosfiltfilt(butter(4, 20, fs=128.0, output="sos"), eeg, axis=-1)


CHANGES = {
    "inverted": lambda one, other, rng: -one,
    "average reference": lambda one, other, rng: one - one.mean(axis=1, keepdims=True),
    "another reference": lambda one, other, rng: one - one[:, 3:4],
    "a channel interpolated": lambda one, other, rng: np.concatenate(
        [one[:, 1:3].mean(axis=1, keepdims=True), one[:, 1:]], axis=1
    ),
    "low-pass": lambda one, other, rng: lowpass(one),
    "mean of two": lambda one, other, rng: (one + other) / 2,
    "noise": lambda one, other, rng: one + rng.normal(0, 0.25 * one.std(), one.shape),
    "all of it": lambda one, other, rng: -lowpass(one - one.mean(axis=1, keepdims=True)) * 3,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_across_the_split_is_severe(change, rng):
    """Twenty trials of the tested run 0 are made from trials of run 1, 3 with the same classes."""
    trials = mixed()
    assert not severe(named(trials, split_by_run(trials)))
    one, other = np.array(trials.data[40:60]), np.array(trials.data[120:140])
    trials.data[:20] = CHANGES[change](one, other, rng)
    found = named(trials, split_by_run(trials))
    assert severe(found) == {"duplicate_trials"}
    figures = found["duplicate_trials"].evidence
    assert figures["n_changed_pairs"] >= 18
    assert figures["n_pairs_across_split"] >= 18
    assert figures["n_exact_pairs"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_responses_of_many_repeats_are_alike_and_no_copies(seed):
    """Averages of the same ten pictures in every run: most of each is the picture's response."""
    trials = mixed(seed)
    rng = np.random.default_rng(seed)
    shown = np.arange(len(trials)) % 10
    responses = 1e-5 * rng.standard_normal((10, 8, 96))
    trials.metadata["stim_file"] = [f"{i}.png" for i in shown]
    data = 0.5 * trials.data + responses[shown]
    assert changed_copies(replace(trials, data=data.astype(np.float32)), shown).pairs == []


@pytest.mark.parametrize("seed", range(3))
def test_one_slow_wave_in_two_trials_of_four_electrodes_makes_no_copies(seed):
    """A slow wave in the same places of two trials; all else differs. A copy beside them is one."""
    rng = np.random.default_rng(seed)
    trials = replace(experiment(seed, n_chans=4, drift=0.0, rejected=0.0), sfreq=128.0)
    data = 1e-5 * rng.standard_normal((len(trials), 4, 96))
    wave = np.exp(-0.5 * ((np.arange(96) / 128 - 0.35) / 0.06) ** 2)
    data[[5, 90]] += 2.5e-4 * np.array([0.2, 1.0, 0.9, 0.1])[:, None] * wave
    shown = np.arange(len(trials))
    spectra, freqs = fingerprint_spectra(replace(trials, data=data.astype(np.float32)))
    slow = spectra[[5, 90]][:, :, freqs <= SLOW_HZ].reshape(2, -1)
    assert abs(np.vdot(*slow)) / np.prod(np.linalg.norm(slow, axis=1)) > 0.8
    assert changed_copies(replace(trials, data=data.astype(np.float32)), shown).pairs == []
    data[60] = data[20] - data[20].mean(axis=0)
    assert changed_copies(replace(trials, data=data.astype(np.float32)), shown).pairs == [(20, 60)]


def test_a_channel_that_is_flat_in_one_run_makes_no_copies():
    trials = mixed()
    trials.data[:40, :4] = 0
    assert changed_copies(trials, np.zeros(len(trials), int)).pairs == []


def test_too_few_trials_or_samples_are_not_compared():
    trials = mixed()
    few = changed_copies(trials.select(np.arange(10)), np.zeros(10, int))
    assert (few.pairs, few.n_compared, few.z) == ([], 0, None)
    short = replace(trials, data=trials.data[:, :1, :8].copy(), ch_names=["C0"])
    assert changed_copies(short, np.zeros(len(trials), int)).n_compared == 0
