"""Can the class be read before a brain could answer? A trigger in one channel, and filters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from experiments import experiment, named, severe
from scipy.signal import firwin

from dreamdiffusion.trials.trials import Trials

SFREQ = 256.0


def waves(seed: int, n_times: int = 200, before: int = 100, **signal: float) -> Trials:
    """Trials that begin 0.39 s before onset, with drifting noise and no response."""
    trials = experiment(seed, n_runs=4, n_chans=4, drift=0.0, rejected=0.0)
    rng = np.random.default_rng([seed, 5])
    noise = rng.standard_normal((len(trials), 4, n_times))
    noise = np.cumsum(noise, axis=2) * 0.2 + noise
    return replace(
        trials, data=(1e-5 * noise).astype(np.float32), sfreq=SFREQ, tmin=-before / SFREQ,
        signal=signal,
    )  # fmt: skip


def cut_at_onset(trials: Trials) -> Trials:
    before = round(-trials.tmin * trials.sfreq)
    return replace(trials, data=np.ascontiguousarray(trials.data[:, :, before:]), tmin=0.0)


def filtered(trials: Trials, low: float, high: float) -> Trials:
    """Zero-phase band-pass, as `prepare` does it, before the trials are cut at onset."""
    band = firwin(65, [high], fs=SFREQ)
    data = np.apply_along_axis(lambda x: np.convolve(x, band, "same"), 2, trials.data)
    spectrum = np.fft.rfftfreq(data.shape[2], 1 / SFREQ)
    gain = 1 / (1 + (low / np.maximum(spectrum, 1e-9)) ** 4)  # no phase, so it reaches back
    data = np.fft.irfft(np.fft.rfft(data, axis=2) * gain, data.shape[2], axis=2)
    signal = {"l_freq": low, "h_freq": high}
    return replace(trials, data=data.astype(np.float32), signal=signal)


def labels(trials: Trials) -> np.ndarray:
    return trials.metadata["label"].to_numpy()


@pytest.mark.parametrize("high", [None, 40.0])
def test_a_trigger_in_one_channel_is_severe_and_named(high):
    """Also where the recording is filtered afterwards, and trials begin at 0 s."""
    trials = waves(2)
    pulse = trials.data.copy()
    pulse[labels(trials) == 1, 2, 100:104] += 3e-5  # 16 ms
    made = replace(trials, data=pulse)
    clean, heard = (cut_at_onset(filtered(t, 1.0, high) if high else t) for t in (trials, made))
    assert named(clean)["early_signal"].severity == "passed"
    found = named(heard)
    assert severe(found) == {"early_signal"}
    assert "The signal of C2 predicts the class" in found["early_signal"].what
    assert found["early_signal"].evidence["excess"] > 0.1


@pytest.mark.parametrize("seed", range(3))
def test_a_strong_response_that_filters_carry_back_is_none(seed):
    """A response of ten times the noise from 60 ms on, filtered at 1 and 40 Hz without phase."""
    trials = waves(seed)
    times = trials.times - 0.06
    response = np.where(times > 0, np.sin(np.pi * np.minimum(times / 0.2, 1)) ** 2, 0)
    data = trials.data.copy()
    data[labels(trials) == 1] += (1e-4 * response).astype(np.float32)
    made = filtered(replace(trials, data=data), 1.0, 40.0)
    found = named(cut_at_onset(made))["early_signal"]
    assert found.severity in ("passed", "note"), found


@pytest.mark.parametrize("high", [None, 40.0])
def test_a_level_that_is_held_through_the_trial_is_severe(high):
    """A code that a channel holds: no curvature, and the trials have no time before onset."""
    trials = waves(3)
    data = trials.data.copy()
    data[labels(trials) == 1, 1, 100:] += 2e-5
    made = replace(trials, data=data)
    found = named(cut_at_onset(filtered(made, 1.0, high) if high else made))
    assert severe(found) == {"early_signal"}
    assert "The signal of C1 predicts the class" in found["early_signal"].what


@pytest.mark.parametrize("seed", range(3))
def test_a_long_strong_response_that_filters_carry_back_is_no_held_level(seed):
    """Held from 60 ms to the end: the high-pass carries its negative before onset."""
    trials = waves(seed, n_times=300)
    data = trials.data.copy()
    data[labels(trials) == 1] += (5e-5 * (trials.times > 0.06)).astype(np.float32)
    found = named(cut_at_onset(filtered(replace(trials, data=data), 1.0, 40.0)))["early_signal"]
    assert found.severity in ("passed", "note"), found


def test_what_it_needs_is_said():
    trials = waves(2)
    late = replace(cut_at_onset(trials), tmin=0.1)
    assert "begin 0.1 s after onset" in named(late)["early_signal"].what
    slow = replace(cut_at_onset(trials), sfreq=64.0)
    assert "3 samples lie before 40 ms" in named(slow)["early_signal"].what
