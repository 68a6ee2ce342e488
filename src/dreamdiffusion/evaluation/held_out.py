"""Which trials a model is scored on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.models.picture_prints import shown_before
from dreamdiffusion.trials.averages import average_repeats
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials


@dataclass
class HeldOut:
    """Trials that one model is scored on.

    Attributes
    ----------
    rows
        Places of the trials in their folder, int (n,).
    tested
        These trials, or averages of some.
    averaged
        Whether they are averages.
    description
        Which trials these are, and the rule that held them out.
    shared
        Whether pictures of them were shown in training too.
    """

    rows: np.ndarray
    tested: Trials
    averaged: bool
    description: str
    shared: bool = False


def check_folds(folds: Sequence[HeldOut]) -> None:
    """Refuse folds of which two hold out one trial, which would count twice.

    Raises
    ------
    ValueError
        That names the trial.
    """
    rows = np.concatenate([held.rows for held in folds])
    values, counts = np.unique(rows, return_counts=True)
    if counts.max() > 1:
        raise ValueError(
            f"trial {values[counts.argmax()]} is held out by several of the models; give models "
            "whose test sides share no trial"
        )


def hold_out(
    config: EvaluateConfig, model: Path, split: Split | None, trials: Trials, repeats: int = 1
) -> HeldOut:
    """Return what one model is scored on.

    Parameters
    ----------
    config : EvaluateConfig
    model : Path
        Folder of the model.
    split : Split, optional
        What it was fine-tuned with; None where the trials are another recording.
    trials : Trials
        The whole folder.
    repeats : int
        Trials of one picture (or category) that are averaged into one, as a protocol says.
    """
    rows, description = choose_trials(split, config.split, len(trials), config.limit)
    tested, shared = trials.select(rows), split is not None and split.shared_stimuli
    if split is None:
        check_new(model, trials)
        said, shared = describe_pictures_shown(model, tested)
        description += said
    if repeats > 1:
        rng = np.random.default_rng([config.sample.seed, 2])
        by = "stim_file" if trials.pairing == "stim_file" else "category"
        data, metadata = average_repeats(np.asarray(tested.data), tested.metadata, repeats, rng, by)
        # An average holds trials of any run of a person: it has no place in one, nor an onset.
        metadata = metadata.assign(session="", run="averages", onset=np.arange(float(len(data))))
        tested = replace(tested, data=data, metadata=metadata)
        description += f"; AVERAGES of {repeats} trials each, {len(tested)} of them"
    return HeldOut(rows, tested, repeats > 1, description, shared)


def choose_trials(
    split: Split | None, side: str, n_trials: int, limit: int | None
) -> tuple[np.ndarray, str]:
    """Return the rows of one side of a split, int ``(n,)``, and their description.

    Parameters
    ----------
    split : Split, optional
        Of the model's data; None where the data are another recording: then every trial counts.
    side : str
        ``train``, ``validation``, ``test`` or ``new``.
    n_trials : int
        Number of trials in the data.
    limit : int, optional
        The first so many of the side.

    Returns
    -------
    rows : array of int, (n,)
        Places of the trials.
    description : str

    Raises
    ------
    ValueError
        If the split names trials that the data do not have, or fewer than two are left.
    """
    if split is None:
        rows = np.arange(n_trials)
        description = f"{side}: a recording that no training trial comes from"
    else:
        sides = (split.train, split.validation, split.test)
        last = max(int(side_rows.max()) for side_rows in sides if len(side_rows))
        if last >= n_trials:
            raise ValueError(
                f"the model's split names trial {last}, the data have {n_trials} trials; evaluate "
                "on the trials that the model was fine-tuned on, or with --split new on others"
            )
        rows, description = getattr(split, side), f"{side}: {split.rule}"
    n_side = len(rows)
    rows = rows[:limit]
    if len(rows) < 2:
        raise ValueError(f"the {side} side has {len(rows)} trials to score, expected two or more")
    if side == "train":
        description += "; THESE TRIALS WERE TRAINED ON, so this is no measure of decoding"
    if len(rows) < n_side:
        description += f"; the first {len(rows)} of its {n_side} trials"
    return rows, description


def describe_pictures_shown(model: Path, tested: Trials) -> tuple[str, bool]:
    """Say how many pictures of a new recording a model was trained on, and whether any."""
    if tested.pairing != "stim_file":
        return "", False  # only their class is known
    before = shown_before(model, tested)
    if before is None:
        return "; the model does not say which pictures it was trained on", False
    n, m = int(before.sum()), len(before)
    return f"; {n} of its {m} pictures were shown in training", n > 0


def check_new(model: Path, trials: Trials) -> None:
    """Refuse a recording that took part in the fine-tuning of the model.

    Raises
    ------
    ValueError
        If a run of the trials is among those the model was fine-tuned with.
    """
    known = {tuple(run) for run in json.loads((model / "about.json").read_text("utf-8"))["runs"]}
    names = trials.metadata[["subject", "session", "run"]].astype(str)
    here = {tuple(run) for run in names.itertuples(index=False)}
    if known & here:
        run = "/".join(sorted(known & here)[0])
        raise ValueError(
            f"subject/session/run {run} took part in the fine-tuning of {model}, so it is not new; "
            "use --split test with the trials the model was fine-tuned on"
        )
