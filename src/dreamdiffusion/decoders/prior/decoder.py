"""The prior as a decoder of the contract: images that a person is likely to have seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dreamdiffusion.decoders.base import CATEGORY, Answer, Decoder, read_record, write_record
from dreamdiffusion.decoders.config import PriorConfig, PriorSampleConfig
from dreamdiffusion.decoders.dreamdiffusion.adapter import relative_source, resolve_source
from dreamdiffusion.decoders.prior.bank import Bank
from dreamdiffusion.decoders.prior.posterior import (
    Evidence,
    PosteriorWeights,
    choose,
    fit_class_weight,
    fit_weights,
)
from dreamdiffusion.decoders.reader.decoder import Reader
from dreamdiffusion.files.keywords import with_keywords
from dreamdiffusion.models.generator.draw import PromptedGenerator
from dreamdiffusion.models.generator.generator import (
    Embed,
    check_text_generator,
    load_embedder,
)
from dreamdiffusion.training.config import RuntimeConfig
from dreamdiffusion.training.device import choose_device
from dreamdiffusion.training.random_numbers import step_generator
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

STREAM = 1
"""Of the random numbers of drawing; those of choosing are others."""


@dataclass
class Prior(Decoder):
    """A posterior over pictures that nobody saw, from what a reader says of the EEG.

    Each image is drawn by a generator from a chosen picture of the bank on, under its caption and
    its CLIP embedding; with strength 0 it is that picture itself. With temperature 1 the images of
    a trial differ as much as the EEG leaves open; with temperature 0 they are the best guesses.

    Parameters
    ----------
    reader
        Labels and embeddings of the EEG.
    bank
        The pictures.
    weights
        Of similarity and labels, fitted on validation trials.
    generator
        Folder of the generator.
    """

    name = "prior"
    needs = frozenset({"labels", "pictures", "generator", "clip"})
    gives = frozenset({"images", "embeddings", "labels"})

    reader: Reader
    bank: Bank
    weights: PosteriorWeights
    generator: Path

    def __post_init__(self) -> None:
        self._device = torch.device("cpu")
        self._opened: PromptedGenerator | None = None

    @classmethod
    def fit(cls, trials: Trials, split: Split, config: PriorConfig) -> Prior:
        """Train the reader, embed the bank, and fit the weights on the validation trials.

        Raises
        ------
        FileNotFoundError
            If CLIP, bank or generator are missing.
        ValueError
            If there are no validation trials, or the bank lacks the class of one.
        """
        if not len(split.validation):
            raise ValueError(
                "the prior is scaled on validation trials, and the split has none; give "
                "split.validation or split.validation_fraction"
            )
        check_text_generator(config.generator)
        # The reader takes longest: whatever may be missing is opened before.
        embed = load_embedder(config.clip, choose_device(config.runtime))
        size = config.image_size
        if config.bank is None:
            bank = Bank.of_scenes(config.bank_size, size, config.seed, embed)
        else:
            bank = Bank.of_folder(config.bank, size, embed, trials.picture_fit)
        reader = Reader.fit(trials, split, config)
        weights = _fit_weights(reader, bank, trials.select(split.validation), embed)
        return cls(reader, bank, weights, config.generator)

    @with_keywords(PriorSampleConfig, "sample")
    def decode(self, trials: Trials, sample: PriorSampleConfig) -> Answer:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Choose pictures of the bank for each trial; labels and embeddings are the reader's.

        Parameters
        ----------
        sample
            How they are chosen, or its fields as keywords.
        """
        answer = self.reader.decode(trials)
        places = self.choose(answer, sample)
        chosen = places.ravel()
        images = self.bank.pictures(chosen)
        if sample.strength:
            images = self._draw(chosen, images, sample)
        return replace(answer, images=images.unflatten(0, places.shape))

    def choose(self, answer: Answer, sample: PriorSampleConfig) -> np.ndarray:
        """Return the places in the bank, int ``(n, k)``, where the images of n trials start."""
        evidence = Evidence.of(answer, self.bank.embeddings, self.bank.attributes)
        log_posterior = evidence.log_posterior(self.weights, sample.temperature or 1.0)
        k = sample.num_images_per_prompt
        if not sample.temperature:
            return choose(log_posterior, k, None)
        numbers = [
            [step_generator(sample.seed, number, j) for j in range(k)]
            for number in range(len(log_posterior))
        ]
        return choose(log_posterior, k, numbers)

    def _draw(
        self, places: np.ndarray, pictures: torch.Tensor, sample: PriorSampleConfig
    ) -> torch.Tensor:
        """Draw from pictures of the bank on."""
        if self._opened is None:
            self._opened = PromptedGenerator.from_pretrained(self.generator).to(self._device)
        wanted = sample.condition
        if wanted == "both" and self._opened.projection is None:
            wanted = "caption"
        embeddings = self.bank.embeddings[torch.from_numpy(places)]
        return self._opened.draw(
            None if wanted == "embedding" else self.bank.captions(places),
            None if wanted == "caption" else embeddings,
            start=pictures if sample.strength < 1 else None,
            strength=sample.strength,
            num_inference_steps=sample.num_inference_steps,
            guidance_scale=sample.guidance_scale,
            rng=step_generator(sample.seed, 0, STREAM),
        )

    def save(self, folder: Path) -> None:
        """Write reader, bank and weights."""
        generator = relative_source(self.generator, folder)
        write_record(folder, self.name, weights=asdict(self.weights), generator=generator)
        self.reader.save(folder / "reader")
        self.bank.save(folder / "bank")

    @classmethod
    def load(cls, folder: Path) -> Prior:
        """Read what `save` wrote."""
        record = read_record(folder, cls.name)
        generator = Path(resolve_source(record["generator"], folder))
        reader, bank = Reader.load(folder / "reader"), Bank.load(folder / "bank")
        return cls(reader, bank, PosteriorWeights(**record["weights"]), generator)

    def to(self, device: str) -> Prior:
        self.reader.to(device)
        self._device = choose_device(RuntimeConfig(device=device))
        if self._opened is not None:
            self._opened.to(self._device)
        return self

    def facts(self) -> dict[str, Any]:
        return {**self.reader.facts(), "bank": len(self.bank), "weights": asdict(self.weights)}


def _fit_weights(reader: Reader, bank: Bank, held_out: Trials, embed: Embed) -> PosteriorWeights:
    """Fit the weights on validation trials, by the pictures they saw or by their class."""
    answer = reader.decode(held_out)
    about_bank = Evidence.of(answer, bank.embeddings, bank.attributes)
    if held_out.pairing == "category":
        shown = held_out.metadata[CATEGORY].astype(str).to_numpy()
        lacking = sorted(set(shown) - set(bank.attributes[CATEGORY]))
        if lacking:
            raise ValueError(
                f"the bank has no picture of {', '.join(lacking)}, which validation trials saw; "
                "give a folder with one folder of pictures for each class (bank)"
            )
        right = shown[:, None] == bank.attributes[CATEGORY].to_numpy()[None]
        return fit_class_weight(about_bank, torch.from_numpy(right))
    pixels = torch.from_numpy(held_out.read_pictures(held_out.images(), bank.size))
    seen = embed(pixels.permute(0, 3, 1, 2).float() / 255)
    return fit_weights(about_bank, Evidence.of(answer, seen, held_out.metadata))
