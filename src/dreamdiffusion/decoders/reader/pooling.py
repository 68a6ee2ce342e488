"""What networks and a linear model say of one attribute, as one probability.

The logarithms are added up, each with a weight that makes the true values of the validation trials
as likely as possible (a logarithmic opinion pool). The weights also mend how sure each of them is.
Of the linear model that is mended first, on many more trials than validate: those it was fitted on,
each read by models of the others (`linear.cross_validate`).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from dreamdiffusion.decoders.attributes import value_places

FLOOR = 1e-12
"""Probability at least of a value, so that its logarithm is finite."""

EXPONENT_SPREAD = 2.0
"""Of the logarithm of an exponent before any trial was seen; of 1, so that none tell: as it is."""

SURE_SPREAD, SHARE_SPREAD = 0.5, 0.2
"""Before any trial was seen, of the logarithm of what both weights add up to (about 1), and of the
linear model's share in it (about 1/2). Where 18 trials chose the share freely, they gave all of it
to the worse of the two (docs/n170.md); with hundreds of trials it makes no difference."""

Tables = dict[str, pd.DataFrame]
"""Probabilities by attribute, as `Answer` has them."""

Pooling = dict[str, list[float]]
"""Weights of the networks and of the linear model, by attribute."""


def fit_exponents(answers: list[Tables], truths: list[pd.DataFrame]) -> dict[str, float]:
    """Find what to raise probabilities to, so that they are as sure as they are right.

    Temperature scaling (Guo et al. 2017, arXiv 1706.04599), an exponent being one over a
    temperature: near 0 for a model that knows nothing and is sure of it.

    Parameters
    ----------
    answers
        What models say of trials that they were not fitted on. One that lacks an attribute or a
        value has no say in it.
    truths
        What was shown, a row for each trial of the answer at the same place.

    Returns
    -------
    dict
        The most likely exponent of each attribute, given that it is near 1 (`EXPONENT_SPREAD`).
    """
    found = {}
    for name in {name: None for tables in answers for name in tables}:
        known = [
            _known(np.stack([_logs(tables[name])]), tables[name], truth, name)
            for tables, truth in zip(answers, truths, strict=True)
            if name in tables
        ]

        def loss(log: np.ndarray, known=known) -> float:
            away = float(log[0] / EXPONENT_SPREAD)
            return away**2 / 2 + sum(_loss(np.exp(log), *one) for one in known)

        found[name] = float(np.exp(minimize(loss, np.array([0.0]), bounds=[(-10, 5)]).x[0]))
    return found


def fit_pooling(
    network: Tables, linear: Tables, truth: pd.DataFrame, exponents: dict[str, float]
) -> Pooling:
    """Fit the weights on validation trials.

    Parameters
    ----------
    network, linear
        What each says of n trials.
    truth
        n rows: what was shown. A trial whose value neither knows is left out.
    exponents
        That make the linear model as sure as it is right (`fit_exponents`), by attribute; 1 where
        one is lacking.

    Returns
    -------
    dict
        The most likely weights, none below 0, given that the networks and the linear model to the
        power of its exponent have weights near 1/2 each (`SURE_SPREAD`, `SHARE_SPREAD`): a few
        trials that are all right do not make them grow for ever, and where there are too few to
        tell it stays about the mean. That of the linear model includes its exponent.
    """
    found = {}
    for name, table in network.items():
        exponent = exponents.get(name, 1.0)
        logs = np.stack([_logs(table), exponent * _logs(linear[name])])
        logs, true = _known(logs, table, truth, name)

        def loss(place: np.ndarray, logs=logs, true=true) -> float:
            away = (place - [0, 0.5]) / [SURE_SPREAD, SHARE_SPREAD]
            return float(np.sum(away**2) / 2) + _loss(_weights(*place), logs, true)

        best = minimize(loss, np.array([0.0, 0.5]), bounds=[(None, None), (0, 1)])
        both = _weights(*best.x) * [1, exponent]
        found[name] = [float(weight) for weight in both]
    return found


def _weights(log_sum: float, share: float) -> np.ndarray:
    """Return the weights of the networks and of the linear model, whose share is given."""
    return np.exp(log_sum) * np.array([1 - share, share])


def _known(
    logs: np.ndarray, table: pd.DataFrame, truth: pd.DataFrame, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return log-probabilities ``(parts, n, n_values)`` and true places where these are known."""
    true = value_places(truth[name].astype(str).tolist(), list(table.columns), -1)
    known = np.flatnonzero(true >= 0)
    return logs[:, known], true[known]


def _loss(weights: np.ndarray, logs: np.ndarray, true: np.ndarray) -> float:
    """Return minus the log-probability of the true values under a pool."""
    scores = log_softmax(np.tensordot(weights, logs, 1), axis=1)
    return -float(scores[np.arange(len(true)), true].sum())


def no_surer(weights: Pooling) -> Pooling:
    """Return weights that add up to 1 at most, so that the pool is no surer than its two parts.

    For people whom no trial was seen of: a few people may all be easier to read than others, and
    weights that were fitted on them are then too sure of others (docs/pretraining.md).
    """
    return {name: [w / max(1.0, sum(both)) for w in both] for name, both in weights.items()}


def pool(network: Tables, linear: Tables, weights: Pooling) -> Tables:
    """Return the pooled probabilities."""
    pooled = {}
    for name, table in network.items():
        logs = np.stack([_logs(table), _logs(linear[name])])
        scores = np.tensordot(np.array(weights[name]), logs, 1)
        pooled[name] = pd.DataFrame(softmax(scores, axis=1), columns=table.columns)
    return pooled


def mean_table(tables: list[Tables]) -> Tables:
    """Return the mean of several answers' log-probabilities, as probabilities."""
    means = {}
    for name, first in tables[0].items():
        scores = np.mean([_logs(one[name]) for one in tables], axis=0)
        means[name] = pd.DataFrame(softmax(scores, axis=1), columns=first.columns)
    return means


def _logs(table: pd.DataFrame) -> np.ndarray:
    return np.log(np.maximum(table.to_numpy(float), FLOOR))
