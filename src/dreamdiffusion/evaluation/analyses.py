"""What goes with the scores of images: confidence, curve over averages, occlusion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from dreamdiffusion.decoders.base import CATEGORY, Answer
from dreamdiffusion.evaluation.confidence.calibrator import Calibrator
from dreamdiffusion.evaluation.confidence.per_trial import NotScoredError, rate_trials
from dreamdiffusion.evaluation.decode import Decoded
from dreamdiffusion.evaluation.metrics.pairs import label_pairs
from dreamdiffusion.evaluation.occlusion import nearest_places, occlude
from dreamdiffusion.evaluation.opening import Opened
from dreamdiffusion.evidence.scores import Confidence, Curve, Occlusion
from dreamdiffusion.evidence.statistics.averaging import n_trial_curve

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]


@dataclass
class Analyses:
    """What could be computed beside the scores of an evaluation.

    Attributes
    ----------
    curves, confidence, occlusion
        For `scores.Scores`; empty or None where they could not be computed.
    calibrator
        What the confidence is from.
    not_scored
        Name -> why it could not be computed.
    """

    curves: list[Curve] = field(default_factory=list)
    confidence: Confidence | None = None
    occlusion: Occlusion | None = None
    calibrator: Calibrator | None = None
    not_scored: dict[str, str] = field(default_factory=dict)


def analyse(opened: Opened, decoded: Decoded, rng: np.random.Generator) -> Analyses:
    """Compute the curve over averages, the confidence of each trial and the occlusion.

    Parameters
    ----------
    opened : Opened
    decoded : Decoded
    rng : numpy.random.Generator
        For averages, bootstrap and simulated calibration errors.
    """
    config, found = opened.config, Analyses()
    known, tables = opened.folds[0].decoder.prototypes(), decoded.answer.probabilities or {}
    if not known and CATEGORY not in tables:
        why = f"{config.model} has no means of its training trials; fine-tune it anew"
        found.not_scored = dict.fromkeys(("confidence", "occlusion", "n_trial_curve"), why)
        return found
    categories = sorted(known or map(str, tables[CATEGORY]))
    if opened.judge is not None:
        categories = opened.judge.categories
    prototypes = prototype_table(known, categories)
    if len(opened.folds) > 1:
        why = "several models: validation trials of one are scored by another"
        found.not_scored |= dict.fromkeys(("confidence", "n_trial_curve"), why)
    else:
        if opened.folds[0].held.averaged:
            found.not_scored["n_trial_curve"] = "what is scored are averages already"
        else:
            curve = averaging_curve(decoded, prototypes, categories, rng, config.n_bootstrap)
            found.curves = [curve]
        if config.confidence:
            try:
                rated = rate_trials(opened, decoded, prototypes, rng)
                found.calibrator, found.confidence = rated
            except NotScoredError as reason:
                found.not_scored["confidence"] = str(reason)
    if config.occlusion:
        try:
            found.occlusion = cover(decoded, prototypes, categories)
        except NotScoredError as reason:
            found.not_scored["occlusion"] = str(reason)
    return found


def prototype_table(prototypes: Mapping[str, Tensor], categories: list[str]) -> Floats:
    """Return prototypes ``(n_categories, clip_dim)``; NaN for a category without one."""
    known = next(iter(prototypes.values()), torch.empty(1))
    missing = torch.full_like(known, torch.nan)
    return torch.stack([prototypes.get(name, missing) for name in categories]).numpy()


def name_categories(answer: Answer, prototypes: Floats, categories: list[str]) -> Ints:
    """Return the category that an answer names for each trial, as a place in the list, int (n,).

    The most probable one, where the decoder gives labels; else the one whose prototype is nearest
    to the embedding of the EEG.
    """
    if answer.probabilities is not None and CATEGORY in answer.probabilities:
        table = answer.probabilities[CATEGORY].reindex(columns=categories, fill_value=0.0)
        return table.to_numpy().argmax(axis=1)
    assert answer.embeddings is not None
    return nearest_places(answer.embeddings.numpy(), prototypes)


def averaging_curve(
    decoded: Decoded,
    prototypes: Floats,
    categories: list[str],
    rng: np.random.Generator,
    n_bootstrap: int,
) -> Curve:
    """Name the category without an image, from single trials to averages of many.

    Parameters
    ----------
    decoded : Decoded
    prototypes : array, (C, d)
        Mean CLIP embedding of the training pictures of each category; NaN where there are none.
    categories : list of str, length C
    rng : numpy.random.Generator
    n_bootstrap : int
    """

    def pairs(eeg: np.ndarray, metadata: pd.DataFrame) -> np.ndarray:
        places = name_categories(decoded.read_eeg(eeg), prototypes, categories)
        named = [categories[place] for place in places]
        return label_pairs(named, metadata["category"].astype(str).tolist())

    return n_trial_curve(
        "eeg_category_top1",
        np.asarray(decoded.tested.data),
        decoded.tested.metadata,
        pairs,
        rng,
        n_bootstrap=n_bootstrap,
    )


def cover(decoded: Decoded, prototypes: Floats, categories: list[str]) -> Occlusion:
    """Compute what the category named without an image loses as channels, times are covered.

    Parameters
    ----------
    decoded, prototypes, categories
        As `averaging_curve`.

    Raises
    ------
    NotScoredError
        If the model was never trained on a category of the trials.
    """
    tested = decoded.tested
    labels = tested.metadata["category"].astype(str)
    place = {name: i for i, name in enumerate(categories)}
    unknown = sorted(set(labels) - set(place))
    if unknown:
        raise NotScoredError(f"the model was trained on no picture of {', '.join(unknown)}")
    truth = np.array([place[label] for label in labels])
    labelled = CATEGORY in (decoded.answer.probabilities or {})
    untrained = sorted({label for label in labels if np.isnan(prototypes[place[label]]).any()})
    if untrained and not labelled:
        raise NotScoredError(f"the model was trained on no picture of {', '.join(untrained)}")

    def score(eeg: Floats) -> Floats:
        named = name_categories(decoded.read_eeg(eeg), prototypes, categories)
        return (named == truth).astype(float)

    # A reader that replaces loose channels would undo the covering of one.
    with decoded.repairing_before() as repair:
        return occlude(
            score,
            repair(np.asarray(tested.data)),
            tested.ch_names,
            tested.sfreq,
            tested.tmin,
            f"category {'that the decoder names' if labelled else 'of the EEG embedding'}, top-1",
        )
