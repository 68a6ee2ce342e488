"""Images of many trials: in batches, on one device or several, each from random numbers of its own.

What is drawn for a trial depends on the seed, the number of the trial and the number of the image
alone, neither on the batch it is in nor on how many processes share the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from dreamdiffusion.decoders.config import SampleConfig
from dreamdiffusion.files.progress import progress
from dreamdiffusion.training.device import process_count, process_index
from dreamdiffusion.training.random_numbers import step_generator

Given = Callable[[np.ndarray], dict[str, Any]]
"""Places of trials, int (n,) -> what the pipeline is given of them, as keywords."""


def eeg_of(eeg: np.ndarray, ch_names: list[str], sfreq: float) -> Given:
    """Give the pipeline the EEG of the trials, volts ``(n_trials, n_chans, n_times)``."""
    return lambda places: {"eeg": eeg[places], "ch_names": ch_names, "sfreq": sfreq}


def draw_trials(
    pipe: DiffusionPipeline,
    given: Given,
    numbers: np.ndarray,
    sample: SampleConfig,
    batch_size: int,
    description: str,
) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """Draw this process's share of the trials, batch by batch.

    Parameters
    ----------
    given
        What the images are drawn from.
    numbers
        Numbers of the trials, int ``(n_trials,)``.
    description
        What the progress bar says.

    Yields
    ------
    places, images
        Places in ``numbers``, and their images ``(n, k, 3, height, width)`` in [0, 1] on the CPU.
    """
    k = sample.num_images_per_prompt
    starts = range(0, len(numbers), batch_size)[process_index() :: process_count()]
    for start in progress(starts, description, unit="batch"):
        places = np.arange(start, min(start + batch_size, len(numbers)))
        images = pipe(  # pyright: ignore[reportCallIssue]
            **given(places),
            num_inference_steps=sample.num_inference_steps,
            guidance_scale=sample.guidance_scale,
            num_images_per_prompt=k,
            generator=[
                step_generator(sample.seed, int(numbers[place]), j)
                for place in places
                for j in range(k)
            ],
            output_type="pt",
            return_dict=False,
        )[0]
        yield places, images.float().cpu().clamp(0, 1).unflatten(0, (-1, k))


def collect(parts: list[tuple[np.ndarray, torch.Tensor]]) -> torch.Tensor:
    """Return all processes' images, ``(n, k, 3, height, width)``, in the order of trials."""
    if process_count() > 1:
        PartialState(cpu=not torch.cuda.is_available())
        parts = gather_object(parts)
    order = np.argsort(np.concatenate([places for places, _ in parts]))
    return torch.cat([images for _, images in parts])[torch.from_numpy(order)]
