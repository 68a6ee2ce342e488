"""What the pipeline's call refuses, each with one error that says what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from dreamdiffusion.models.generator.generator import check_draws, check_noise_schedule

CALLBACK_TENSORS = ["latents", "noise_pred"]
"""Tensors that a callback can ask for."""

StepCallback = Callable[[Any, int, torch.Tensor, dict[str, torch.Tensor]], "dict[str, Any] | None"]
"""Pipeline, number of the step, timestep, tensors asked for -> tensors that replace them."""


def check_output_type(output_type: str) -> None:
    """Refuse an unknown kind of output."""
    if output_type not in ("pil", "np", "pt", "latent"):
        raise ValueError(f"output_type is {output_type!r}, expected pil, np, pt or latent")


def check_strengths(**strengths: float) -> None:
    """Refuse a strength outside 0 to 1."""
    for name, value in strengths.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}, expected a number from 0 to 1")


def check_scheduler(scheduler: Any, trained: Any) -> None:
    """Refuse a scheduler that takes the U-Net's output for something else than it is.

    Parameters
    ----------
    trained
        The scheduler that the U-Net came with.
    """
    kind, prediction_type = (
        getattr(each, "config", {}).get("prediction_type") for each in (scheduler, trained)
    )
    if kind != prediction_type:
        name = type(scheduler).__name__
        raise ValueError(
            f"the scheduler {name} has prediction_type {kind!r}, the U-Net predicts "
            f"{prediction_type!r}; make it with {name}.from_config(pipe.scheduler.config)"
        )
    check_draws(scheduler)
    check_noise_schedule(scheduler, trained.alphas_cumprod)


def check_callback(callback: Any, tensor_inputs: Sequence[str]) -> None:
    """Refuse what cannot be called, and tensors that are not there."""
    if callback is not None and not callable(callback):
        raise ValueError(f"callback_on_step_end is {callback!r}, expected a function")
    unknown = [name for name in tensor_inputs if name not in CALLBACK_TENSORS]
    if unknown:
        raise ValueError(
            f"callback_on_step_end_tensor_inputs names {', '.join(unknown)}; this pipeline offers "
            f"{', '.join(CALLBACK_TENSORS)}"
        )


def check_generators(generator: Any, n_images: int) -> None:
    """Refuse a list of generators that is not one for each image."""
    if isinstance(generator, list) and len(generator) != n_images:
        raise ValueError(
            f"there are {len(generator)} generators, expected one, or a list of one for each of "
            f"the {n_images} images (trials x num_images_per_prompt)"
        )
