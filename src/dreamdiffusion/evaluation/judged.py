"""What a judge names in images, and what that says about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from dreamdiffusion.models.judge.judge import Judge, label_indices

DRAWS = "posterior_draws"
"""The control whose images stand beside the best guess in a report."""
Ints = NDArray[np.int64]


@dataclass
class Judged:
    """What a judge names in several sets of images of the same n trials.

    Attributes
    ----------
    judge : Judge
    names : dict of str to list of str
        ``category`` and perhaps ``color`` -> the names that the judge chooses from.
    truth : dict of str to array of int, (n,)
        Which of these was shown.
    chosen : dict of str to dict
        Set of images -> the same, (n, k): which of these the judge gives to each sample.
    not_scored : dict of str to str
        Metric -> why it cannot be scored.
    """

    judge: Judge
    names: dict[str, list[str]]
    truth: dict[str, Ints]
    chosen: dict[str, dict[str, Ints]]
    not_scored: dict[str, str]

    @classmethod
    def of(
        cls, judge: Judge, sets: Mapping[str, Tensor], metadata: pd.DataFrame | Mapping[str, Any]
    ) -> Judged:
        """Let a judge name the images (n, k, 3, H, W) of every set.

        Raises
        ------
        ValueError
            If the judge does not know a category of the trials.
        """
        truth = {"category": np.array(label_indices(judge.categories, metadata["category"]))}
        not_scored: dict[str, str] = {}
        if "color" not in metadata:
            not_scored["color_top1"] = "the data have no colours"
        elif not judge.colors:
            not_scored["color_top1"] = "the judge was trained without colours"
        else:
            truth["color"] = np.array(label_indices(judge.colors, metadata["color"], "color"))
        names = {"category": judge.categories, "color": judge.colors}
        chosen = {key: _labels(judge, images) for key, images in sets.items()}
        return cls(judge, names, truth, chosen, not_scored)

    def about(self, seen: Tensor | None) -> dict[str, Any]:
        """Say what the judge learned from and, on the pictures seen (n, 3, H, W), its accuracy.

        The accuracy is the ceiling of its scores.
        """
        found: dict[str, Any] = {"trained_on": str(self.judge.config["trained_on"])}
        if seen is not None:
            probabilities = self.judge.predict(seen)
            for name, labels in self.truth.items():
                right = probabilities[name].argmax(1).numpy() == labels
                found[f"{name}_accuracy_on_seen"] = float(right.mean())
        return found

    def confusion(self) -> dict[str, Any]:
        """Count what was shown x what the judge names, over all images."""
        categories = self.names["category"]
        counts = np.zeros((len(categories),) * 2, dtype=int)
        named = self.chosen["generated"]["category"]
        np.add.at(counts, (np.repeat(self.truth["category"], named.shape[1]), named.ravel()), 1)
        return {"names": categories, "counts": counts.tolist()}

    def trials(self) -> dict[str, Any]:
        """Return for each trial what was shown and what the judge names in each image."""
        found: dict[str, Any] = {}
        for name, labels in self.truth.items():
            names, chosen = self.names[name], self.chosen["generated"][name]
            found[name] = [names[i] for i in labels]
            found[f"judged_{name}"] = [[names[i] for i in row] for row in chosen]
        if DRAWS in self.chosen:
            names, chosen = self.names["category"], self.chosen[DRAWS]["category"]
            found["judged_draws"] = [[names[i] for i in row] for row in chosen]
        return found


def _labels(judge: Judge, images: Tensor) -> dict[str, Ints]:
    """Label (n, k) that the judge gives to each sample, by head."""
    found = judge.predict(images.flatten(0, 1))
    return {key: p.argmax(1).view(images.shape[:2]).numpy() for key, p in found.items()}
