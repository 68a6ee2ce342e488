"""Scores of generated images, however they were made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from dreamdiffusion.evaluation.judged import Judged
from dreamdiffusion.evaluation.metrics.pairs import (
    pcc_pairs,
    retrieval_pairs,
    ssim_pairs,
    top1_pairs,
    trial_groups,
)
from dreamdiffusion.evaluation.metrics.suites import ImageSuites, as_published
from dreamdiffusion.evidence.controls import CONTROLS, controls_of_kind
from dreamdiffusion.evidence.scores import DistributionScore, Score
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.evidence.statistics.score import correct, permutation_p, score_metric
from dreamdiffusion.models.embedder import Embed
from dreamdiffusion.models.judge.judge import Judge, check_images
from dreamdiffusion.models.pixels import distinct_pictures

Floats = NDArray[np.float64]

NO_JUDGE = "there is no judge that knows the categories"


@dataclass
class Gallery:
    """What retrieval chooses from.

    Attributes
    ----------
    embeddings : Tensor, (m, d)
    truth : array of int, (n,)
        Place in the gallery of each trial's picture (or class).
    kind : str
        What is chosen from: the exact pictures, or class prototypes.
    """

    embeddings: Tensor
    truth: NDArray[np.int64]
    kind: str

    @classmethod
    def of_pictures(cls, seen: Tensor, embed: Embed) -> Gallery:
        """Make a gallery of the pictures (n, 3, H, W) that were shown, each once."""
        rows, truth = distinct_pictures(seen)
        return cls(embed(seen[rows]), truth, "the pictures shown in the split, each once")

    @classmethod
    def of_prototypes(cls, pools: Mapping[str, Tensor], labels: list[str], embed: Embed) -> Gallery:
        """Make a gallery of one mean embedding per class, of pools ``(m, 3, H, W)`` in [0, 1].

        For trials of which only the class is known.

        Parameters
        ----------
        pools : mapping of str to Tensor (m, 3, H, W)
            Pictures of each class, in [0, 1].
        labels : list of str, length n
            Class of each trial.
        embed : callable
            Pictures (m, 3, H, W) in [0, 1] -> embeddings (m, d).

        Raises
        ------
        ValueError
            If a label has no pool.
        """
        names = list(pools)
        missing = sorted(set(labels) - set(names))
        if missing:
            raise ValueError(f"no pictures of {', '.join(missing)}; there are {', '.join(names)}")
        unit = [torch.nn.functional.normalize(embed(images), dim=-1) for images in pools.values()]
        means = torch.stack([embeddings.mean(0) for embeddings in unit])
        return cls(means, np.array([names.index(label) for label in labels]), "class prototypes")


@dataclass
class Measured:
    """One metric of the images and of every control's, before any statistics.

    Attributes
    ----------
    pairs : array, (n, n)
        See `metrics.pairs`.
    controls : dict of str to array, (n, n) or (n,)
        The same of each control, or its diagonal.
    how : str
        How it is computed.
    groups : array of int, (n,), optional
        Where only pairs within groups were computed.
    """

    pairs: Floats
    controls: dict[str, Floats]
    how: str
    groups: NDArray[np.int64] | None = None


@dataclass
class ImageScores:
    """What `score_images` finds; the fields are those of `scores.Scores`.

    Attributes
    ----------
    scores : list of Score
        One record a metric; the first is the headline's.
    distributions : list of DistributionScore
    not_scored, protocol : dict of str to str
        Metric -> why it was not scored, and how it is computed.
    judge, confusion : dict
        What the judge learned from and names; empty without a judge.
    trials : dict
        What was shown in each trial, and what the judge names.
    control_p : float
        p by permutation of shuffled EEG's images in the first metric, which ought to be no small
        one.
    """

    scores: list[Score]
    distributions: list[DistributionScore]
    not_scored: dict[str, str]
    protocol: dict[str, str]
    judge: dict[str, Any]
    confusion: dict[str, Any]
    trials: dict[str, Any]
    control_p: float


def score_images(
    *,
    generated: Tensor,
    controls: Mapping[str, Tensor],
    metadata: pd.DataFrame | Mapping[str, Any],
    embed: Embed,
    rng: np.random.Generator,
    judge: Judge | None = None,
    seen: Tensor | None = None,
    pools: Mapping[str, Tensor] | None = None,
    suites: ImageSuites | None = None,
    n_permutations: int = 2000,
    n_bootstrap: int = 2000,
) -> ImageScores:
    """Score generated images against what was shown, beside the images of every control.

    Every one of the k samples of a trial counts; the value is the mean over samples and trials.

    Parameters
    ----------
    generated : Tensor, (n, k, 3, H, W)
        Decoded from each trial's EEG, in [0, 1].
    controls : mapping of str to Tensor (n, k, 3, H, W)
        Images of each control (`controls.CONTROLS`), each with a k of its own; ``shuffled_eeg`` has
        to be there: row i decoded from the EEG of a trial other than i, scored against trial i.
    metadata : DataFrame or mapping
        ``category`` and perhaps ``color`` of each trial; with ``subject``, ``session``, ``run``
        and ``onset`` truths are permuted within runs, and blocks as a whole. Without any of them
        all trials count as one run in random order.
    embed : callable
        Pictures (n, 3, H, W) in [0, 1] -> CLIP embeddings (n, d).
    rng : numpy.random.Generator
        For permutations and bootstrap.
    judge : Judge, optional
        Names what a picture shows. Without it there is no metric of categories and colours.
    seen : Tensor, (n, 3, H, W), optional
        The picture shown in each trial, in [0, 1]. Without it there is no SSIM and no PCC.
    pools : mapping of str to Tensor (m, 3, H, W), optional
        Pictures of each category, in place of ``seen`` where only the category is known.
    suites : ImageSuites, optional
        Published metrics to add.
    n_permutations, n_bootstrap : int

    Returns
    -------
    ImageScores

    Raises
    ------
    ValueError
        If shapes do not fit, values leave [0, 1], the judge does not know a category, or there is
        neither a judge nor a picture to score against.

    Examples
    --------
    Images from elsewhere, here random ones, in a space of three colours:

    >>> import numpy as np
    >>> import torch
    >>> from dreamdiffusion import score_images
    >>> seen, images = torch.rand(6, 3, 16, 16), torch.rand(6, 1, 3, 16, 16)
    >>> found = score_images(
    ...     generated=images, controls={"shuffled_eeg": images.roll(1, 0)}, seen=seen,
    ...     metadata={"category": list("aabbcc")}, rng=np.random.default_rng(0),
    ...     embed=lambda pictures: pictures.mean((2, 3)), n_permutations=100, n_bootstrap=100,
    ... )
    >>> [score.metric for score in found.scores]
    ['clip_retrieval_top1', 'ssim', 'pcc']
    """
    sets = {"generated": generated, **controls}
    categories = [str(c) for c in metadata["category"]]
    _check(sets, seen, categories)
    design = design_of(metadata, len(generated))
    judged = None if judge is None else Judged.of(judge, sets, metadata)
    gallery = choose_gallery(seen, pools, categories, embed)
    measured, not_scored = _measure_all(sets, judged, gallery, seen, suites, embed, design, rng)
    records = [
        score_metric(
            name, m.pairs, m.controls, rng, design, n_permutations, n_bootstrap, m.groups,
            against=controls_of_kind("without_brain"),
        )
        for name, m in measured.items()
    ]  # fmt: skip
    distributions: list[DistributionScore] = []
    if suites is not None:
        far = suites.lower_is_better
        records = [as_published(r) if r.metric in far else r for r in records]
        distributions = suites.distributions(generated, controls["shuffled_eeg"])
    first, headline_metric = next(iter(measured.values())), records[0].metric
    return ImageScores(
        scores=correct(records),
        distributions=distributions,
        not_scored=not_scored,
        protocol={
            "samples": f"{generated.shape[1]} images per trial, all scored, never the best of",
            **{name: m.how for name, m in measured.items()},
            "chance": "the same images with the truths dealt to the trials at random, its "
            "expectation",
            **{name: CONTROLS[name].description for name in controls},
            "ci95": f"percentile bootstrap over {design.drawn}, {n_bootstrap} draws",
            "p": design.in_words(n_permutations),
        },
        judge=judged.about(seen) if judged else {},
        confusion=judged.confusion() if judged else {},
        trials=judged.trials()
        if judged
        else {"category": categories, headline_metric: np.diagonal(first.pairs).tolist()},
        control_p=permutation_p(first.controls["shuffled_eeg"], n_permutations, rng, design),
    )


def _measure_all(
    sets: Mapping[str, Tensor],
    judged: Judged | None,
    gallery: Gallery | None,
    seen: Tensor | None,
    suites: ImageSuites | None,
    embed: Embed,
    design: Exchange,
    rng: np.random.Generator,
) -> tuple[dict[str, Measured], dict[str, str]]:
    """Compute every metric that can be; return why the others cannot."""
    not_scored: dict[str, str] = {"category_top1": NO_JUDGE, "color_top1": NO_JUDGE}
    measured: dict[str, Measured] = {}
    if judged is not None:
        not_scored = dict(judged.not_scored)
        measured |= {f"{name}_top1": _measure_label(judged, name) for name in judged.truth}
    if gallery is None or len(gallery.embeddings) < 2:
        not_scored["clip_retrieval_top1"] = "there are not two pictures to choose from"
    else:
        measured["clip_retrieval_top1"] = _measure(
            list(sets),
            lambda key: _retrieval(sets[key], gallery, embed),
            "cosine in the space of the CLIP that the EEG was aligned to, so not independent; "
            f"gallery of {len(gallery.embeddings)}: {gallery.kind}",
        )
    if seen is None:
        for name in ("ssim", "pcc"):
            not_scored[name] = "which picture was shown is not known, only its category"
    else:
        groups = trial_groups(design, rng)
        measured |= _measure_pixels(sets, seen, groups)
        if suites is not None:
            measured |= _measure_suites(suites, sets, groups) | measured
    if suites is not None:
        not_scored |= suites.not_scored
    if not measured:
        raise ValueError(
            "there is neither a judge, nor a picture that was seen, nor two categories to choose "
            "from, so nothing can be scored; give a judge"
        )
    return measured, not_scored


def design_of(metadata: pd.DataFrame | Mapping[str, Any], n: int) -> Exchange:
    """Return the design that the metadata describe; one run of n trials where they do not."""
    frame = pd.DataFrame({key: list(column) for key, column in metadata.items()})
    known = {"subject", "session", "run", "onset"} & {str(key) for key in frame}
    return Exchange.of(frame) if known else Exchange.one_run(n)


def _measure_label(judged: Judged, name: str) -> Measured:
    """Score the judge's names of one kind: ``category`` or ``color``."""
    n_names = len(judged.names[name])
    return _measure(
        list(judged.chosen),
        lambda key: top1_pairs(judged.chosen[key][name], judged.truth[name], n_names),
        f"{n_names}-way top-1 by the judge's argmax; even guessing is {1 / n_names:.4f}",
    )


def _measure(sets: list[str], pairs: Callable[[str], Floats], how: str) -> Measured:
    own, *controls = sets
    return Measured(pairs(own), {key: pairs(key) for key in controls}, how)


def _measure_pixels(
    sets: Mapping[str, Tensor], seen: Tensor, groups: NDArray[np.int64]
) -> dict[str, Measured]:
    """Compare the pixels of the images with those of the picture that was shown."""
    size = f"{seen.shape[-2]} x {seen.shape[-1]} pixels"
    own = np.arange(len(seen))
    (_, generated), *controls = sets.items()
    ssim = Measured(
        ssim_pairs(seen, generated, groups),
        {key: np.diagonal(ssim_pairs(seen, images, own)) for key, images in controls},
        f"grey, Gaussian window of sigma 1.5, at {size}",
        groups,
    )
    pcc = Measured(
        pcc_pairs(seen, generated),
        {key: pcc_pairs(seen, images) for key, images in controls},
        f"Pearson correlation of RGB pixels at {size}",
    )
    return {"ssim": ssim, "pcc": pcc}


def _measure_suites(
    suites: ImageSuites, sets: Mapping[str, Tensor], groups: NDArray[np.int64]
) -> dict[str, Measured]:
    """Compute the published metrics; distances with their sign changed, so that more is better."""
    (_, generated), *controls = sets.items()
    own = suites.pairs(generated, groups)
    of_controls = {key: suites.pairs(images, np.arange(len(images))) for key, images in controls}
    found = {}
    for name, pairs in own.items():
        sign = -1 if name in suites.lower_is_better else 1
        found[name] = Measured(
            sign * pairs,
            {key: sign * np.diagonal(of[name]) for key, of in of_controls.items()},
            suites.protocol[name],
            groups if np.isnan(pairs).any() else None,
        )
    return found


def _check(sets: Mapping[str, Tensor], seen: Tensor | None, categories: list[str]) -> None:
    generated = sets["generated"]
    if "shuffled_eeg" not in sets:
        raise ValueError("the controls lack shuffled_eeg, without which nothing is scored")
    for name, images in sets.items():
        if images.ndim != 5 or len(images) != len(generated):
            raise ValueError(
                f"{name} has shape {tuple(images.shape)}, expected (n, k, 3, H, W) with n = "
                f"{len(generated)}, as generated"
            )
        check_images(images.flatten(0, 1), name)
        if images.shape[2:] != generated.shape[2:]:
            raise ValueError(
                f"{name} has shape {tuple(images.shape)}, generated {tuple(generated.shape)}; "
                "expected pictures of one size"
            )
    if seen is not None:
        check_images(seen, "seen")
        if len(seen) != len(generated) or seen.shape[1:] != generated.shape[2:]:
            raise ValueError(
                f"seen has shape {tuple(seen.shape)}, generated {tuple(generated.shape)}; resize "
                "the pictures to the generator's size"
            )
    if len(categories) != len(generated):
        raise ValueError(
            f"{len(generated)} trials of images but {len(categories)} rows of metadata"
        )


def choose_gallery(
    seen: Tensor | None, pools: Mapping[str, Tensor] | None, categories: list[str], embed: Embed
) -> Gallery | None:
    """Make the gallery of the pictures seen (n, 3, H, W), else of the categories'; None without."""
    if seen is not None:
        return Gallery.of_pictures(seen, embed)
    return Gallery.of_prototypes(pools, categories, embed) if pools else None


def _retrieval(images: Tensor, gallery: Gallery, embed: Embed) -> NDArray[np.float64]:
    embeddings = embed(images.flatten(0, 1)).unflatten(0, images.shape[:2])
    return retrieval_pairs(embeddings, gallery.embeddings, gallery.truth)
