"""Baselines: decoders without images that are fitted beside a model, on the same trials.

A model can then be compared with them on any later recording, without its training data.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dreamdiffusion.decoders.base import CATEGORY, Decoder, read_record
from dreamdiffusion.decoders.lda import read_former
from dreamdiffusion.decoders.registry import registry
from dreamdiffusion.decoders.repair import said_already
from dreamdiffusion.evidence.look_log import BASELINES_FOLDER
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Baseline:
    """A decoder with its settings, and how the protocol of its score describes it."""

    decoder: str
    description: str
    settings: dict[str, Any] = field(default_factory=dict)


BASELINES = {
    "lda_class": Baseline(
        "lda",
        "scikit-learn's shrinkage LDA (a covariance for each class, averaged)",
        {"covariance": "class"},
    ),
    "lda_pooled": Baseline(
        "lda",
        "shrinkage LDA with one pooled covariance, the stronger baseline",
        {"covariance": "pooled"},
    ),
}


def fit_baselines(
    trials: Trials, split: Split, model: Path, repair_channels: float | None = None
) -> None:
    """Fit every baseline on the training trials and write it to ``model/baselines/NAME``.

    Loose channels are replaced as those of the model are, so that it has no lead by that alone.
    They need two categories, and two training trials of each; otherwise none is written.
    """
    labels = trials.metadata[CATEGORY].to_numpy()[split.train]
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2 or counts.min() < 2:
        logger.warning("no baseline: it needs two training trials of each of two categories")
        return
    for name, baseline in BASELINES.items():
        settings = {**baseline.settings, "repair_channels": repair_channels}
        config = registry.schema(baseline.decoder)(**settings)
        with said_already():
            fitted = registry[baseline.decoder].fit(trials, split, config)
        fitted.save(model / BASELINES_FOLDER / name)


def load_baselines(model: Path) -> dict[str, Decoder]:
    """Open the baselines beside a model, by name; empty where it has none.

    Of a model that was saved before its baselines had a folder, the files beside its weights.
    """
    folder = model / BASELINES_FOLDER
    if not folder.is_dir():
        return read_former(model)
    return {
        path.name: registry[read_record(path)["decoder"]].load(path)
        for path in sorted(folder.iterdir())
        if path.is_dir()
    }
