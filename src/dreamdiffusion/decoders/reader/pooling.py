"""What networks and a linear model say of one attribute, as one probability.

The logarithms are added up, each with a weight that makes the true values of the validation trials
as likely as possible (a logarithmic opinion pool). The weights also mend how sure each of them is.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from dreamdiffusion.decoders.attributes import value_places

FLOOR = 1e-12
"""Probability at least of a value, so that its logarithm is finite."""

SPREAD = 0.2
"""Of the weights before any trial was seen. With 1, 18 trials of faces and houses gave all the
weight to the worse of the two (docs/n170.md); with hundreds of trials it makes no difference."""

Tables = dict[str, pd.DataFrame]
"""Probabilities by attribute, as `Answer` has them."""

Pooling = dict[str, list[float]]
"""Weights of the networks and of the linear model, by attribute."""


def fit_pooling(network: Tables, linear: Tables, truth: pd.DataFrame) -> Pooling:
    """Fit the weights on validation trials.

    Parameters
    ----------
    network, linear
        What each says of n trials.
    truth
        n rows: what was shown. A trial whose value neither knows is left out.

    Returns
    -------
    dict
        The most likely weights, none below 0, given that they are near 1/2 each (a normal
        distribution of sd `SPREAD`): a few trials that are all right do not make them grow for
        ever, and where there are too few to tell it stays about the mean.
    """
    found = {}
    for name, table in network.items():
        logs = np.stack([_logs(table), _logs(linear[name])])
        true = value_places(truth[name].astype(str).tolist(), list(table.columns), -1)
        known = np.flatnonzero(true >= 0)

        def loss(weights: np.ndarray, logs=logs[:, known], true=true[known]) -> float:
            scores = log_softmax(np.tensordot(weights, logs, 1), axis=1)
            distance = np.sum((weights - 0.5) ** 2) / (2 * SPREAD**2)
            return float(distance - scores[np.arange(len(true)), true].sum())

        best = minimize(loss, np.array([0.5, 0.5]), bounds=[(0, None), (0, None)])
        found[name] = [float(weight) for weight in best.x]
    return found


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
