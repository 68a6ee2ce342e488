"""What a fine-tuned model makes of held-out trials: images, those of the controls, embeddings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dreamdiffusion.decoders.sampling import collect, draw_trials, eeg_of
from dreamdiffusion.evaluation.confidence.per_trial import NotScoredError, trials_to_fit_on
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.evaluation.control_images import (
    ControlPainter,
    TextPipelines,
    controls_to_draw,
)
from dreamdiffusion.evaluation.held_out import HeldOut
from dreamdiffusion.evaluation.opening import Fold, Opened, open_evaluation
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.files.keywords import with_keywords
from dreamdiffusion.training.device import autocast
from dreamdiffusion.trials.trials import Trials


@dataclass
class Decoded:
    """What came of n trials.

    Attributes
    ----------
    tested
        The trials.
    moved
        Place among them of the trial whose EEG each got when it was shuffled, int (n,).
    generated
        ``(n, k, 3, height, width)`` in [0, 1].
    controls
        The same of each control that could be drawn, with a k of its own.
    left_out
        Why each of the others could not.
    embeddings
        Of the EEG in CLIP's image space, unit norm ``(n, d)``.
    named
        Categories that each baseline beside the model names, n each; of those that name some.
    embed_eeg
        EEG of these trials in volts ``(n, n_chans, n_times)`` -> embeddings, by the same model.
    validation
        The same of the validation trials, where the confidence has to be fitted on them.
    """

    tested: Trials
    moved: np.ndarray
    generated: Tensor
    controls: dict[str, Tensor]
    left_out: dict[str, str]
    embeddings: Tensor
    named: dict[str, list[str]]
    embed_eeg: Callable[[np.ndarray], Tensor]
    validation: Decoded | None = None


@with_keywords(EvaluateConfig)
def decode_held_out(config: EvaluateConfig) -> Decoded:
    """Decode held-out trials, from their EEG and by every control; nothing is scored.

    Parameters
    ----------
    config : EvaluateConfig
        What is decoded, and how; or its fields as keywords. Judge, suites and confidence are not
        used, and the look at the trials is not logged.

    Returns
    -------
    Decoded
        Images, embeddings and the baselines' labels of each trial.

    Raises
    ------
    FileNotFoundError, ValueError
        As `open_evaluation`.
    """
    unused = {"judge": None, "suites": [], "confidence": False}
    return decode_folds(open_evaluation(config.model_copy(update=unused), log_looks=False))


def decode_folds(opened: Opened) -> Decoded:
    """Decode the held-out trials of every model, and the validation trials that are needed."""
    texts = TextPipelines()
    controls = controls_to_draw(opened.config, [fold.audit for fold in opened.folds])
    parts = [decode_fold(opened, fold, fold.held, controls, texts) for fold in opened.folds]
    decoded = _join(opened, parts)
    with contextlib.suppress(NotScoredError):  # why not is said where the confidence would stand
        rows = trials_to_fit_on(opened)
        held = HeldOut(rows, opened.trials.select(rows), averaged=False, description="validation")
        decoded.validation = decode_fold(
            opened, opened.folds[0], held, [], texts, "decoding validation trials"
        )
    return decoded


def decode_fold(
    opened: Opened,
    fold: Fold,
    held: HeldOut,
    controls: Sequence[str],
    texts: TextPipelines,
    description: str = "decoding",
) -> Decoded:
    """Decode trials with one model, from their EEG and by every control.

    Parameters
    ----------
    opened : Opened
    fold : Fold
        The model.
    held : HeldOut
        The trials.
    controls : sequence of str
        Names (`controls.CONTROLS`).
    texts : TextPipelines
        What draws from text, opened once for all models.
    description : str
        Of the progress bar.
    """
    config, pipe, tested = opened.config, fold.pipe, held.tested
    eeg = np.asarray(tested.data)
    rng = np.random.default_rng([config.sample.seed, 0])
    painter = ControlPainter(
        pipe=pipe,
        model=fold.model,
        means=fold.means,
        trials=opened.trials,
        tested=tested,
        rows=None if held.averaged else held.rows,
        moved=Exchange.of(tested.metadata).derangement(rng),
        train=None if fold.split is None else fold.split.train,
        sample=config.sample.model_copy(
            update={"num_images_per_prompt": config.images_per_control}
        ),
        batch_size=config.batch_size,
        label_prompt=config.label_prompt,
        embed=opened.embed,
        texts=texts,
        baselines=fold.baselines,
    )
    with autocast(opened.device, config.runtime.precision, pipe.unet.config.sample_size**2):
        given = eeg_of(eeg, tested.ch_names, tested.sfreq)
        parts = draw_trials(
            pipe, given, painter.numbers, config.sample, config.batch_size, description
        )
        generated = collect(list(parts))
        images, left_out = painter.draw(list(controls))

    def embed_eeg(eeg: np.ndarray) -> Tensor:
        batches = np.array_split(eeg, -(-len(eeg) // config.batch_size))
        return torch.cat([pipe.embed(part, tested.ch_names, tested.sfreq) for part in batches])

    answers = {name: baseline.decode(tested) for name, baseline in fold.baselines.items()}
    named = {name: labels for name, answer in answers.items() if (labels := answer.labels)}
    return Decoded(
        tested, painter.moved, generated, images, left_out, embed_eeg(eeg), named, embed_eeg
    )


def _join(opened: Opened, parts: Sequence[Decoded]) -> Decoded:
    """Put what came of several folds after each other.

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
        tested=opened.tested,
        moved=np.concatenate(
            [part.moved + start for part, start in zip(parts, starts, strict=True)]
        ),
        generated=torch.cat([part.generated for part in parts]),
        controls={
            name: torch.cat([part.controls[name] for part in parts])
            for name in first.controls
            if name not in left_out
        },
        left_out=left_out,
        embeddings=torch.cat([part.embeddings for part in parts]),
        named={
            name: [label for part in parts for label in part.named[name]]
            for name in first.named
            if all(name in part.named for part in parts)
        },
        embed_eeg=embed_eeg,
    )
