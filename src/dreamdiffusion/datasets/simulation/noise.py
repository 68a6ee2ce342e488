"""The background of the simulated EEG: everything that is not the response to a picture.

All of it is SIMULATED. Amplitudes are those of a relaxed, awake adult, and
``noise_level`` multiplies them all (see ``docs/simulation.md`` for their sources).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from dreamdiffusion.datasets.simulation.sources import FloatArray

FloatSignals = NDArray[np.float32]


@dataclass(frozen=True)
class BackgroundLevels:
    """Amplitudes at ``noise_level`` 1 and rates of the background.

    Amplitudes in microvolts are root mean squares over channels, except ``blink_uv`` (peak at
    the most affected electrode).
    """

    cortex_uv: float = 7.5
    alpha_uv: float = 5.0
    sensor_uv: float = 1.5
    drift_uv: float = 12.0
    line_uv: float = 1.5
    blink_uv: float = 120.0
    bad_uv: float = 60.0
    exponent: float = 1.0
    alpha_width: float = 0.9
    alpha_drop: float = 0.6
    blinks_per_minute: float = 10.0
    line_freq: float = 50.0
    bad_channel_probability: float = 0.15


def shaped_noise(
    rng: np.random.Generator, n_signals: int, n_times: int, amplitude: FloatArray
) -> FloatSignals:
    """Gaussian noise whose spectrum has a given shape, one independent row per signal.

    Parameters
    ----------
    rng : numpy.random.Generator
    n_signals, n_times : int
    amplitude : array, shape (n_fft // 2 + 1,)
        Amplitude at each frequency of :func:`frequencies`; only its shape matters.

    Returns
    -------
    array, shape (n_signals, n_times)
        Expected variance 1.
    """
    n_fft = scipy.fft.next_fast_len(n_times, real=True)
    shape = (n_signals, len(amplitude))
    spectrum = rng.standard_normal(shape, dtype=np.float32) + 1j * rng.standard_normal(
        shape, dtype=np.float32
    )
    # Parseval: the variance of the inverse transform is 4 * sum(a**2) / n_fft**2.
    scale = n_fft / (2.0 * np.sqrt(np.sum(np.square(amplitude))))
    spectrum *= (amplitude * scale).astype(np.float32)
    return scipy.fft.irfft(spectrum, n_fft, axis=1)[:, :n_times]  # pyright: ignore[reportArgumentType, reportCallIssue]


def frequencies(n_times: int, sfreq: float) -> FloatArray:
    """Frequencies in Hz that :func:`shaped_noise` uses for ``n_times`` samples."""
    return scipy.fft.rfftfreq(scipy.fft.next_fast_len(n_times, real=True), 1.0 / sfreq)


def one_over_f(
    rng: np.random.Generator,
    n_signals: int,
    n_times: int,
    sfreq: float,
    exponent: float = 1.0,
    f_min: float = 0.5,
    f_max: float = np.inf,
) -> FloatSignals:
    """Noise whose power falls as ``1 / f**exponent`` between ``f_min`` and ``f_max`` (Hz).

    Power is constant from 0.1 Hz (or ``f_min``, if lower) to ``f_min`` and zero elsewhere.
    """
    freqs = frequencies(n_times, sfreq)
    power = np.maximum(freqs, f_min) ** -exponent
    power[(freqs < min(0.1, f_min)) | (freqs > f_max)] = 0.0
    return shaped_noise(rng, n_signals, n_times, np.sqrt(power))


def narrow_band(
    rng: np.random.Generator, n_signals: int, n_times: int, sfreq: float, freq: float, width: float
) -> FloatSignals:
    """Noise around ``freq`` with a Gaussian spectrum of standard deviation ``width`` (Hz)."""
    freqs = frequencies(n_times, sfreq)
    return shaped_noise(rng, n_signals, n_times, np.exp(-(((freqs - freq) / width) ** 2) / 4.0))


def desynchronisation(
    onsets: NDArray[np.integer], n_times: int, sfreq: float, drop: float
) -> FloatArray:
    """Envelope of alpha: 1 at rest, ``1 - drop`` about 0.35 s after each onset.

    Event-related desynchronisation as in Pfurtscheller and Lopes da Silva (1999).

    Returns
    -------
    array, shape (n_times,)
    """
    time = np.arange(int(0.9 * sfreq)) / sfreq
    fall = 1.0 / (1.0 + np.exp(-(time - 0.17) / 0.03))
    rise = 1.0 / (1.0 + np.exp((time - 0.58) / 0.05))
    kernel = fall * rise
    kernel *= drop / kernel.max()
    lowered = np.zeros(n_times)
    for onset in onsets:
        stop = min(n_times, onset + len(kernel))
        lowered[onset:stop] = np.maximum(lowered[onset:stop], kernel[: stop - onset])
    return 1.0 - lowered


def blink_signal(
    rng: np.random.Generator, n_times: int, sfreq: float, per_minute: float
) -> FloatArray:
    """Blinks at random times, ``(n_times,)``: positive waves of about 0.3 s and peak about 1."""
    signal = np.zeros(n_times)
    for centre in rng.uniform(0, n_times, rng.poisson(per_minute * n_times / sfreq / 60.0)):
        width = rng.uniform(0.05, 0.08) * sfreq
        span = np.arange(max(0, int(centre - 4 * width)), min(n_times, int(centre + 6 * width)))
        shift = (span - centre) / width
        # The lid closes faster than it opens.
        wave = np.exp(-0.5 * np.square(np.where(shift < 0, shift, shift / 1.6)))
        signal[span] += rng.uniform(0.7, 1.2) * wave
    return signal


def line_noise(
    rng: np.random.Generator, n_chans: int, n_times: int, sfreq: float, freq: float
) -> FloatArray:
    """Mains hum: one slowly changing sine, another gain and phase on each channel.

    Zero where ``freq`` is not below half of ``sfreq``: an amplifier filters it away.
    """
    if freq >= sfreq / 2:
        return np.zeros((n_chans, n_times))
    time = np.arange(n_times) / sfreq
    swell = 1.0 + 0.2 * one_over_f(rng, 1, n_times, sfreq, 2.0, 0.02, 0.2)[0]
    phase = 2 * np.pi * freq * time
    gain = rng.lognormal(0.0, 0.5, (n_chans, 1))
    lag = rng.uniform(-0.6, 0.6, (n_chans, 1))
    hum = np.cos(lag) * np.sin(phase) + np.sin(lag) * np.cos(phase)
    return np.sqrt(2.0 / np.mean(gain**2)) * gain * swell * hum


def bad_channel(rng: np.random.Generator, n_times: int, sfreq: float) -> tuple[slice, FloatSignals]:
    """A lost contact: when (15 to 60 s) and what the channel shows then, variance about 1."""
    length = min(n_times, int(rng.uniform(15.0, 60.0) * sfreq))
    start = int(rng.integers(0, n_times - length + 1))
    return slice(start, start + length), one_over_f(rng, 1, length, sfreq, 1.5, 0.3)[0]


def background(
    rng: np.random.Generator,
    leadfields: dict[str, FloatArray],
    onsets: NDArray[np.integer],
    n_times: int,
    sfreq: float,
    *,
    alpha_freq: float,
    alpha_gain: float = 1.0,
    levels: BackgroundLevels | None = None,
) -> FloatArray:
    """Everything a recording shows beside the response to pictures, at ``noise_level`` 1.

    Parameters
    ----------
    rng : numpy.random.Generator
    leadfields : dict
        ``cortex`` (n_chans, n_sources), ``alpha`` (n_chans, 3) and ``eye`` (n_chans, 1), each
        scaled so that unit sources give 1 volt root mean square over channels (``eye``: peak 1).
    onsets : array of int, shape (n_trials,)
        Samples at which pictures appear; alpha drops after them.
    n_times : int
    sfreq : float
        Hz.
    alpha_freq : float
        Hz.
    alpha_gain : float
        This person's alpha relative to ``levels.alpha_uv``.
    levels : BackgroundLevels, optional

    Returns
    -------
    array, shape (n_chans, n_times)
        Volts.
    """
    levels = levels or BackgroundLevels()
    n_chans = len(leadfields["cortex"])
    sources = one_over_f(rng, leadfields["cortex"].shape[1], n_times, sfreq, levels.exponent)
    data = (levels.cortex_uv * leadfields["cortex"]).astype(np.float32) @ sources
    alpha = narrow_band(rng, 3, n_times, sfreq, alpha_freq, levels.alpha_width)
    envelope = desynchronisation(onsets, n_times, sfreq, levels.alpha_drop)
    data += levels.alpha_uv * alpha_gain * leadfields["alpha"] @ (alpha * envelope)
    data += levels.sensor_uv * rng.standard_normal(data.shape, dtype=np.float32)
    data += levels.drift_uv * one_over_f(rng, n_chans, n_times, sfreq, 2.0, 0.05, 0.4)
    data += levels.line_uv * line_noise(rng, n_chans, n_times, sfreq, levels.line_freq)
    blinks = blink_signal(rng, n_times, sfreq, levels.blinks_per_minute)
    data += levels.blink_uv * leadfields["eye"] @ blinks[None]
    if rng.random() < levels.bad_channel_probability:
        when, signal = bad_channel(rng, n_times, sfreq)
        data[rng.integers(n_chans), when] += levels.bad_uv * signal
    return 1e-6 * data
