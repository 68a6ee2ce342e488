"""Retrieval against a stated gallery: which of its pictures does an embedding come nearest to?

Each trial answers for itself. Matching all trials to the gallery at once (transductive: each
picture may be chosen once) lifts scores by what no single trial contains, and is not offered.

Notation: n trials, k embeddings per trial, m pictures or classes in the gallery, d numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import skew
from torch import Tensor

from dreamdiffusion.evaluation.metrics.pairs import retrieval_hits

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TOP = 5


@dataclass
class Retrieval:
    """What retrieval found, and how it was done, without which it says nothing.

    Attributes
    ----------
    hits : dict of str to array (n, m)
        ``top1`` and, where the gallery has more than five entries, ``top5``: the fraction of a
        trial's embeddings that have this entry among their nearest.
    truth : array of int, (n,)
        Place in the gallery of what was shown.
    hubness : float
        Skewness of how often each entry of the gallery is the nearest; 0 is even. Far above 0, a
        few entries are everyone's answer.
    protocol : str
        How it was done: gallery and its size, repeats averaged, rule of selection, hubness.
    """

    hits: dict[str, Floats]
    truth: Ints
    hubness: float
    protocol: str

    def pairs(self, name: str) -> Floats:
        """Return the matrix ``pairs`` (n, n) of ``top1`` or ``top5``; see `metrics.pairs`."""
        return self.hits[name][:, self.truth].T

    def scores(self, name: str) -> Floats:
        """Return the diagonal of ``pairs`` (n,), where n * n numbers would be too many."""
        return self.hits[name][np.arange(len(self.truth)), self.truth]


def score_retrieval(
    embeddings: Tensor, gallery: Tensor, truth: Ints, *, kind: str, repeats: str, selection: str
) -> Retrieval:
    """Score retrieval by cosine, and say how it was done.

    Parameters
    ----------
    embeddings : Tensor, (n, k, d)
        Of the EEG (k = 1) or of the generated images; any length.
    gallery : Tensor, (m, d)
        What is chosen from, each once.
    truth : array of int, (n,)
        Place in the gallery of what was shown.
    kind : str
        What the gallery is: the exact pictures of the test, or class prototypes.
    repeats : str
        How many repeats of a picture were averaged before decoding ("1", "80").
    selection : str
        The rule that chose model and settings.

    Raises
    ------
    ValueError
        If shapes do not fit, a truth is not in the gallery, it holds the same embedding twice (then
        a picture has more than one right answer), or fewer than two.
    """
    m = len(gallery)
    if m < 2:
        raise ValueError(f"the gallery has {m} entry, retrieval needs two or more")
    if truth.shape != (len(embeddings),) or truth.min() < 0 or truth.max() >= m:
        raise ValueError(
            f"truth has shape {truth.shape} and holds {truth.min()}..{truth.max()}; expected "
            f"({len(embeddings)},) places in a gallery of {m}"
        )
    n_distinct = len(np.unique(gallery.cpu().numpy(), axis=0))
    if n_distinct < m:
        raise ValueError(
            f"{m - n_distinct} of the {m} entries of the gallery are there twice; keep each once, "
            "or a picture has more than one right answer"
        )
    tops = [1, TOP] if m > TOP else [1]
    hits = retrieval_hits(embeddings, gallery, tops)
    found = {f"top{top}": of_top for top, of_top in zip(tops, hits, strict=True)}
    even = hubness(found["top1"])
    protocol = (
        f"cosine, gallery of {m}: {kind}; repeats averaged: {repeats}; selection: {selection}; "
        "each trial by itself; hubness (skewness of how often an entry is the nearest) "
        f"{even:.2f}"
    )
    return Retrieval(found, truth, even, protocol)


def hubness(hits: Floats) -> float:
    """Skewness of the number of times each entry is among the nearest (Radovanovic et al. 2010).

    Parameters
    ----------
    hits : array, (n, m)
        From `pairs.retrieval_hits`.

    Returns
    -------
    float
        0 where every entry is found equally often.
    """
    counts = hits.sum(axis=0)
    return 0.0 if np.allclose(counts, counts[0]) else float(skew(counts))
