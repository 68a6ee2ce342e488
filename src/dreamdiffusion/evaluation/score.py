"""Everything that is computed from decoded trials, before it is asked what it is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dreamdiffusion.evaluation.analyses import Analyses, analyse
from dreamdiffusion.evaluation.baselines import score_baselines
from dreamdiffusion.evaluation.decode import Decoded
from dreamdiffusion.evaluation.opening import Opened
from dreamdiffusion.evaluation.scoring import ImageScores, choose_gallery, score_images
from dreamdiffusion.evidence.scores import Score


@dataclass
class Scored:
    """What an evaluation computes.

    Attributes
    ----------
    images
        Scores of the images.
    baselines
        Scores of decoders without images.
    analyses
        Confidence, curve over averages, occlusion.
    not_scored, protocol
        Metric -> why it was not scored, and how it is computed, of all of them.
    """

    images: ImageScores
    baselines: list[Score]
    analyses: Analyses
    not_scored: dict[str, str]
    protocol: dict[str, str]


def score_decoded(opened: Opened, decoded: Decoded) -> Scored:
    """Score images, baselines and embeddings of decoded trials, each beside its controls."""
    config = opened.config
    rng = np.random.default_rng([config.sample.seed, 1])
    analyses = analyse(opened, decoded, rng)
    shown, metadata = opened.shown, decoded.tested.metadata
    images = score_images(
        generated=decoded.generated,
        controls=decoded.controls,
        metadata=metadata,
        embed=opened.embed,
        rng=rng,
        judge=opened.judge,
        seen=shown.seen,
        pools=shown.pools,
        suites=opened.suites,
        n_permutations=config.n_permutations,
        n_bootstrap=config.n_bootstrap,
    )
    categories = metadata["category"].astype(str).tolist()
    gallery = choose_gallery(shown.seen, shown.pools, categories, opened.embed)
    baselines, how, left_out = score_baselines(config, decoded, gallery, rng)
    not_scored = images.not_scored | decoded.left_out | left_out | analyses.not_scored
    return Scored(images, baselines, analyses, not_scored, images.protocol | how)
