"""Does one channel name the class of nearly every trial, as no response of a brain does?

A response explains some hundredths of the variance of single trials: 0.04 of real recordings of
faces and houses, at the best channel and time. A channel that carries the code of an event, a light
sensor on the screen or a key that is pressed explains nearly all of it, at any time of the trial;
`early_signal` sees only what begins with the trial.
"""

from __future__ import annotations

import numpy as np

from dreamdiffusion.evidence.audit.blocks import not_checked
from dreamdiffusion.evidence.audit.findings import Finding, Floats, Ints
from dreamdiffusion.evidence.audit.trial_order import TrialOrder, rounded
from dreamdiffusion.trials.trials import Trials

LEAST_EXPLAINED = 0.95
LEAST_FREEDOM = 20
"""Trials beyond one of each class, for a share that chance does not reach."""
MOST_TRIALS = 4000


def class_in_channel(trials: Trials, design: TrialOrder) -> Finding:
    """Does the class explain nearly all of the variance of a channel at some time of the trial?

    Recordings are centred each by itself. The share is adjusted for the number of classes.
    """
    name = "class_in_channel"
    places = np.arange(len(design))
    if len(places) > MOST_TRIALS:
        places = np.unique(np.linspace(0, len(places) - 1, MOST_TRIALS).astype(int))
    labels = np.unique(design.labels[places], return_inverse=True)[1]
    freedom = len(labels) - int(labels.max()) - 1
    if labels.max() < 1 or freedom < LEAST_FREEDOM:
        return not_checked(name, f"it needs two classes and {LEAST_FREEDOM} trials more")
    share = explained_by_class(trials.data, design.rows[places], design.runs[places], labels)
    share = 1 - (1 - share) * (len(labels) - 1) / freedom
    channel, sample = np.unravel_index(int(share.argmax()), share.shape)
    figures = rounded(
        {"n_trials": len(labels), "channel": trials.ch_names[channel],
         "time_s": float(trials.times[sample]), "explained_by_class": float(share.max())}
    )  # fmt: skip
    if share.max() < LEAST_EXPLAINED:
        what = "No channel names the class of nearly every trial."
        return Finding(name, "passed", what, figures)
    return Finding(
        name,
        "severe",
        f"At {trials.times[sample]:.3g} s the class explains {100 * share.max():.3g} % of the "
        f"variance of {trials.ch_names[channel]} over single trials.",
        figures,
        "No response of a brain is as certain as that. The channel may carry the code of an event, "
        "a light sensor or a key, or move with the eyes: that is decoded, in held-out recordings "
        "too.",
        "Leave the channel out (picks), also before an average reference is taken; or show what "
        "else it is.",
    )


def explained_by_class(data: np.ndarray, rows: Ints, runs: Ints, labels: Ints) -> Floats:
    """Return the share of the variance that the class explains, ``(n_chans, n_times)``.

    Parameters
    ----------
    data
        ``(n_trials, n_chans, n_times)``.
    rows, runs, labels
        Trials that are looked at, the recording of each and its class, ``(n,)``.
    """
    shape = data.shape[1:]
    sums, total = np.zeros((int(labels.max()) + 1, *shape)), np.zeros(shape)
    for run in np.unique(runs):
        own = np.flatnonzero(runs == run)
        mean = np.zeros(shape)
        for part in _parts(own):
            mean += _read(data, rows[part]).sum(axis=0) / len(own)
        for part in _parts(own):
            centred = _read(data, rows[part]) - mean
            total += (centred**2).sum(axis=0)
            for label in np.unique(labels[part]):
                sums[label] += centred[labels[part] == label].sum(axis=0)
    between = (sums**2 / np.bincount(labels)[:, None, None]).sum(axis=0)
    return np.divide(between, total, out=np.zeros(shape), where=total > 0)


def _parts(places: Ints) -> list[Ints]:
    return np.array_split(places, len(places) // 256 + 1)


def _read(data: np.ndarray, rows: Ints) -> Floats:
    return np.nan_to_num(np.asarray(data[rows], float))
