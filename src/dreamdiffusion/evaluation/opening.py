"""Open models, judges, protocol and pictures of an evaluation, each once, before the long part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from dreamdiffusion.decoders.base import Decoder
from dreamdiffusion.decoders.baselines import load_baselines
from dreamdiffusion.decoders.dreamdiffusion.adapter import clip_source
from dreamdiffusion.decoders.dreamdiffusion.pipeline import EEGToImagePipeline
from dreamdiffusion.decoders.dreamdiffusion.training_means import TrainingMeans
from dreamdiffusion.evaluation.confidence.calibrator import FILE as CONFIDENCE
from dreamdiffusion.evaluation.confidence.calibrator import Calibrator
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.evaluation.held_out import HeldOut, check_folds, hold_out
from dreamdiffusion.evaluation.metrics.suites import ImageSuites
from dreamdiffusion.evaluation.pictures import Shown
from dreamdiffusion.evidence.audit.run import read_audit
from dreamdiffusion.evidence.look_log import log_look
from dreamdiffusion.evidence.protocols.follow import Planned, follow
from dreamdiffusion.evidence.protocols.schema import Protocol, load_protocol
from dreamdiffusion.evidence.scores import Followed, Look
from dreamdiffusion.models.generator.generator import (
    Embed,
    change_scheduler,
    image_size,
    load_embedder,
)
from dreamdiffusion.models.judge.judge import Judge, label_indices, load_judge
from dreamdiffusion.training.device import choose_device, is_main_process, process_count
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials


@dataclass
class Fold:
    """One fine-tuned model and the trials it is scored on.

    Attributes
    ----------
    model
        Its folder.
    pipe
        The model, an `EEGToImagePipeline`.
    split
        What it was fine-tuned with; None where the trials are another recording.
    means
        Means of its training trials; None beside a model that has none.
    audit
        The audit of its training trials and their split; None where there was none.
    baselines
        Decoders that were fitted beside it on the same trials, by name.
    held
        The trials it is scored on.
    """

    model: Path
    pipe: Any
    split: Split | None
    means: TrainingMeans | None
    audit: dict[str, Any] | None
    baselines: dict[str, Decoder]
    held: HeldOut


@dataclass
class Opened:
    """Everything that an evaluation needs.

    Attributes
    ----------
    config
        What is evaluated, and how.
    device
        Where the networks are.
    trials
        The whole folder.
    tested
        The scored trials of all models after each other.
    folds
        The models, most often one.
    embed
        Pictures -> CLIP embeddings, in the space that the models' EEG embedding is aligned with.
    judge
        Names what a picture shows; None where there is none.
    shown
        What the scored trials showed, at the generator's size.
    suites
        The published metrics that were asked for.
    followed
        The protocol that was asked for, and the departures from it.
    looks
        At each fold's held-out trials, this one last; none at a side that is not locked.
    calibrator
        The confidence that was fitted beside the only model; None where there is none.
    """

    config: EvaluateConfig
    device: torch.device
    trials: Trials
    tested: Trials
    folds: list[Fold]
    embed: Embed
    judge: Judge | None
    shown: Shown
    suites: ImageSuites | None
    followed: Followed | None
    looks: list[list[Look]]
    calibrator: Calibrator | None

    @property
    def shares_pictures(self) -> bool:
        """Whether pictures that are scored were shown in training too, as the split allows."""
        return any(fold.split is not None and fold.split.shared_stimuli for fold in self.folds)

    @property
    def image_size(self) -> int:
        """Pixels of the generator's pictures."""
        return image_size(self.folds[0].pipe.unet, self.folds[0].pipe.vae)


def open_evaluation(config: EvaluateConfig, log_looks: bool = True) -> Opened:
    """Open what an evaluation needs, and log the look at the held-out trials.

    Parameters
    ----------
    config : EvaluateConfig
    log_looks : bool
        Whether the look is logged beside model and data, as it has to be before anything is scored.

    Raises
    ------
    FileNotFoundError
        If a model, its split or CLIP, the judge, the trials or a picture is missing.
    ValueError
        If a split was made for other trials, it has fewer than two trials, two folds hold out one
        trial, the judge does not know a category of the data, or the protocol forbids it.
    """
    device, trials = choose_device(config.runtime), Trials.load(config.data)
    protocol = load_protocol(config.protocol) if config.protocol else None
    models = [config.model, *config.folds]
    splits = [None if config.split == "new" else Split.load(m / "split.json") for m in models]
    repeats = protocol.repeats.test if protocol else 1
    held = [
        hold_out(config, model, split, trials, repeats)
        for model, split in zip(models, splits, strict=True)
    ]
    check_folds(held)
    tested = join_trials(held)
    judge = _open_judge(config, tested)
    followed = None if protocol is None else _follow(config, protocol, splits, held, trials)
    folds = [
        Fold(
            model=model,
            pipe=_open_pipeline(config, model, device),
            split=split,
            means=TrainingMeans.load(model),
            audit=read_audit(model),
            baselines=load_baselines(model),
            held=own,
        )
        for model, split, own in zip(models, splits, held, strict=True)
    ]
    size = image_size(folds[0].pipe.unet, folds[0].pipe.vae)
    shown = Shown.of(tested, size)
    fitted = config.model / CONFIDENCE
    rates = config.confidence and judge is not None and not config.folds
    calibrator = Calibrator.load(fitted) if rates and fitted.is_file() else None
    suites = None
    if config.suites:
        suites = ImageSuites(
            shown.seen, config.suites, config.image_judges, device, config.n_way, config.n_way_top
        )
    return Opened(
        config=config,
        device=device,
        trials=trials,
        tested=tested,
        folds=folds,
        embed=load_embedder(clip_source(config.model), device),
        judge=judge,
        shown=shown,
        suites=suites,
        followed=followed,
        # Last, so that what cannot be evaluated is no look.
        looks=_log_looks(config, folds, trials) if log_looks else [[] for _ in folds],
        calibrator=calibrator,
    )


def join_trials(held: Sequence[HeldOut]) -> Trials:
    """Put the scored trials of several folds after each other."""
    first = held[0].tested
    if len(held) == 1:
        return first
    return replace(
        first,
        data=np.concatenate([one.tested.data for one in held]),
        metadata=pd.concat([one.tested.metadata for one in held], ignore_index=True),
    )


def _open_pipeline(config: EvaluateConfig, model: Path, device: torch.device) -> Any:
    pipe: Any = EEGToImagePipeline.from_pretrained(model).to(device)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = change_scheduler(pipe.scheduler, config.sample.scheduler)
    return pipe


def _open_judge(config: EvaluateConfig, tested: Trials) -> Judge | None:
    """Open the judge, if there is one, and refuse one that does not know the trials' categories."""
    without = "or score without a judge what needs none: --judge None, in YAML judge: null"
    if config.judge is None:
        _check_scorable(tested)
        return None
    try:
        judge = load_judge(config.judge)
        label_indices(judge.categories, tested.metadata["category"])
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"{error}; {without}") from error
    return judge


def _check_scorable(tested: Trials) -> None:
    """Refuse trials of which nothing can be scored without a judge."""
    categories = set(tested.metadata["category"].astype(str))
    if tested.pairing == "category" and len(categories) < 2:
        raise ValueError(
            f"there is no judge, and all trials show pictures of {categories.pop()!r} of which no "
            "more is known, so nothing can be scored; give a judge"
        )


def _follow(
    config: EvaluateConfig,
    protocol: Protocol,
    splits: Sequence[Split | None],
    held: Sequence[HeldOut],
    trials: Trials,
) -> Followed:
    """Check every fold against the protocol."""
    exact = trials.pairing == "stim_file"
    found = []
    for split, own in zip(splits, held, strict=True):
        metadata = own.tested.metadata
        planned = Planned(
            config.split, limit=config.limit,
            judge=None if config.judge is None else str(config.judge),
            images_per_trial=config.sample.num_images_per_prompt,
            gallery="exact" if exact else "prototypes",
            gallery_size=len(set(metadata["stim_file" if exact else "category"])),
        )  # fmt: skip
        found.append(follow(protocol, trials, split, planned, metadata))
    departures = dict.fromkeys(departure for one in found for departure in one.departures)
    return found[0].model_copy(update={"departures": list(departures)})


def _log_looks(config: EvaluateConfig, folds: Sequence[Fold], trials: Trials) -> list[list[Look]]:
    """Log the look at the folds' held-out trials, in one process; return it to all of them."""
    looks: list[list[Look]] = []
    if is_main_process():
        looks = [
            log_look(
                model=fold.model, data=config.data, metadata=trials.metadata, rows=fold.held.rows,
                n_trials=len(fold.held.tested), side=config.split, config=config,
                simulated=trials.simulated,
            )
            for fold in folds
        ]  # fmt: skip
    if process_count() > 1:
        PartialState(cpu=not torch.cuda.is_available())
        (looks,) = broadcast_object_list([looks])
    return looks
