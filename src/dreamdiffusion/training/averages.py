"""A running average of the trained weights, which draws and scores better than the last ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from dreamdiffusion.training.sharding import cut_like


class RunningAverage:
    """Exponential moving average of parameters; keeps nothing where the decay is 0.

    Parameters
    ----------
    parameters
        The trained parameters by name, perhaps cut over processes.
    decay
        Share of the old average in the new one, 0 to 1; 0 keeps no average.
    stored
        Averages of a checkpoint, whole; empty for those of the first step.
    """

    def __init__(
        self, parameters: dict[str, nn.Parameter], decay: float, stored: dict[str, torch.Tensor]
    ) -> None:
        self.decay, self._parameters = decay, parameters
        self.values: dict[str, torch.Tensor] = {}
        if decay:
            self.values = {
                key: cut_like(stored[key], p) if stored else p.detach().clone()
                for key, p in parameters.items()
            }

    def update(self, step: int) -> None:
        """Move the average towards the weights that step number ``step`` gave."""
        if not self.values:
            return
        # Early on the average follows closely, or it would remember the random start.
        decay = min(self.decay, (1 + step) / (10 + step))
        current = [self._parameters[key].detach() for key in self.values]
        torch._foreach_lerp_(list(self.values.values()), current, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]

    @torch.no_grad()
    def copy_to_parameters(self) -> None:
        """Overwrite the weights with their average."""
        for key, value in self.values.items():
            self._parameters[key].copy_(value)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Put the average in place of the weights for the time of the block."""
        kept = {key: self._parameters[key].detach().clone() for key in self.values}
        self.copy_to_parameters()
        try:
            yield
        finally:
            with torch.no_grad():
                for key, value in kept.items():
                    self._parameters[key].copy_(value)
