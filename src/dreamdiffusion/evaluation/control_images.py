"""The images of every control (see `controls`), drawn beside those of the EEG itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dreamdiffusion.decoders.base import Decoder
from dreamdiffusion.decoders.config import SampleConfig
from dreamdiffusion.decoders.dreamdiffusion.adapter import generator_source
from dreamdiffusion.decoders.dreamdiffusion.pipeline import EEGToImagePipeline
from dreamdiffusion.decoders.dreamdiffusion.training_means import FILE as MEANS
from dreamdiffusion.decoders.dreamdiffusion.training_means import TrainingMeans
from dreamdiffusion.decoders.sampling import Given, collect, draw_trials, eeg_of
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.evidence.control_inputs import nearest_pictures, phase_randomised, time_removed
from dreamdiffusion.files.pictures import to_tensor
from dreamdiffusion.models.generator.generator import Embed, image_size, open_text_pipeline
from dreamdiffusion.trials.trials import Trials

logger = logging.getLogger(__name__)


class NotDrawnError(Exception):
    """A control cannot be drawn for these trials; the message says why."""


SLOW_FINDINGS = {
    "block_design",
    "time_across_split",
    "fixed_order",
    "class_by_run",
    "drift",
    "prestimulus_signal",
}
"""Findings of an audit after which the EEG without its slow course is a control too."""


def controls_to_draw(config: EvaluateConfig, audits: Iterable[dict[str, Any] | None]) -> list[str]:
    """Return the names of the controls: those asked for, and what the audits ask for."""
    names = ["shuffled_eeg", *config.controls]
    if "time_removed_eeg" not in names and any(time_suspected(audit) for audit in audits):
        names.append("time_removed_eeg")
    return names


def time_suspected(audit: dict[str, Any] | None) -> bool:
    """Whether an audit found that time, or what changes slowly, may give the class away."""
    findings = (audit or {}).get("findings", [])
    return any(
        finding["name"] in SLOW_FINDINGS and finding["severity"] in ("severe", "warning")
        for finding in findings
    )


@dataclass
class TextPipelines:
    """Generators as they draw from text, each opened once."""

    _opened: dict[Path, Any] = field(default_factory=dict)

    def of(self, folder: Path) -> Any:
        """Open a generator's folder, or return what was opened before."""
        if folder not in self._opened:
            self._opened[folder] = open_text_pipeline(folder)
        return self._opened[folder]


@dataclass
class ControlPainter:
    """Draws the controls of some trials.

    Attributes
    ----------
    pipe, model, means
        The fine-tuned model, its folder, and the means of its training trials where it has them.
    trials
        The whole folder.
    tested
        What is scored: trials of it, or averages of some.
    rows
        Places of these trials in the folder; None of averages.
    moved
        Place among those tested of the trial whose EEG each gets when it is shuffled.
    train
        Places of the training trials; None where they are in another folder.
    sample
        How images are drawn; `num_images_per_prompt` of each control.
    label_prompt
        What the generator draws of a category, with ``{category}`` in it.
    texts
        What draws from text.
    baselines
        Decoders beside the model, by name.
    """

    pipe: EEGToImagePipeline
    model: Path
    means: TrainingMeans | None
    trials: Trials
    tested: Trials
    rows: np.ndarray | None
    moved: np.ndarray
    train: np.ndarray | None
    sample: SampleConfig
    batch_size: int
    label_prompt: str
    embed: Embed
    texts: TextPipelines = field(default_factory=TextPipelines)
    baselines: dict[str, Decoder] = field(default_factory=dict)

    def draw(self, names: list[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Draw controls by name.

        Returns
        -------
        images
            ``(n, k, 3, height, width)`` in [0, 1] of each control that could be drawn.
        left_out
            Why each of the others could not.
        """
        images: dict[str, Tensor] = {}
        left_out: dict[str, str] = {}
        for number, name in enumerate(names):
            make: Callable[[SampleConfig], Tensor] = getattr(self, f"_{name}")
            # Seeds of its own: nothing of the true trial's path may be left in a control.
            seed = self.sample.seed + 1_000_003 * (1 + number)
            try:
                images[name] = make(self.sample.model_copy(update={"seed": seed}))
            except NotDrawnError as reason:
                left_out[name] = str(reason)
                logger.info("control %s is not drawn: %s", name, reason)
        return images, left_out

    @property
    def numbers(self) -> np.ndarray:
        """Numbers that seeds depend on, int ``(n,)``: a trial keeps its own in a selection."""
        return np.arange(len(self.tested)) if self.rows is None else self.rows

    @property
    def _eeg(self) -> np.ndarray:
        return np.asarray(self.tested.data)

    def _paint(
        self, given: Given, sample: SampleConfig, description: str, pipe: Any = None
    ) -> Tensor:
        parts = draw_trials(
            pipe or self.pipe, given, self.numbers, sample, self.batch_size, description
        )
        return collect(list(parts))

    def _paint_eeg(self, eeg: np.ndarray, sample: SampleConfig, description: str) -> Tensor:
        given = eeg_of(eeg, self.trials.ch_names, self.trials.sfreq)
        return self._paint(given, sample, description)

    def _shuffled_eeg(self, sample: SampleConfig) -> Tensor:
        return self._paint_eeg(self._eeg[self.moved], sample, "shuffled EEG")

    def _phase_randomised_eeg(self, sample: SampleConfig) -> Tensor:
        rng = np.random.default_rng([sample.seed, 3])
        return self._paint_eeg(phase_randomised(self._eeg, rng), sample, "phase-randomised EEG")

    def _time_removed_eeg(self, sample: SampleConfig) -> Tensor:
        if self.rows is None:
            raise NotDrawnError("averages have no place in the course of a recording")
        metadata = self.trials.metadata
        keys = metadata[["subject", "session", "run"]].astype(str).agg("/".join, axis=1)
        runs = np.unique(keys.to_numpy(str), return_inverse=True)[1]
        # Over all trials of a recording: those that are scored may be a part of it.
        whole = np.isin(runs, runs[self.rows])
        cleaned = time_removed(
            np.asarray(self.trials.data[whole]),
            runs[whole],
            metadata["onset"].to_numpy(float)[whole],
        )
        place = np.cumsum(whole) - 1
        return self._paint_eeg(cleaned[place[self.rows]], sample, "EEG without time")

    def _mean_embedding(self, sample: SampleConfig) -> Tensor:
        if self.means is None:
            raise NotDrawnError(f"{self.model} has no {MEANS}; fine-tune it anew")
        mean = self.means.tokens
        return self._paint(
            lambda places: {"eeg_tokens": mean.expand(len(places), -1, -1)},
            sample,
            "mean embedding",
        )

    def _no_eeg_prior(self, sample: SampleConfig) -> Tensor:
        # The tokens only say how many images there are: their weight is nothing.
        like = self.pipe.encode(self._eeg[:1], self.trials.ch_names, self.trials.sfreq)
        return self._paint(
            lambda places: {"eeg_tokens": like.expand(len(places), -1, -1), "eeg_strength": 0.0},
            sample,
            "no EEG",
        )

    def _label_only(self, sample: SampleConfig) -> Tensor:
        baseline = self.baselines.get("lda_pooled")
        source = generator_source(self.model)
        if baseline is None:
            raise NotDrawnError("the model has no linear baseline that decodes a category")
        if not isinstance(source, Path) or not (source / "text_encoder").is_dir():
            raise NotDrawnError("the generator is no folder with a text encoder")
        named = baseline.decode(self.tested).labels or []
        prompts = [self.label_prompt.format(category=str(n).replace("_", " ")) for n in named]
        text = self.texts.of(source).to(self.pipe.device)
        text.scheduler = self.pipe.scheduler
        return self._paint(
            lambda places: {"prompt": [prompts[place] for place in places]},
            sample,
            "label only",
            text,
        )

    def _nearest_training_image(self, sample: SampleConfig) -> Tensor:
        trials = self.trials
        if trials.pairing == "category":
            paths = [path for pool in trials.image_pools().values() for path in pool]
        elif self.train is None:
            raise NotDrawnError("the training trials, whose pictures it chooses from, are not here")
        else:
            paths = list(dict.fromkeys(trials.select(self.train).images()))
        size = image_size(self.pipe.unet, self.pipe.vae)
        pixels = trials.read_pictures(paths, size)
        # Bytes are kept, and a part at a time is turned into numbers: there may be many pictures.
        parts = np.split(pixels, range(256, len(pixels), 256))
        gallery = torch.cat([self.embed(to_tensor(part)) for part in parts])
        eeg = np.array_split(self._eeg, -(-len(self.tested) // self.batch_size))
        embeddings = [self.pipe.embed(part, trials.ch_names, trials.sfreq) for part in eeg]
        return to_tensor(pixels[nearest_pictures(torch.cat(embeddings), gallery)])[:, None]
