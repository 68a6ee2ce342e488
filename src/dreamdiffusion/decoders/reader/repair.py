"""Channels of single trials that say what no other channel does: replaced by what the others say.

An electrode that is loose for a minute spoils those trials alone. What a channel should have shown
is its mean given the other channels, under the training trials' covariance (as in Gaussian
conditioning); how far it usually departs from that is known from the training trials too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from dreamdiffusion.files.whole import write_tensors

Floats = NDArray[np.floating]


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
        """Learn from training trials ``(n, n_chans, n_times)``."""
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

    def save(self, path: Path) -> None:
        """Write it as safetensors."""
        arrays = {"covariance": self.covariance, "usual": self.usual}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}
        write_tensors(path, tensors | {"threshold": torch.tensor(self.threshold)})

    @classmethod
    def load(cls, path: Path) -> ChannelRepair:
        """Read what `save` wrote."""
        tensors = load_file(path)
        arrays = (tensors["covariance"].numpy(), tensors["usual"].numpy())
        return cls(*arrays, float(tensors["threshold"]))


def _departure(data: Floats, covariance: Floats) -> Floats:
    """Return how far each channel departs from what the others say, ``(n, n_chans)``."""
    precision = np.linalg.pinv(covariance, hermitian=True)
    weights = precision / np.diagonal(precision)[:, None]
    return np.sqrt(np.mean((weights @ data) ** 2, axis=2))
