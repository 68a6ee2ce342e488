"""Per trial, a calibrated probability that the category shown by its images is right.

The images of a trial name a category: the one that the judge sees in most of them. How much they
agree, how near the EEG embedding lies to pictures of that category, and the decoder's own
probability of it where it gives one, are evidence for it. A logistic regression turns these into a
probability, the confidence. It is fitted on trials that are not scored, and refuses to rate one of
them.

Notation: n trials, k images of each, C categories of the judge, d dimensions of the embedding.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, KFold

from dreamdiffusion.evaluation.confidence.calibration import (
    N_BINS,
    calibration_bins,
    calibration_error,
    choose_threshold,
    error_if_perfect,
    risk_coverage,
)
from dreamdiffusion.evidence.scores import Confidence
from dreamdiffusion.files.whole import write_json

FEATURES = ("share", "entropy", "probability", "cosine", "margin", "nearest")
OWN = "decoder"
"""The feature more of a decoder that gives labels."""
FILE = "confidence.json"
"""Beside a model or in the folder of an evaluation: a fitted `Calibrator`."""
MIN_FITTED = 40
"""Trials to fit on, at least: below, six weights and a threshold say nothing."""
DELTA = 0.05
"""How often, at most, the threshold may keep more wrong answers than was asked for."""

_FOLDS = 5

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Guesses:
    """What the images of each trial show, and what speaks for it.

    Parameters
    ----------
    named : int array, (n,)
        Category, as its place among the judge's.
    features : float array, (n, 6) or (n, 7)
        In the order of `FEATURES`, perhaps followed by `OWN`.
    """

    named: NDArray[np.int64]
    features: FloatArray

    def right(self, truth: ArrayLike) -> NDArray[np.bool_]:
        """Whether the named category is the true one, bool (n,)."""
        truth = np.asarray(truth)
        if truth.shape != self.named.shape:
            raise ValueError(f"{len(self.named)} guesses but truths of shape {truth.shape}")
        return self.named == truth


def category_prototypes(embeddings: ArrayLike, labels: ArrayLike, n_categories: int) -> FloatArray:
    """Mean embedding of the training pictures of each category, unit norm.

    Parameters
    ----------
    embeddings : array, (m, d)
        CLIP embeddings of pictures that the model was trained on.
    labels : int array, (m,)
        Their categories, as places among the judge's.
    n_categories : int
        C.

    Returns
    -------
    array, (C, d)
        NaN for a category without training pictures.
    """
    embeddings, labels = _unit(np.asarray(embeddings, dtype=float)), np.asarray(labels)
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        raise ValueError(f"embeddings have shape {embeddings.shape}, labels {labels.shape}")
    found = np.full((n_categories, embeddings.shape[1]), np.nan)
    for label in np.unique(labels):
        found[label] = _unit(embeddings[labels == label].mean(axis=0))
    return found


def guess(
    probabilities: ArrayLike,
    embeddings: ArrayLike,
    prototypes: ArrayLike,
    draws: ArrayLike | None = None,
    own: ArrayLike | None = None,
) -> Guesses:
    """Name the category of each trial, and gather what speaks for it.

    Parameters
    ----------
    probabilities : array, (n, k, C)
        What the judge sees in each image; rows sum to 1.
    embeddings : array, (n, d)
        Of the EEG.
    prototypes : array, (C, d)
        `category_prototypes`.
    draws : array, (n, m, C), optional
        What the judge sees in further images of the same EEG: they name nothing, and say how far
        images agree with the k.
    own : array, (n, C), optional
        The decoder's own probabilities.

    Returns
    -------
    Guesses
        ``named``: the category that most of the k images show (the judge's argmax); of equally
        frequent ones that with the higher mean probability. Features: ``share`` of the images that
        show it; ``entropy`` (nats) of the categories that the images show; ``probability``, the
        judge's for it, mean of the images; ``cosine`` of the EEG embedding with its prototype, -1
        where the model was never trained on a picture of it; ``margin``, that cosine minus the
        highest one of another category; ``nearest``, 1 where no other prototype is nearer;
        ``decoder``, the decoder's own probability of it. The first three are over all images,
        draws among them.

    Raises
    ------
    ValueError
        If shapes do not fit, rows are no probabilities, or there are not two prototypes.
    """
    p, eeg = np.asarray(probabilities, dtype=float), np.asarray(embeddings, dtype=float)
    places = np.asarray(prototypes, dtype=float)
    if p.ndim != 3 or not p.size:
        raise ValueError(f"probabilities have shape {p.shape}, expected (n, k, C)")
    if (p < -1e-6).any() or not np.allclose(p.sum(axis=2), 1, atol=1e-3):
        raise ValueError("probabilities are negative, not finite, or do not sum to 1")
    n, _, n_categories = p.shape
    if eeg.ndim != 2 or len(eeg) != n or places.shape != (n_categories, eeg.shape[1]):
        raise ValueError(
            f"probabilities {p.shape}, embeddings {eeg.shape}, prototypes {places.shape}: expected "
            "(n, k, C), (n, d), (C, d)"
        )
    if np.isfinite(places).all(axis=1).sum() < 2:
        raise ValueError("fewer than two categories have a prototype, so there is no margin")
    rows = np.arange(n)
    shares = np.eye(n_categories)[p.argmax(axis=2)].mean(axis=1)
    # A mean probability is below 1 and a vote at least 1/k, so it only decides between equals.
    named = (shares * p.shape[1] + 0.5 * p.mean(axis=1)).argmax(axis=1)
    if draws is not None:
        p = np.concatenate([p, np.asarray(draws, dtype=float)], axis=1)
        shares = np.eye(n_categories)[p.argmax(axis=2)].mean(axis=1)
    logs = np.log(np.where(shares > 0, shares, 1.0))
    cosines = _unit(eeg) @ _unit(places).T
    cosines[:, ~np.isfinite(places).all(axis=1)] = -1.0
    cosine = cosines[rows, named]
    cosines[rows, named] = -np.inf
    margin = cosine - cosines.max(axis=1)
    features = [
        shares[rows, named],
        -(shares * logs).sum(axis=1),
        p.mean(axis=1)[rows, named],
        cosine,
        margin,
        (margin >= 0).astype(float),
    ]
    if own is not None:
        features.append(np.asarray(own, dtype=float)[rows, named])
    return Guesses(named, np.stack(features, axis=1))


@dataclass(frozen=True)
class Calibrator:
    """A logistic regression on standardised features, and the trials it was fitted on.

    Made by `fit_calibrator`.

    Parameters
    ----------
    features : list of str
        Names of the inputs.
    weights : list of float
        Of the features as `guess` gives them: the standardisation is folded in.
    bias : float
    fitted_on : str
        Which trials these are.
    trials : list of str
        Names of the trials it was fitted on (`trial_names`); it says nothing of these.
    held_out : list of float
        Confidence of each of them by a calibrator that was fitted without it.
    right : list of bool
        Whether each was.
    """

    features: list[str]
    weights: list[float]
    bias: float
    fitted_on: str
    trials: list[str]
    held_out: list[float]
    right: list[bool]

    def predict(self, guesses: Guesses, trials: Sequence[str]) -> FloatArray:
        """Return the probability that each guess is right, (n,).

        Raises
        ------
        ValueError
            If one of the trials is among those it was fitted on.
        """
        if len(trials) != len(guesses.named):
            raise ValueError(f"{len(guesses.named)} guesses but {len(trials)} names of trials")
        both = sorted(set(trials) & set(self.trials))
        if both:
            raise ValueError(
                f"trial {both[0]} and {len(both) - 1} more were used to fit the confidence "
                f"({self.fitted_on}), so they cannot be scored by it; fit it on other trials"
            )
        if guesses.features.shape[1] != len(self.weights):
            raise ValueError(
                f"the confidence was fitted on {', '.join(self.features)} and there are "
                f"{guesses.features.shape[1]} features; fit it again"
            )
        return expit(guesses.features @ np.array(self.weights) + self.bias)

    def threshold(self, risk_limit: float) -> float | None:
        """`choose_threshold` on the fitting trials, each rated by a fit without it."""
        return choose_threshold(self.held_out, self.right, risk_limit, DELTA)

    def save(self, path: Path) -> None:
        """Write the calibrator as JSON."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> Calibrator:
        """Read a calibrator that `save` wrote.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such file, or it is something else.
        """
        if not path.is_file():
            raise FileNotFoundError(f"confidence {path} does not exist")
        try:
            found = cls(**json.loads(path.read_text(encoding="utf-8")))
            numbers = np.array([*found.weights, found.bias], dtype=float)
            np.array(found.held_out, dtype=float)
        except (TypeError, ValueError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not a fitted confidence: {error}") from error
        known = (list(FEATURES), [*FEATURES, OWN])
        if found.features not in known or numbers.shape != (len(found.features) + 1,):
            raise ValueError(
                f"{path} rates by {len(numbers) - 1} weights of {found.features}, expected one "
                f"of each of {', '.join(FEATURES)}, and perhaps {OWN}; fit it again"
            )
        if not len(found.trials) == len(found.held_out) == len(found.right):
            raise ValueError(f"{path} is cut short: its lists differ in length; fit it again")
        return found


def trial_names(metadata: pd.DataFrame) -> list[str]:
    """Name every trial by subject, session, run and onset in milliseconds."""
    keys = metadata[["subject", "session", "run"]].astype(str).agg("/".join, axis=1)
    onsets = metadata["onset"].astype(float).mul(1000).round().astype(int)
    return [f"{key}/{onset}" for key, onset in zip(keys, onsets, strict=True)]


def fit_calibrator(
    guesses: Guesses,
    truth: ArrayLike,
    trials: Sequence[str],
    fitted_on: str,
    groups: ArrayLike | None = None,
) -> Calibrator:
    """Fit a confidence on trials that are not scored.

    Logistic regression (scikit-learn's, L2 penalty of 1 on standardised features). Where all
    guesses are right or all are wrong there is nothing to regress on: every trial then gets
    (right + 1) / (n + 2), Laplace's rule.

    Parameters
    ----------
    guesses : Guesses
    truth : int array, (n,)
        True category, as a place among the judge's.
    trials : sequence of str, length n
        `trial_names`.
    fitted_on : str
        Which trials these are.
    groups : array, (n,), optional
        Person of each trial. With several people the threshold is chosen by confidences of people
        who took no part in their fit.

    Raises
    ------
    ValueError
        If there are fewer than `MIN_FITTED` trials, lengths differ, a name occurs twice, or a
        feature is not finite.
    """
    right = guesses.right(truth)
    n = len(right)
    if n < MIN_FITTED:
        raise ValueError(
            f"{n} trials to fit the confidence on, expected {MIN_FITTED} or more; hold out more "
            "validation trials"
        )
    if len(trials) != n or len(set(trials)) != n:
        raise ValueError(f"{n} guesses but {len(set(trials))} different names of trials")
    if not np.isfinite(guesses.features).all():
        raise ValueError("a feature is not finite; the EEG embedding holds NaN")
    weights, bias = _regress(guesses.features, right)
    people = np.asarray(groups if groups is not None else np.zeros(n))
    n_people = len(np.unique(people))
    folds = (
        GroupKFold(min(_FOLDS, n_people)).split(people, groups=people)
        if n_people > 1
        # Runs are held in order of time, so neighbours in time are in one fold.
        else KFold(_FOLDS).split(people)
    )
    held_out = np.empty(n)
    for train, rest in folds:
        fold_weights, fold_bias = _regress(guesses.features[train], right[train])
        held_out[rest] = expit(guesses.features[rest] @ fold_weights + fold_bias)
    return Calibrator(
        features=[*FEATURES, OWN][: guesses.features.shape[1]],
        weights=weights.tolist(),
        bias=bias,
        fitted_on=fitted_on,
        trials=list(trials),
        held_out=held_out.tolist(),
        right=right.tolist(),
    )


def assess(
    calibrator: Calibrator,
    guesses: Guesses,
    truth: ArrayLike,
    trials: Sequence[str],
    risk_limit: float,
    rng: np.random.Generator,
    n_bins: int = N_BINS,
) -> Confidence:
    """Rate the scored trials, and say how well the confidence holds.

    Parameters
    ----------
    calibrator : Calibrator
        Fitted on other trials.
    guesses, truth, trials
        As `fit_calibrator`, of the n scored trials; ``truth`` int (n,).
    risk_limit : float
        Share of wrong answers among those kept that is asked for.
    rng : numpy.random.Generator
        For what a perfect confidence would show.

    Raises
    ------
    ValueError
        If a trial is among those the calibrator was fitted on, or shapes differ.
    """
    confidence = calibrator.predict(guesses, trials)
    right = guesses.right(truth)
    coverage, risk = risk_coverage(confidence, right)
    threshold = calibrator.threshold(risk_limit)
    kept = confidence >= threshold if threshold is not None else np.zeros(len(right), dtype=bool)
    mean, quantile = error_if_perfect(confidence, rng, n_bins)
    return Confidence(
        fitted_on=calibrator.fitted_on,
        n_fitted=len(calibrator.trials),
        n=len(right),
        accuracy=float(right.mean()),
        auc=float(roc_auc_score(right, confidence)) if 0 < right.sum() < len(right) else None,
        calibration_error=calibration_error(confidence, right, n_bins),
        error_if_perfect=mean,
        error_if_perfect_95=quantile,
        bins=calibration_bins(confidence, right, n_bins),
        coverage=coverage.tolist(),
        risk=risk.tolist(),
        risk_limit=risk_limit,
        threshold=threshold,
        kept=float(kept.mean()),
        risk_kept=float(1 - right[kept].mean()) if kept.any() else None,
        of_trial=confidence.tolist(),
    )


def _regress(features: FloatArray, right: NDArray[np.bool_]) -> tuple[FloatArray, float]:
    """Return weights and bias for features as they are."""
    if right.all() or not right.any():
        constant = (right.sum() + 1) / (len(right) + 2)
        return np.zeros(features.shape[1]), float(logit(constant))
    center, spread = features.mean(axis=0), features.std(axis=0)
    # What is the same in every trial, as the share of one image, holds nothing.
    spread = np.where(spread > 1e-9, spread, np.inf)
    model = LogisticRegression(C=1.0, max_iter=1000).fit((features - center) / spread, right)
    weights = model.coef_[0] / spread
    return weights, float(model.intercept_[0] - weights @ center)


def _unit(vectors: FloatArray) -> FloatArray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
