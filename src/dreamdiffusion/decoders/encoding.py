"""The linear encoding model as a decoder: EEG as the sum of what each attribute adds, inverted.

Window means of a trial are a sum of one effect of each attribute's value plus Gaussian noise
(Naselaris et al. 2011, NeuroImage 56: encoding and decoding). Bayes' rule over all combinations
of values then says what was seen: unlike a classifier of one attribute it explains away what the
others do to the EEG. With one attribute it is linear discriminant analysis.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from scipy.special import logsumexp, softmax
from sklearn.covariance import LedoitWolf

from dreamdiffusion.decoders.attributes import find_attributes, value_places
from dreamdiffusion.decoders.base import Answer, Decoder, pick_channels, read_record, write_record
from dreamdiffusion.decoders.config import EncodingConfig
from dreamdiffusion.decoders.linear import window_means
from dreamdiffusion.decoders.relevance import block_toeplitz, expected_sizes, shrink_effects
from dreamdiffusion.decoders.repair import ChannelRepair, repair_trials, say_repaired
from dreamdiffusion.files.whole import write_tensors
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

WEIGHTS = "encoding.safetensors"
CELLS = 5_000_000
"""Trials times combinations that are computed at once."""

Floats = NDArray[np.floating]


@dataclass
class Encoding(Decoder):
    """A linear encoding model of attributes, and its posterior over their values.

    With ``k`` values of all attributes together, in order: a trial's log-likelihood is, up to a
    constant, the sum of the ``scores`` of its values less ``shared`` of each pair of them.

    Parameters
    ----------
    attributes
        Values of each attribute.
    weights, bias
        Window means -> scores of the values, ``(k, n_features)`` and ``(k,)``.
    shared
        Effects' products under the noise's inverse covariance, ``(k, k)``.
    ch_names, sfreq, width_s
        Channels in order, Hz, and length of a window in seconds.
    relevance
        How large effects are at each channel, in sd of a trial's window; None: not learned, and
        nothing is made smaller.
    repair
        Of loose channels; None: they stay as they are.
    """

    name = "encoding"
    needs = frozenset({"labels"})
    gives = frozenset({"labels"})

    attributes: dict[str, list[str]]
    weights: Floats
    bias: Floats
    shared: Floats
    ch_names: list[str]
    sfreq: float
    width_s: float
    relevance: list[float] | None = None
    repair: ChannelRepair | None = None

    @classmethod
    def fit(cls, trials: Trials, split: Split, config: EncodingConfig) -> Encoding:
        """Fit effects by least squares and the noise's covariance as Ledoit and Wolf (2004) do.

        Raises
        ------
        ValueError
            If no attribute has two values among the training trials, or an EEG value is not finite.
        """
        trials, repair = repair_trials(trials, split.train, config.repair_channels)
        data = np.asarray(trials.data[split.train])
        if not np.isfinite(data).all():
            raise ValueError("the EEG holds NaN or infinite values; reject those trials first")
        attributes = find_attributes(trials, split.train, config.attributes)
        features = window_means(data, trials.sfreq, config.width_s)
        center, spread = features.mean(axis=0), features.std(axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        features = (features - center) / spread
        shown = [_one_hot(trials, split.train, name, of) for name, of in attributes.items()]
        # Differences from the mean over trials; a constant is in none of the effects.
        design = np.concatenate([part - part.mean(axis=0) for part in shown], axis=1)
        effects = np.linalg.lstsq(design, features, rcond=None)[0]
        noise = LedoitWolf(assume_centered=True, store_precision=False)
        covariance = noise.fit(features - design @ effects).covariance_
        relevance = None
        if config.electrode_relevance:
            covariance = block_toeplitz(covariance, trials.n_chans)
            times = np.arange(len(covariance) // trials.n_chans) * config.width_s
            expected = expected_sizes(trials.ch_names)
            effects, found = shrink_effects(effects, design, covariance, times, expected)
            relevance = found.sizes.tolist()
        share = np.concatenate([part.mean(axis=0) for part in shown])
        for places in _blocks(attributes):
            effects[places] -= share[places] @ effects[places] / share[places].sum()
        weights = np.linalg.solve(covariance, effects.T).T
        shared = weights @ effects.T
        bias = np.log(share) - np.diagonal(shared) / 2
        weights = weights / spread
        where = (list(trials.ch_names), float(trials.sfreq), config.width_s)
        bias = bias - weights @ center
        return cls(attributes, weights, bias, shared, *where, relevance, repair)

    def decode(self, trials: Trials) -> Answer:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Give the posterior of each attribute's values, whatever the others are."""
        data = pick_channels(trials, self.ch_names, self.sfreq)
        if self.repair is not None:
            data, given = self.repair(data), data
            say_repaired(given, data)
        features = window_means(data, self.sfreq, self.width_s)
        if features.shape[1] != self.weights.shape[1]:
            raise ValueError(
                f"trials of shape {data.shape[1:]} give {features.shape[1]} features, the decoder "
                f"was fitted on {self.weights.shape[1]}; use the same channels and times"
            )
        scores = features @ self.weights.T + self.bias
        size = max(1, CELLS // int(np.prod([len(of) for of in self.attributes.values()])))
        parts = [self._marginals(scores[i : i + size]) for i in range(0, len(scores), size)]
        tables = {
            name: pd.DataFrame(np.concatenate([part[at] for part in parts]), columns=pd.Index(of))
            for at, (name, of) in enumerate(self.attributes.items())
        }
        return Answer(probabilities=tables)

    def _marginals(self, scores: Floats) -> list[Floats]:
        """Return the posterior of each attribute ``(n, n_values)`` from scores ``(n, k)``."""
        blocks = _blocks(self.attributes)
        count = len(blocks)

        def along(values: Floats, *axes: int) -> Floats:
            """Spread values over the axes of the joint table (n, n_values of each)."""
            shape = [1] * count
            for axis, size in zip(axes, values.shape[-len(axes) :], strict=True):
                shape[axis] = size
            return values.reshape(-1, *shape)

        joint = sum(along(scores[:, places], axis) for axis, places in enumerate(blocks))
        for one in range(count):
            for two in range(one + 1, count):
                joint = joint - along(self.shared[blocks[one], blocks[two]], one, two)
        others = [tuple(1 + b for b in range(count) if b != axis) for axis in range(count)]
        return [softmax(logsumexp(joint, axis=axes), axis=1) for axes in others]

    def save(self, folder: Path) -> None:
        """Write ``decoder.json`` and the model as safetensors."""
        write_record(folder, self.name, ch_names=self.ch_names, relevance=self.relevance)
        settings = {"sfreq": self.sfreq, "width_s": self.width_s, "attributes": self.attributes}
        arrays = {"weights": self.weights, "bias": self.bias, "shared": self.shared}
        write_tensors(
            folder / WEIGHTS,
            {name: np.ascontiguousarray(a, dtype=np.float32) for name, a in arrays.items()},
            metadata={"encoding": json.dumps(settings)},
        )
        if self.repair is not None:
            self.repair.save(folder)

    @classmethod
    def load(cls, folder: Path) -> Encoding:
        """Read what `save` wrote."""
        record, path = read_record(folder, cls.name), folder / WEIGHTS
        if not path.is_file():
            raise FileNotFoundError(f"encoding model {path} does not exist")
        try:
            with safe_open(path, framework="numpy") as file:
                settings = json.loads((file.metadata() or {})["encoding"])
                names = ("weights", "bias", "shared")
                arrays = {name: file.get_tensor(name).astype(float) for name in names}
        except (SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is not an encoding model: {error}") from error
        relevance = record.get("relevance")  # saved before it could be learned: none
        names, repair = record["ch_names"], ChannelRepair.load(folder)
        return cls(**arrays, **settings, ch_names=names, relevance=relevance, repair=repair)


def _one_hot(trials: Trials, rows: np.ndarray, name: str, values: list[str]) -> Floats:
    """Return which value each trial has ``(n, n_values)``; zeros where it has none."""
    column = trials.metadata[name].iloc[rows].astype(str).tolist()
    return (value_places(column, values, -1)[:, None] == np.arange(len(values))).astype(float)


def _blocks(attributes: dict[str, list[str]]) -> list[slice]:
    """Return which of all values are those of each attribute."""
    ends = np.cumsum([len(values) for values in attributes.values()]).tolist()
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
