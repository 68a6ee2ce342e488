"""Decoders that draw no image, scored on the same trials as the images."""

from __future__ import annotations

import numpy as np

from dreamdiffusion.decoders.baselines import BASELINES
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.evaluation.decode import Decoded
from dreamdiffusion.evaluation.metrics.pairs import label_pairs
from dreamdiffusion.evaluation.metrics.retrieval import score_retrieval
from dreamdiffusion.evaluation.scoring import Gallery
from dreamdiffusion.evidence.scores import Score
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.evidence.statistics.score import score_metric
from dreamdiffusion.trials.averages import n_averaged


def score_baselines(
    config: EvaluateConfig, decoded: Decoded, gallery: Gallery | None, rng: np.random.Generator
) -> tuple[list[Score], dict[str, str], dict[str, str]]:
    """Score the categories that the baselines name, and the pictures nearest to the EEG embedding.

    A baseline is every decoder beside the model that names categories, whatever it is.

    Returns
    -------
    scores, protocol, not_scored
        As in `scores.Scores`.
    """
    metadata = decoded.tested.metadata
    design = Exchange.of(metadata)
    n_permutations, n_bootstrap = config.n_permutations, config.n_bootstrap
    scores: list[Score] = []
    protocol: dict[str, str] = {}
    not_scored: dict[str, str] = {}

    def add(metric: str, pairs: np.ndarray, how: str) -> None:
        # Without seeds, shuffled EEG only moves the answers.
        control = {"shuffled_eeg": pairs[np.arange(len(pairs)), decoded.moved]}
        scores.append(
            score_metric(metric, pairs, control, rng, design, n_permutations, n_bootstrap)
        )
        protocol[metric] = how

    labels = metadata["category"].astype(str).tolist()
    names = dict.fromkeys([*BASELINES, *decoded.named])
    for name in names if config.split != "train" else ():
        metric = f"{name}_category_top1"
        if name not in decoded.named:
            not_scored[metric] = "the model's training trials were too few to fit it"
            continue
        add(
            metric,
            label_pairs(decoded.named[name], labels),
            f"{_describe(name)}, fitted on the same training trials as the model"
            f"{', loose channels replaced alike' if name in decoded.repaired else ''}; one guess "
            "per trial, no image",
        )
    if gallery is not None and len(gallery.embeddings) > 1:
        found = score_retrieval(
            decoded.embeddings[:, None],
            gallery.embeddings,
            gallery.truth,
            kind=gallery.kind,
            repeats=str(n_averaged(metadata)),
            selection="the last step of the fine-tuning",
        )
        for name in found.hits:
            how = f"the EEG embedding, no image; {found.protocol}"
            add(f"eeg_retrieval_{name}", found.pairs(name), how)
    return scores, protocol, not_scored


def _describe(name: str) -> str:
    known = BASELINES.get(name)
    return f"{known.description}, on window means" if known else f"the decoder {name}"
