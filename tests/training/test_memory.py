"""Memory that a training takes, by hand, and frozen weights in half precision."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dreamdiffusion.training.memory import keep_frozen_in, peak_bytes, planned_bytes

# nn.Linear draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng


def test_planned_memory_by_hand() -> None:
    """A 3 x 2 matrix, a bias of 3 (trained) and a frozen 2 x 2 in half precision."""
    trained, frozen = nn.Linear(2, 3), nn.Linear(2, 2, bias=False).half()
    weights = (6 + 3) * 4 + 4 * 2
    parameters = list(trained.parameters())
    assert planned_bytes(parameters, [trained, frozen, trained], False) == weights + 3 * 9 * 4
    assert planned_bytes(parameters, [trained, frozen], True) == weights + 4 * 9 * 4
    assert peak_bytes(torch.device("cpu")) > 10_000_000


def test_frozen_weights_in_half_give_the_same_bits() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict(
        {
            "conv": nn.Conv2d(3, 8, 3, padding=1),
            "norm": nn.GroupNorm(2, 8),
            "frozen": nn.Linear(8, 8),
            "trained": nn.Linear(8, 8),
            "kept": nn.Linear(8, 4),
        }
    ).requires_grad_(False)
    model["trained"].requires_grad_(True)
    picture = torch.randn(2, 3, 4, 4)

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            x = model["norm"](model["conv"](picture)).flatten(2).mT
            y = model["kept"](model["trained"](model["frozen"](x)))
        y.float().square().mean().backward()
        return y.detach().clone(), model["trained"].weight.grad.clone()

    before = run()
    keep_frozen_in(torch.bfloat16, model, besides=model["kept"])
    half = {name for name, p in model.named_parameters() if p.dtype == torch.bfloat16}
    assert half == {"conv.weight", "conv.bias", "frozen.weight", "frozen.bias"}
    after = run()
    assert torch.equal(before[0], after[0]) and torch.equal(before[1], after[1])
