"""How much memory a training takes: what can be said before it starts, and what it took."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable

import torch
from torch import nn


def planned_bytes(
    trained: Iterable[nn.Parameter], modules: Iterable[nn.Module], keeps_average: bool
) -> int:
    """Return the bytes of all weights, and of gradient, moments and average of the trained ones.

    What a step keeps for the backward pass comes on top and grows with its samples.

    Parameters
    ----------
    trained
        Parameters that the optimiser moves.
    modules
        Everything that lies on the device; a parameter of several modules counts once.
    keeps_average
        Whether a running average of the trained weights is kept.
    """
    weights = {id(p): p for module in modules for p in module.parameters()}
    fixed = sum(p.numel() * p.element_size() for p in weights.values())
    copies = 3 + int(keeps_average)  # gradient, AdamW's two moments
    return fixed + copies * sum(p.numel() * p.element_size() for p in trained)


def keep_frozen_in(dtype: torch.dtype, module: nn.Module, besides: nn.Module) -> None:
    """Store matrices that are not trained as autocast multiplies them.

    Autocast rounds them to ``dtype`` in every step. Rounded once, the products are the same bits,
    the weights take half the room, and no step waits for the rounding.

    Parameters
    ----------
    dtype
        See `runtime.compute_dtype`.
    module
        Its linear and convolution layers are changed, in place.
    besides
        Layers that keep what they have.
    """
    kept = set(besides.modules())
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer not in kept:
            for parameter in layer.parameters(recurse=False):
                if not parameter.requires_grad:
                    parameter.data = parameter.data.to(dtype)


def peak_bytes(device: torch.device) -> int:
    """Return the most memory in use so far: of this process on a GPU, else of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
