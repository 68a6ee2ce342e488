"""The words and numbers of the report: names of metrics and controls, how a figure is written.

Plain text, with the no-break space and the minus sign of typography; the templates escape it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from dreamdiffusion.evidence.controls import CONTROLS
from dreamdiffusion.evidence.scores import Scores

NBSP, MINUS = "\N{NO-BREAK SPACE}", "\N{MINUS SIGN}"

METRICS = {
    "category_top1": "Right category",
    "color_top1": "Right colour",
    "clip_retrieval_top1": "Picture found by retrieval",
    "picture_two_way": "Right picture before another",
    "picture_top1": "Right picture of those known",
    "picture_top5": "The same, among the five most probable",
    "ssim": "Structural similarity",
    "pcc": "Pixel correlation",
    "lda_class_category_top1": "Linear baseline (scikit-learn): right category",
    "lda_pooled_category_top1": "Linear baseline (pooled): right category",
    "eeg_retrieval_top1": "Retrieval by the EEG embedding alone",
    "eeg_retrieval_top5": "The same, among the nearest five",
}

REMEDIES = {
    "not_audited": "Run dreamdiffusion audit on the training trials, and fine-tune again with it.",
    "not_held_out": "Evaluate the test side, or another recording with --split new.",
    "trained_on_these_trials": "Start from weights (init) that were fitted on other trials, or "
    "score a recording that none of the models was fitted on.",
    "decoder_saw_the_pictures": "Split by stim_file, and leave out one of two pictures that are "
    "alike; or set split.allow_shared_stimuli, and claim which of the known pictures was seen.",
    "control_above_chance": "Look in the audit for an order of trials that predicts the class; "
    "shuffle the trials of the experiment, or hold out whole runs.",
    "rests_on_time": "High-pass the EEG, and record the classes in random order.",
    "judge_saw_the_pictures": "Train the judge on other pictures than those that were shown.",
    "generator_saw_the_pictures": "Train the generator on other pictures than those that were "
    "shown.",
    "bank_saw_the_pictures": "Fit the prior with a bank of other pictures than those that were "
    "shown.",
    "scale_not_of_training": "Fine-tune again; the scale is fitted on the training trials alone.",
    "selection_on_test": "Choose models and settings on validation trials; score the one that was "
    "chosen on trials, or a recording, that nothing has looked at.",
    "split_changed": "Fine-tune again with the split that is to be scored.",
}
"""What to do about a reason to withhold the headline (`headline`); an audit brings its own."""


class Wording(NamedTuple):
    """How a report calls what it shows: images that were drawn, or pictures that were there before.

    Attributes
    ----------
    title
        What was decoded, before "decoded from EEG".
    picture
        One of what is shown beside what was seen.
    shown
        All of them; empty where they were drawn.
    answers
        What is compared with what was seen.
    columns
        Of the table of confusions.
    gallery
        Above the pictures of `gallery.png`.
    without_eeg
        What the control without EEG is; empty: as `CONTROLS` says.
    """

    title: str
    picture: str
    shown: str
    answers: str
    columns: str
    gallery: str
    without_eeg: str = ""


DRAWN = Wording(
    "Images", "generated", "", "images", "the judge's name for the generated images",
    "generated from EEG",
)  # fmt: skip
OF_BANK = Wording(
    "Pictures", "picture of the bank", "pictures of the bank as they are", "pictures",
    "the judge's name for the pictures of the bank", "looked up in the bank",
    "pictures of the bank chosen by chance, without any EEG",
)  # fmt: skip
KNOWN = Wording(
    "Pictures", "known picture", "known pictures that the decoder finds most probable", "answers",
    "the class that the decoder named", "known, most probable",
    "the answer without any EEG: how often each was seen in training",
)  # fmt: skip
_LOOKED_UP = {
    "shuffled_eeg": "the answer to the EEG of another trial",
    "phase_randomised_eeg": "the answer to EEG of the same power spectra and the same relations "
    "between channels, its course in time destroyed (Prichard and Theiler 1994)",
    "mean_embedding": "the answer to what the EEG of the training trials says on average, the same "
    "for all trials",
    "time_removed_eeg": "the answer to EEG without its slow course over the recording; a score "
    "that rests on the response keeps its value",
}


def wording(scores: Scores) -> Wording:
    """Return how a report calls what it shows."""
    if "images" in scores.not_scored:
        shown = scores.not_scored["images"].partition("shown are ")[2]
        return KNOWN._replace(shown=shown) if shown else KNOWN
    if scores.protocol.get("drawing", "").endswith("nothing is drawn"):
        return OF_BANK
    return DRAWN


def control_description(control: str, words: Wording) -> str:
    """Say what a control is made from; "drawn" is said only of what was drawn."""
    if control == "no_eeg_prior" and words.without_eeg:
        return words.without_eeg
    if words.shown and control in _LOOKED_UP:
        return _LOOKED_UP[control]
    return CONTROLS[control].description


def metric_name(metric: str) -> str:
    """Write the name of a metric, in words where there are some."""
    return METRICS.get(metric, metric)


def control_name(control: str, short: bool = False) -> str:
    """Write the name of a control; ``short`` is for marks in a figure."""
    known = CONTROLS.get(control)
    if known is None:
        return control
    return known.short_label if short else known.label


def is_share(metric: str) -> bool:
    """Whether a metric is a share of trials or pairs, so that it is written in per cent."""
    return re.search(r"(^|_)(top\d*|way|accuracy)(_|$)", metric) is not None


def number(metric: str, value: float) -> str:
    """Write a score: shares in per cent, all else as it is.

    Examples
    --------
    ``45.7 %`` for `category_top1`, ``0.276`` for `pcc`.
    """
    if is_share(metric):
        return f"{_signed(100 * value, 1)}{NBSP}%"
    return _signed(value, 3)


def difference(metric: str, value: float) -> str:
    """Write a difference of two scores with its sign: in percentage points where they are shares.

    Examples
    --------
    ``+41.2 points`` for `category_top1`, ``+0.177`` for `pcc`.
    """
    if is_share(metric):
        return f"{_signed(100 * value, 1, plus=True)}{NBSP}points"
    return _signed(value, 3, plus=True)


def low_to_high(metric: str, ends: tuple[float, float], of_difference: bool = False) -> str:
    """Write an interval as "low to high"."""
    write = difference if of_difference else number
    low, high = (write(metric, end) for end in ends)
    for unit in (f"{NBSP}%", f"{NBSP}points"):
        if low.endswith(unit):
            low = low.removesuffix(unit)
    return f"{low} to {high}"


def plural(n: int, word: str) -> str:
    """Write a count: 1 person, 2 people; 1 trial, 2 trials."""
    if n == 1:
        return f"1{NBSP}{word}"
    return f"{n:,}{NBSP}{'people' if word == 'person' else word + 's'}"


def _signed(value: float, digits: int, plus: bool = False) -> str:
    text = f"{value:+.{digits}f}" if plus else f"{value:.{digits}f}"
    if not text.strip("+-0."):  # no sign before a zero
        text = text.lstrip("+-")
    return text.replace("-", MINUS)
