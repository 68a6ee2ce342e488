"""How likely each picture of a bank is, given what a reader says of a trial.

The logarithm of a picture's probability is, up to a constant, ``a * similarity + b * sum of the
log-probabilities of what it shows + c * log-likelihood``: similarity is the cosine between the
EEG's embedding and the picture's, the likelihood that of the EEG given the picture
(`likelihood.py`). The weights are fitted on validation trials, so that the true picture, put among
those of the bank, is as likely as possible. A draw then differs from the next as much as the EEG
leaves open.
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
    """Of the similarity (1 / temperature), of the log-probabilities, of the log-likelihood."""

    similarity: float
    attributes: float
    likelihood: float = 0.0


@dataclass
class Evidence:
    """What a reader says of n trials about m pictures.

    Attributes
    ----------
    similarity
        Cosine of the embeddings, ``(n, m)``.
    log_probability
        Sum over the attributes, ``(n, m)``.
    likelihood
        Logarithm of the EEG's given each picture, ``(n, m)``; None: not known.
    """

    similarity: torch.Tensor
    log_probability: torch.Tensor
    likelihood: torch.Tensor | None = None

    @classmethod
    def of(
        cls,
        answer: Answer,
        embeddings: torch.Tensor,
        attributes: pd.DataFrame,
        likelihood: torch.Tensor | None = None,
    ) -> Evidence:
        """Compare an answer with pictures: their embeddings ``(m, clip_dim)`` and m rows."""
        if answer.embeddings is None or answer.probabilities is None:
            raise ValueError("the answer has no embeddings or no probabilities; give a reader's")
        total = torch.zeros(len(answer.embeddings), len(embeddings))
        for name, table in answer.probabilities.items():
            if name in attributes:
                total += _log_probability(
                    table, _places(attributes[name].astype(str).to_numpy(), table)
                )
        return cls(answer.embeddings @ embeddings.T, total, likelihood)

    def log_posterior(self, weights: PosteriorWeights, temperature: float = 1.0) -> torch.Tensor:
        """Return the logarithm of each picture's probability ``(n, m)``; a row sums to 1.

        Parameters
        ----------
        temperature
            1: as fitted; lower: nearer to the best guess.
        """
        return (self._scores(weights) / temperature).log_softmax(dim=1)

    def _scores(self, weights: PosteriorWeights) -> torch.Tensor:
        scores = weights.similarity * self.similarity + weights.attributes * self.log_probability
        if self.likelihood is not None:
            scores += weights.likelihood * self.likelihood
        return scores

    def joined(self, own: Evidence) -> Evidence:
        """Put the picture that each trial saw, of `own` ``(n, n)``, behind those of the bank."""
        likelihood = None
        if self.likelihood is not None and own.likelihood is not None:
            likelihood = _with_own(self.likelihood, own.likelihood)
        return Evidence(
            _with_own(self.similarity, own.similarity),
            _with_own(self.log_probability, own.log_probability),
            likelihood,
        )


def _with_own(bank: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    return torch.cat([bank, own.diagonal()[:, None]], dim=1)


def marginals(
    log_posterior: torch.Tensor, attributes: pd.DataFrame, tables: dict[str, pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    """Return what the posterior over pictures says of each attribute.

    Parameters
    ----------
    log_posterior
        ``(n, m)``.
    attributes
        m rows: what the pictures show.
    tables
        The reader's probabilities: which attributes and values there are. An attribute of which the
        pictures lack a value stays as the reader has it.
    """
    found = {}
    for name, table in tables.items():
        found[name] = table
        if name not in attributes:
            continue
        shows = _places(attributes[name].astype(str).to_numpy(), table)[:, None] == np.arange(
            table.shape[1]
        )
        if shows.any(axis=0).all():
            chances = log_posterior.double().exp().numpy() @ shows.astype(float)
            found[name] = pd.DataFrame(chances, columns=table.columns)
    return found


def _places(values: np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """Return the column of each picture's value, int ``(m,)``; -1: the table has none."""
    return pd.Index(table.columns.astype(str)).get_indexer(pd.Index(values))


def _log_probability(table: pd.DataFrame, places: np.ndarray) -> torch.Tensor:
    """Return the log-probability of each picture's value ``(n, m)``; of unknown ones the mean."""
    logs = np.log(np.maximum(table.to_numpy(float), FLOOR))
    logs = np.concatenate([logs, logs.mean(axis=1, keepdims=True)], axis=1)
    return torch.from_numpy(logs[:, places]).float()


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
    joined = bank.joined(own)
    right = torch.zeros_like(joined.similarity, dtype=torch.bool)
    right[:, -1] = True
    return _most_likely(joined, right, ((0.0, None), (0.0, None), (0.0, None)))


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
    return _most_likely(bank, right, ((0.0, 0.0), (0.01, None), (0.0, None)))


def _most_likely(
    evidence: Evidence, right: torch.Tensor, bounds: tuple[tuple[float, float | None], ...]
) -> PosteriorWeights:
    """Return the weights under which the right pictures have the highest probability together."""
    parts = [evidence.similarity.double(), evidence.log_probability.double()]
    if evidence.likelihood is not None:
        parts.append(evidence.likelihood.double())

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        scores = sum(value * part for value, part in zip(values, parts, strict=True))
        assert isinstance(scores, torch.Tensor)
        log_posterior = scores.log_softmax(dim=1)
        of_right = log_posterior.masked_fill(~right, -torch.inf)
        chances = log_posterior.exp() - of_right.softmax(dim=1)
        slope = [(chances * part).sum(dim=1).mean() for part in parts]
        return float(-of_right.logsumexp(dim=1).mean()), np.array([float(s) for s in slope])

    start, kept = np.array([5.0, 0.5, 0.5])[: len(parts)], bounds[: len(parts)]
    found = minimize(loss, start, jac=True, bounds=kept)  # clipped to the bounds
    return PosteriorWeights(*(float(value) for value in found.x))


def most_likely(log_posterior: torch.Tensor, k: int, numbers: np.ndarray) -> np.ndarray:
    """Return the k most likely pictures of each trial, int ``(n, k)``.

    Where several are the likeliest alike, as those of a class are where only the class is known,
    each trial begins at one of its own: by its number alone.

    Parameters
    ----------
    log_posterior
        ``(n, m)``.
    numbers
        Of the trials, int ``(n,)``.
    """
    places = choose(log_posterior, k, None)
    alike_likely = log_posterior == log_posterior.max(dim=1, keepdim=True).values
    for row in np.flatnonzero(alike_likely.sum(dim=1).numpy() > 1):
        alike = np.flatnonzero(alike_likely[row].numpy())
        first = np.random.default_rng(int(numbers[row])).integers(len(alike))
        others = places[row][~np.isin(places[row], alike)]
        places[row] = np.concatenate([np.roll(alike, -first), others])[:k]
    return places


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
