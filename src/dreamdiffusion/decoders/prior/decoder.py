"""The prior as a decoder of the contract: images that a person is likely to have seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dreamdiffusion.decoders.base import Answer, Decoder, read_record, write_record
from dreamdiffusion.decoders.config import PriorConfig, PriorSampleConfig
from dreamdiffusion.decoders.prior.bank import Bank
from dreamdiffusion.decoders.prior.posterior import Evidence, Weights, choose, fit_weights
from dreamdiffusion.decoders.reader.decoder import Reader
from dreamdiffusion.files.keywords import with_keywords
from dreamdiffusion.files.pictures import read_images
from dreamdiffusion.models.generator.generator import load_embedder
from dreamdiffusion.training.device import choose_device
from dreamdiffusion.training.random_numbers import step_generator
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials


@dataclass
class Prior(Decoder):
    """A posterior over pictures that nobody saw, from what a reader says of the EEG.

    Its images are pictures of the bank: looked up, not drawn. With temperature 1 the images of a
    trial differ as much as the EEG leaves open; with temperature 0 they are the best guesses.

    Parameters
    ----------
    reader
        Labels and embeddings of the EEG.
    bank
        The pictures.
    weights
        Of similarity and labels, fitted on validation trials.
    """

    name = "prior"
    needs = frozenset({"labels", "pictures", "clip"})
    gives = frozenset({"images", "embeddings", "labels"})

    reader: Reader
    bank: Bank
    weights: Weights

    @classmethod
    def fit(cls, trials: Trials, split: Split, config: PriorConfig) -> Prior:
        """Train the reader, embed the bank, and fit the weights on the validation trials.

        Raises
        ------
        ValueError
            If there are no validation trials, or it is not known which picture was shown.
        """
        if not len(split.validation):
            raise ValueError(
                "the prior is scaled on validation trials, and the split has none; give "
                "split.validation or split.validation_fraction"
            )
        if trials.pairing != "stim_file":
            raise ValueError(
                "the prior is scaled on the pictures that were shown, and only their class is "
                "known; use the decoder reader"
            )
        reader = Reader.fit(trials, split, config)
        embed = load_embedder(config.clip, choose_device(config.runtime))
        size = config.image_size
        if config.bank is None:
            bank = Bank.of_scenes(config.bank_size, size, config.seed, embed)
        else:
            bank = Bank.of_folder(config.bank, size, embed)
        held_out = trials.select(split.validation)
        answer = reader.decode(held_out)
        pixels = torch.from_numpy(read_images(held_out.images(), size))
        seen = embed(pixels.permute(0, 3, 1, 2).float() / 255)
        about_bank = Evidence.of(answer, bank.embeddings, bank.attributes)
        about_own = Evidence.of(answer, seen, held_out.metadata)
        return cls(reader, bank, fit_weights(about_bank, about_own))

    @with_keywords(PriorSampleConfig, "sample")
    def decode(self, trials: Trials, sample: PriorSampleConfig) -> Answer:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Choose pictures of the bank for each trial; labels and embeddings are the reader's.

        Parameters
        ----------
        sample
            How they are chosen, or its fields as keywords.
        """
        answer = self.reader.decode(trials)
        k = sample.num_images_per_prompt
        evidence = Evidence.of(answer, self.bank.embeddings, self.bank.attributes)
        numbers = None
        if sample.temperature:
            numbers = [
                [step_generator(sample.seed, number, j) for j in range(k)]
                for number in range(len(trials))
            ]
        log_posterior = evidence.log_posterior(self.weights, sample.temperature or 1.0)
        places = choose(log_posterior, k, numbers)
        pictures = self.bank.pictures(places.ravel())
        return replace(answer, images=pictures.unflatten(0, places.shape))

    def save(self, folder: Path) -> None:
        """Write reader, bank and weights."""
        write_record(folder, self.name, weights=asdict(self.weights))
        self.reader.save(folder / "reader")
        self.bank.save(folder / "bank")

    @classmethod
    def load(cls, folder: Path) -> Prior:
        """Read what `save` wrote."""
        weights = Weights(**read_record(folder, cls.name)["weights"])
        return cls(Reader.load(folder / "reader"), Bank.load(folder / "bank"), weights)

    def to(self, device: str) -> Prior:
        self.reader.to(device)
        return self

    def facts(self) -> dict[str, Any]:
        return {**self.reader.facts(), "bank": len(self.bank), "weights": asdict(self.weights)}
