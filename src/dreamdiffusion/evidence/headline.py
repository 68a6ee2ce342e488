"""The one sentence of an evaluation, and when it must not be said.

The headline is the difference of the first metric to the strongest control without the brain. It is
withheld, whatever the figures, where something is known by which such a difference comes about
without decoding. Names of the reasons, and what to do about each: docs/evidence.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from dreamdiffusion.evidence.controls import controls_of_kind
from dreamdiffusion.evidence.scores import Headline, Reason, Score

HEADLINE_ALPHA = 0.05
CONTROL_ALPHA = 0.001
"""Of the test that shuffled EEG lies at chance: a false alarm in a thousand evaluations."""


def state_headline(
    scores: Sequence[Score], reasons: Sequence[Reason], known_pictures: bool = False
) -> Headline:
    """Sum up an evaluation.

    Parameters
    ----------
    scores
        The first is the headline's metric, which is thereby fixed before the figures are known.
    reasons
        What forbids a headline.
    known_pictures
        Whether pictures that are scored were shown in training too, as the split allows.
    """
    first = scores[0]
    if reasons:
        verdict = "withheld"
    elif first.difference_ci95[0] > 0 and first.p <= HEADLINE_ALPHA:
        verdict = "above"
    else:
        verdict = "not above"
    beyond = metrics_beyond_category(scores)
    return Headline(
        metric=first.metric,
        verdict=verdict,
        difference=first.difference,
        difference_ci95=first.difference_ci95,
        strongest=first.strongest,
        reasons=list(reasons),
        beyond_category=None if beyond is None else bool(beyond),
        known_pictures=known_pictures,
    )


def metrics_beyond_category(scores: Sequence[Score]) -> list[str] | None:
    """Name the metrics that beat every control without an image; None: no such control was drawn.

    The intervals are widened over the metrics that are asked (Bonferroni, for normal errors).
    """
    without_image = set(controls_of_kind("without_image"))
    asked = [score for score in scores if without_image & set(score.controls)]
    if not asked:
        return None
    wider = norm.ppf(1 - 0.025 / len(asked)) / norm.ppf(0.975)
    return [
        score.metric
        for score in asked
        if all(
            c.difference - wider * (c.difference - c.difference_ci95[0]) > 0
            for name, c in score.controls.items()
            if name in without_image
        )
    ]


def audit_reasons(audit: Mapping[str, Any] | None) -> list[Reason]:
    """Name what the audit of the training trials and their split found to be severe."""
    if audit is None:
        what = "the training trials and their split were never audited (dreamdiffusion audit)"
        return [Reason(name="not_audited", what=what)]
    return [
        Reason(name=finding["name"], what=" ".join([finding["what"], finding["consequence"]]))
        for finding in audit["findings"]
        if finding["severity"] == "severe"
    ]


def side_reason(side: str) -> Reason | None:
    """Name it where the trials were trained or chosen on."""
    reasons = {
        "train": "these trials were trained on",
        "validation": "on these trials it was watched how the training went",
    }
    return Reason(name="not_held_out", what=reasons[side]) if side in reasons else None


def control_reason(metric: str, value: float, chance: float, p: float) -> Reason | None:
    """Name it where shuffled EEG scores above chance: then the EEG is not what predicts the truth.

    Parameters
    ----------
    p
        Of the control itself, by permutation of the trials.
    """
    if p > CONTROL_ALPHA:
        return None
    what = (
        f"{metric} of shuffled EEG is {value:.3f}, above its chance level of {chance:.3f} "
        f"(p {p:.2g}): something else than the trial's EEG predicts what was shown"
    )
    return Reason(name="control_above_chance", what=what)


def time_reason(score: Score) -> Reason | None:
    """Name it where the score is gone once the EEG's slow course is removed."""
    control = score.controls.get("time_removed_eeg")
    if control is None or score.difference_ci95[0] <= 0:
        return None
    left = score.difference - control.difference
    # Gone: what is lost is beyond its interval, and less than half of the difference is left.
    if control.difference_ci95[0] <= 0 or left > score.difference / 2:
        return None
    what = (
        f"{score.metric} falls from {score.value:.3f} to {control.value:.3f} when what changes "
        "slowly over a recording is removed from the EEG: it rests on when a trial was recorded"
    )
    return Reason(name="rests_on_time", what=what)


def pictures_reason(
    who: str,
    shown: NDArray[np.uint64],
    trained_on: NDArray[np.uint64] | None,
    alike: NDArray[np.bool_] | None = None,
) -> Reason | None:
    """Name it where a network was trained on pictures that the scored trials showed.

    Parameters
    ----------
    who
        ``judge``, ``generator``, or ``bank``, of which the pictures are kept as they are.
    shown, trained_on
        Prints of pictures (`picture_prints`), (n,) and (m,); None where the network does not say.
    alike
        Which of those shown are cropped, mirrored or compressed pictures of training, (n,).
    """
    if trained_on is None:
        return None
    exact = np.isin(shown, trained_on)
    changed = np.zeros(len(shown), bool) if alike is None else alike & ~exact
    both = len(np.unique(shown[exact | changed]))
    if not both:
        return None
    n_changed = len(np.unique(shown[changed]))
    how = f" ({n_changed} of them cropped, mirrored or compressed anew)" if n_changed else ""
    what = (
        f"the {who} was trained on {both} of the {len(np.unique(shown))} pictures that were "
        f"shown{how}, so it can {'name' if who == 'judge' else 'draw'} them from memory"
    )
    if who == "bank":
        what = (
            f"the bank that images start from holds {both} of the {len(np.unique(shown))} pictures "
            f"that were shown{how}, so they are looked up, not reconstructed"
        )
    return Reason(name=f"{who}_saw_the_pictures", what=what)


def shown_reason(before: NDArray[np.bool_] | None) -> Reason | None:
    """Name it where trials of training showed pictures that the scored trials show again.

    Parameters
    ----------
    before
        Which of the pictures, ``(m,)``, were shown in training, as they are or changed a little;
        None where it is not known.
    """
    if before is None or not before.any():
        return None
    what = (
        f"{before.sum()} of the {len(before)} pictures that were shown are, as they are or cropped "
        "a little, mirrored or compressed anew, nearly the same as pictures shown in training: "
        "recognising those would be enough"
    )
    return Reason(name="decoder_saw_the_pictures", what=what)


def scale_reason(stored: NDArray[np.floating], refitted: NDArray[np.floating]) -> Reason | None:
    """Name it where a model's scale ``(n_chans, n_chans)`` is not that of its training trials."""
    error = float(np.abs(stored - refitted).max() / np.abs(refitted).max())
    if error < 1e-3:
        return None
    what = (
        f"the scale in the model differs by {100 * error:.2g} % from the one that its training "
        "trials give: it was fitted on other trials, perhaps on those that are scored"
    )
    return Reason(name="scale_not_of_training", what=what)


def split_reason(recorded: str | None, found: str) -> Reason | None:
    """Name it where the split beside a model is not the one it was fine-tuned with.

    Parameters
    ----------
    recorded, found
        Hashes; None for a model that does not say.
    """
    if recorded is None or recorded == found:
        return None
    what = (
        "split.json was changed after the fine-tuning, so a trial that is scored may have trained"
    )
    return Reason(name="split_changed", what=what)
