"""The filters of `preprocess` for one window of a stream, whose future is not there yet.

`preprocess` filters with zero phase, so a trial also holds something of the 1.7 s after it (a
high-pass of 1 Hz). Live there is no such future: the window waits for a little more signal, and
what comes after that is taken for a mirror image of what came before. The decoder sees nearly what
it was fitted on; recursive filters of the same edges turn the phases of slow waves, and cost a
decoder that was fitted without them 15 points (docs/live.md).
"""

from __future__ import annotations

import mne
import numpy as np
from scipy.signal import fftconvolve, filtfilt, iirnotch

from dreamdiffusion.recordings.config import SignalConfig

NOTCH_Q = 30.0
LEAST_BEFORE = 0.5
"""s of signal that a window needs before it, since a gap or the start."""
_HALF_WIDTH = 16
"""Samples on either side from which one between them is interpolated; more where the rate falls."""


class WindowFilter:
    """Filters, rate and reference of a `SignalConfig`, for one window at a time.

    Parameters
    ----------
    signal
        What the trials of the decoder went through.
    sfreq
        Hz, of the stream.
    ch_names
        Of the picked channels, in order.
    n_times
        Samples of a window at ``signal.sfreq``.
    lag
        s of signal after the window that are waited for.

    Attributes
    ----------
    n_before, n_window, n_after
        Samples of the stream before, in and after the window that are used, where they are there.

    Raises
    ------
    ValueError
        If the stream is too slow for the signal.
    """

    def __init__(
        self, signal: SignalConfig, sfreq: float, ch_names: list[str], n_times: int, lag: float
    ) -> None:
        if signal.h_freq is None and sfreq < signal.sfreq * (1 - 1e-6):
            raise ValueError(
                f"the stream has {sfreq:g} Hz, and the model reads frequencies up to "
                f"{signal.sfreq / 2:g} Hz, which it lacks; set the headset to {signal.sfreq:g} Hz"
            )
        if signal.h_freq is not None and signal.h_freq >= 0.45 * sfreq:
            raise ValueError(
                f"the stream has {sfreq:g} Hz, too few for the model's frequencies up to "
                f"{signal.h_freq:g} Hz; set the headset to {signal.sfreq:g} Hz"
            )
        self.signal, self.sfreq, self.n_times = signal, sfreq, n_times
        self._fir = _design(signal, sfreq)
        self._step = sfreq / signal.sfreq
        self._resampled = abs(self._step - 1) > 1e-6
        self._reference = _places(signal.reference, ch_names)
        half = int(np.ceil(_HALF_WIDTH * max(1.0, self._step))) if self._resampled else 0
        self._half = half
        self.n_before = len(self._fir) // 2 + half
        self.n_window = int(np.ceil(n_times * self._step))
        self.n_after = round(lag * sfreq)

    def __call__(self, data: np.ndarray, start: float) -> np.ndarray:
        """Return one window, volts ``(n_chans, n_times)``.

        Parameters
        ----------
        data
            Volts ``(n_chans, n)`` without a gap: what is there before, in and after the window.
        start
            Where its first sample lies in ``data``; between two samples where it is no whole
            number, which counts where the rate changes.
        """
        data = data - data.mean(axis=1, keepdims=True)
        for line in self.signal.notch:
            data = filtfilt(*iirnotch(line, NOTCH_Q, fs=self.sfreq), data, axis=1, padtype="even")
        filtered = _convolve(data, self._fir)
        places = start + self._step * np.arange(self.n_times)
        if self._resampled:
            made = _interpolate(filtered, places, self._half, min(1.0, 1 / self._step))
        else:
            made = filtered[:, np.round(places).astype(int)]
        if self._reference is not None:
            made = made - made[self._reference].mean(axis=0)
        return made


def _design(signal: SignalConfig, sfreq: float) -> np.ndarray:
    """Return the zero-phase FIR filter that `preprocess` uses, odd length."""
    if not signal.l_freq and not signal.h_freq:
        return np.ones(1)
    return mne.filter.create_filter(
        None, sfreq, signal.l_freq or None, signal.h_freq, fir_design="firwin", verbose="ERROR"
    )


def _convolve(data: np.ndarray, fir: np.ndarray) -> np.ndarray:
    """Filter with zero phase; both ends go on as mirror images."""
    half = len(fir) // 2
    wide = np.pad(data, ((0, 0), (half, half)), mode="symmetric")
    return fftconvolve(wide, fir[None], mode="valid", axes=1)


def _interpolate(data: np.ndarray, places: np.ndarray, half: int, band: float) -> np.ndarray:
    """Return a signal between its samples, by a windowed sinc, ``(n_chans, len(places))``.

    ``band``: share of the frequencies that is kept, less than 1 where the rate falls.
    """
    near = np.floor(places).astype(int)[:, None] + np.arange(1 - half, half + 1)
    away = places[:, None] - near
    weights = np.sinc(band * away) * np.cos(0.5 * np.pi * away / (half + 1)) ** 2
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("cnk,nk->cn", data[:, np.clip(near, 0, data.shape[1] - 1)], weights)


def _places(reference: str | list[str], ch_names: list[str]) -> list[int] | None:
    if reference == "none":
        return None
    names = ch_names if isinstance(reference, str) else reference
    missing = [name for name in names if name not in ch_names]
    if missing:
        raise ValueError(f"the stream has no reference channel {', '.join(missing)}")
    return [ch_names.index(name) for name in names]
