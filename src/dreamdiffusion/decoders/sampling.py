"""Images of many trials: in batches, on one device or several, each from random numbers of its own.

What is drawn for a trial depends on the seed, the number of the trial and the number of the image
alone, neither on the batch it is in nor on how many processes share the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from dreamdiffusion.decoders.base import Answer
from dreamdiffusion.decoders.config import PaperSampleConfig
from dreamdiffusion.decoders.images import ImageDecoder
from dreamdiffusion.files.progress import progress
from dreamdiffusion.files.schema import Schema
from dreamdiffusion.training.device import process_count, process_index
from dreamdiffusion.training.random_numbers import step_generator
from dreamdiffusion.trials.trials import Trials

Part = tuple[np.ndarray, Answer]
"""Places of trials, int (n,), and what was answered for them."""


def answer_batches(
    answer: Callable[[np.ndarray], Answer], n_trials: int, batch_size: int, description: str
) -> Iterator[Part]:
    """Answer for this process's share of the trials, batch by batch.

    Parameters
    ----------
    answer
        Places of trials, int ``(n,)`` -> answer for them.
    description
        What the progress bar says.
    """
    starts = range(0, n_trials, batch_size)[process_index() :: process_count()]
    for start in progress(starts, description, unit="batch"):
        places = np.arange(start, min(start + batch_size, n_trials))
        yield places, answer(places)


def decode_batches(
    decoder: ImageDecoder,
    trials: Trials,
    sample: Schema,
    numbers: np.ndarray,
    batch_size: int,
    description: str,
) -> Iterator[Part]:
    """Decode this process's share of the trials, batch by batch; see `ImageDecoder.decode`."""

    def decode(places: np.ndarray) -> Answer:
        return decoder.decode(trials.select(places), sample, numbers[places])

    return answer_batches(decode, len(trials), batch_size, description)


def collect(parts: list[Part]) -> Answer:
    """Return all processes' answers as one, in the order of the trials."""
    if process_count() > 1:
        PartialState(cpu=not torch.cuda.is_available())
        parts = gather_object(parts)
    return join_answers([answer for _, answer in sorted(parts, key=lambda part: part[0][0])])


def join_answers(answers: list[Answer]) -> Answer:
    """Put answers of one decoder after each other."""
    first = answers[0]
    tables = [answer.probabilities for answer in answers if answer.probabilities is not None]
    images = [answer.images for answer in answers if answer.images is not None]
    embeddings = [answer.embeddings for answer in answers if answer.embeddings is not None]
    return Answer(
        images=torch.cat(images) if images else None,
        embeddings=torch.cat(embeddings) if embeddings else None,
        probabilities={
            # Decoders of several folds may not all know every value.
            name: pd.concat([table[name] for table in tables], ignore_index=True).fillna(0.0)
            for name in tables[0]
        }
        if tables
        else None,
        drawn_from=None
        if first.drawn_from is None
        else [row for answer in answers for row in answer.drawn_from or []],
    )


def draw_pipeline(
    pipe: DiffusionPipeline, given: dict[str, Any], numbers: np.ndarray, sample: PaperSampleConfig
) -> torch.Tensor:
    """Draw the images of trials by a pipeline of diffusers, in one batch.

    Parameters
    ----------
    given
        What the images are drawn from, as keywords.
    numbers
        Numbers of the trials, int ``(n_trials,)``.

    Returns
    -------
    torch.Tensor
        ``(n_trials, k, 3, height, width)`` in [0, 1], on the CPU.
    """
    k = sample.num_images_per_prompt
    images = pipe(  # pyright: ignore[reportCallIssue]
        **given,
        num_inference_steps=sample.num_inference_steps,
        guidance_scale=sample.guidance_scale,
        num_images_per_prompt=k,
        generator=[
            step_generator(sample.seed, int(number), j) for number in numbers for j in range(k)
        ],
        output_type="pt",
        return_dict=False,
    )[0]
    return images.float().cpu().clamp(0, 1).unflatten(0, (-1, k))
