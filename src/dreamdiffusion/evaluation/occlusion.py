"""What a model uses of the EEG: a metric with channels or a window of time covered.

To cover is to put the mean over trials in place of each trial's own values: that keeps the average
response, makes no edges, and takes away everything by which trials differ there. What the metric
loses is what it took from there and could not take from elsewhere: two neighbours that carry the
same are each dispensable, which is why whole neighbourhoods can be covered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dreamdiffusion.evidence.scores import Occlusion
from dreamdiffusion.files.progress import progress
from dreamdiffusion.recordings.electrodes import electrode_positions

FloatArray = NDArray[np.floating]
ScoreOfEEG = Callable[[FloatArray], FloatArray]
"""EEG in volts (n_trials, n_chans, n_times) -> the metric of each trial, float (n_trials,)."""


def occlude(
    score: ScoreOfEEG,
    eeg: FloatArray,
    ch_names: Sequence[str],
    sfreq: float,
    tmin: float,
    metric: str,
    width: float = 0.05,
    stride: float = 0.025,
    radius: float = 0.0,
) -> Occlusion:
    """Cover one channel, then one window at a time, and say what a metric loses.

    Parameters
    ----------
    score : callable
        EEG (n_trials, n_chans, n_times), as ``eeg`` -> float (n_trials,), higher is better. It is
        called once for every channel and every window, and works in batches as it likes.
    eeg : float array, (n_trials, n_chans, n_times)
        Volts.
    ch_names : sequence of str, length n_chans
    sfreq : float
        Hz.
    tmin : float
        Time of the first sample, s from stimulus onset.
    metric : str
        Name of what ``score`` gives.
    width, stride : float
        Length of a covered window and largest step from one to the next, s; the first begins and
        the last ends with the trial.
    radius : float
        Metres. Above 0 the electrodes within this distance of a channel are covered with it; they
        must then have names of the 10-05 system.

    Returns
    -------
    Occlusion
        A drop is the mean over trials of the score without covering minus that with it; its
        standard error is that of this paired difference.

    Raises
    ------
    ValueError
        If shapes do not fit, there are fewer than two trials, a window is shorter than a sample or
        longer than the trial, ``score`` gives something else than one finite number a trial, or a
        place is wanted that is not known.
    """
    n, n_chans, n_times = _check(eeg, ch_names)
    length, step = round(width * sfreq), max(1, round(stride * sfreq))
    if not 1 <= length <= n_times:
        raise ValueError(
            f"width is {width:g} s = {length} samples at {sfreq:g} Hz, expected 1 to {n_times}"
        )
    if not stride > 0:
        raise ValueError(f"stride is {stride:g} s, expected more than 0")
    n_windows = -(-(n_times - length) // step) + 1
    starts = np.linspace(0, n_times - length, n_windows).round().astype(int).tolist()
    parts: list[tuple[NDArray[np.int64] | slice, slice]] = [
        (near, slice(None)) for near in neighbours(ch_names, radius)
    ]
    parts += [(slice(None), slice(start, start + length)) for start in starts]
    whole = _scores(score, eeg, n)
    mean = np.asarray(eeg, dtype=float).mean(axis=0)
    covered = np.array(eeg)
    drops = np.empty((len(parts), n))
    for i, (channels, times) in enumerate(progress(parts, f"covering EEG: {metric}", unit="part")):
        # One part is covered at a time and then restored: one copy of the trials is enough.
        covered[:, channels, times] = mean[channels, times]
        drops[i] = whole - _scores(score, covered, n)
        covered[:, channels, times] = eeg[:, channels, times]
    drop, error = drops.mean(axis=1), drops.std(axis=1, ddof=1) / np.sqrt(n)
    return Occlusion(
        metric=metric,
        value=float(whole.mean()),
        n=n,
        ch_names=list(ch_names),
        radius=radius,
        channel_drop=drop[:n_chans].tolist(),
        channel_se=error[:n_chans].tolist(),
        times=[tmin + (start + (length - 1) / 2) / sfreq for start in starts],
        width=length / sfreq,
        time_drop=drop[n_chans:].tolist(),
        time_se=error[n_chans:].tolist(),
        evoked=mean.tolist(),
        evoked_times=(tmin + np.arange(n_times) / sfreq).tolist(),
    )


def nearest_places(embeddings: ArrayLike, prototypes: ArrayLike) -> NDArray[np.int64]:
    """Return which prototype is nearest to each embedding by cosine, int (n,).

    Parameters
    ----------
    embeddings : array, (n, d)
    prototypes : array, (C, d)
        NaN for a category without one, which is then never the nearest.
    """
    places = np.asarray(prototypes, dtype=float)
    known = np.asarray(np.isfinite(places).all(axis=1))
    places = np.where(known[:, None], places, 0.0)
    places = places / np.maximum(np.linalg.norm(places, axis=1, keepdims=True), 1e-12)
    # The length of an embedding does not change which prototype is nearest.
    cosines = np.asarray(embeddings, dtype=float) @ places.T
    return np.where(known, cosines, -np.inf).argmax(axis=1)


def neighbours(ch_names: Sequence[str], radius: float) -> list[NDArray[np.int64]]:
    """Places, int ``(k,)``, of the electrodes within ``radius`` metres of each channel.

    Raises
    ------
    ValueError
        If the radius is negative, or above 0 and the place of a channel is not known.
    """
    if radius < 0:
        raise ValueError(f"radius is {radius:g} m, expected 0 or more")
    if radius == 0:
        return [np.array([i]) for i in range(len(ch_names))]
    places = electrode_positions(ch_names)
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    return [np.flatnonzero(row <= radius) for row in distances]


def _check(eeg: FloatArray, ch_names: Sequence[str]) -> tuple[int, int, int]:
    if eeg.ndim != 3 or len(eeg) < 2 or eeg.shape[1] != len(ch_names):
        raise ValueError(
            f"the EEG has shape {eeg.shape} and {len(ch_names)} ch_names, expected (n_trials, "
            "n_chans, n_times) with two trials or more"
        )
    return eeg.shape


def _scores(score: ScoreOfEEG, eeg: FloatArray, n: int) -> FloatArray:
    found = np.asarray(score(eeg), dtype=float)
    if found.shape != (n,) or not np.isfinite(found).all():
        raise ValueError(
            f"the score of {n} trials has shape {found.shape}, expected one finite number a trial"
        )
    return found
