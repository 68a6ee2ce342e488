"""The prior as a decoder of the contract: images that a person is likely to have seen."""

from __future__ import annotations

import logging
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
from dreamdiffusion.decoders.prior.bank import BATCH, Bank
from dreamdiffusion.decoders.prior.features import low_level, picture_features, scales
from dreamdiffusion.decoders.prior.likelihood import Likelihood, log_likelihood
from dreamdiffusion.decoders.prior.mean import MEAN, load_answer, mean_answer, save_answer
from dreamdiffusion.decoders.prior.posterior import (
    Evidence,
    PosteriorWeights,
    choose,
    fit_class_weight,
    fit_weights,
    marginals,
    most_likely,
)
from dreamdiffusion.decoders.prompted import CHOICE, NOISE, PromptedDecoder, generators
from dreamdiffusion.decoders.reader.decoder import Reader
from dreamdiffusion.decoders.repair import say_repaired
from dreamdiffusion.files.shipped import find_weights
from dreamdiffusion.models.embedder import PHOTOS, Embedder, load_embedder
from dreamdiffusion.models.generator.generator import check_text_generator
from dreamdiffusion.training.device import choose_device
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

logger = logging.getLogger(__name__)

BUNDLED = Path("weights/prior-scenes/bank")
"""A bank whose scenes need not be drawn and embedded again, which takes a minute and a half."""
LIKELIHOOD = "likelihood.safetensors"


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
        Of similarity, labels and likelihood, fitted on validation trials.
    generator
        Folder of the generator.
    clip
        Folder or hub id of the CLIP of the embeddings.
    mean
        Mean of the reader's answers for the training trials, of one row.
    likelihood
        Of the EEG given each picture; None where the pictures of the trials are not known.
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
    likelihood: Likelihood | None = None

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
        _warn_of_unknown(bank, trials)
        reader = Reader.fit(trials, split, config)
        mean = mean_answer(reader.answer(reader.as_read(trials.select(split.train))))
        prior = cls(reader, bank, PosteriorWeights(0, 0), config.generator, config.clip, mean)
        held_out = trials.select(split.validation)
        if trials.pairing == "category":
            prior.weights = prior._weigh_classes(held_out)
        else:
            prior._weigh_pictures(trials.select(split.train), held_out, embed)
        return prior

    def _weigh_pictures(self, train: Trials, held_out: Trials, embed: Embedder) -> None:
        """Fit the likelihood on training trials, and the weights on validation trials."""
        bank, names = self.bank, self.reader.attributes
        words = {name: of for name, of in names.items() if name in bank.attributes}
        seen, cells = zip(
            *(_look(part, bank.size, embed) for part in (train, held_out)), strict=True
        )
        kinds = picture_features(cells[0], seen[0], train.metadata, words)
        train = self.reader.as_read(train)
        rows, features = np.arange(len(train)), np.concatenate(kinds, axis=1)
        likelihood = Likelihood.fit(train, rows, features, *scales(kinds))
        of_bank = picture_features(bank.described(), bank.embeddings, bank.attributes, words)
        likelihood.bank = likelihood.predict(np.concatenate(of_bank, axis=1))
        self.likelihood = likelihood
        answer, about_bank = self.compare(held_out)
        kinds = picture_features(cells[1], seen[1], held_out.metadata, words)
        predicted = likelihood.predict(np.concatenate(kinds, axis=1))
        likely = log_likelihood(likelihood.respond(self.reader.as_read(held_out)), predicted)
        own = Evidence.of(answer, seen[1], held_out.metadata, likely)
        self.weights = fit_weights(about_bank, own)

    def _weigh_classes(self, held_out: Trials) -> PosteriorWeights:
        """Fit the weights on validation trials of which the class is known alone."""
        shown = held_out.metadata[CATEGORY].astype(str).to_numpy()
        in_bank = self.bank.attributes[CATEGORY].to_numpy()
        lacking = sorted(set(shown) - set(in_bank))
        if lacking:
            raise ValueError(
                f"the bank has no picture of {', '.join(lacking)}, which validation trials saw; "
                "give a folder with one folder of pictures for each class (bank)"
            )
        _, about_bank = self.compare(held_out)
        return fit_class_weight(about_bank, torch.from_numpy(shown[:, None] == in_bank[None]))

    def compare(self, trials: Trials, say: bool = False) -> tuple[Answer, Evidence]:
        """Return the reader's answer, and what it and the likelihood say of the bank's pictures.

        ``say`` logs in how many trials channels were replaced.
        """
        own, likely = self.reader.as_read(trials), None
        if say:
            say_repaired(np.asarray(trials.data), np.asarray(own.data))
        answer = self.reader.answer(own)
        if self.likelihood is not None:
            likely = log_likelihood(self.likelihood.respond(own), self.likelihood.bank)
        return answer, Evidence.of(answer, self.bank.embeddings, self.bank.attributes, likely)

    def read(self, trials: Trials) -> Answer:
        """Give the reader's embeddings, and what the posterior over the bank says.

        The probabilities of attributes are those of the posterior, at temperature 1.
        """
        return self._worded(*self.compare(trials))

    def _worded(self, answer: Answer, evidence: Evidence) -> Answer:
        if self.likelihood is None:
            return answer
        posterior, tables = evidence.log_posterior(self.weights), answer.probabilities or {}
        return replace(answer, probabilities=marginals(posterior, self.bank.attributes, tables))

    def draw(self, trials: Trials, sample: PriorSampleConfig, numbers: np.ndarray) -> Answer:
        """Choose pictures of the bank for each trial, and draw from them on."""
        answer, evidence = self.compare(trials, say=True)
        places = self.choose(evidence, sample, numbers)
        return replace(
            self._worded(answer, evidence),
            images=self._draw(places, sample, numbers),
            drawn_from=[self.bank.describe(row) for row in places],
        )

    def choose(
        self, evidence: Evidence, sample: PriorSampleConfig, numbers: np.ndarray
    ) -> np.ndarray:
        """Return the places in the bank, int ``(n, k)``, where the images of n trials start."""
        log_posterior = evidence.log_posterior(self.weights, sample.temperature or 1.0)
        k = sample.num_images_per_prompt
        if not sample.temperature:
            return most_likely(log_posterior, k, numbers)
        return choose(log_posterior, k, generators(sample, numbers, CHOICE))

    def draw_mean(self, sample: PriorSampleConfig, numbers: np.ndarray) -> torch.Tensor:
        """Draw from the posterior of the training trials' mean answer, the same for all trials."""
        if self.mean is None:
            raise NotDrawnError("the prior keeps no mean of its training trials; fit it anew")
        likely = None
        if self.likelihood is not None:  # the mean trial is at 0
            likely = log_likelihood(
                np.zeros((1, self.likelihood.bank.shape[1])), self.likelihood.bank
            )
        evidence = Evidence.of(self.mean, self.bank.embeddings, self.bank.attributes, likely)
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
        if sample.strength < 1 and self.bank.size != generator.image_size:
            raise ValueError(
                f"strength is {sample.strength:g}, but the bank's pictures have {self.bank.size} "
                f"pixels and the generator draws {generator.image_size}; give strength 0 for the "
                f"bank's pictures themselves, or fit with image_size {generator.image_size}"
            )
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
        """Write reader, bank, weights and likelihood."""
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
        if self.likelihood is not None:
            self.likelihood.save(folder / LIKELIHOOD)

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
        path = folder / LIKELIHOOD
        likelihood = Likelihood.load(path) if path.is_file() else None
        if likelihood is not None and len(likelihood.bank) != len(bank):
            raise ValueError(
                f"{path} is of {len(likelihood.bank)} pictures, the bank has {len(bank)}; "
                "save both from one fit"
            )
        return cls(reader, bank, weights, generator, clip, known, likelihood)

    def facts(self) -> dict[str, Any]:
        return {**self.reader.facts(), "bank": len(self.bank), "weights": asdict(self.weights)}


def _look(trials: Trials, size: int, embed: Embedder) -> tuple[torch.Tensor, torch.Tensor]:
    """Return embeddings and cells of the pictures that trials saw."""
    pairs, paths = load_embeddings(trials, embed), trials.images()
    cells = []
    for start in range(0, len(paths), BATCH):
        pixels = torch.from_numpy(trials.read_pictures(paths[start : start + BATCH], size))
        cells.append(low_level(pixels.permute(0, 3, 1, 2).float() / 255))
    return pairs.embeddings[pairs.first], torch.cat(cells)


def _warn_of_unknown(bank: Bank, trials: Trials) -> None:
    """Say which categories were shown that no picture of the bank shows."""
    lacking = sorted(set(trials.metadata[CATEGORY].astype(str)) - set(bank.attributes[CATEGORY]))
    if lacking:
        logger.warning(
            "no picture of the bank shows %s%s, so images of such trials will show something else; "
            "give a folder with one folder of pictures for each category (bank)",
            ", ".join(lacking[:8]),
            f" and {len(lacking) - 8} more" if len(lacking) > 8 else "",
        )
