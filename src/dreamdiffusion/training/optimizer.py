"""The optimiser of a training: which parameters it moves, and how fast at which step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from dreamdiffusion.training.config import OptimConfig
from dreamdiffusion.training.sharding import cut_like


def learning_rate(optim: OptimConfig, step: int, steps: int) -> float:
    """Return the rate of one step: linear warm-up, then constant or half a cosine to zero."""
    if step < optim.warmup_steps:
        return optim.lr * (step + 1) / optim.warmup_steps
    if optim.schedule == "constant":
        return optim.lr
    done = (step - optim.warmup_steps) / max(1, steps - optim.warmup_steps)
    return optim.lr * 0.5 * (1 + math.cos(math.pi * done))


def trained_parameters(modules: dict[str, nn.Module]) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by ``module.parameter`` name, each once."""
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for prefix, module in modules.items():
        for name, parameter in module.named_parameters():
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                found[f"{prefix}.{name}"] = parameter
    return found


def build_optimizer(
    parameters: dict[str, nn.Parameter], optim: OptimConfig, lr_scale: dict[str, float]
) -> torch.optim.Optimizer:
    """Return AdamW with weight decay on parameters of more than one dimension only.

    Parameters
    ----------
    parameters
        See `trained_parameters`.
    lr_scale
        Factor on the learning rate by module name; 1 where a module is not named.

    Raises
    ------
    ValueError
        If ``optim.kind`` needs a package that is not installed.
    """
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in parameters.items():
        decay = optim.weight_decay if parameter.ndim > 1 else 0.0
        scale = lr_scale.get(name.split(".", 1)[0], 1.0)
        group = groups.setdefault(
            (decay, scale), {"params": [], "weight_decay": decay, "scale": scale}
        )
        group["params"].append(parameter)
    merged = list(groups.values())
    if optim.kind == "adamw8bit":
        try:
            import bitsandbytes  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ValueError(
                "optim.kind is adamw8bit, which needs bitsandbytes: pip install bitsandbytes"
            ) from error
        return bitsandbytes.optim.AdamW8bit(merged, lr=optim.lr, betas=optim.betas)
    return torch.optim.AdamW(merged, lr=optim.lr, betas=optim.betas, fused=True)


def restore_moments(
    optimizer: torch.optim.Optimizer, moments: dict[int, dict[str, torch.Tensor]]
) -> None:
    """Give an optimiser the state of a checkpoint, cut over processes as its parameters are.

    Parameters
    ----------
    moments
        State by the number of the parameter; empty leaves the optimiser as it is.
    """
    if not moments:
        return
    ordered = [p for group in optimizer.param_groups for p in group["params"]]
    content = optimizer.state_dict()
    content["state"] = {
        index: {key: cut_like(value, ordered[index]) for key, value in entry.items()}
        for index, entry in moments.items()
    }
    optimizer.load_state_dict(content)
