"""What brings EEG to a common scale: a linear map of the channels, or each trial's own."""

from __future__ import annotations

import numpy as np


def scale_matrix(data: np.ndarray, scale: str) -> np.ndarray:
    """Fit the map on EEG that may be looked at: a recording's own windows, or training trials.

    Parameters
    ----------
    data
        (n, n_chans, n_times), any unit.
    scale
        `whiten`: Euclidean alignment (He and Wu 2020, IEEE TBME, doi 10.1109/TBME.2019.2913914):
        R^(-1/2), R = mean over windows of X X^T / n_times, so that the mean covariance becomes
        the identity. Directions without power (an average reference leaves one) become zero.
        `robust`: divide each channel by 1.4826 x its median absolute deviation, an estimate of
        the standard deviation that artefacts do not move.

    Returns
    -------
    matrix
        float64 (n_chans, n_chans), to multiply the channels with from the left.

    Raises
    ------
    ValueError
        For an unknown scale, or a channel without any deviation.
    """
    wide = np.asarray(data, dtype=np.float64).transpose(1, 0, 2).reshape(data.shape[1], -1)
    if scale == "whiten":
        covariance = wide @ wide.T / wide.shape[1]
        powers, axes = np.linalg.eigh(covariance)
        if powers[-1] <= 0:
            raise ValueError("the EEG holds nothing but zeros")
        live = powers > 1e-10 * powers[-1]
        inverse = np.where(live, 1 / np.sqrt(np.where(live, powers, 1.0)), 0.0)
        return (axes * inverse) @ axes.T
    if scale == "robust":
        # One channel at a time stays in the processor's cache.
        width = np.array([1.4826 * np.median(np.abs(row - np.median(row))) for row in wide])
        if (width <= 0).any():
            raise ValueError(f"channel {int(np.argmin(width))} has no deviation to divide by")
        return np.diag(1 / width)
    raise ValueError(f"scale is {scale!r}, expected whiten or robust")


def scale_trials(data: np.ndarray) -> np.ndarray:
    """Scale each channel of each trial by itself: less its mean, divided by its deviation.

    Nothing is fitted. A trial with a blink, or a run with looser electrodes, then counts as much as
    any other; what is lost is how large a trial was.

    Parameters
    ----------
    data
        (n, n_chans, n_times), any unit.

    Returns
    -------
    array
        float64 (n, n_chans, n_times); a channel without any deviation becomes zero.
    """
    centred = np.asarray(data, dtype=np.float64)
    centred = centred - centred.mean(axis=2, keepdims=True)
    width = centred.std(axis=2, keepdims=True)
    return centred / np.where(width > 0, width, 1.0)


def scale_of_part(matrix: np.ndarray, places: list[int]) -> np.ndarray:
    """Return the scale of some of the channels alone, from that of all.

    A whitening matrix mixes channels, so what is left of it when channels are taken away is no
    longer white. It tells the covariance it was fitted on, ``R = matrix^-2``; the whitening of the
    part is that of its block of R. A diagonal matrix gives its own entries.

    Parameters
    ----------
    matrix
        Symmetric (n_chans, n_chans), from `scale_matrix`.
    places
        The channels that are there.

    Returns
    -------
    matrix
        float64 (len(places), len(places)).
    """
    if len(places) == len(matrix):
        return matrix[np.ix_(places, places)]
    covariance = np.linalg.pinv(matrix @ matrix, hermitian=True)[np.ix_(places, places)]
    powers, axes = np.linalg.eigh(covariance)
    live = powers > 1e-10 * powers[-1]
    return (axes * np.where(live, 1 / np.sqrt(np.where(live, powers, 1.0)), 0.0)) @ axes.T
