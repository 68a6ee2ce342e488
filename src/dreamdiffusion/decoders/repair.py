"""Channels of single trials that say what no other channel does: replaced by what the others say.

An electrode that is loose for a minute spoils those trials alone. What a channel should have shown
is its mean given the other channels, under the training trials' covariance (as in Gaussian
conditioning); how far it usually departs from that is known from the training trials too.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dreamdiffusion.files.arrays import read_arrays
from dreamdiffusion.files.whole import write_tensors
from dreamdiffusion.trials.trials import Trials

logger = logging.getLogger(__name__)

REPAIR = "repair.safetensors"
"""File of it in the folder of a decoder."""

Floats = NDArray[np.floating]

_said = ContextVar("said", default=False)


@dataclass
class ChannelRepair:
    """Finds channels of a trial that depart from the others, and replaces them.

    Parameters
    ----------
    covariance
        Of the channels over all time points of the training trials, ``(n_chans, n_chans)``.
    usual
        Median over the training trials of how far each channel departs, ``(n_chans,)``.
    threshold
        A channel that departs more than this many times as far is replaced.
    """

    covariance: Floats
    usual: Floats
    threshold: float

    @classmethod
    def fit(cls, data: Floats, threshold: float) -> ChannelRepair:
        """Learn from training trials ``(n, n_chans, n_times)``.

        Raises
        ------
        ValueError
            If a value is not finite.
        """
        if not np.isfinite(data).all():
            raise ValueError("the EEG holds NaN or infinite values; reject those trials first")
        points = np.asarray(data, float).transpose(1, 0, 2).reshape(data.shape[1], -1)
        covariance = points @ points.T / points.shape[1]
        usual = np.median(_departure(np.asarray(data, float), covariance), axis=0)
        return cls(covariance, usual, threshold)

    def __call__(self, data: Floats) -> Floats:
        """Return trials ``(n, n_chans, n_times)`` whose departing channels are replaced.

        A trial of which half the channels or more depart is left as it is: the rest cannot tell.
        """
        repaired = np.array(data, copy=True)
        departs = _departure(np.asarray(data, float), self.covariance) > self.threshold * self.usual
        for trial in np.flatnonzero(departs.any(axis=1)):
            values = np.asarray(data[trial], float)
            good = self._agreeing(values)
            if 2 * len(good) <= len(values):
                continue
            bad = np.setdiff1d(np.arange(len(values)), good)
            among = self.covariance[np.ix_(good, good)]
            known = np.linalg.lstsq(among, values[good], rcond=None)[0]
            repaired[trial][bad] = self.covariance[np.ix_(bad, good)] @ known
        return repaired

    def _agreeing(self, values: Floats) -> np.ndarray:
        """Return the channels of a trial ``(n_chans, n_times)`` that are left.

        The worst goes first, since those beside it depart on its account.
        """
        good = np.arange(len(values))
        while 2 * len(good) > len(values):
            departure = _departure(values[None, good], self.covariance[np.ix_(good, good)])[0]
            ratio = departure / self.usual[good]
            if ratio.max() <= self.threshold:
                break
            good = np.delete(good, ratio.argmax())
        return good

    def save(self, folder: Path) -> None:
        """Write it into the folder of its decoder, as safetensors."""
        arrays = {"covariance": self.covariance, "usual": self.usual}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}
        threshold = {"threshold": torch.tensor(self.threshold)}
        write_tensors(folder / REPAIR, tensors | threshold)

    @classmethod
    def load(cls, folder: Path) -> ChannelRepair | None:
        """Read what `save` wrote; None where the decoder has none.

        Raises
        ------
        ValueError
            If the file is something else.
        """
        path = folder / REPAIR
        if not path.is_file():
            return None
        keys = ("covariance", "usual", "threshold")
        arrays = read_arrays(path, "a repair of channels", keys)
        return cls(arrays["covariance"], arrays["usual"], float(arrays["threshold"]))


def repair_trials(
    trials: Trials, train: np.ndarray, threshold: float | None
) -> tuple[Trials, ChannelRepair | None]:
    """Return trials whose loose channels are replaced, and what does it.

    A loose electrode of a few runs would spoil what is learned of all trials.

    Parameters
    ----------
    train
        Places of the trials that it learns from.
    threshold
        See `ChannelRepair`; None: the trials stay as they are.
    """
    if threshold is None:
        return trials, None
    data = np.asarray(trials.data)
    repair = ChannelRepair.fit(data[train], threshold)
    repaired = repair(data)
    say_repaired(data, repaired)
    return replace(trials, data=repaired), repair


def say_repaired(before: Floats, after: Floats) -> None:
    """Log in how many trials channels were replaced; those of another cap are other channels."""
    if _said.get() or before is after or before.shape != after.shape:
        return
    if changed := int(np.any(before != after, axis=(1, 2)).sum()):
        logger.info("channels of %d of %d trials were replaced", changed, len(before))


@contextlib.contextmanager
def said_already() -> Iterator[None]:
    """Keep `say_repaired` silent where it was said of these trials before: what else reads them."""
    token = _said.set(True)
    try:
        yield
    finally:
        _said.reset(token)


def _departure(data: Floats, covariance: Floats) -> Floats:
    """Return how far each channel departs from what the others say, ``(n, n_chans)``."""
    precision = np.linalg.pinv(covariance, hermitian=True)
    weights = precision / np.diagonal(precision)[:, None]
    return np.sqrt(np.mean((weights @ data) ** 2, axis=2))
