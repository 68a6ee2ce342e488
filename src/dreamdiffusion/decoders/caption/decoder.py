"""The short cut that a user would take, as a decoder: words of the EEG, drawn from text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from dreamdiffusion.decoders.base import Answer, read_record, write_record
from dreamdiffusion.decoders.caption.words import caption_of
from dreamdiffusion.decoders.config import CaptionConfig, CaptionSampleConfig
from dreamdiffusion.decoders.dreamdiffusion.adapter import relative_source, resolve_source
from dreamdiffusion.decoders.images import NotDrawnError
from dreamdiffusion.decoders.prior.mean import MEAN, load_answer, mean_answer, save_answer
from dreamdiffusion.decoders.prompted import CHOICE, NOISE, PromptedDecoder, generators
from dreamdiffusion.decoders.reader.decoder import Reader
from dreamdiffusion.decoders.reader.pooling import Tables
from dreamdiffusion.models.generator.generator import check_text_generator
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials


@dataclass
class Caption(PromptedDecoder):
    """What a reader says of the EEG, written as a caption and drawn from noise.

    Parameters
    ----------
    reader
        Labels and embeddings of the EEG.
    generator
        Folder of the generator.
    clip
        Folder or hub id of the CLIP of the embeddings.
    mean
        Mean of the reader's answers for the training trials, of one row.
    """

    name = "caption"
    needs = frozenset({"labels", "pictures", "generator", "clip"})
    gives = frozenset({"images", "embeddings", "labels"})
    sample_schema = CaptionSampleConfig

    reader: Reader
    generator: Path
    clip: str | Path
    mean: Answer | None = None

    @classmethod
    def fit(cls, trials: Trials, split: Split, config: CaptionConfig) -> Caption:
        """Train the reader; nothing else is learned."""
        check_text_generator(config.generator)
        reader = Reader.fit(trials, split, config)
        mean = mean_answer(reader.decode(trials.select(split.train)))
        return cls(reader, config.generator, config.clip, mean)

    def draw(self, trials: Trials, sample: CaptionSampleConfig, numbers: np.ndarray) -> Answer:
        """Write k captions of each trial, and draw them."""
        answer = self.reader.decode(trials)
        captions = self.write(answer.probabilities or {}, sample, numbers)
        return replace(answer, images=self._draw(captions, sample, numbers), drawn_from=captions)

    def draw_mean(self, sample: CaptionSampleConfig, numbers: np.ndarray) -> torch.Tensor:
        """Draw the words of the training trials' mean answer, the same for all trials."""
        if self.mean is None:
            raise NotDrawnError("the decoder keeps no mean of its training trials; fit it anew")
        tables = self.mean.probabilities or {}
        return self._draw(
            self.write(_repeat(tables, len(numbers)), sample, numbers), sample, numbers
        )

    def draw_without_eeg(self, sample: CaptionSampleConfig, numbers: np.ndarray) -> torch.Tensor:
        """Draw words that are chosen by chance, all values alike likely."""
        tables = {
            name: pd.DataFrame(np.full((1, len(of)), 1 / len(of)), columns=pd.Index(of))
            for name, of in self.reader.attributes.items()
        }
        by_chance = sample.model_copy(update={"temperature": 1.0})
        captions = self.write(_repeat(tables, len(numbers)), by_chance, numbers)
        return self._draw(captions, sample, numbers)

    def write(
        self, tables: Tables, sample: CaptionSampleConfig, numbers: np.ndarray
    ) -> list[list[str]]:
        """Return the captions of n trials, k of each, from the probabilities of their words.

        With temperature 0 the most probable value of each attribute, k times; else each value is
        drawn by its probability.
        """
        return [
            [
                caption_of(
                    {
                        name: str(table.columns[_pick(table.to_numpy()[place], sample, one)])
                        for name, table in tables.items()
                    }
                )
                for one in row
            ]
            for place, row in enumerate(generators(sample, numbers, CHOICE))
        ]

    def _draw(
        self, captions: list[list[str]], sample: CaptionSampleConfig, numbers: np.ndarray
    ) -> torch.Tensor:
        rows = [text for row in captions for text in row]
        images = self.draw_captions(rows, sample, generators(sample, numbers, NOISE))
        return images.unflatten(0, (len(captions), -1))

    def describe(self, sample: CaptionSampleConfig) -> str:
        """Say in a sentence how images are drawn."""
        how = "drawn by their probability" if sample.temperature else "the most probable ones"
        return f"the words that the reader gives ({how}) as a caption, drawn from noise"

    @property
    def image_size(self) -> int:
        return self.opened.image_size

    def save(self, folder: Path) -> None:
        """Write the reader, and where the generator lies."""
        write_record(
            folder,
            self.name,
            generator=relative_source(self.generator, folder),
            clip=relative_source(self.clip, folder),
        )
        self.reader.save(folder / "reader")
        if self.mean is not None:
            save_answer(self.mean, folder / MEAN)

    @classmethod
    def load(cls, folder: Path) -> Caption:
        """Read what `save` wrote."""
        record = read_record(folder, cls.name)
        generator = Path(resolve_source(record["generator"], folder))
        clip = resolve_source(record["clip"], folder)
        known = load_answer(folder / MEAN) if (folder / MEAN).is_file() else None
        return cls(Reader.load(folder / "reader"), generator, clip, known)

    def facts(self) -> dict[str, Any]:
        return self.reader.facts()


def _repeat(tables: Tables, n: int) -> Tables:
    """Return one row n times."""
    return {name: pd.concat([table] * n, ignore_index=True) for name, table in tables.items()}


def _pick(chances: np.ndarray, sample: CaptionSampleConfig, rng: torch.Generator) -> int:
    """Return the place of the most probable value, or of one drawn by its probability."""
    if not sample.temperature:
        return int(chances.argmax())
    weights = torch.tensor(chances).log().div(sample.temperature).softmax(dim=0)
    return int(torch.multinomial(weights, 1, generator=rng))
