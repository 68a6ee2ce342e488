"""Does the signal predict the class before a brain could answer? A trigger that a channel hears.

The first cortical response to a picture begins 40 ms or more after its onset. What predicts the
class earlier is the stimulation itself: a trigger line that leaks into an amplifier, a monitor, a
sound. Filters carry a response back in time, and the check leaves out what they can carry: a
zero-phase low-pass reaches half a period of its edge, so the window ends that much earlier; a
zero-phase high-pass spreads the response over a period of its edge, which over some tens of
milliseconds is a straight line, so mean and slope of the window are not looked at.

A level that is held from onset on has neither curvature nor, where trials begin at onset, anything
before it. There the mean of the window counts too, where it is no smaller than half of the largest
difference between classes later in the trial, and of its sign: what a high-pass carries back of a
response is smaller, or of the other sign.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from dreamdiffusion.evidence.audit.blocks import not_checked
from dreamdiffusion.evidence.audit.findings import ALPHA, Finding, Floats, Ints
from dreamdiffusion.evidence.audit.trial_order import TrialOrder, max_p, rounded
from dreamdiffusion.trials.trials import Trials

FIRST_RESPONSE_S = 0.04
BEFORE_S = 0.02
"""A filtered pulse begins before its onset; so much of it is looked at where trials have it."""
LEAST_SAMPLES = 4
LEAST_EXPLAINED = 0.02
MOST_TRIALS = 4000
HELD = 0.5
"""Part of the largest difference between classes that is there from onset on, where it is held."""


def early_signal(trials: Trials, design: TrialOrder, seed: int) -> Finding:
    """Does any channel predict the class within the first tens of milliseconds?

    Of each channel, the curvature of the window (coefficients of the Legendre polynomials of
    degree 2 and 3; of trials that begin at onset the mean too) is compared between classes: share
    of its variance that the class explains, the largest over channels, by permutation of the labels
    within recordings.
    """
    name = "early_signal"
    low_pass = trials.signal.get("h_freq")
    end = FIRST_RESPONSE_S - (0.5 / low_pass if low_pass else 0.0)
    early = (trials.times > -BEFORE_S - 1e-9) & (trials.times < end)
    figures: dict[str, object] = {"window_ends_s": end, "n_samples": int(early.sum())}
    if trials.tmin > 1e-9:
        return not_checked(name, f"the trials begin {trials.tmin:g} s after onset")
    if early.sum() < LEAST_SAMPLES:
        return not_checked(
            name, f"{early.sum()} samples lie before {1e3 * end:.0f} ms, it needs {LEAST_SAMPLES}"
        )
    if not design.varied:
        return not_checked(name, "no recording holds two classes")
    places = np.arange(len(design))
    if len(places) > MOST_TRIALS:
        places = np.unique(np.linspace(0, len(places) - 1, MOST_TRIALS).astype(int))
    p, explained, channels = compare_courses(trials, design, places, early, seed)
    chance = explained[1:].mean(axis=0)
    most = int((explained[0] - chance).argmax())
    excess, channel = float(explained[0, most] - chance[most]), channels[most]
    figures |= {
        "n_trials": len(places), "channel": channel, "explained_by_class": explained[0, most],
        "chance": chance[most], "excess": excess, "p": p,
    }  # fmt: skip
    if p >= ALPHA:
        what = f"No channel predicts the class in the first {1e3 * end:.0f} ms."
        return Finding(name, "passed", what, rounded(figures))
    if excess < LEAST_EXPLAINED:
        what = (
            f"The class explains {100 * excess:.1g} % of the signal of {channel} in the first "
            f"{1e3 * end:.0f} ms: certain, and too little to carry a score."
        )
        return Finding(name, "note", what, rounded(figures))
    return Finding(
        name,
        "severe",
        f"The signal of {channel} predicts the class within {1e3 * end:.0f} ms of the onset, "
        "before a brain can answer.",
        rounded(figures),
        "A trigger, a screen or a sound that reaches the amplifier is decoded instead of a "
        "response, in held-out recordings too.",
        "Leave the channel out (signal.picks), or cut trials that begin when what is heard is over "
        "(tmin), and prepare again; code no class in the trigger.",
    )


def compare_courses(
    trials: Trials, design: TrialOrder, places: Ints, early: np.ndarray, seed: int
) -> tuple[float, Floats, list[str]]:
    """Test how much of each channel's course in the window the class explains.

    Parameters
    ----------
    places
        Of the trials that are looked at, in the order of the design.
    early
        Which samples are the window, bool ``(n_times,)``.

    Returns
    -------
    p
        Of the largest share.
    explained
        ``(1 + n_permutations, n_features)``; the first row is what was observed.
    channels
        The channel of each feature.
    """
    data, rows = trials.data, design.rows[places]
    runs, labels = design.runs[places], design.labels[places]
    own = TrialOrder(
        np.arange(len(places)), runs, design.subjects[places], design.onsets[places], labels,
        design.names, design.run_names,
    )  # fmt: skip
    dealt = labels[own.shuffles(runs, seed)]
    explained = variance_explained(course(data, rows, early, (2, 3)), dealt)
    channels = [*trials.ch_names, *trials.ch_names]
    if trials.tmin < -0.5 / trials.sfreq:
        return max_p(explained), explained, channels
    levels = variance_explained(course(data, rows, early, (0,)), dealt)
    held = held_levels(data, rows, labels, early)
    kept = np.concatenate([explained, levels[:, held]], axis=1)
    # Which are held was seen with these labels, so all levels have to stand the test together too.
    p = max(max_p(np.concatenate([explained, levels], axis=1)), max_p(kept))
    return p, kept, channels + [trials.ch_names[place] for place in held]


def course(data: np.ndarray, rows: Ints, kept: np.ndarray, degrees: tuple[int, ...]) -> Floats:
    """Return Legendre coefficients of the samples kept, (n_rows, n_degrees * n_chans)."""
    times = np.linspace(-1, 1, int(kept.sum()))
    basis = np.linalg.qr(np.polynomial.legendre.legvander(times, 3))[0][:, list(degrees)]
    first, last = np.flatnonzero(kept)[[0, -1]]
    parts = [
        np.asarray(data[some, :, first : last + 1], float) @ basis
        for some in np.array_split(rows, len(rows) // 256 + 1)
    ]
    return np.concatenate(parts).transpose(0, 2, 1).reshape(len(rows), -1)


def held_levels(data: np.ndarray, rows: Ints, labels: Ints, early: np.ndarray) -> Ints:
    """Return the channels, int ``(k,)``, whose classes differ early as they do later in the trial.

    Parameters
    ----------
    data
        ``(n_trials, n_chans, n_times)``.
    rows, labels
        Trials that are looked at, and the class of each, ``(n,)``.
    early
        Which samples are the window, bool ``(n_times,)``.
    """
    counts = np.bincount(labels)
    means = np.zeros((len(counts), *data.shape[1:]))
    for place in np.array_split(np.arange(len(rows)), len(rows) // 256 + 1):
        np.add.at(means, labels[place], np.nan_to_num(np.asarray(data[rows[place]], float)))
    means = means[counts > 0] / counts[counts > 0][:, None, None]
    means -= means.mean(axis=0)
    after = means[:, :, np.flatnonzero(early)[-1] + 1 :]
    if not after.shape[2]:
        return np.arange(0)
    largest = (after**2).sum(axis=0).argmax(axis=1)
    later = np.take_along_axis(after, largest[None, :, None], axis=2)[:, :, 0]
    along = (means[:, :, early].mean(axis=2) * later).sum(axis=0)
    return np.flatnonzero(along >= HELD * (later**2).sum(axis=0))


def variance_explained(features: Floats, dealt: Ints) -> Floats:
    """Return the share of each feature's variance that the class explains, (n_rows, n_features).

    Parameters
    ----------
    features
        ``(n_trials, n_features)``; what is not finite counts as the mean.
    dealt
        ``(n_rows, n_trials)`` numbers of the classes.
    """
    # Ranks: a blink that lies in one class by chance shall not decide.
    ranks = np.argsort(np.argsort(np.nan_to_num(features), axis=0), axis=0).astype(float)
    ranks -= ranks.mean(axis=0)
    total = (ranks**2).sum(axis=0)
    n, n_classes = len(ranks), int(dealt.max()) + 1
    result = np.empty((len(dealt), ranks.shape[1]))
    for number, labels in enumerate(dealt):
        member = csr_matrix((np.ones(n), (labels, np.arange(n))), shape=(n_classes, n))
        sizes = np.maximum(np.bincount(labels, minlength=n_classes), 1)
        result[number] = ((member @ ranks) ** 2 / sizes[:, None]).sum(axis=0) / total
    return result
