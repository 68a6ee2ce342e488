"""Does the class of the trial before predict the class of a trial? Alternation and cycles."""

from __future__ import annotations

import numpy as np

from dreamdiffusion.evidence.audit.blocks import not_checked
from dreamdiffusion.evidence.audit.findings import ALPHA, Finding, Floats, Ints
from dreamdiffusion.evidence.audit.trial_order import TrialOrder, excess, max_p, rounded

SEVERE_EXCESS = 0.6
"""Two classes that change in 8 of 10 trials. Where none may come three times in a row they change
in 0.67 to 0.72 of them, as the order is drawn, and 60 such trials do not reach this by chance."""
LEAST_EXCESS = 0.1


def alternating_order(design: TrialOrder, shuffles: Ints) -> Finding:
    """Does another class than the last one follow more often than by chance?

    Each trial is named by the class that most often comes after that of the trial before, that
    class itself left out: `block_design` looks at classes that follow themselves.

    ``shuffles`` are places, int ``(1 + n_permutations, n_trials)``.
    """
    name = "alternating_order"
    if not design.varied:
        return not_checked(name, "no recording holds two classes")
    together = design.runs[1:] == design.runs[:-1]
    labels = design.labels[shuffles]
    shares = likeliest_successor(labels[:, :-1][:, together], labels[:, 1:][:, together])
    p, chance = max_p(shares[:, None]), float(shares[1:].mean())
    far = excess(float(shares[0]), chance)
    figures = rounded(
        {"n_trials": len(design), "class_from_class_before": shares[0], "chance": chance,
         "excess": far, "p": p}
    )  # fmt: skip
    if p >= ALPHA:
        what = "The class of the trial before does not predict that of a trial."
        return Finding(name, "passed", what, figures)
    known = "severe" if far >= SEVERE_EXCESS else "warning" if far >= LEAST_EXCESS else "note"
    return Finding(
        name,
        known,
        f"The class of the trial before predicts that of {100 * shares[0]:.3g} % of the trials "
        f"(chance {100 * chance:.3g} %).",
        figures,
        "What is left of the response to the trial before, and what the person expects, predict "
        "the class without any response to the picture, in held-out recordings too.",
        "Record with the classes in random order, repeats allowed; with these recordings, cut "
        "trials that begin after the last response, and compare with a decoder of the time before "
        "onset.",
    )


def likeliest_successor(before: Ints, after: Ints) -> Floats:
    """Return the share of pairs whose second class is the likeliest other one after the first.

    Parameters
    ----------
    before, after
        Numbers of the classes of two trials in a row, ``(n_rows, n_pairs)``.

    Returns
    -------
    shares
        ``(n_rows,)``.
    """
    n_classes = int(max(before.max(), after.max())) + 1
    shares = np.empty(len(before))
    for number, (one, other) in enumerate(zip(before, after, strict=True)):
        changes = one != other
        kinds, counts = np.unique(one[changes] * n_classes + other[changes], return_counts=True)
        most = np.zeros(n_classes)
        np.maximum.at(most, kinds // n_classes, counts)
        shares[number] = most.sum() / len(one)
    return shares
