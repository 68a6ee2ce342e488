"""Trials of any headset, as the cap that a reader was fitted on would have shown them.

What the electrodes of another headset show follows from what the reader's cap shows: spherical
splines (Perrin et al. 1989, Electroencephalogr. Clin. Neurophysiol. 72, 184) interpolate from its
electrodes to theirs. Inverted under the covariance of the training trials, this gives the mean of
the cap's channels given the headset's (a Wiener filter): a channel that both have is taken over,
and one that the headset says nothing of is near zero, which is its mean.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mne
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from dreamdiffusion.files.whole import write_tensors
from dreamdiffusion.recordings.electrodes import (
    derivation,
    electrode_positions,
    template_montage,
)
from dreamdiffusion.trials.trials import Trials

logger = logging.getLogger(__name__)

Floats = NDArray[np.floating]

OWN_NOISE = 1e-6
"""Of a channel that both have: the share of its variance that is not the cap's."""
REFERENCE = 1e3
"""Variance of what all channels of a headset share because their reference is another one, in mean
variances of its channels: nothing is known of it."""
SAME_PLACE = 1e-4  # m
ORIGIN = (0.0, 0.02, 0.04)  # m, middle of the 10-05 template in MNE's head frame
LEAST_CHANNELS = 4
"""Of a cap, for splines between its halves to tell how well splines do."""


@dataclass
class CapEstimate:
    """The mean of a cap's channels, given those of another headset.

    Parameters
    ----------
    ch_names
        Channels of the cap: names of the 10-05 system.
    covariance
        Of these channels over all time points of the training trials, ``(n_chans, n_chans)``, V^2.
    spline_error
        Share of a channel's variance that splines from other channels do not give, as found
        between the two halves of the cap.
    """

    ch_names: list[str]
    covariance: Floats
    spline_error: float
    _known: dict[tuple[str, ...], Floats] = field(default_factory=dict, repr=False)

    @classmethod
    def fit(cls, data: Floats, ch_names: list[str]) -> CapEstimate:
        """Learn from training trials ``(n, n_chans, n_times)``, volts.

        Raises
        ------
        ValueError
            If the place of a channel is not known, or it is bipolar.
        """
        _check_places(ch_names)
        points = np.asarray(data, float).transpose(1, 0, 2).reshape(data.shape[1], -1)
        covariance = points @ points.T / points.shape[1]
        return cls(list(ch_names), covariance, _spline_error(ch_names, covariance))

    def __call__(self, trials: Trials) -> Trials:
        """Return the trials in the channels of the cap.

        Where a headset has all of them, they are taken as they are. A channel of NaN is absent in
        its trial.

        Raises
        ------
        ValueError
            If the place of a channel is not known, or a trial has no channel.
        """
        data = np.asarray(trials.data)
        absent = np.asarray(np.isnan(data).all(axis=2))
        silent = np.flatnonzero(absent.sum(axis=1) == trials.n_chans)
        if len(silent):
            raise ValueError(f"trial {silent[0]} has no channel that is not NaN; leave it out")
        shown = np.empty((len(data), len(self.ch_names), data.shape[2]), np.float32)
        patterns, pattern_of = np.unique(absent, axis=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            which = np.flatnonzero(pattern_of.ravel() == number)
            there = np.flatnonzero(~pattern)
            weights = self.weights([trials.ch_names[place] for place in there])
            shown[which] = weights @ data[np.ix_(which, there)].astype(float)
        return replace(trials, data=shown, ch_names=list(self.ch_names))

    def weights(self, ch_names: list[str]) -> Floats:
        """Return the map from a headset's channels to the cap's, ``(n_chans, len(ch_names))``."""
        key = tuple(ch_names)
        if key not in self._known:
            self._known[key] = self._estimate(ch_names)
        return self._known[key]

    def _estimate(self, ch_names: list[str]) -> Floats:
        if set(self.ch_names) <= set(ch_names):
            return np.eye(len(ch_names))[[ch_names.index(name) for name in self.ch_names]]
        _check_places(ch_names)
        shown = _splines(self.ch_names, ch_names)  # (n, n_chans)
        signal = shown @ self.covariance @ shown.T
        variances = np.diag(signal)
        own = _distances(ch_names, self.ch_names).min(axis=1) < SAME_PLACE
        noise = np.where(own, OWN_NOISE, self.spline_error) * variances
        total = signal + np.diag(noise) + REFERENCE * variances.mean()
        both = self.covariance @ shown.T
        weights = np.linalg.solve(total, both.T).T
        self._tell(ch_names, np.einsum("ij,ij->i", weights, both))
        return weights

    def _tell(self, ch_names: list[str], explained: Floats) -> None:
        """Warn that channels are estimated, and how well that can be done."""
        lacking = [i for i, name in enumerate(self.ch_names) if name not in ch_names]
        share = explained[lacking].sum() / np.diag(self.covariance)[lacking].sum()
        logger.warning(
            "the EEG lacks %d of the reader's %d channels (%s); they are estimated from the %d "
            "that are there, which tell about %.0f %% of their variance",
            len(lacking),
            len(self.ch_names),
            ", ".join(self.ch_names[i] for i in lacking),
            len(ch_names),
            100 * share,
        )

    def save(self, path: Path) -> None:
        """Write it as safetensors."""
        tensors = {
            "covariance": torch.from_numpy(np.ascontiguousarray(self.covariance)),
            "spline_error": torch.tensor(self.spline_error, dtype=torch.float64),
        }
        write_tensors(path, tensors, metadata={"ch_names": "\n".join(self.ch_names)})

    @classmethod
    def load(cls, path: Path) -> CapEstimate:
        """Read what `save` wrote."""
        with safe_open(path, framework="np") as file:
            names = file.metadata()["ch_names"].split("\n")
            return cls(names, file.get_tensor("covariance"), float(file.get_tensor("spline_error")))


def _check_places(ch_names: list[str]) -> None:
    """Check that every channel lies at one known place."""
    electrode_positions(ch_names)
    bipolar = [name for name in ch_names if derivation(name) is not None]
    if bipolar:
        raise ValueError(
            f"the channels {', '.join(bipolar)} are bipolar, the difference of two places; montage "
            "any needs electrodes with one common reference"
        )


def _distances(first: list[str], second: list[str]) -> Floats:
    """Return the metres between electrodes, ``(len(first), len(second))``."""
    places = [electrode_positions(names)[:, None] for names in (first, second)]
    return np.linalg.norm(places[0] - places[1].transpose(1, 0, 2), axis=2)


def _splines(ch_names: list[str], wanted: list[str]) -> Floats:
    """Return the spherical splines from electrodes to others, ``(len(wanted), len(ch_names))``."""
    info = mne.create_info(ch_names, 1.0, "eeg", verbose=False)
    each = mne.EvokedArray(np.eye(len(ch_names)), info, verbose=False)
    each.set_montage(template_montage(ch_names), verbose=False)
    interpolate: Any = each.interpolate_to  # its hints know neither origins nor what comes out
    with mne.use_log_level("error"):
        return interpolate(template_montage(wanted), origin=ORIGIN, method="spline").data


def _spline_error(ch_names: list[str], covariance: Floats) -> float:
    """Return the mean share of a channel's variance that the other half's splines do not give."""
    n_chans = len(ch_names)
    if n_chans < LEAST_CHANNELS:
        return 1.0
    shares = []
    for start in (0, 1):
        wanted = np.arange(start, n_chans, 2)
        given = np.setdiff1d(np.arange(n_chans), wanted)
        error = np.zeros((len(wanted), n_chans))
        error[np.arange(len(wanted)), wanted] = 1
        error[:, given] -= _splines([ch_names[i] for i in given], [ch_names[i] for i in wanted])
        missed = np.einsum("ij,jk,ik->i", error, covariance, error)
        shares.extend(missed / np.diag(covariance)[wanted])
    return float(min(np.mean(shares), 1.0))
