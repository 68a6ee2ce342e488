"""Weights cut over the processes that share a training (FSDP), and put together again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(model: nn.Module, device: torch.device, count: int) -> None:
    """Cut all parameters of a model over processes; they are put together for each forward pass.

    One group for the whole model: gradients, moments and averages stay cut at all times, weights
    are whole while a step is computed.
    """
    fully_shard(model, mesh=init_device_mesh(device.type, (count,)))


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Put a tensor of any shape together; every process calls it for the same ones in turn."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def cut_like(tensor: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """Cut a whole tensor the way a parameter is cut; scalars stay whole."""
    tensor = tensor.to(parameter.device)
    if not isinstance(parameter, DTensor) or tensor.ndim == 0:
        return tensor
    return distribute_tensor(tensor, parameter.device_mesh, parameter.placements)


def make_whole(modules: Iterable[nn.Module]) -> None:
    """Replace cut parameters by whole ones, for good."""
    done: dict[nn.Parameter, nn.Parameter] = {}
    for module in modules:
        for owner in module.modules():
            for name, parameter in list(owner._parameters.items()):
                if not isinstance(parameter, DTensor):
                    continue
                if parameter not in done:  # modules may share it
                    values: Any = parameter.full_tensor().detach().clone()
                    done[parameter] = nn.Parameter(values, parameter.requires_grad)
                owner._parameters[name] = done[parameter]
