"""What a fine-tuned model makes of held-out trials: images, those of the controls, embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dreamdiffusion.decoders.baselines import load_baselines
from dreamdiffusion.decoders.dreamdiffusion.pipeline import EEGToImagePipeline
from dreamdiffusion.decoders.dreamdiffusion.training_means import TrainingMeans
from dreamdiffusion.decoders.sampling import collect, draw_trials, eeg_of
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.evaluation.control_images import ControlPainter
from dreamdiffusion.evaluation.held_out import HeldOut
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.models.generator.generator import Embed, change_scheduler
from dreamdiffusion.training.device import autocast, choose_device
from dreamdiffusion.trials.trials import Trials


@dataclass
class Decoded:
    """What came of n trials.

    Attributes
    ----------
    tested
        The trials.
    moved
        Place among them of the trial whose EEG each got when it was shuffled.
    generated
        ``(n, k, 3, height, width)`` in [0, 1].
    controls
        The same of each control that could be drawn, with a k of its own.
    left_out
        Why each of the others could not.
    embeddings
        Of the EEG in CLIP's image space, unit norm ``(n, d)``.
    named
        Categories that each baseline beside the model names, n each.
    embed_eeg
        EEG of these trials in volts ``(n, n_chans, n_times)`` -> embeddings, by the same model.
    """

    tested: Trials
    moved: np.ndarray
    generated: Tensor
    controls: dict[str, Tensor]
    left_out: dict[str, str]
    embeddings: Tensor
    named: dict[str, list[str]]
    embed_eeg: Callable[[np.ndarray], Tensor]


def decode(
    config: EvaluateConfig,
    held: HeldOut,
    trials: Trials,
    controls: Sequence[str],
    embed: Embed,
    told: str = "decoding",
) -> Decoded:
    """Decode trials with one model, from their EEG and by every control.

    Parameters
    ----------
    trials
        The whole folder.
    controls
        Names (`controls.CONTROLS`).
    embed
        Of pictures, in the space that the model's EEG embedding is aligned with.
    told
        What the progress bar says.
    """
    device = choose_device(config.runtime)
    pipe: Any = EEGToImagePipeline.from_pretrained(held.model).to(device)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = change_scheduler(pipe.scheduler, config.sample.scheduler)
    tested = held.tested
    eeg = np.asarray(tested.data)
    rng = np.random.default_rng([config.sample.seed, 0])
    painter = ControlPainter(
        pipe=pipe,
        model=held.model,
        means=TrainingMeans.load(held.model),
        trials=trials,
        tested=tested,
        rows=None if held.averaged else held.rows,
        moved=Exchange.of(tested.metadata).derangement(rng),
        train=None if held.split is None else held.split.train,
        sample=config.sample.model_copy(
            update={"num_images_per_prompt": config.images_per_control}
        ),
        batch_size=config.batch_size,
        label_prompt=config.label_prompt,
        embed=embed,
    )
    with autocast(device, config.runtime.precision, pipe.unet.config.sample_size**2):
        given = eeg_of(eeg, tested.ch_names, tested.sfreq)
        parts = draw_trials(pipe, given, painter.numbers, config.sample, config.batch_size, told)
        generated = collect(list(parts))
        images, left_out = painter.draw(list(controls))

    def embed_eeg(eeg: np.ndarray) -> Tensor:
        batches = np.array_split(eeg, -(-len(eeg) // config.batch_size))
        return torch.cat([pipe.embed(part, tested.ch_names, tested.sfreq) for part in batches])

    named = {
        name: baseline.decode(tested).labels or []
        for name, baseline in load_baselines(held.model).items()
    }
    return Decoded(
        tested, painter.moved, generated, images, left_out, embed_eeg(eeg), named, embed_eeg
    )


def join(parts: Sequence[Decoded]) -> Decoded:
    """Put the held-out trials of several folds after each other.

    A control or a baseline that one fold lacks is left out of all.
    """
    if len(parts) == 1:
        return parts[0]
    ends = np.cumsum([len(part.tested) for part in parts])
    starts = ends - [len(part.tested) for part in parts]
    first = parts[0]
    left_out = {name: why for part in parts for name, why in part.left_out.items()}

    def embed_eeg(eeg: np.ndarray) -> Tensor:
        each = zip(parts, np.split(eeg, ends[:-1]), strict=True)
        return torch.cat([part.embed_eeg(own) for part, own in each])

    return Decoded(
        replace(
            first.tested,
            data=np.concatenate([part.tested.data for part in parts]),
            metadata=pd.concat([part.tested.metadata for part in parts], ignore_index=True),
        ),
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
        embed_eeg,
    )
