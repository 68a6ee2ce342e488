"""Does the signal predict the class before a brain could answer? A trigger that a channel hears.

The first cortical response to a picture begins 40 ms or more after its onset. What predicts the
class earlier is the stimulation itself: a trigger line that leaks into an amplifier, a monitor, a
sound. Filters carry a response back in time, and the check leaves out what they can carry: a
zero-phase low-pass reaches half a period of its edge, so the window ends that much earlier; a
zero-phase high-pass spreads the response over a period of its edge, which over some tens of
milliseconds is a straight line, so mean and slope of the window are not looked at.
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


def early_signal(trials: Trials, design: TrialOrder, seed: int) -> Finding:
    """Does any channel predict the class within the first tens of milliseconds?

    Of each channel, the curvature of the window (coefficients of the Legendre polynomials of
    degree 2 and 3) is compared between classes: share of its variance that the class explains, the
    largest over channels, by permutation of the labels within recordings.
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
    features = curvature(trials.data, design.rows[places], early)
    runs, labels = design.runs[places], design.labels[places]
    own = TrialOrder(
        np.arange(len(places)), runs, design.subjects[places], design.onsets[places], labels,
        design.names, design.run_names,
    )  # fmt: skip
    explained = variance_explained(features, labels[own.shuffles(runs, seed)])
    p, chance = max_p(explained), explained[1:].mean(axis=0)
    most = int((explained[0] - chance).argmax())
    excess = float(explained[0, most] - chance[most])
    channel = trials.ch_names[most % trials.n_chans]
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


def curvature(data: np.ndarray, rows: Ints, kept: np.ndarray) -> Floats:
    """Return the coefficients of degree 2, then 3, of the samples kept, (n_rows, 2 * n_chans)."""
    course = np.linspace(-1, 1, int(kept.sum()))
    basis = np.linalg.qr(np.polynomial.legendre.legvander(course, 3))[0][:, 2:]
    first, last = np.flatnonzero(kept)[[0, -1]]
    parts = [
        np.asarray(data[some, :, first : last + 1], float) @ basis
        for some in np.array_split(rows, len(rows) // 256 + 1)
    ]
    return np.concatenate(parts).transpose(0, 2, 1).reshape(len(rows), -1)


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
