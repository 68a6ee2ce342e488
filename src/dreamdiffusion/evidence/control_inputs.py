"""What the images of controls are made from: other EEG, EEG with something removed, pictures."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

_TRIALS_A_WAVE = 8


def phase_randomised(eeg: Floats, rng: np.random.Generator) -> Floats:
    """Turn the phases of every frequency of each trial by angles of its own.

    All channels of a trial are turned alike, so its power spectra, and the coherence and phase
    between its channels, stay exactly; what is locked to the stimulus is gone.

    Parameters
    ----------
    eeg
        ``(n_trials, n_chans, n_times)``.

    References
    ----------
    Prichard and Theiler 1994, Phys. Rev. Lett. 73, 951: surrogates of several variables.
    """
    spectra = np.fft.rfft(eeg, axis=2)
    turn = np.exp(2j * np.pi * rng.random((len(eeg), 1, spectra.shape[2])))
    # The mean and, with an even number of points, the highest frequency are real numbers.
    turn[:, :, 0] = 1
    if eeg.shape[2] % 2 == 0:
        turn[:, :, -1] = 1
    return np.fft.irfft(spectra * turn, n=eeg.shape[2], axis=2).astype(eeg.dtype)


def time_removed(eeg: Floats, runs: Ints, onsets: Floats) -> Floats:
    """Remove what changes slowly from trial to trial of a recording.

    At every channel and time point, cosines over the order of the run's trials are fitted by least
    squares and subtracted, the slowest ones, one for every eight trials; the mean of the run stays.
    No label is used.

    Parameters
    ----------
    eeg
        ``(n_trials, n_chans, n_times)``.
    runs
        Recording of each trial, ``(n_trials,)``.
    onsets
        Seconds from the start of the recording, ``(n_trials,)``.
    """
    flat = eeg.reshape(len(eeg), -1)
    cleaned = flat.astype(float)
    for run in np.unique(runs):
        rows = np.flatnonzero(runs == run)
        rows = rows[np.argsort(onsets[rows], kind="stable")]
        n = len(rows)
        waves = np.arange(1, 1 + n // _TRIALS_A_WAVE)
        # The cosines of the discrete cosine transform: orthogonal, and none has a mean.
        basis = np.cos(np.pi * waves[None] * (np.arange(n)[:, None] + 0.5) / n)
        basis /= np.linalg.norm(basis, axis=0, keepdims=True)
        cleaned[rows] -= basis @ (basis.T @ flat[rows])
    return cleaned.reshape(eeg.shape).astype(eeg.dtype)


def nearest_pictures(embeddings: torch.Tensor, gallery: torch.Tensor) -> Ints:
    """Return the place in the gallery of the picture nearest to each EEG embedding, by cosine.

    Parameters
    ----------
    embeddings
        ``(n_trials, d)``.
    gallery
        ``(m, d)``, of the pictures of training.
    """
    unit = torch.nn.functional.normalize
    return (unit(embeddings, dim=-1) @ unit(gallery, dim=-1).T).argmax(dim=1).cpu().numpy()
