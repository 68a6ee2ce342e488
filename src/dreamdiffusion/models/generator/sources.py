"""Where the pictures of a training come from: a fixed set, or scenes drawn as they are needed."""

from __future__ import annotations

import functools
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from dreamdiffusion.models.picture_prints import picture_prints
from dreamdiffusion.models.pictures import FreshScenes, Pictures
from dreamdiffusion.training.prefetch import Prefetch
from dreamdiffusion.training.random_numbers import batch_indices

MOST_FRESH = 400_000
"""Fresh scenes of a stage, after which the first come again: a print of each is kept for good."""


class Source(Protocol):
    """Pictures by their place, 0 to ``n_samples``."""

    n_samples: int

    def read(self, indices: torch.Tensor) -> Pictures:
        """Return the pictures at these places, int64 ``(n,)``."""
        ...

    def announce(self, indices: torch.Tensor) -> None:
        """Begin to make those that the next step will read."""
        ...

    def prints(self, steps: int) -> NDArray[np.uint64]:
        """Return the prints of what was made for the first ``steps`` steps."""
        ...


class FixedSource:
    """Pictures that are all in memory."""

    def __init__(self, pictures: Pictures) -> None:
        self.n_samples = len(pictures.captions)
        self.read = pictures.select

    def announce(self, indices: torch.Tensor) -> None:
        """Nothing has to be made."""

    def prints(self, steps: int) -> NDArray[np.uint64]:
        return np.zeros(0, np.uint64)


class SceneSource:
    """Drawn scenes that are made for the step that reads them, and a print of each.

    What is read does not depend on how many processes draw.

    Parameters
    ----------
    steps, batch_size
        Of the training; the scenes are new at every step up to `MOST_FRESH` of them.
    workers
        Processes that draw a batch ahead; 0: the step draws its own.
    """

    def __init__(self, size: int, seed: int, steps: int, batch_size: int, workers: int = 0) -> None:
        self.n_samples = min(steps * batch_size, MOST_FRESH)
        self._scenes, self._seed, self._batch_size = FreshScenes(size, seed), seed, batch_size
        self._prints = np.zeros(self.n_samples, np.uint64)
        self._known = np.zeros(self.n_samples, bool)
        self._pool, self._workers = _drawing_processes(workers) if workers else None, workers
        self._ahead = Prefetch(self._draw)

    def read(self, indices: torch.Tensor) -> Pictures:
        return self._ahead(indices.numpy())

    def announce(self, indices: torch.Tensor) -> None:
        if self._pool:
            self._ahead.announce(indices.numpy())

    def prints(self, steps: int) -> NDArray[np.uint64]:
        """Return the prints of all scenes of the first ``steps`` steps.

        Those that an earlier process read before this one resumed are drawn once more.
        """
        batches = [
            batch_indices(self.n_samples, self._batch_size, step, self._seed)
            for step in range(steps)
        ]
        seen = torch.cat(batches).unique().numpy()
        missing = seen[~self._known[seen]]
        for first in range(0, len(missing), 1024):
            self._draw(missing[first : first + 1024])
        return self._prints[seen]

    def _draw(self, rows: NDArray[np.int64]) -> Pictures:
        if self._pool is None:
            pictures = self._scenes.read(torch.from_numpy(rows))
        else:
            parts = [part for part in np.array_split(rows, self._workers) if len(part)]
            drawn = list(self._pool.map(_draw_rows, [self._scenes] * len(parts), parts))
            captions = [caption for part in drawn for caption in part.captions]
            pictures = Pictures(np.concatenate([part.pixels for part in drawn]), captions)
        self._prints[rows] = picture_prints(pictures.pixels)
        self._known[rows] = True
        return pictures


@functools.cache
def _drawing_processes(workers: int) -> ProcessPoolExecutor:
    """Return the processes that draw, which later trainings of this process use again."""
    # Forked, they would share the threads and the GPU of this one.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _draw_rows(scenes: FreshScenes, rows: NDArray[np.int64]) -> Pictures:
    torch.set_num_threads(1)  # the processes share the cores already
    return scenes.read(torch.from_numpy(rows))
