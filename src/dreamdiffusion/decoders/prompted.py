"""Decoders whose images a prompted generator draws from what a reader says: prior and caption."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from dreamdiffusion.decoders.base import Answer, pick_channels
from dreamdiffusion.decoders.images import ImageDecoder
from dreamdiffusion.decoders.reader.decoder import Reader
from dreamdiffusion.models.encoders.processor import EEGProcessor
from dreamdiffusion.models.generator.draw import PromptedGenerator
from dreamdiffusion.training.config import RuntimeConfig
from dreamdiffusion.training.device import choose_device
from dreamdiffusion.training.random_numbers import step_generator
from dreamdiffusion.trials.trials import Trials

_OPENING = threading.Lock()
"""transformers opens models without their numbers while another thread opens one."""
CHOICE, NOISE = 0, 1
"""Streams of random numbers."""

Generators = list[list[torch.Generator]]
"""Random numbers of each image of each trial, n rows of k."""


class PromptedDecoder(ImageDecoder):
    """A reader, and a generator that draws from captions and embeddings.

    Attributes
    ----------
    reader
        Labels and embeddings of the EEG.
    generator
        Folder of the generator.
    clip
        Folder or hub id of the CLIP of the embeddings.
    """

    reader: Reader
    generator: Path
    clip: str | Path

    def __post_init__(self) -> None:
        self._device, self._precision = torch.device("cpu"), "fp32"
        self._opened: PromptedGenerator | None = None

    @property
    def opened(self) -> PromptedGenerator:
        """The generator, opened when it is first needed."""
        with _OPENING:
            if self._opened is None:
                self._opened = PromptedGenerator.from_pretrained(self.generator).to(self._device)
        self._opened.precision = self._precision
        return self._opened

    def read(self, trials: Trials) -> Answer:
        """Give what the reader says."""
        return self.reader.decode(trials)

    @contextlib.contextmanager
    def repairing_before(self) -> Iterator[Callable[[Trials], Trials]]:
        repair, self.reader.repair = self.reader.repair, None
        own = self.reader.processor.config

        def repaired(trials: Trials) -> Trials:
            if repair is None or self.reader.cap is not None:  # which makes other channels of them
                return trials
            data = np.array(trials.data)
            places = [trials.ch_names.index(name) for name in own["ch_names"]]
            data[:, places] = repair(pick_channels(trials, own["ch_names"], own["sfreq"]))
            return replace(trials, data=data)

        try:
            yield repaired
        finally:
            self.reader.repair = repair

    def draw_texts(self, texts: list[str], sample: Any, numbers: np.ndarray) -> torch.Tensor:
        """Draw from texts alone, from noise on."""
        k = sample.num_images_per_prompt
        captions = [text for text in texts for _ in range(k)]
        images = self.draw_captions(captions, sample, generators(sample, numbers, NOISE))
        return images.unflatten(0, (-1, k))

    def draw_captions(self, captions: list[str], sample: Any, rng: Generators) -> torch.Tensor:
        """Draw a picture of each caption from noise on, ``(len(captions), 3, H, W)``."""
        return self.opened.draw(
            captions,
            num_inference_steps=sample.num_inference_steps,
            guidance_scale=sample.guidance_scale,
            rng=[one for row in rng for one in row],
        )

    def to(self, device: str, precision: str = "auto") -> Self:
        self.reader.to(device)
        self._device = choose_device(RuntimeConfig(device=device))
        self._precision = precision
        if self._opened is not None:
            self._opened.to(self._device)
        return self

    @property
    def processor(self) -> EEGProcessor:
        return self.reader.processor

    def scale_again(self, trials: Trials, train: np.ndarray) -> EEGProcessor:
        return self.reader.scale_again(trials, train)

    def clip_source(self) -> str | Path:
        return self.clip

    def generator_source(self) -> str | Path | None:
        return self.generator


def generators(sample: Any, numbers: np.ndarray, stream: int) -> Generators:
    """Return the random numbers of each image of each trial."""
    return [
        [
            step_generator(sample.seed, int(number), 2 * j + stream)
            for j in range(sample.num_images_per_prompt)
        ]
        for number in numbers
    ]
