"""The confidence of each scored trial: fitted on validation trials, or taken from the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dreamdiffusion.decoders.base import CATEGORY, Answer
from dreamdiffusion.evaluation.confidence.calibrator import (
    FILE,
    MIN_FITTED,
    Calibrator,
    Guesses,
    assess,
    fit_calibrator,
    guess,
    trial_names,
)
from dreamdiffusion.evaluation.judged import DRAWS
from dreamdiffusion.evidence.scores import Confidence
from dreamdiffusion.models.judge.judge import Judge, label_indices

if TYPE_CHECKING:
    from dreamdiffusion.evaluation.decode import Decoded
    from dreamdiffusion.evaluation.opening import Opened


class NotScoredError(Exception):
    """A figure cannot be computed from these trials; the message says why."""


def trials_to_fit_on(opened: Opened) -> NDArray[np.int64]:
    """Return the places of the validation trials that a confidence is fitted on, int (n,).

    Raises
    ------
    NotScoredError
        If no confidence can be fitted, or none is needed.
    """
    config, fold = opened.config, opened.folds[0]
    if not config.confidence:
        raise NotScoredError("it was not asked for")
    if opened.judge is None:
        raise NotScoredError("there is no judge, whose names of the images it would rate")
    if not fold.decoder.prototypes():
        raise NotScoredError(
            f"the decoder {fold.decoder.name} has no typical picture of a category"
        )
    if len(opened.folds) > 1:
        raise NotScoredError("several models: validation trials of one are scored by another")
    if opened.calibrator is not None:
        raise NotScoredError(f"{fold.model / FILE} is fitted already")
    if fold.split is None:
        raise NotScoredError(f"{fold.model / FILE} does not exist, and no validation trial is here")
    rows = fold.split.validation[: config.limit]
    if config.split == "validation" or len(rows) < MIN_FITTED:
        raise NotScoredError(
            f"there are {len(rows)} validation trials apart from those that are scored, expected "
            f"{MIN_FITTED} to fit the confidence on"
        )
    return rows


def rate_trials(
    opened: Opened,
    decoded: Decoded,
    prototypes: NDArray[np.floating],
    rng: np.random.Generator,
) -> tuple[Calibrator, Confidence]:
    """Rate how probable it is that the category of each trial is right, and how well that holds.

    The calibrator is the one beside the model; where there is none, it is fitted on the validation
    trials, which were decoded for it just as those that are scored.

    Parameters
    ----------
    opened : Opened
    decoded : Decoded
        The trials, and the validation trials where a calibrator has to be fitted.
    prototypes : array, (C, d)
        Mean CLIP embedding of each of the judge's C categories.
    rng : numpy.random.Generator
        For the calibration error that a perfect confidence would show.

    Raises
    ------
    NotScoredError
        If there is neither a calibrator nor trials to fit one.
    """
    judge, calibrator = opened.judge, opened.calibrator
    if decoded.validation is None and calibrator is None:
        trials_to_fit_on(opened)  # raises, and says why
    assert judge is not None
    names, limit = trial_names(decoded.tested.metadata), opened.config.risk_limit
    try:
        if calibrator is None:
            calibrator = _fit(opened, decoded.validation, prototypes, judge)
        guesses, truth = _guesses(decoded, prototypes, judge)
        return calibrator, assess(calibrator, guesses, truth, names, limit, rng)
    except ValueError as error:  # no prototypes, or trials that it was fitted on
        raise NotScoredError(str(error)) from error


def _fit(
    opened: Opened, validation: Decoded | None, prototypes: NDArray[np.floating], judge: Judge
) -> Calibrator:
    split = opened.folds[0].split
    assert validation is not None and split is not None
    metadata = validation.tested.metadata
    guesses, truth = _guesses(validation, prototypes, judge)
    return fit_calibrator(
        guesses,
        truth,
        trial_names(metadata),
        f"validation: {split.rule}",
        groups=metadata["subject"].to_numpy(),
    )


def _guesses(
    decoded: Decoded, prototypes: NDArray[np.floating], judge: Judge
) -> tuple[Guesses, NDArray[np.int64]]:
    """Return the guess at each trial's category, and the true one, int (n,)."""
    truth = np.array(label_indices(judge.categories, decoded.tested.metadata["category"]))
    draws = decoded.controls.get(DRAWS)
    return gather(judge, prototypes, decoded.answer, decoded.generated, draws), truth


def gather(
    judge: Judge,
    prototypes: NDArray[np.floating],
    answer: Answer,
    images: Tensor,
    draws: Tensor | None,
) -> Guesses:
    """Gather what speaks for the category that the images of each trial show.

    Parameters
    ----------
    prototypes
        ``(n_categories, clip_dim)``, in the judge's order.
    answer
        Embeddings of the EEG and, where the decoder gives one, its own probability.
    images
        ``(n, k, 3, height, width)`` in [0, 1].
    draws
        The same, of images that were drawn by their probability; None where there are none.
    """
    own, tables = None, answer.probabilities
    if tables is not None and CATEGORY in tables:
        own = tables[CATEGORY].reindex(columns=judge.categories, fill_value=0.0).to_numpy()
    assert answer.embeddings is not None
    return guess(
        _probabilities(judge, images),
        answer.embeddings.cpu().float().numpy(),
        prototypes,
        draws=None if draws is None else _probabilities(judge, draws),
        own=own,
    )


def _probabilities(judge: Judge, images: Tensor) -> NDArray[np.floating]:
    """Return what the judge sees in each image, ``(n, k, C)``."""
    return (
        judge.predict(images.flatten(0, 1))["category"].unflatten(0, images.shape[:2]).cpu().numpy()
    )
