"""A small random network of Lite0's shape, for tests where the extra `photos` may be missing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dreamdiffusion.models import embedder


class SmallLite(nn.Module):
    """Pictures of 16 pixels -> 12 features, none negative, and 5 logits; the same every time."""

    size, n_features = 16, 12

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.mix = nn.Parameter(torch.randn(12, 3, 4, 4, generator=rng), requires_grad=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        size = (self.size, self.size)
        pixels = nn.functional.interpolate(images, size, mode="bilinear", antialias=True)
        found = nn.functional.conv2d(2 * pixels - 1, self.mix, stride=4).relu().mean((2, 3))
        return found + 0.01, found[:, :5]


def stand_in(monkeypatch: pytest.MonkeyPatch) -> SmallLite:
    """Let `clip photos` open the small network."""
    network = SmallLite()
    monkeypatch.setattr(embedder, "open_lite", lambda name, what: network)
    return network
