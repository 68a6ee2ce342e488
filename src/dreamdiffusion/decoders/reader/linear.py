"""The linear models beside the networks, and what they learn of the electrodes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dreamdiffusion.decoders.config import EncodingConfig, ReaderConfig
from dreamdiffusion.decoders.encoding import Encoding
from dreamdiffusion.trials.scaling import scale_trials
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials


def scale_for_linear(trials: Trials, scale: str) -> Trials:
    """Return trials as the linear models take them: each at its own scale, or in volts."""
    return replace(trials, data=scale_trials(trials.data)) if scale == "trial" else trials


def fit_linear(trials: Trials, split: Split, config: ReaderConfig) -> list[Encoding]:
    """Fit a model for each width of windows; with ``electrode_relevance`` one more that learns it.

    Raises
    ------
    ValueError
        If ``electrode_relevance`` is to be learned at a scale that mixes electrodes; as
        `Encoding.fit`.
    """
    if config.electrode_relevance and config.scale == "whiten":
        raise ValueError(
            "electrode_relevance goes with scale trial or robust; whiten mixes the electrodes"
        )
    scaled = scale_for_linear(trials, config.scale)
    return [
        Encoding.fit(
            scaled,
            split,
            EncodingConfig(
                attributes=config.attributes, width_s=width, electrode_relevance=learned
            ),
        )
        for learned in ([False, True] if config.electrode_relevance else [False])
        for width in config.linear_widths_s
    ]


def mean_relevance(linear: list[Encoding]) -> list[float] | None:
    """Return the mean of what models learned of each channel, the largest 1; None: none did."""
    learned = [one.relevance for one in linear if one.relevance is not None]
    if not learned:
        return None
    mean = np.mean(learned, axis=0)
    return (mean / mean.max()).tolist()
