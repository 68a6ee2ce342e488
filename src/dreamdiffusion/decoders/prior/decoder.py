"""The prior as a decoder of the contract: images that a person is likely to have seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F

from dreamdiffusion.decoders.base import CATEGORY, Answer, read_record, write_record
from dreamdiffusion.decoders.config import Condition, PriorConfig, PriorSampleConfig
from dreamdiffusion.decoders.dreamdiffusion.adapter import relative_source, resolve_source
from dreamdiffusion.decoders.dreamdiffusion.pairs import load_embeddings
from dreamdiffusion.decoders.images import NotDrawnError
from dreamdiffusion.decoders.prior.bank import Bank
from dreamdiffusion.decoders.prior.mean import MEAN, load_answer, mean_answer, save_answer
from dreamdiffusion.decoders.prior.posterior import (
    Evidence,
    PosteriorWeights,
    choose,
    fit_class_weight,
    fit_weights,
)
from dreamdiffusion.decoders.prompted import CHOICE, NOISE, PromptedDecoder, generators
from dreamdiffusion.decoders.reader.decoder import Reader
from dreamdiffusion.files.shipped import find_weights
from dreamdiffusion.models.embedder import PHOTOS, Embedder, load_embedder
from dreamdiffusion.models.generator.generator import check_text_generator
from dreamdiffusion.training.device import choose_device
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

BUNDLED = Path("weights/prior-scenes/bank")
"""A bank whose scenes need not be drawn and embedded again, which takes a minute and a half."""


@dataclass
class Prior(PromptedDecoder):
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
    clip
        Folder or hub id of the CLIP of the embeddings.
    mean
        Mean of the reader's answers for the training trials, of one row.
    """

    name = "prior"
    needs = frozenset({"labels", "pictures", "generator", "clip"})
    gives = frozenset({"images", "embeddings", "labels"})
    sample_schema = PriorSampleConfig
    other_drawings: ClassVar = {
        "posterior_draws": {"temperature": 1.0, "num_images_per_prompt": 4},
        "bank_picture": {"temperature": 0.0, "num_images_per_prompt": 1, "strength": 0.0},
    }

    reader: Reader
    bank: Bank
    weights: PosteriorWeights
    generator: Path
    clip: str | Path
    mean: Answer | None = None

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
            known = find_weights(BUNDLED)
            bank = Bank.of_scenes(config.bank_size, size, config.seed, embed, known)
        else:
            fit, pixels = trials.picture_fit, embed.image_size
            bank = Bank.of_folder(config.bank, size, embed, fit, pixels)
        reader = Reader.fit(trials, split, config)
        weights = _fit_weights(reader, bank, trials.select(split.validation), embed)
        mean = mean_answer(reader.decode(trials.select(split.train)))
        return cls(reader, bank, weights, config.generator, config.clip, mean)

    def draw(self, trials: Trials, sample: PriorSampleConfig, numbers: np.ndarray) -> Answer:
        """Choose pictures of the bank for each trial, and draw from them on."""
        answer = self.reader.decode(trials)
        places = self.choose(answer, sample, numbers)
        return replace(
            answer,
            images=self._draw(places, sample, numbers),
            drawn_from=[self.bank.describe(row) for row in places],
        )

    def choose(self, answer: Answer, sample: PriorSampleConfig, numbers: np.ndarray) -> np.ndarray:
        """Return the places in the bank, int ``(n, k)``, where the images of n trials start."""
        evidence = Evidence.of(answer, self.bank.embeddings, self.bank.attributes)
        log_posterior = evidence.log_posterior(self.weights, sample.temperature or 1.0)
        k = sample.num_images_per_prompt
        if not sample.temperature:
            return choose(log_posterior, k, None)
        return choose(log_posterior, k, generators(sample, numbers, CHOICE))

    def draw_mean(self, sample: PriorSampleConfig, numbers: np.ndarray) -> torch.Tensor:
        """Draw from the posterior of the training trials' mean answer, the same for all trials."""
        if self.mean is None:
            raise NotDrawnError("the prior keeps no mean of its training trials; fit it anew")
        evidence = Evidence.of(self.mean, self.bank.embeddings, self.bank.attributes)
        log_posterior = evidence.log_posterior(self.weights, sample.temperature or 1.0)
        k = sample.num_images_per_prompt
        same = log_posterior.expand(len(numbers), -1)
        drawn = generators(sample, numbers, CHOICE) if sample.temperature else None
        return self._draw(choose(same, k, drawn), sample, numbers)

    def draw_without_eeg(self, sample: PriorSampleConfig, numbers: np.ndarray) -> torch.Tensor:
        """Draw from pictures of the bank that are chosen by chance, all alike likely."""
        alike = torch.zeros(1, len(self.bank)).log_softmax(dim=1).expand(len(numbers), -1)
        places = choose(alike, sample.num_images_per_prompt, generators(sample, numbers, CHOICE))
        return self._draw(places, sample, numbers)

    def describe(self, sample: PriorSampleConfig) -> str:
        """Say in a sentence how images are drawn."""
        if sample.temperature:
            which = f"pictures drawn by their probability (temperature {sample.temperature:g})"
        elif sample.num_images_per_prompt == 1:
            which = "the best guess, the likeliest picture"
        else:
            which = f"the {sample.num_images_per_prompt} likeliest pictures"
        start = f"{which} of a bank of {len(self.bank):,}"
        if not sample.strength:
            return f"{start}, as it is; nothing is drawn"
        given = self._given(sample)
        return (
            f"{start}, and from there on {sample.strength:.0%} of the drawing anew, given "
            f"{'caption and embedding' if given == 'both' else given}"
        )

    def prototypes(self) -> dict[str, torch.Tensor]:
        """Return the mean embedding of the bank's pictures of each category."""
        categories = self.bank.attributes["category"].to_numpy()
        return {
            str(name): F.normalize(self.bank.embeddings[categories == name].mean(dim=0), dim=0)
            for name in np.unique(categories)
        }

    def picture_files(self) -> list[Path]:
        """Return the files of the bank; none of drawn scenes."""
        return self.bank.paths

    @property
    def image_size(self) -> int:
        return self.bank.size

    def _draw(
        self, places: np.ndarray, sample: PriorSampleConfig, numbers: np.ndarray
    ) -> torch.Tensor:
        """Draw from pictures of the bank on, ``(n, k)`` of them, ``(n, k, 3, H, W)``."""
        chosen = places.ravel()
        pictures = self.bank.pictures(chosen)
        if sample.strength:
            pictures = self._draw_from(chosen, pictures, sample, numbers)
        return pictures.unflatten(0, places.shape)

    def _draw_from(
        self,
        chosen: np.ndarray,
        pictures: torch.Tensor,
        sample: PriorSampleConfig,
        numbers: np.ndarray,
    ) -> torch.Tensor:
        generator, wanted = self.opened, self._given(sample)
        if wanted == "both" and generator.projection is None:
            wanted = "caption"
        embeddings = self.bank.embeddings[torch.from_numpy(chosen)]
        return generator.draw(
            None if wanted == "embedding" else self.bank.captions(chosen),
            None if wanted == "caption" else embeddings,
            start=pictures if sample.strength < 1 else None,
            strength=sample.strength,
            num_inference_steps=sample.num_inference_steps,
            guidance_scale=sample.guidance_scale,
            rng=[one for row in generators(sample, numbers, NOISE) for one in row],
        )

    def _given(self, sample: PriorSampleConfig) -> Condition:
        """Return what the generator is given of a picture: it understands no embedding of Lite0."""
        if str(self.clip) != PHOTOS or sample.condition == "caption":
            return sample.condition
        if sample.condition == "embedding":
            raise ValueError(
                f"condition embedding: no generator understands the embeddings of clip {PHOTOS}; "
                "give condition caption, or strength 0 for the photograph itself"
            )
        return "caption"

    def save(self, folder: Path) -> None:
        """Write reader, bank and weights."""
        write_record(
            folder,
            self.name,
            weights=asdict(self.weights),
            generator=relative_source(self.generator, folder),
            clip=relative_source(self.clip, folder),
        )
        self.reader.save(folder / "reader")
        self.bank.save(folder / "bank")
        if self.mean is not None:
            save_answer(self.mean, folder / MEAN)

    @classmethod
    def load(cls, folder: Path) -> Prior:
        """Read what `save` wrote."""
        record = read_record(folder, cls.name)
        generator = Path(resolve_source(record["generator"], folder))
        clip = generator / "clip"  # of a folder that does not say
        if "clip" in record:
            clip = resolve_source(record["clip"], folder)
        reader, bank = Reader.load(folder / "reader"), Bank.load(folder / "bank")
        weights, mean = PosteriorWeights(**record["weights"]), folder / MEAN
        known = load_answer(mean) if mean.is_file() else None
        return cls(reader, bank, weights, generator, clip, known)

    def facts(self) -> dict[str, Any]:
        return {**self.reader.facts(), "bank": len(self.bank), "weights": asdict(self.weights)}


def _fit_weights(reader: Reader, bank: Bank, held_out: Trials, embed: Embedder) -> PosteriorWeights:
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
    pairs = load_embeddings(held_out, embed)
    seen = pairs.embeddings[pairs.first]
    return fit_weights(about_bank, Evidence.of(answer, seen, held_out.metadata))
