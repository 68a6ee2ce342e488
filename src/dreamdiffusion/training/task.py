"""What the training loop is given: the base class of everything that is trained."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from dreamdiffusion.training.random_numbers import Draw


class Task(abc.ABC):
    """Modules, their loss on a batch, and their validation.

    A subclass sets `n_samples` and `modules` and defines `loss`; everything else has a default.

    Attributes
    ----------
    n_samples
        Number of training samples.
    modules
        Saved in checkpoints, by name; their parameters that require a gradient are trained.
    given
        What it is trained on beside the configuration, by name, as JSON holds it: a digest of the
        data, for one. A training that goes on has to be given the same.
    frozen
        Further modules that `loss` uses. They are not trained and not saved.
    whole_batch
        Whether the loss compares samples of a batch with each other, so that a batch cannot be
        computed in parts.
    n_places
        Length of the longest sequence that attention runs over, where it may be long; it decides
        which attention is the faster one (`training.device.autocast`).
    """

    n_samples: int
    modules: dict[str, nn.Module]
    given: Mapping[str, Any] = MappingProxyType({})
    frozen: Sequence[nn.Module] = ()
    whole_batch: bool = False
    n_places: int = 0

    @abc.abstractmethod
    def loss(self, indices: torch.Tensor, draw: Draw) -> dict[str, torch.Tensor]:
        """Return ``loss``, the mean over these samples, and other scalars to log.

        Parameters
        ----------
        indices
            int64 ``(n,)``, samples: the batch, or a part of it.
        draw
            The random numbers of these samples; nothing else may be random.
        """

    def validate(self) -> dict[str, float]:
        """Return figures on held-out data, by name; empty where nothing is held out."""
        return {}

    def preview(self) -> torch.Tensor | None:
        """Return images that show the state of the training, or None.

        Returns
        -------
        Tensor, (n, 3, height, width)
            In [0, 1].
        """
        return None

    def announce(self, indices: torch.Tensor) -> None:  # noqa: B027 - doing nothing is the default
        """Begin to read samples, int64 ``(n,)``, that the next step will ask `loss` for."""
