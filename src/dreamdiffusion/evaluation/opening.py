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
from dreamdiffusion.decoders.config import SampleConfig
from dreamdiffusion.decoders.fit import open_image_decoder
from dreamdiffusion.decoders.images import ImageDecoder
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
from dreamdiffusion.models.embedder import Embedder, load_embedder
from dreamdiffusion.models.judge.judge import Judge, label_indices, load_judge
from dreamdiffusion.training.device import choose_device, is_main_process, process_count
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials


@dataclass
class Fold:
    """One fitted decoder and the trials it is scored on.

    Attributes
    ----------
    model
        Its folder.
    decoder
        The model.
    split
        What it was fine-tuned with; None where the trials are another recording.
    audit
        The audit of its training trials and their split; None where there was none.
    baselines
        Decoders that were fitted beside it on the same trials, by name.
    held
        The trials it is scored on.
    """

    model: Path
    decoder: ImageDecoder
    split: Split | None
    audit: dict[str, Any] | None
    baselines: dict[str, Decoder]
    held: HeldOut


@dataclass
class Opened:
    """Everything that an evaluation needs.

    Attributes
    ----------
    config
        What is evaluated, and how; its `sample` is whole, with the decoder's own settings.
    device
        Where the networks are.
    trials
        The whole folder.
    tested
        The scored trials of all models after each other.
    folds
        The models, most often one.
    embed
        Puts pictures into the space that the models' EEG embedding is aligned with.
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
    embed: Embedder
    judge: Judge | None
    shown: Shown
    suites: ImageSuites | None
    followed: Followed | None
    looks: list[list[Look]]
    calibrator: Calibrator | None

    @property
    def shares_pictures(self) -> bool:
        """Whether pictures that are scored were shown in training too."""
        return any(fold.held.shared for fold in self.folds)

    @property
    def image_size(self) -> int:
        """Pixels of the decoder's images."""
        return self.folds[0].decoder.image_size

    @property
    def sample(self) -> Any:
        """How images are drawn, of the decoder's own schema."""
        return self.folds[0].decoder.settings(self.config.sample)


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
    trials = Trials.load(config.data)
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
    decoders, config = _open_decoders(config, models)
    judge = _open_judge(config, tested)
    followed = None if protocol is None else _follow(config, protocol, splits, held, trials)
    folds = [
        Fold(
            model=model,
            decoder=decoder,
            split=split,
            audit=read_audit(model),
            baselines=load_baselines(model),
            held=own,
        )
        for model, decoder, split, own in zip(models, decoders, splits, held, strict=True)
    ]
    shown, device = Shown.of(tested, decoders[0].image_size), choose_device(config.runtime)
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
        embed=load_embedder(decoders[0].clip_source(), device),
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


def _open_decoders(
    config: EvaluateConfig, models: Sequence[Path]
) -> tuple[list[ImageDecoder], EvaluateConfig]:
    """Open the models, of one kind; return them, and the configuration with their sample whole."""
    runtime = config.runtime
    decoders = [open_image_decoder(model).to(runtime.device, runtime.precision) for model in models]
    kinds = list(dict.fromkeys(decoder.name for decoder in decoders))
    if len(kinds) > 1:
        raise ValueError(
            f"the models are decoders of different kinds, {' and '.join(kinds)}; give folds of one"
        )
    whole = SampleConfig(**decoders[0].settings(config.sample).model_dump())
    return decoders, config.model_copy(update={"sample": whole})


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
            images_per_trial=config.sample.num_images_per_prompt or 1,
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
