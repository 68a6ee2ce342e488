"""What a fine-tuned model makes of held-out trials: images, those of the controls, embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .config_evidence import EvaluateConfig
from .control_images import ControlPainter
from .decoders.linear import LinearDecoder
from .design import Design
from .drawing import collect, draw_trials, eeg_of
from .generator import change_scheduler
from .pipeline import EEGToImagePipeline
from .runtime import autocast, choose_device
from .scoring import Embed
from .trials import Trials

BASELINES = ("lda_class", "lda_pooled")


@dataclass
class Decoded:
    """What came of n trials.

    Attributes
    ----------
    rows
        Places of the trials in their folder, int (n,).
    moved
        Place among ``rows`` of the trial whose EEG each got when it was shuffled.
    generated
        ``(n, k, 3, height, width)`` in [0, 1].
    controls
        The same of each control that could be drawn, with a k of its own.
    left_out
        Why each of the others could not.
    embeddings
        Of the EEG in CLIP's image space, unit norm ``(n, d)``.
    named
        Categories that each linear baseline beside the model names, n each.
    """

    rows: np.ndarray
    moved: np.ndarray
    generated: Tensor
    controls: dict[str, Tensor]
    left_out: dict[str, str]
    embeddings: Tensor
    named: dict[str, list[str]]


def decode(
    config: EvaluateConfig,
    model: Path,
    trials: Trials,
    rows: np.ndarray,
    train: np.ndarray | None,
    controls: Sequence[str],
    embed: Embed,
) -> Decoded:
    """Decode trials with one model, from their EEG and by every control.

    Parameters
    ----------
    rows, train
        Places of the trials to decode, and of those the model was trained on, where they are in
        the same folder.
    controls
        Names (`controls.CONTROLS`).
    embed
        Of pictures, in the space that the model's EEG embedding is aligned with.
    """
    device = choose_device(config.runtime)
    pipe = EEGToImagePipeline.from_pretrained(model).to(device)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = change_scheduler(pipe.scheduler, config.sample.scheduler)
    design = Design.of(trials.metadata.iloc[rows])
    moved = design.derangement(np.random.default_rng([config.sample.seed, 0]))
    eeg = np.asarray(trials.data[rows])
    painter = ControlPainter(
        pipe=pipe,
        model=model,
        trials=trials,
        rows=rows,
        moved=moved,
        train=train,
        sample=config.sample.model_copy(
            update={"num_images_per_prompt": config.images_per_control}
        ),
        batch_size=config.batch_size,
        label_prompt=config.label_prompt,
        embed=embed,
    )
    with autocast(device, config.runtime.precision, pipe.unet.config.sample_size**2):
        given = eeg_of(eeg, trials.ch_names, trials.sfreq)
        parts = draw_trials(pipe, given, rows, config.sample, config.batch_size, "decoding")
        generated = collect(list(parts))
        images, left_out = painter.draw(list(controls))
    batches = np.array_split(eeg, -(-len(eeg) // config.batch_size))
    embeddings = [pipe.embed(part, trials.ch_names, trials.sfreq) for part in batches]
    named = {
        name: [str(label) for label in LinearDecoder.load(path).predict(eeg)]
        for name in BASELINES
        if (path := model / f"{name}.safetensors").is_file()
    }
    return Decoded(rows, moved, generated, images, left_out, torch.cat(embeddings), named)


def join(parts: Sequence[Decoded]) -> Decoded:
    """Put the held-out trials of several folds after each other.

    A control or a baseline that one fold lacks is left out of all.

    Raises
    ------
    ValueError
        If a trial is held out by two of them, so that it would count twice.
    """
    rows = np.concatenate([part.rows for part in parts])
    values, counts = np.unique(rows, return_counts=True)
    if counts.max() > 1:
        raise ValueError(
            f"trial {values[counts.argmax()]} is held out by several of the models; give models "
            "whose test sides share no trial"
        )
    starts = np.cumsum([0, *(len(part.rows) for part in parts[:-1])])
    first = parts[0]
    left_out = {name: why for part in parts for name, why in part.left_out.items()}
    return Decoded(
        rows,
        np.concatenate([part.moved + start for part, start in zip(parts, starts, strict=True)]),
        torch.cat([part.generated for part in parts]),
        {
            name: torch.cat([part.controls[name] for part in parts])
            for name in first.controls
            if name not in left_out
        },
        left_out,
        torch.cat([part.embeddings for part in parts]),
        {
            name: [label for part in parts for label in part.named[name]]
            for name in first.named
            if all(name in part.named for part in parts)
        },
    )
