"""The optimiser: its rate at a step, its groups of parameters."""

from __future__ import annotations

import pytest
from torch import nn

from dreamdiffusion.training.config import OptimConfig
from dreamdiffusion.training.optimizer import (
    build_optimizer,
    learning_rate,
    trained_parameters,
)

# nn.Linear draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng


def test_rate_warms_up_then_falls_as_half_a_cosine() -> None:
    optim = OptimConfig(lr=2.0, warmup_steps=4, schedule="cosine")
    rates = [learning_rate(optim, step, 12) for step in (0, 1, 3, 4, 8, 12)]
    assert rates == pytest.approx([0.5, 1.0, 2.0, 2.0, 1.0, 0.0])
    constant = OptimConfig(lr=2.0, warmup_steps=2, schedule="constant")
    assert [learning_rate(constant, step, 12) for step in (0, 2, 11)] == [1.0, 2.0, 2.0]


def test_decay_only_on_matrices_and_rates_by_module() -> None:
    modules = {"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)}
    modules["b"].bias.requires_grad_(False)
    optimizer = build_optimizer(
        trained_parameters(modules), OptimConfig(weight_decay=0.3), {"b": 0.1}
    )
    told = {(g["weight_decay"], g["scale"], len(g["params"])) for g in optimizer.param_groups}
    assert told == {(0.3, 1.0, 1), (0.0, 1.0, 1), (0.3, 0.1, 1)}


def test_a_missing_optimiser_is_named() -> None:
    modules = {"a": nn.Linear(2, 2)}
    with pytest.raises(ValueError, match="pip install bitsandbytes"):
        build_optimizer(trained_parameters(modules), OptimConfig(kind="adamw8bit"), {})
