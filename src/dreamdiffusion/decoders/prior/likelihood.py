"""How likely a trial's EEG is, given each picture of a bank: a linear encoding model of pictures.

Window means of a trial are a linear function of the picture's features plus Gaussian noise
(Naselaris et al. 2011, NeuroImage 56), so that every picture predicts a response, and whichever
predicts the trial best is the likeliest (Kay et al. 2008, Nature 452). Two things make it strong
with few trials: the noise's covariance is taken as one over channels times one over time (de Munck
et al. 2002, IEEE Trans. Signal Process. 50), not as one of a thousand features, and the responses
as a few patterns alone (reduced-rank regression, Izenman 1975, J. Multivar. Anal. 5). Ridge penalty
and number of patterns are chosen by cross-validation within the training trials.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from dreamdiffusion.decoders.base import pick_channels
from dreamdiffusion.decoders.linear import window_means
from dreamdiffusion.files.whole import write_tensors
from dreamdiffusion.trials.trials import Trials

WIDTH_S = 0.031
N_FOLDS = 4
PENALTIES = (1.0, 4.0, 16.0)
"""Of the effects' squares, where the noise's variance is 1."""
RANKS = (1, 2, 4, 8, 12, 16, 20, 24, 32)
FLOORS = (1e-4, 1e-3)
"""Share of the mean variance that is added to each channel's and each window's, so that a reference
or a filter that leaves a direction empty does no harm."""

Floats = NDArray[np.floating]


@dataclass
class Likelihood:
    """Predicted responses to the pictures of a bank, beside those of trials.

    Both are in the directions of the response patterns, where the noise has covariance 1.

    Parameters
    ----------
    project
        Window means to the patterns, ``(n_chans * n_windows, rank)``.
    offset
        The mean trial in the patterns, ``(rank,)``.
    center, spread
        Of the features, ``(n_features,)``.
    effects
        Features to the patterns, ``(n_features, rank)``.
    bank
        Predicted response to each picture of the bank, ``(m, rank)``.
    ch_names, sfreq
        Channels in order, Hz.
    penalty
        Of the ridge regression, as chosen.
    """

    project: Floats
    offset: Floats
    center: Floats
    spread: Floats
    effects: Floats
    bank: Floats
    ch_names: list[str]
    sfreq: float
    penalty: float

    @classmethod
    def fit(
        cls, trials: Trials, rows: np.ndarray, features: Floats, center: Floats, spread: Floats
    ) -> Likelihood:
        """Learn from training trials.

        Parameters
        ----------
        trials, rows
            The trials, and which of them train.
        features
            Of the pictures of these rows, ``(n, n_features)``.
        center, spread
            What is taken off the features, and what they are divided by then.

        Raises
        ------
        ValueError
            If an EEG value is not finite.
        """
        data = np.asarray(trials.data[rows])
        if not np.isfinite(data).all():
            raise ValueError("the EEG holds NaN or infinite values; reject those trials first")
        means = window_means(data, trials.sfreq, WIDTH_S).astype(float)
        mean = means.mean(axis=0)
        known = (features - center) / spread
        residuals = means - mean - known @ _ridge(known, means - mean, PENALTIES[1])
        whitener = _whitener(residuals.reshape(len(data), data.shape[1], -1))
        white = (means - mean) @ whitener
        penalty, rank = _choose(known, white)
        effects, patterns = _reduced(known, white, penalty, rank)
        left = white @ patterns - known @ effects
        # Within the few patterns the trials do tell the noise's whole covariance.
        covariance = left.T @ left / len(left) + 1e-6 * np.eye(rank)
        mend = np.linalg.inv(np.linalg.cholesky(covariance)).T
        project = whitener @ patterns @ mend
        return cls(
            project,
            mean @ project,
            center,
            spread,
            effects @ mend,
            np.zeros((0, rank)),
            list(trials.ch_names),
            float(trials.sfreq),
            penalty,
        )

    def predict(self, features: Floats) -> Floats:
        """Return the responses to pictures ``(m, rank)`` from features ``(m, n_features)``."""
        return ((features - self.center) / self.spread) @ self.effects

    def respond(self, trials: Trials) -> Floats:
        """Return the trials in the patterns, ``(n, rank)``."""
        data = pick_channels(trials, self.ch_names, self.sfreq)
        means = window_means(data, self.sfreq, WIDTH_S)
        if means.shape[1] != len(self.project):
            raise ValueError(
                f"trials of shape {data.shape[1:]} give {means.shape[1]} features, the likelihood "
                f"was fitted on {len(self.project)}; use the same channels and times"
            )
        return means @ self.project - self.offset

    def save(self, path: Path) -> None:
        """Write it as safetensors, the bank's responses in half precision."""
        settings = {"ch_names": self.ch_names, "sfreq": self.sfreq, "penalty": self.penalty}
        arrays = {
            name: np.ascontiguousarray(
                getattr(self, name), "float16" if name == "bank" else "float32"
            )
            for name in _ARRAYS
        }
        write_tensors(path, arrays, metadata={"likelihood": json.dumps(settings)})

    @classmethod
    def load(cls, path: Path) -> Likelihood:
        """Read what `save` wrote.

        Raises
        ------
        ValueError
            If the file is something else.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                settings = json.loads((file.metadata() or {})["likelihood"])
                arrays = {name: file.get_tensor(name).astype(float) for name in _ARRAYS}
            return cls(**arrays, **settings)
        except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is not a likelihood of pictures: {error}") from error


_ARRAYS = [field.name for field in fields(Likelihood) if "Floats" in str(field.type)]


def log_likelihood(responses: Floats, predicted: Floats) -> torch.Tensor:
    """Return the log-likelihood of n trials under m pictures ``(n, m)``.

    Up to a constant of each trial: of responses ``(n, rank)`` whose noise has covariance 1, given
    the predicted ones ``(m, rank)``.
    """
    scores = responses @ predicted.T - np.square(predicted).sum(axis=1) / 2
    return torch.from_numpy(scores).float()


def _whitener(residuals: Floats) -> Floats:
    """Return what makes noise ``(n, n_chans, n_windows)``, channel by channel, white.

    The covariance over channels and that over time are estimated in turn, each in the units of the
    other (Dutilleul 1999, J. Stat. Comput. Simul. 64).
    """
    _, n_chans, n_windows = residuals.shape
    of_channels, of_time = np.eye(n_chans), np.eye(n_windows)
    for _ in range(3):
        half = residuals @ np.linalg.inv(np.linalg.cholesky(of_time)).T
        flat = half.transpose(1, 0, 2).reshape(n_chans, -1)
        of_channels = _floored(flat @ flat.T / flat.shape[1], FLOORS[0])
        half = np.linalg.inv(np.linalg.cholesky(of_channels)) @ residuals
        flat = half.reshape(-1, n_windows)
        of_time = _floored(flat.T @ flat / len(flat), FLOORS[1])
    parts = [np.linalg.inv(np.linalg.cholesky(part)).T for part in (of_channels, of_time)]
    return np.kron(*parts)


def _floored(covariance: Floats, share: float) -> Floats:
    mean = np.trace(covariance) / len(covariance)
    return covariance + share * (mean or 1.0) * np.eye(len(covariance))


def _ridge(known: Floats, white: Floats, penalty: float) -> Floats:
    gram = known.T @ known + penalty * np.eye(known.shape[1])
    return np.linalg.solve(gram, known.T @ white)


def _reduced(known: Floats, white: Floats, penalty: float, rank: int) -> tuple[Floats, Floats]:
    """Return effects ``(n_features, rank)`` on the patterns ``(n_windows * n_chans, rank)``.

    The patterns are the directions in which the predicted responses vary most.
    """
    effects = _ridge(known, white, penalty)
    # The same right singular vectors as those of known @ effects, from a smaller matrix.
    root = np.linalg.cholesky(known.T @ known + 1e-6 * np.eye(known.shape[1]))
    patterns = np.linalg.svd(root.T @ effects, full_matrices=False)[2][:rank].T
    return effects @ patterns, patterns


def _choose(known: Floats, white: Floats) -> tuple[float, int]:
    """Return penalty and rank that make held-out trials most likely."""
    ranks = [rank for rank in RANKS if rank <= min(known.shape[1], white.shape[1])]
    folds = np.arange(len(known)) * N_FOLDS // len(known)
    found = {}
    for penalty in PENALTIES:
        total = np.zeros(len(ranks))
        for fold in range(N_FOLDS):
            rest, held = folds != fold, folds == fold
            effects, patterns = _reduced(known[rest], white[rest], penalty, ranks[-1])
            got, expected = white[held] @ patterns, known[held] @ effects
            gain = (got * expected - expected**2 / 2).sum(axis=0).cumsum()
            total += gain[np.array(ranks) - 1]
        found |= {(penalty, rank): gain for rank, gain in zip(ranks, total, strict=True)}
    return max(found, key=lambda key: found[key])
