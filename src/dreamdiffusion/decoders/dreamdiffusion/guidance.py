"""Guidance: the weighted sum of what the U-Net predicts under several conditions.

Ho and Salimans 2022, classifier-free guidance.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from dreamdiffusion.decoders.dreamdiffusion.condition import Condition
from dreamdiffusion.models.generator.generator import unet_extras

Weighted = list[tuple[Condition, float]]
"""Conditions, and the weight of the prediction under each; the weights sum to 1."""


def guide(condition: Condition, scale: float, strength: float) -> Weighted:
    """Return ``none + scale * strength * (condition - none)`` as conditions and weights."""
    none = Condition(*map(torch.zeros_like, condition))
    weight = scale * strength
    calls = [(none, 1 - weight), (condition, weight)]
    return [(given, w) for given, w in calls if w]


def repeat(calls: Weighted, n: int) -> Weighted:
    """Repeat each trial's condition for its n images."""
    return [(Condition(*(part.repeat_interleave(n, 0) for part in c)), w) for c, w in calls]


def predict(
    unet: UNet2DConditionModel,
    noisy: torch.Tensor,
    timestep: torch.Tensor,
    calls: Weighted,
    pixels: int,
    guidance_scale: float,
) -> torch.Tensor:
    """Return the weighted sum of the U-Net's predictions, of the shape of ``noisy (n, c, h, w)``.

    Conditions of one length are computed in one go. ``pixels`` is the size of the picture, which
    some U-Nets take; one that was distilled with guidance takes the scale.
    """
    by_length: dict[int, Weighted] = {}
    for condition, weight in calls:
        by_length.setdefault(condition.encoder_hidden_states.shape[1], []).append(
            (condition, weight)
        )
    total: Any = 0
    for group in by_length.values():
        states, times = (torch.cat(parts) for parts in zip(*(c for c, _ in group), strict=True))
        predicted = unet(
            torch.cat([noisy] * len(group)),
            timestep,
            encoder_hidden_states=states,
            class_labels=times,
            return_dict=False,
            **unet_extras(unet, len(times), pixels, guidance_scale),
        )[0]
        for part, (_, weight) in zip(predicted.chunk(len(group)), group, strict=True):
            total = total + weight * part
    return total
