"""The linear baseline as a decoder: category from window means (`linear`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dreamdiffusion.decoders.base import (
    CATEGORY,
    Answer,
    Decoder,
    pick_channels,
    read_record,
    write_record,
)
from dreamdiffusion.decoders.config import LdaConfig
from dreamdiffusion.decoders.linear import LinearDecoder, fit_lda
from dreamdiffusion.decoders.repair import ChannelRepair, repair_trials, say_repaired
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

WEIGHTS = "lda.safetensors"
FORMER = ("lda_class", "lda_pooled")
"""Files beside the weights of a model, before baselines had a folder of their own."""


@dataclass
class LDA(Decoder):
    """Shrinkage linear discriminant analysis of the category (Blankertz et al. 2011).

    Parameters
    ----------
    linear
        The fitted map.
    ch_names
        Channels that it takes, in order; None in files of the former layout, which do not name
        them: the trials then have to have the same channels in the same order.
    repair
        Of loose channels; None: they stay as they are.
    """

    name = "lda"
    needs = frozenset({"labels"})
    gives = frozenset({"labels"})

    linear: LinearDecoder
    ch_names: list[str] | None
    repair: ChannelRepair | None = None

    @classmethod
    def fit(cls, trials: Trials, split: Split, config: LdaConfig) -> LDA:
        """Fit on the training trials; see `linear.fit_lda` for the errors."""
        labels = trials.metadata[CATEGORY].to_numpy()[split.train]
        trials, repair = repair_trials(trials, split.train, config.repair_channels)
        data = np.asarray(trials.data[split.train])
        linear = fit_lda(data, labels, trials.sfreq, config.width_s, config.covariance)
        return cls(linear, list(trials.ch_names), repair)

    def decode(self, trials: Trials) -> Answer:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Give the probability of every category that it was fitted on."""
        names = trials.ch_names if self.ch_names is None else self.ch_names
        data = pick_channels(trials, names, self.linear.sfreq)
        if self.repair is not None:
            data, given = self.repair(data), data
            say_repaired(given, data)
        table = pd.DataFrame(self.linear.predict_proba(data), columns=pd.Index(self.linear.classes))
        return Answer(probabilities={CATEGORY: table})

    def save(self, folder: Path) -> None:
        """Write ``decoder.json`` and the map as safetensors."""
        write_record(folder, self.name, ch_names=self.ch_names)
        self.linear.save(folder / WEIGHTS)
        if self.repair is not None:
            self.repair.save(folder)

    @classmethod
    def load(cls, folder: Path) -> LDA:
        """Read what `save` wrote."""
        record = read_record(folder, cls.name)
        linear = LinearDecoder.load(folder / WEIGHTS)
        return cls(linear, record.get("ch_names"), ChannelRepair.load(folder))


def read_former(model: Path) -> dict[str, Decoder]:
    """Read the files of the former layout, ``lda_class.safetensors`` and so on, by their names."""
    return {
        name: LDA(LinearDecoder.load(path), None)
        for name in FORMER
        if (path := model / f"{name}.safetensors").is_file()
    }
