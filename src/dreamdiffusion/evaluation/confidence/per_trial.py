"""What goes with the scores of images: how sure each trial is, what the model used, averages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from dreamdiffusion.decoders.dreamdiffusion.training_means import TrainingMeans
from dreamdiffusion.evaluation.confidence.calibrator import (
    MIN_FITTED,
    Calibrator,
    assess,
    fit,
    guess,
    trial_names,
)
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.evaluation.decode import Decoded, decode
from dreamdiffusion.evaluation.held_out import HeldOut
from dreamdiffusion.evaluation.metrics.pairs import label_pairs
from dreamdiffusion.evaluation.occlusion import nearest_places, nearest_prototype, occlude
from dreamdiffusion.evidence.scores import Confidence, Curve, Occlusion
from dreamdiffusion.evidence.statistics.averaging import n_trial_curve
from dreamdiffusion.models.generator.generator import Embed
from dreamdiffusion.models.judge.judge import Judge, label_indices
from dreamdiffusion.report.occlusion_figure import draw_occlusion
from dreamdiffusion.trials.trials import Trials

FILE = "confidence.json"


class NotAssessedError(Exception):
    """Why one of the two cannot be told here."""


def rate_trials(
    config: EvaluateConfig,
    held: HeldOut,
    decoded: Decoded,
    trials: Trials,
    prototypes: np.ndarray,
    judge: Judge,
    embed: Embed,
    rng: np.random.Generator,
) -> tuple[Calibrator, Confidence]:
    """Tell how sure the category of each trial is, and how far that can be trusted.

    The calibrator is the one beside the model; where there is none, it is fitted on the validation
    trials, which are decoded for it just as those that are scored.

    Parameters
    ----------
    prototypes
        Mean CLIP embedding of each of the judge's categories, ``(C, d)``.

    Raises
    ------
    NotAssessedError
        If there is neither a calibrator nor trials to fit one.
    """
    path = held.model / FILE
    if path.is_file():
        calibrator = Calibrator.load(path)
    else:
        calibrator = _fit(config, held, trials, prototypes, judge, embed)
    guesses = guess(_judged(judge, decoded.generated), decoded.embeddings, prototypes)
    metadata = decoded.tested.metadata
    truth = np.array(label_indices(judge.categories, metadata["category"]))
    names = trial_names(metadata)
    try:
        return calibrator, assess(calibrator, guesses, truth, names, config.risk_limit, rng)
    except ValueError as error:  # it refuses trials that it was fitted on
        raise NotAssessedError(str(error)) from error


def _fit(
    config: EvaluateConfig,
    held: HeldOut,
    trials: Trials,
    prototypes: np.ndarray,
    judge: Judge,
    embed: Embed,
) -> Calibrator:
    if held.split is None:
        raise NotAssessedError(
            f"{held.model / FILE} does not exist, and no validation trial is here"
        )
    rows = held.split.validation[: config.limit]
    if config.split == "validation" or len(rows) < MIN_FITTED:
        raise NotAssessedError(
            f"there are {len(rows)} validation trials apart from those that are scored, expected "
            f"{MIN_FITTED} to fit the confidence on"
        )
    tested = trials.select(rows)
    validation = HeldOut(held.model, held.split, rows, tested, averaged=False, told="")
    found = decode(config, validation, trials, [], embed, "decoding validation trials")
    return fit(
        guess(_judged(judge, found.generated), found.embeddings, prototypes),
        np.array(label_indices(judge.categories, tested.metadata["category"])),
        trial_names(tested.metadata),
        f"validation: {held.split.rule}",
        groups=tested.metadata["subject"].to_numpy(),
    )


def _judged(judge: Judge, images: torch.Tensor) -> np.ndarray:
    """Return what the judge sees in each image, ``(n, k, C)``."""
    return judge.predict(images.flatten(0, 1))["category"].unflatten(0, images.shape[:2]).numpy()


def cover(decoded: Decoded, prototypes: np.ndarray, judge: Judge) -> Occlusion:
    """Tell what the category nearest to the EEG embedding loses as channels and times are covered.

    Raises
    ------
    NotAssessedError
        If the model was never trained on a category of the trials.
    """
    tested = decoded.tested
    truth = np.array(label_indices(judge.categories, tested.metadata["category"]))
    try:
        score = nearest_prototype(lambda eeg: decoded.embed_eeg(eeg).numpy(), prototypes, truth)
    except ValueError as error:
        raise NotAssessedError(str(error)) from error
    return occlude(
        score,
        np.asarray(tested.data),
        tested.ch_names,
        tested.sfreq,
        tested.tmin,
        "category of the EEG embedding, top-1",
    )


class Certainty:
    """Everything of this file for one evaluation.

    Attributes
    ----------
    curves, confidence, occlusion
        For `scores.Scores`; empty or None where they could not be told.
    calibrator
        What told the confidence.
    not_told
        Why the others could not.
    figures
        For the report.
    """

    def __init__(
        self,
        config: EvaluateConfig,
        folds: Sequence[HeldOut],
        decoded: Decoded,
        trials: Trials,
        means: TrainingMeans | None,
        judge: Judge,
        embed: Embed,
        rng: np.random.Generator,
    ) -> None:
        self.curves: list[Curve] = []
        self.confidence: Confidence | None = None
        self.occlusion: Occlusion | None = None
        self.calibrator: Calibrator | None = None
        self.not_told: dict[str, str] = {}
        self.figures: dict[str, Figure] = {}
        if means is None:
            why = f"{config.model} has no means of its training trials; fine-tune it anew"
            self.not_told = dict.fromkeys(("confidence", "occlusion", "n_trial_curve"), why)
            return
        prototypes = means.table(judge.categories)
        if len(folds) > 1:
            why = "several models: validation trials of one are scored by another"
            self.not_told |= dict.fromkeys(("confidence", "n_trial_curve"), why)
        else:
            if folds[0].averaged:
                self.not_told["n_trial_curve"] = "what is scored are averages already"
            else:
                self.curves = [averaging_curve(config, decoded, prototypes, judge.categories, rng)]
            if config.confidence:
                try:
                    self.calibrator, self.confidence = rate_trials(
                        config, folds[0], decoded, trials, prototypes, judge, embed, rng
                    )
                except NotAssessedError as reason:
                    self.not_told["confidence"] = str(reason)
        if config.occlusion:
            try:
                self.occlusion = cover(decoded, prototypes, judge)
                self.figures["occlusion"] = draw_occlusion(self.occlusion)
            except NotAssessedError as reason:
                self.not_told["occlusion"] = str(reason)


def averaging_curve(
    config: EvaluateConfig,
    decoded: Decoded,
    prototypes: np.ndarray,
    categories: list[str],
    rng: np.random.Generator,
) -> Curve:
    """Name the category nearest to the EEG embedding, from single trials to averages of many."""

    def pairs(eeg: np.ndarray, metadata: pd.DataFrame) -> np.ndarray:
        places = nearest_places(decoded.embed_eeg(eeg).numpy(), prototypes)
        named = [categories[place] for place in places]
        return label_pairs(named, metadata["category"].astype(str).tolist())

    return n_trial_curve(
        "eeg_category_top1",
        np.asarray(decoded.tested.data),
        decoded.tested.metadata,
        pairs,
        rng,
        n_bootstrap=config.n_bootstrap,
    )
