"""What a decoder makes of held-out trials: images, those of the controls, embeddings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from dreamdiffusion.decoders.base import Answer
from dreamdiffusion.decoders.repair import said_already
from dreamdiffusion.decoders.sampling import collect, decode_batches, join_answers
from dreamdiffusion.evaluation.confidence.per_trial import NotScoredError, trials_to_fit_on
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.evaluation.control_images import ControlPainter, controls_to_draw
from dreamdiffusion.evaluation.held_out import HeldOut
from dreamdiffusion.evaluation.judged import DRAWS
from dreamdiffusion.evaluation.opening import Fold, Opened, open_evaluation
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.files.keywords import with_keywords
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
    answer
        Images, embeddings and what else the decoder gives.
    controls
        The same of each control that could be drawn, with a k of its own.
    left_out
        Why each of the others could not.
    named
        Categories that each baseline beside the model names, n each; of those that name some.
    read_eeg
        EEG of these trials in volts ``(n, n_chans, n_times)`` -> answer without images.
    repairing_before
        Within it `read_eeg` replaces no loose channel; it gives what replaces those of EEG in volts
        beforehand (`ImageDecoder.repairing_before`).
    repaired
        Baselines that replace loose channels, as the model does.
    validation
        The same of the validation trials, where the confidence has to be fitted on them.
    """

    tested: Trials
    moved: np.ndarray
    answer: Answer
    controls: dict[str, Tensor]
    left_out: dict[str, str]
    named: dict[str, list[str]]
    read_eeg: Callable[[np.ndarray], Answer]
    repairing_before: Callable[[], AbstractContextManager[Callable[[np.ndarray], np.ndarray]]]
    repaired: set[str] = field(default_factory=set)
    validation: Decoded | None = None

    @property
    def generated(self) -> Tensor:
        """Images, ``(n, k, 3, height, width)`` in [0, 1]."""
        assert self.answer.images is not None
        return self.answer.images

    @property
    def embeddings(self) -> Tensor:
        """Of the EEG in CLIP's image space, unit norm ``(n, d)``."""
        assert self.answer.embeddings is not None
        return self.answer.embeddings


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
    first = opened.folds[0].decoder
    controls = controls_to_draw(opened.config, [fold.audit for fold in opened.folds], first)
    parts = [decode_fold(opened, fold, fold.held, controls) for fold in opened.folds]
    decoded = _join(opened, parts)
    with contextlib.suppress(NotScoredError):  # why not is said where the confidence would stand
        rows = trials_to_fit_on(opened)
        held = HeldOut(rows, opened.trials.select(rows), averaged=False, description="validation")
        agreeing = [name for name in controls if name == DRAWS]
        decoded.validation = decode_fold(
            opened, opened.folds[0], held, agreeing, "decoding validation trials"
        )
    return decoded


def decode_fold(
    opened: Opened,
    fold: Fold,
    held: HeldOut,
    controls: Sequence[str],
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
    description : str
        Of the progress bar.
    """
    config, decoder, tested, sample = opened.config, fold.decoder, held.tested, opened.sample
    rng = np.random.default_rng([config.sample.seed, 0])
    painter = ControlPainter(
        decoder=decoder,
        trials=opened.trials,
        tested=tested,
        rows=None if held.averaged else held.rows,
        moved=Exchange.of(tested.metadata).derangement(rng),
        train=None if fold.split is None else fold.split.train,
        sample=sample.model_copy(update={"num_images_per_prompt": config.images_per_control}),
        batch_size=config.batch_size,
        label_prompt=config.label_prompt,
        embed=opened.embed,
        baselines=fold.baselines,
    )
    parts = decode_batches(decoder, tested, sample, painter.numbers, config.batch_size, description)
    answer = collect(list(parts))
    with said_already():
        images, left_out = painter.draw(list(controls))
        answers = {name: baseline.decode(tested) for name, baseline in fold.baselines.items()}

    def read_eeg(eeg: np.ndarray) -> Answer:
        # Averages of trials may be fewer than these; a decoder does not look at metadata.
        metadata = tested.metadata.iloc[np.arange(len(eeg)) % len(tested)].reset_index(drop=True)
        return decoder.read(replace(tested, data=eeg, metadata=metadata))

    @contextlib.contextmanager
    def repairing_before() -> Iterator[Callable[[np.ndarray], np.ndarray]]:
        with decoder.repairing_before() as repair:
            yield lambda eeg: np.asarray(repair(replace(tested, data=eeg)).data)

    named = {name: labels for name, of in answers.items() if (labels := of.labels)}
    repaired = {name for name in named if getattr(fold.baselines[name], "repair", None)}
    return Decoded(
        tested, painter.moved, answer, images, left_out, named, read_eeg, repairing_before, repaired
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

    def read_eeg(eeg: np.ndarray) -> Answer:
        each = zip(parts, np.split(eeg, ends[:-1]), strict=True)
        return join_answers([part.read_eeg(own) for part, own in each])

    @contextlib.contextmanager
    def repairing_before() -> Iterator[Callable[[np.ndarray], np.ndarray]]:
        with contextlib.ExitStack() as stack:
            repairs = [stack.enter_context(part.repairing_before()) for part in parts]

            def repair(eeg: np.ndarray) -> np.ndarray:
                each = zip(repairs, np.split(eeg, ends[:-1]), strict=True)
                return np.concatenate([of_part(own) for of_part, own in each])

            yield repair

    return Decoded(
        tested=opened.tested,
        moved=np.concatenate(
            [part.moved + start for part, start in zip(parts, starts, strict=True)]
        ),
        answer=join_answers([part.answer for part in parts]),
        controls={
            name: torch.cat([part.controls[name] for part in parts])
            for name in first.controls
            if name not in left_out
        },
        left_out=left_out,
        named={
            name: [label for part in parts for label in part.named[name]]
            for name in first.named
            if all(name in part.named for part in parts)
        },
        read_eeg=read_eeg,
        repairing_before=repairing_before,
        repaired=set.intersection(*(part.repaired for part in parts)),
    )
