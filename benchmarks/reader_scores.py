"""Scores of each trial for `reader.py`: of labels, of embeddings, of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from dreamdiffusion.decoders.base import Answer
from dreamdiffusion.decoders.prior.bank import Bank
from dreamdiffusion.evidence.statistics.bootstrap import bootstrap_means, percentile_interval
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.files.pictures import read_images, to_tensor
from dreamdiffusion.models.embedder import Embed
from dreamdiffusion.models.judge.judge import Judge, load_judge
from dreamdiffusion.trials.trials import Trials

ROOT = Path(__file__).parents[1]
ATTRIBUTES = ("category", "color", "place", "background")

PLACED = 3000
"""Pictures of the bank that teach which place an object has."""

Scores = dict[str, np.ndarray]
"""Score of each trial ``(n,)``, by its name."""


@dataclass
class Side:
    """Trials with what was shown in them, and what scores images of them."""

    trials: Trials
    shown: torch.Tensor
    seen: torch.Tensor
    embed: Embed
    judge: Judge
    place_of: LinearDiscriminantAnalysis

    @classmethod
    def of(cls, trials: Trials, runs: list[str], bank: Bank, embed: Embed) -> Side:
        """Take whole runs."""
        chosen = trials.select(np.flatnonzero(trials.metadata["run"].isin(runs)))
        shown = to_tensor(read_images(chosen.images(), bank.size, chosen.picture_fit))
        # The judge names no place; a linear classifier of where edges are does, fitted on the bank.
        some = np.arange(PLACED)
        place_of = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        place_of.fit(edges(bank.pictures(some)), bank.attributes["place"].iloc[some])
        judge = load_judge(ROOT / "weights" / "judge")
        return cls(chosen, shown, embed(shown), embed, judge, place_of)

    def _right(self, named: np.ndarray, attribute: str) -> np.ndarray:
        return (named == self.trials.metadata[attribute].astype(str).to_numpy()).astype(float)

    def retrieval(self, embeddings: torch.Tensor) -> np.ndarray:
        """Whether a trial's own picture is the nearest among those of its run."""
        runs = self.trials.metadata["run"].to_numpy()
        similar = (embeddings @ self.seen.T).numpy()
        similar[runs[:, None] != runs[None]] = -np.inf
        return (similar.argmax(axis=1) == np.arange(len(runs))).astype(float)

    def score_answer(self, answer: Answer) -> Scores:
        """Score labels, and the embedding where there is one."""
        scores = {}
        for name, chances in (answer.probabilities or {}).items():
            named = chances.columns.to_numpy()[chances.to_numpy().argmax(axis=1)]
            scores[name] = self._right(named, name)
        if answer.embeddings is not None:
            scores["retrieval"] = self.retrieval(answer.embeddings)
        return _with_both(scores)

    def score_images(self, images: torch.Tensor) -> Scores:
        """Score one image of each trial ``(n, 3, height, width)``."""
        named = self.judge.predict(images)
        embeddings = self.embed(images)
        words = {"category": self.judge.categories, "color": self.judge.colors}
        scores = {
            name: self._right(np.array(of)[named[name].argmax(dim=1).numpy()], name)
            for name, of in words.items()
        }
        scores["place"] = self._right(np.asarray(self.place_of.predict(edges(images))), "place")
        scores["retrieval"] = self.retrieval(embeddings)
        one, two = (part.flatten(1) - part.mean(dim=(1, 2, 3))[:, None] for part in
                    (images, self.shown))  # fmt: skip
        product = (one * two).sum(dim=1) / (one.norm(dim=1) * two.norm(dim=1)).clamp(min=1e-9)
        scores["pcc"] = product.double().numpy()
        return _with_both(scores)


def edges(images: torch.Tensor) -> np.ndarray:
    """Return the size of grey values' steps in 16 x 16 fields, ``(n, 256)``."""
    grey = images.mean(dim=1)
    across, down = grey.diff(dim=2)[:, 1:], grey.diff(dim=1)[:, :, 1:]
    return F.adaptive_avg_pool2d(across.abs() + down.abs(), 16).flatten(1).numpy()


def _with_both(scores: Scores) -> Scores:
    if {"category", "color"} <= scores.keys():
        scores["both"] = scores["category"] * scores["color"]
    return scores


def summary(rows: dict[str, Scores], design: Exchange, against: str) -> dict:
    """Return mean and 95 % interval of every score, and of its difference to one row.

    All rows are of the same trials, which are drawn again together.
    """
    keys = [(row, name) for row, scores in rows.items() for name in scores]
    table = np.stack([rows[row][name] for row, name in keys], axis=1)
    draws = bootstrap_means(table, design, 2000, np.random.default_rng(0))
    place = {key: at for at, key in enumerate(keys)}
    found: dict = {row: {} for row in rows}
    for (row, name), at in place.items():
        entry = {"value": table[:, at].mean(), "ci95": percentile_interval(draws[:, at])}
        other = place.get((against, name))
        if other is not None and row != against:
            entry["final_minus_this"] = (table[:, other] - table[:, at]).mean()
            entry["difference_ci95"] = percentile_interval(draws[:, other] - draws[:, at])
        found[row][name] = entry
    return found
