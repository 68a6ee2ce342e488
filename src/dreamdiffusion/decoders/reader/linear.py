"""The linear models beside the networks, and what they learn of the electrodes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from dreamdiffusion.decoders.config import EncodingConfig, ReaderConfig
from dreamdiffusion.decoders.encoding import Encoding
from dreamdiffusion.decoders.reader.pooling import Tables, mean_table
from dreamdiffusion.trials.scaling import scale_trials
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

FOLDS = 5
"""Of the cross-validation."""


def scale_for_linear(trials: Trials, scale: str) -> Trials:
    """Return trials as the linear models take them: each at its own scale, or in volts."""
    return replace(trials, data=scale_trials(trials.data)) if scale == "trial" else trials


def fit_linear(trials: Trials, split: Split, config: ReaderConfig) -> list[Encoding]:
    """Fit a model for each width of windows; with ``electrode_relevance`` one more that learns it.

    Raises
    ------
    ValueError
        If ``electrode_relevance`` is to be learned at a scale that mixes electrodes; as
        `Encoding.fit`.
    """
    if config.electrode_relevance and config.scale == "whiten":
        raise ValueError(
            "electrode_relevance goes with scale trial or robust; whiten mixes the electrodes"
        )
    scaled = scale_for_linear(trials, config.scale)
    return [
        Encoding.fit(
            scaled,
            split,
            EncodingConfig(
                attributes=config.attributes, width_s=width, electrode_relevance=learned
            ),
        )
        for learned in ([False, True] if config.electrode_relevance else [False])
        for width in config.linear_widths_s
    ]


def read_linear(linear: list[Encoding], trials: Trials, scale: str) -> Tables:
    """Return what linear models say of trials: the mean of their log-probabilities."""
    scaled = scale_for_linear(trials, scale)
    return mean_table([one.decode(scaled).probabilities or {} for one in linear])


def cross_validate(
    trials: Trials, train: np.ndarray, config: ReaderConfig
) -> tuple[list[Tables], list[pd.DataFrame]]:
    """Read training trials, a fifth at a time, by linear models that are fitted on the others.

    Parameters
    ----------
    train
        Places of the training trials.
    config
        Of the reader; ``seed`` draws the fifths. An attribute that has one value among the others
        is not read.

    Returns
    -------
    answers, truths
        Of each fifth: what is said of its trials, and their metadata.
    """
    order = np.random.default_rng(config.seed).permutation(train)
    answers, truths = [], []
    for held in np.array_split(order, min(FOLDS, len(order))):
        rest = np.setdiff1d(order, held)
        shown = trials.metadata.iloc[rest]
        told = [name for name in config.attributes if len(set(shown[name].astype(str)) - {""}) > 1]
        if not told:
            continue
        split = Split(rest, np.arange(0), np.arange(0), "cross-validation within training trials")
        try:
            models = fit_linear(trials, split, config.model_copy(update={"attributes": told}))
        except np.linalg.LinAlgError:  # no two trials alike, so that nothing tells the noise
            continue
        part = trials.select(held)
        answers.append(read_linear(models, part, config.scale))
        truths.append(part.metadata)
    return answers, truths


def mean_relevance(linear: list[Encoding]) -> list[float] | None:
    """Return the mean of what models learned of each channel, the largest 1; None: none did."""
    learned = [one.relevance for one in linear if one.relevance is not None]
    if not learned:
        return None
    mean = np.mean(learned, axis=0)
    return (mean / mean.max()).tolist()
