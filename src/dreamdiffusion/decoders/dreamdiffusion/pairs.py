"""Which pictures go with which trial, as latents and CLIP embeddings that are computed once.

There is no path by which a missing picture is replaced: every picture is read before the first
step, and one that is missing or unreadable ends the run by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dreamdiffusion.files.pictures import to_tensor
from dreamdiffusion.models.embedder import Embedder
from dreamdiffusion.models.generator.generator import Generator, encode_images
from dreamdiffusion.training.random_numbers import Draw
from dreamdiffusion.trials.trials import Trials


@dataclass
class Pairs:
    """Which pictures go with which trial, and what is known of each picture.

    Parameters
    ----------
    latents
        ``(n_pictures, channels, h, w)``, scaled; ``(n_pictures, 0)`` where none are needed.
    embeddings
        ``(n_pictures, clip_dim)``, unit norm.
    first, count
        int64 ``(n_trials,)``: the pictures of a trial are ``first .. first + count - 1``; one
        where the picture is known, the whole class where only that is.
    """

    latents: torch.Tensor
    embeddings: torch.Tensor
    first: torch.Tensor
    count: torch.Tensor

    def choose(self, indices: torch.Tensor, draw: Draw) -> torch.Tensor:
        """Return a place for each trial, int64 ``(n,)``; a random one of a class."""
        count = self.count[indices]
        place = (draw.rand() * count).long()
        return self.first[indices] + place.minimum(count - 1)

    def mean_embedding(self, trials: np.ndarray) -> torch.Tensor:
        """Return the mean embedding ``(clip_dim,)`` of the pictures of some trials, each once."""
        which = torch.from_numpy(trials)
        spans = zip(self.first[which].tolist(), self.count[which].tolist(), strict=True)
        pictures = sorted({picture for first, n in spans for picture in range(first, first + n)})
        return self.embeddings[pictures].mean(dim=0)


def load_pairs(trials: Trials, generator: Generator) -> Pairs:
    """Read every picture of the trials, and encode each once.

    Raises
    ------
    FileNotFoundError, ValueError
        If a picture is missing or cannot be read, or a trial has none.
    """
    paths, first, count = paired_pictures(trials)
    images = to_tensor(trials.read_pictures(paths, generator.image_size))
    device = generator.vae.device
    latents, embeddings = [], []
    for part in images.split(256):
        latents.append(encode_images(generator.vae, part.to(device)).cpu())
        embeddings.append(generator.clip(part))
    return Pairs(torch.cat(latents), torch.cat(embeddings), first, count)


def load_embeddings(trials: Trials, embed: Embedder) -> Pairs:
    """Read every picture of the trials, and embed each once; there are no latents."""
    paths, first, count = paired_pictures(trials)
    parts = [paths[i : i + 256] for i in range(0, len(paths), 256)]
    embeddings = [embed(to_tensor(trials.read_pictures(part, embed.image_size))) for part in parts]
    return Pairs(torch.empty(len(paths), 0), torch.cat(embeddings), first, count)


def paired_pictures(trials: Trials) -> tuple[list[Path], torch.Tensor, torch.Tensor]:
    """Return the pictures of all trials, each once, and which of them go with each trial.

    Returns
    -------
    paths, first, count
        As `Pairs` has them; the last two int64 ``(n_trials,)``.
    """
    if trials.pairing == "category":
        pools = trials.image_pools()
        paths = [path for pool in pools.values() for path in pool]
        sizes = np.array([len(pool) for pool in pools.values()])
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        numbers = {name: i for i, name in enumerate(pools)}
        which = trials.metadata["pool"].map(numbers).to_numpy()  # pyright: ignore[reportArgumentType]
        first, count = starts[which], sizes[which]
    else:
        of_trial = trials.images()
        paths = sorted(set(of_trial))
        place = {path: i for i, path in enumerate(paths)}
        first = np.array([place[path] for path in of_trial])
        count = np.ones(len(trials), dtype=np.int64)
    return paths, torch.from_numpy(first).long(), torch.from_numpy(count).long()
