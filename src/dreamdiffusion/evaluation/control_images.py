"""The images of every control (see `controls`), drawn beside those of the EEG itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dreamdiffusion.decoders.base import Answer, Decoder
from dreamdiffusion.decoders.images import ImageDecoder, NotDrawnError
from dreamdiffusion.decoders.sampling import answer_batches, collect, decode_batches
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.evidence.control_inputs import nearest_pictures, phase_randomised, time_removed
from dreamdiffusion.evidence.controls import CONTROLS, controls_of_kind
from dreamdiffusion.files.pictures import to_tensor
from dreamdiffusion.models.embedder import Embed
from dreamdiffusion.trials.trials import Trials

logger = logging.getLogger(__name__)


SLOW_FINDINGS = {
    "block_design",
    "time_across_split",
    "fixed_order",
    "class_by_run",
    "drift",
    "prestimulus_signal",
}
"""Findings of an audit after which the EEG without its slow course is a control too."""


def controls_to_draw(
    config: EvaluateConfig, audits: Iterable[dict[str, Any] | None], decoder: ImageDecoder
) -> list[str]:
    """Return the names of the controls: those asked for, and what the audits ask for.

    Other ways to draw the same EEG are left out where the decoder has none.
    """
    others = set(controls_of_kind("other_drawing")) - set(decoder.other_drawings)
    names = ["shuffled_eeg", *(name for name in config.controls if name not in others)]
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
class ControlPainter:
    """Draws the controls of some trials.

    Attributes
    ----------
    decoder
        What draws.
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
    baselines
        Decoders beside the model, by name.
    """

    decoder: ImageDecoder
    trials: Trials
    tested: Trials
    rows: np.ndarray | None
    moved: np.ndarray
    train: np.ndarray | None
    sample: Any
    batch_size: int
    label_prompt: str
    embed: Embed
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
            make: Callable[[Any], Tensor] = getattr(self, f"_{name}")
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

    def _paint(self, draw: Callable[[np.ndarray], Tensor], description: str) -> Tensor:
        """Draw by places of the trials."""
        parts = answer_batches(
            lambda places: Answer(images=draw(places)),
            len(self.tested),
            self.batch_size,
            description,
        )
        return _images(collect(list(parts)))

    def _paint_eeg(self, eeg: np.ndarray, sample: Any, description: str) -> Tensor:
        trials = replace(self.tested, data=eeg)
        parts = decode_batches(
            self.decoder, trials, sample, self.numbers, self.batch_size, description
        )
        return _images(collect(list(parts)))

    def _shuffled_eeg(self, sample: Any) -> Tensor:
        return self._paint_eeg(self._eeg[self.moved], sample, "shuffled EEG")

    def _phase_randomised_eeg(self, sample: Any) -> Tensor:
        rng = np.random.default_rng([sample.seed, 3])
        return self._paint_eeg(phase_randomised(self._eeg, rng), sample, "phase-randomised EEG")

    def _time_removed_eeg(self, sample: Any) -> Tensor:
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

    def _mean_embedding(self, sample: Any) -> Tensor:
        numbers = self.numbers
        return self._paint(
            lambda places: self.decoder.draw_mean(sample, numbers[places]), "mean embedding"
        )

    def _no_eeg_prior(self, sample: Any) -> Tensor:
        numbers = self.numbers
        return self._paint(
            lambda places: self.decoder.draw_without_eeg(sample, numbers[places]), "no EEG"
        )

    def _label_only(self, sample: Any) -> Tensor:
        baseline = self.baselines.get("lda_pooled")
        if baseline is None:
            raise NotDrawnError("the model has no linear baseline that decodes a category")
        named = baseline.decode(self.tested).labels or []
        prompts = [self.label_prompt.format(category=str(n).replace("_", " ")) for n in named]
        numbers = self.numbers

        def draw(places: np.ndarray) -> Tensor:
            texts = [prompts[place] for place in places]
            return self.decoder.draw_texts(texts, sample, numbers[places])

        return self._paint(draw, "label only")

    def _posterior_draws(self, sample: Any) -> Tensor:
        return self._draw_otherwise("posterior_draws", sample)

    def _bank_picture(self, sample: Any) -> Tensor:
        return self._draw_otherwise("bank_picture", sample)

    def _draw_otherwise(self, name: str, sample: Any) -> Tensor:
        changes = self.decoder.other_drawings[name]
        label = CONTROLS[name].label
        return self._paint_eeg(self._eeg, sample.model_copy(update=dict(changes)), label)

    def _nearest_training_image(self, sample: Any) -> Tensor:
        trials = self.trials
        if trials.pairing == "category":
            paths = [path for pool in trials.image_pools().values() for path in pool]
        elif self.train is None:
            raise NotDrawnError("the training trials, whose pictures it chooses from, are not here")
        else:
            paths = list(dict.fromkeys(trials.select(self.train).images()))
        pixels = trials.read_pictures(paths, self.decoder.image_size)
        # Bytes are kept, and a part at a time is turned into numbers: there may be many pictures.
        parts = np.split(pixels, range(256, len(pixels), 256))
        gallery = torch.cat([self.embed(to_tensor(part)) for part in parts])
        embeddings = self.decoder.read(self.tested).embeddings
        assert embeddings is not None
        return to_tensor(pixels[nearest_pictures(embeddings, gallery)])[:, None]


def _images(answer: Answer) -> Tensor:
    assert answer.images is not None
    return answer.images
