"""A window filtered live is nearly the trial that `preprocess` makes with the future at hand."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np
import pytest

from dreamdiffusion.recordings.causal import WindowFilter
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.recordings.recording import Recording
from dreamdiffusion.trials.preprocessing import preprocess

NAMES = ["Fz", "Cz", "Pz", "Oz"]


def eeg(sfreq: float, seconds: float = 30.0, offset: float = 0.01) -> np.ndarray:
    """Noise whose power falls with frequency, as EEG's does, on an electrode's offset."""
    rng = np.random.default_rng(3)
    n = round(seconds * sfreq)
    freqs = np.fft.rfftfreq(n, 1 / sfreq)
    spectrum = rng.standard_normal((4, len(freqs))) + 1j * rng.standard_normal((4, len(freqs)))
    spectrum[:, 1:] /= freqs[1:] * (1 + (freqs[1:] / 60) ** 8)  # nothing near half the rate
    spectrum[:, 0] = 0
    data = np.fft.irfft(spectrum, n)
    return data / data.std() * 2e-5 + offset


def offline(data: np.ndarray, sfreq: float, signal: SignalConfig) -> np.ndarray:
    raw = mne.io.RawArray(data, mne.create_info(NAMES, sfreq, "eeg"), verbose="ERROR")
    recording = Recording(raw, "01", "01", "01", Path("x"), None, "")
    return np.asarray(preprocess(recording, signal).get_data())


def off_by(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)))


@pytest.mark.parametrize("sfreq", [256.0, 250.0, 500.0, 512.0])
@pytest.mark.parametrize("reference", ["none", "average"])
def test_with_the_whole_future_it_is_the_trial(sfreq: float, reference: str) -> None:
    signal = SignalConfig(l_freq=1.0, h_freq=40.0, reference=reference, resample_up=True)
    data = eeg(sfreq)
    live = WindowFilter(signal, sfreq, NAMES, n_times=128, lag=2.0)
    first = round(12 * sfreq)
    part = data[:, first - live.n_before : first + live.n_window + live.n_after]
    found = live(part, live.n_before)
    wanted = offline(data, sfreq, signal)[:, 12 * 256 : 12 * 256 + 128]
    assert found.shape == wanted.shape == (4, 128)
    assert off_by(found, wanted) < 0.02


def test_the_more_it_waits_the_nearer_it_comes() -> None:
    signal = SignalConfig(l_freq=1.0, h_freq=40.0)
    data = eeg(256.0)
    wanted = offline(data, 256.0, signal)
    errors = []
    for lag in (0.0, 0.2, 0.5):
        live = WindowFilter(signal, 256.0, NAMES, 128, lag)
        pairs = []
        for first in range(1000, 6000, 500):
            part = data[:, first - live.n_before : first + 128 + live.n_after]
            pairs.append((live(part, live.n_before), wanted[:, first : first + 128]))
        errors.append(off_by(*map(np.stack, zip(*pairs, strict=True))))
    assert errors[0] > errors[1] > errors[2]
    assert errors[1] < 0.25


def test_it_knows_nothing_of_what_comes_later() -> None:
    signal = SignalConfig(l_freq=1.0, h_freq=40.0)
    live = WindowFilter(signal, 256.0, NAMES, 128, lag=0.2)
    assert live.n_after == 51
    assert live.n_window == 128


def test_a_line_is_removed() -> None:
    signal = SignalConfig(l_freq=1.0, h_freq=None, notch=[50.0], sfreq=256.0)
    live = WindowFilter(signal, 256.0, NAMES, 128, lag=0.2)
    data = eeg(256.0, 8.0)
    line = 1e-4 * np.sin(2 * np.pi * 50 * np.arange(data.shape[1]) / 256)
    clean, noisy = (live(part[:, :1400], 1000.0) for part in (data, data + line))
    assert off_by(noisy, clean) < 0.3  # the line itself is five times as large as the EEG


@pytest.mark.parametrize(
    ("sfreq", "h_freq", "words"),
    [(80.0, 40.0, "up to 40 Hz"), (200.0, None, "up to 128 Hz")],
)
def test_a_stream_that_is_too_slow_is_refused(sfreq: float, h_freq: float, words: str) -> None:
    signal = SignalConfig(l_freq=1.0, h_freq=h_freq, sfreq=256.0)
    with pytest.raises(ValueError, match=f"{words}.*set the headset to 256 Hz"):
        WindowFilter(signal, sfreq, NAMES, 128, 0.2)
