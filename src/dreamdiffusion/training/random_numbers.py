"""The random numbers of a training: of a step, of a sample, the order of the samples."""

from __future__ import annotations

import functools

import numpy as np
import torch


def step_generator(seed: int, step: int, stream: int = 0) -> torch.Generator:
    """Return the random numbers of one training step, a pure function of its arguments.

    A run that resumes at step *n* thereby draws what the uninterrupted run drew at *n*, without
    any stored generator state. The generator lives on the CPU, so every device draws the same.
    """
    state = np.random.SeedSequence([seed, step, stream]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed((int(state[0]) << 32 | int(state[1])) & (2**63 - 1))


class Draw:
    """The random numbers of one step for some of its samples.

    Numbers are drawn for the whole batch and cut, so that a sample gets the same ones whether the
    batch is computed at once, in parts one after the other, or by several processes.

    Parameters
    ----------
    batch_size
        Samples of the whole batch.
    part
        Which of them; the first axis of every number drawn.
    """

    def __init__(
        self, seed: int, step: int, batch_size: int, part: slice = slice(None), stream: int = 0
    ) -> None:
        self._generator = step_generator(seed, step, stream)
        self._batch_size, self._part = batch_size, part

    def rand(self, *shape: int) -> torch.Tensor:
        """Return uniform numbers in [0, 1), float32 ``(n, *shape)``."""
        return torch.rand(self._batch_size, *shape, generator=self._generator)[self._part]

    def spread(self) -> torch.Tensor:
        """Return uniform numbers in [0, 1), float32 ``(n,)``, one in every n-th of the batch.

        Shares of a batch that are cut from these are as near to their size as they can be.
        """
        place = torch.randperm(self._batch_size, generator=self._generator)
        jitter = torch.rand(self._batch_size, generator=self._generator)
        return ((place + jitter) / self._batch_size)[self._part]

    def randn(self, *shape: int) -> torch.Tensor:
        """Return standard normal numbers, float32 ``(n, *shape)``."""
        return torch.randn(self._batch_size, *shape, generator=self._generator)[self._part]

    def randint(self, low: int, high: int, *shape: int) -> torch.Tensor:
        """Return whole numbers from ``low`` up to but not ``high``, int64 ``(n, *shape)``."""
        size = (self._batch_size, *shape)
        return torch.randint(low, high, size, generator=self._generator)[self._part]


def batch_indices(n_samples: int, batch_size: int, step: int, seed: int) -> torch.Tensor:
    """Return the samples of one training step, int64 ``(batch_size,)``.

    The data order is an endless chain of permutations, each a pure function of ``seed`` and its
    number; step *n* reads places ``n * batch_size`` onwards, so any step can be found directly.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    rounds = places // n_samples
    indices = np.empty(batch_size, dtype=np.int64)
    for number in np.unique(rounds):
        here = rounds == number
        indices[here] = _order(n_samples, int(number), seed)[places[here] % n_samples]
    return torch.from_numpy(indices)


@functools.lru_cache(maxsize=2)  # drawing a permutation of millions takes longer than a step may
def _order(n_samples: int, number: int, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, number]).permutation(n_samples)
