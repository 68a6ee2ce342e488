"""Means over training trials, beside a model: for evaluations that have no such trials."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dreamdiffusion.decoders.dreamdiffusion.pipeline import EEGToImagePipeline
from dreamdiffusion.files.whole import write_tensors
from dreamdiffusion.trials.trials import Trials

FILE = "training_means.safetensors"
_PROTOTYPE = "prototype/"


@dataclass
class TrainingMeans:
    """What the training trials are like on average.

    Attributes
    ----------
    tokens
        Mean of the EEG's tokens, ``(1, n_tokens, embed_dim)``.
    prototypes
        Mean CLIP embedding of the pictures of each category, ``(clip_dim,)``.
    """

    tokens: Tensor
    prototypes: dict[str, Tensor]

    def save(self, folder: Path) -> None:
        """Write them beside a model."""
        tensors = {_PROTOTYPE + name: mean for name, mean in self.prototypes.items()}
        tensors["mean_tokens"] = self.tokens
        write_tensors(folder / FILE, {k: t.contiguous().cpu() for k, t in tensors.items()})

    @classmethod
    def load(cls, folder: Path) -> TrainingMeans | None:
        """Read what `save` wrote; None where a model has none.

        Raises
        ------
        ValueError
            If the file is something else.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            tensors = load_file(path)
            tokens = tensors.pop("mean_tokens")
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"{path} does not hold means of training trials: {error}") from error
        return cls(tokens, {key.removeprefix(_PROTOTYPE): mean for key, mean in tensors.items()})


def mean_tokens(
    pipe: EEGToImagePipeline, trials: Trials, rows: np.ndarray, batch_size: int = 64
) -> Tensor:
    """Return the mean of the trials' EEG tokens, ``(1, n_tokens, embed_dim)`` on the CPU."""
    total: Any = 0
    for part in np.array_split(rows, -(-len(rows) // batch_size)):
        tokens = pipe.encode(np.asarray(trials.data[part]), trials.ch_names, trials.sfreq)
        total = total + tokens.double().sum(dim=0, keepdim=True).cpu()
    return (total / len(rows)).float()
