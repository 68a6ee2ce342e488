"""The loss of a reader: InfoNCE with CLIP's image embeddings, and cross-entropy of attributes.

Each alone leaves something out: InfoNCE reads colours and layout but confuses categories, labels
alone lose the layout (docs/decoders.md).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from dreamdiffusion.decoders.augment import augment_eeg
from dreamdiffusion.decoders.config import ReaderConfig
from dreamdiffusion.decoders.dreamdiffusion.pairs import Pairs
from dreamdiffusion.decoders.reader.network import ReaderNetwork
from dreamdiffusion.models.generator.tasks import contrastive_loss
from dreamdiffusion.training.random_numbers import Draw
from dreamdiffusion.training.task import Task

UNKNOWN = -100
"""Label of a value that no training trial has; the cross-entropy leaves it out."""


class ReadingTask(Task):
    """Training of one network of a reader.

    Parameters
    ----------
    eeg
        All trials at the model's scale, ``(n_trials, n_chans, n_times)``.
    labels
        Of each attribute, place of the value, int64 ``(n_trials,)``; `UNKNOWN` where it is none of
        the training trials'.
    pairs
        Which pictures go with which trial, and their embeddings.
    train, validation
        Places of the trials of the two sides.
    """

    whole_batch = True

    def __init__(
        self,
        config: ReaderConfig,
        network: ReaderNetwork,
        eeg: torch.Tensor,
        labels: dict[str, torch.Tensor],
        pairs: Pairs,
        train: np.ndarray,
        validation: np.ndarray,
    ) -> None:
        self.config, self.network, self.eeg = config, network, eeg
        self.labels, self.pairs = labels, pairs
        self.train, self.validation = torch.from_numpy(train), torch.from_numpy(validation)
        self.n_samples = len(train)
        self.modules: dict[str, nn.Module] = {"network": network}

    def loss(self, indices: torch.Tensor, draw: Draw) -> dict[str, torch.Tensor]:
        chosen = self.train[indices]
        eeg = augment_eeg(self.eeg[chosen], self.config, draw)
        pictures = self.pairs.choose(chosen, draw)
        with torch.random.fork_rng():  # dropout draws from the global numbers
            torch.manual_seed(int(draw.randint(0, 2**31 - 1)[0]))
            scores, embedding = self.network(eeg.to(self.network.device))
        return self._losses(scores, embedding, chosen, pictures, self.config.label_smoothing)

    def _losses(
        self,
        scores: dict[str, torch.Tensor],
        embedding: torch.Tensor,
        trials: torch.Tensor,
        pictures: torch.Tensor,
        smoothing: float,
    ) -> dict[str, torch.Tensor]:
        device = embedding.device
        target = self.pairs.embeddings[pictures].to(device)
        logits = self.network.log_scale.exp().clamp(max=100) * embedding @ target.T
        contrastive = contrastive_loss(logits, pictures.to(device))
        label = torch.zeros((), device=device)
        for name, of_attribute in scores.items():
            truth = self.labels[name][trials].to(device)
            if (truth != UNKNOWN).any():
                label = label + F.cross_entropy(of_attribute, truth, label_smoothing=smoothing)
        config = self.config
        loss = config.contrastive_weight * contrastive + config.label_weight * label
        return {"loss": loss, "contrastive": contrastive, "label": label}

    def validate(self) -> dict[str, float]:
        """Return losses and shares of right values on the validation trials."""
        trials = self.validation
        if not len(trials):
            return {}
        self.network.eval()
        pictures = self.pairs.choose(trials, Draw(self.config.seed, 0, len(trials), stream=1))
        read = [self.network(part.to(self.network.device)) for part in self.eeg[trials].split(512)]
        scores = {name: torch.cat([of[name] for of, _ in read]) for name in self.labels}
        embedding = torch.cat([of for _, of in read])
        losses = self._losses(scores, embedding, trials, pictures, 0.0)
        figures = {f"validation_{name}": float(value) for name, value in losses.items()}
        for name, of_attribute in scores.items():
            right = of_attribute.argmax(dim=1).cpu() == self.labels[name][trials]
            figures[f"validation_{name}_top1"] = float(right.float().mean())
        return figures
