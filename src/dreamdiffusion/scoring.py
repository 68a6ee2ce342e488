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

from .design import Design
from .judge import Judge, check_images, label_indices
from .metrics import pcc_pairs, retrieval_pairs, ssim_pairs, top1_pairs, trial_groups
from .statistics import correct, score

Embed = Callable[[Tensor], Tensor]
"""Pictures (n, 3, H, W) in [0, 1] -> embeddings (n, d)."""


@dataclass
class Gallery:
    """What retrieval chooses from.

    Attributes
    ----------
    embeddings : Tensor, (m, d)
    truth : array of int, (n,)
        Place in the gallery of each trial's picture (or class).
    kind : str
        In words.
    """

    embeddings: Tensor
    truth: NDArray[np.int64]
    kind: str

    @classmethod
    def of_pictures(cls, seen: Tensor, embed: Embed) -> Gallery:
        """Make a gallery of the pictures (n, 3, H, W) that were shown, each once."""
        first: dict[bytes, int] = {}
        truth = np.array([first.setdefault(image.numpy().tobytes(), len(first)) for image in seen])
        where = [int(np.flatnonzero(truth == place)[0]) for place in range(len(first))]
        return cls(embed(seen[where]), truth, "the pictures shown in the split, each once")

    @classmethod
    def of_prototypes(cls, pools: Mapping[str, Tensor], labels: list[str], embed: Embed) -> Gallery:
        """Make a gallery of one mean embedding per class, for trials of which only that is known.

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


def score_images(
    *,
    generated: Tensor,
    shuffled: Tensor,
    metadata: pd.DataFrame | Mapping[str, Any],
    judge: Judge,
    embed: Embed,
    rng: np.random.Generator,
    seen: Tensor | None = None,
    pools: Mapping[str, Tensor] | None = None,
    split: str = "test",
    simulated: bool = False,
    noise_level: float | list[float] | None = None,
    n_permutations: int = 2000,
    n_bootstrap: int = 2000,
) -> dict[str, Any]:
    """Score generated images against what was shown; return the content of ``scores.json``.

    Every one of the k samples of a trial counts; the value is the mean over samples and trials.

    Parameters
    ----------
    generated : Tensor, (n, k, 3, H, W)
        Decoded from each trial's EEG, in [0, 1].
    shuffled : Tensor, (n, k, 3, H, W)
        The control: row i was decoded from the EEG of a trial other than i, through the whole path
        and with other seeds, and is scored against trial i.
    metadata : DataFrame or mapping
        ``category`` and perhaps ``color`` of each trial; with ``subject``, ``session``, ``run``
        and ``onset`` truths are permuted within runs, and blocks as a whole. Without any of them
        all trials count as one run in random order.
    judge : Judge
        Names what a picture shows.
    embed : callable
        Pictures (n, 3, H, W) in [0, 1] -> CLIP embeddings (n, d).
    rng : numpy.random.Generator
        For permutations and bootstrap.
    seen : Tensor, (n, 3, H, W), optional
        The picture shown in each trial, in [0, 1]. Without it there is no SSIM and no PCC.
    pools : mapping of str to Tensor (m, 3, H, W), optional
        Pictures of each category, in place of ``seen`` where only the category is known.
    split : str
        Which trials these are, and the rule that held them out.
    simulated : bool
        Whether the EEG was simulated.
    noise_level : float or list of float, optional
        Of the simulation.
    n_permutations, n_bootstrap : int

    Returns
    -------
    dict
        ``split``, ``simulated``, ``noise_level``, ``scores`` (records as `scores.Score`),
        ``not_scored`` (metric -> why), ``protocol`` (metric -> how), ``judge``, ``confusion``
        (``names``, ``counts``: shown x named, over all samples), ``trials`` (what was shown and
        what the judge named, per trial and sample).

    Raises
    ------
    ValueError
        If shapes do not fit, values leave [0, 1], or the judge does not know a category.
    """
    n, k = _check(generated, shuffled, seen)
    categories = [str(c) for c in metadata["category"]]
    if len(categories) != n:
        raise ValueError(f"{n} trials of images but {len(categories)} rows of metadata")
    truth = {"category": np.array(label_indices(judge.categories, categories))}
    not_scored: dict[str, str] = {}
    if "color" not in metadata:
        not_scored["color_top1"] = "the data have no colours"
    elif not judge.colors:
        not_scored["color_top1"] = "the judge was trained without colours"
    else:
        truth["color"] = np.array(label_indices(judge.colors, metadata["color"], "color"))

    names = {"category": judge.categories, "color": judge.colors}
    chosen = {key: _judged(judge, images) for key, images in _sets(generated, shuffled).items()}
    pairs: dict[str, tuple[NDArray, NDArray]] = {}
    protocol: dict[str, str] = {"samples": f"{k} images per trial, all scored, never the best of"}
    for name, labels in truth.items():
        both = [top1_pairs(chosen[key][name], labels, len(names[name])) for key in chosen]
        pairs[f"{name}_top1"] = (both[0], both[1])
        protocol[f"{name}_top1"] = (
            f"{len(names[name])}-way top-1 by the judge's argmax; even guessing is "
            f"{1 / len(names[name]):.4f}"
        )

    gallery = _gallery(seen, pools, categories, embed)
    if gallery is None or len(gallery.embeddings) < 2:
        not_scored["clip_retrieval_top1"] = "there are not two pictures to choose from"
    else:
        both = [_retrieval(images, gallery, embed) for images in (generated, shuffled)]
        pairs["clip_retrieval_top1"] = (both[0], both[1])
        protocol["clip_retrieval_top1"] = (
            f"cosine in the space of the CLIP that the EEG was aligned to, so not independent; "
            f"gallery of {len(gallery.embeddings)}: {gallery.kind}"
        )
    frame = pd.DataFrame({key: list(column) for key, column in metadata.items()})
    known = {"subject", "session", "run", "onset"} & {str(key) for key in frame}
    design = Design.of(frame) if known else Design.one_run(n)
    groups = trial_groups(design, rng)
    if seen is None:
        for name in ("ssim", "pcc"):
            not_scored[name] = "which picture was shown is not known, only its category"
    else:
        size = f"{seen.shape[-2]} x {seen.shape[-1]} pixels"
        own = torch.arange(n).numpy()
        pairs["ssim"] = (
            ssim_pairs(seen, generated, groups), np.diagonal(ssim_pairs(seen, shuffled, own))
        )  # fmt: skip
        protocol["ssim"] = f"grey, Gaussian window of sigma 1.5, at {size}"
        pairs["pcc"] = (pcc_pairs(seen, generated), pcc_pairs(seen, shuffled))
        protocol["pcc"] = f"Pearson correlation of RGB pixels at {size}"

    records = [
        score(name, own, {"shuffled_eeg": control}, rng, design, n_permutations, n_bootstrap,
              groups if name == "ssim" else None)
        for name, (own, control) in pairs.items()
    ]  # fmt: skip
    scores = [record.model_dump(mode="json") for record in correct(records)]
    protocol |= {
        "chance": "the same images with the truths dealt to the trials at random, its expectation",
        "shuffled_eeg": "images generated anew, each from the EEG of another trial",
        "ci95": f"percentile bootstrap over {design.drawn}, {n_bootstrap} draws",
        "p": design.in_words(n_permutations),
    }
    counts = np.zeros((len(judge.categories),) * 2, dtype=int)
    own_names = chosen["generated"]["category"]
    np.add.at(counts, (np.repeat(truth["category"], k), own_names.ravel()), 1)
    return {
        "split": split,
        "simulated": simulated,
        "noise_level": noise_level,
        "scores": scores,
        "not_scored": not_scored,
        "protocol": protocol,
        "judge": {
            "trained_on": str(judge.config["trained_on"]),
            **_judge_on_seen(judge, seen, truth),
        },
        "confusion": {"names": judge.categories, "counts": counts.tolist()},
        "trials": {
            key: value
            for name, labels in truth.items()
            for key, value in (
                (name, [names[name][i] for i in labels]),
                (
                    f"judged_{name}",
                    [[names[name][i] for i in row] for row in chosen["generated"][name]],
                ),
            )
        },
    }


def _check(generated: Tensor, shuffled: Tensor, seen: Tensor | None) -> tuple[int, int]:
    if generated.ndim != 5 or generated.shape != shuffled.shape:
        raise ValueError(
            f"generated has shape {tuple(generated.shape)} and shuffled {tuple(shuffled.shape)}, "
            "expected both (n, k, 3, H, W)"
        )
    for name, images in _sets(generated, shuffled).items():
        check_images(images.flatten(0, 1), name)
    if seen is not None:
        check_images(seen, "seen")
        if len(seen) != len(generated) or seen.shape[1:] != generated.shape[2:]:
            raise ValueError(
                f"seen has shape {tuple(seen.shape)}, generated {tuple(generated.shape)}; resize "
                "the pictures to the generator's size"
            )
    return generated.shape[0], generated.shape[1]


def _sets(generated: Tensor, shuffled: Tensor) -> dict[str, Tensor]:
    return {"generated": generated, "shuffled": shuffled}


def _judged(judge: Judge, images: Tensor) -> dict[str, NDArray[np.int64]]:
    """Label (n, k) that the judge gives to each sample, by head."""
    found = judge.predict(images.flatten(0, 1))
    return {key: p.argmax(1).view(images.shape[:2]).numpy() for key, p in found.items()}


def _judge_on_seen(
    judge: Judge, seen: Tensor | None, truth: Mapping[str, NDArray[np.int64]]
) -> dict[str, float]:
    """How often the judge is right about the true pictures: the ceiling of its scores."""
    if seen is None:
        return {}
    found = judge.predict(seen)
    return {
        f"{name}_accuracy_on_seen": float((found[name].argmax(1).numpy() == labels).mean())
        for name, labels in truth.items()
    }


def _gallery(
    seen: Tensor | None, pools: Mapping[str, Tensor] | None, categories: list[str], embed: Embed
) -> Gallery | None:
    if seen is not None:
        return Gallery.of_pictures(seen, embed)
    return Gallery.of_prototypes(pools, categories, embed) if pools else None


def _retrieval(images: Tensor, gallery: Gallery, embed: Embed) -> NDArray[np.float64]:
    embeddings = embed(images.flatten(0, 1)).unflatten(0, images.shape[:2])
    return retrieval_pairs(embeddings, gallery.embeddings, gallery.truth)
