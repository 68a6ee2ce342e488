"""How likely each picture of a bank is, given what a reader says of a trial.

The logarithm of a picture's probability is, up to a constant, ``a * similarity + b * sum of the
log-probabilities of what it shows``: similarity is the cosine between the EEG's embedding and the
picture's. Both weights are fitted on validation trials, so that the true picture, put among those
of the bank, is as likely as possible. A draw then differs from the next as much as the EEG leaves
open.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize

from dreamdiffusion.decoders.base import Answer

FLOOR = 1e-6
"""Probability at least of a value, so that one wrong word does not rule a picture out."""


@dataclass(frozen=True)
class PosteriorWeights:
    """Of the similarity (1 / temperature), and of the log-probabilities."""

    similarity: float
    attributes: float


@dataclass
class Evidence:
    """What a reader says of n trials about m pictures.

    Attributes
    ----------
    similarity
        Cosine of the embeddings, ``(n, m)``.
    log_probability
        Sum over the attributes, ``(n, m)``.
    """

    similarity: torch.Tensor
    log_probability: torch.Tensor

    @classmethod
    def of(cls, answer: Answer, embeddings: torch.Tensor, attributes: pd.DataFrame) -> Evidence:
        """Compare an answer with pictures: their embeddings ``(m, clip_dim)`` and m rows."""
        if answer.embeddings is None or answer.probabilities is None:
            raise ValueError("the answer has no embeddings or no probabilities; give a reader's")
        total = torch.zeros(len(answer.embeddings), len(embeddings))
        for name, table in answer.probabilities.items():
            if name in attributes:
                total += _log_probability(table, attributes[name].astype(str).tolist())
        return cls(answer.embeddings @ embeddings.T, total)

    def log_posterior(self, weights: PosteriorWeights, temperature: float = 1.0) -> torch.Tensor:
        """Return the logarithm of each picture's probability ``(n, m)``; a row sums to 1.

        Parameters
        ----------
        temperature
            1: as fitted; lower: nearer to the best guess.
        """
        return (self._scores(weights) / temperature).log_softmax(dim=1)

    def _scores(self, weights: PosteriorWeights) -> torch.Tensor:
        return weights.similarity * self.similarity + weights.attributes * self.log_probability


def _log_probability(table: pd.DataFrame, values: list[str]) -> torch.Tensor:
    """Return the log-probability of each picture's value ``(n, m)``; of unknown ones the mean."""
    logs = np.log(np.maximum(table.to_numpy(float), FLOOR))
    logs = np.concatenate([logs, logs.mean(axis=1, keepdims=True)], axis=1)
    places = {str(name): place for place, name in enumerate(table.columns)}
    return torch.from_numpy(logs[:, [places.get(value, -1) for value in values]]).float()


def fit_weights(bank: Evidence, own: Evidence) -> PosteriorWeights:
    """Fit the weights on validation trials.

    Parameters
    ----------
    bank
        Of n trials about the m pictures of the bank.
    own
        Of the same trials about the pictures they saw, ``(n, n)``: trial i saw picture i.

    Returns
    -------
    Weights
        That make the true picture as likely as possible among the bank's and itself (maximum
        likelihood; the problem is convex).
    """
    joined = Evidence(
        torch.cat([bank.similarity, own.similarity.diagonal()[:, None]], dim=1),
        torch.cat([bank.log_probability, own.log_probability.diagonal()[:, None]], dim=1),
    )
    right = torch.zeros_like(joined.similarity, dtype=torch.bool)
    right[:, -1] = True
    return _most_likely(joined, right, ((0.0, None), (0.0, None)))


def fit_class_weight(bank: Evidence, right: torch.Tensor) -> PosteriorWeights:
    """Fit the weight of the log-probabilities on validation trials of known class alone.

    Which picture of its class a trial saw is not known, so nothing tells the similarity's weight:
    it is 0, and pictures of one class are alike likely.

    Parameters
    ----------
    bank
        Of n trials about the m pictures of the bank.
    right
        Which of them are of the trial's class, bool ``(n, m)``.

    Returns
    -------
    Weights
        That make a picture of the true class as likely as possible. At least a hundredth: trials
        too few to tell still leave the likelier class in front.
    """
    return _most_likely(bank, right, ((0.0, 0.0), (0.01, None)))


def _most_likely(
    evidence: Evidence, right: torch.Tensor, bounds: tuple[tuple[float, float | None], ...]
) -> PosteriorWeights:
    """Return the weights under which the right pictures have the highest probability together."""
    similarity, words = evidence.similarity.double(), evidence.log_probability.double()

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        scores = values[0] * similarity + values[1] * words
        log_posterior = scores.log_softmax(dim=1)
        of_right = log_posterior.masked_fill(~right, -torch.inf)
        chances = log_posterior.exp() - of_right.softmax(dim=1)
        slope = [(chances * part).sum(dim=1).mean() for part in (similarity, words)]
        return float(-of_right.logsumexp(dim=1).mean()), np.array([float(s) for s in slope])

    found = minimize(loss, np.array([5.0, 0.5]), jac=True, bounds=bounds)  # clipped to the bounds
    return PosteriorWeights(float(found.x[0]), float(found.x[1]))


def choose(
    log_posterior: torch.Tensor, k: int, numbers: list[list[torch.Generator]] | None
) -> np.ndarray:
    """Choose pictures of each trial.

    Parameters
    ----------
    log_posterior
        ``(n, m)``.
    k
        Pictures a trial.
    numbers
        A generator for each of them: drawn by their probabilities. None: the k most likely.

    Returns
    -------
    array
        Places in the bank ``(n, k)``.
    """
    if numbers is None:
        return log_posterior.topk(k, dim=1).indices.numpy()
    chances = log_posterior.exp()
    drawn = [
        [int(torch.multinomial(row, 1, generator=generator)) for generator in of_trial]
        for row, of_trial in zip(chances, numbers, strict=True)
    ]
    return np.array(drawn)
