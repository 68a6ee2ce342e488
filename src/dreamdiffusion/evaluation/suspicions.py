"""Looks through model, generator, judge and data for what forbids a headline (see `headline`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dreamdiffusion.decoders.dreamdiffusion.adapter import generator_source
from dreamdiffusion.evaluation.held_out import HeldOut, shares_pictures
from dreamdiffusion.evidence.headline import (
    audit_reasons,
    control_reason,
    pictures_reason,
    scale_reason,
    side_reason,
    split_reason,
    time_reason,
)
from dreamdiffusion.evidence.scores import Reason, Score
from dreamdiffusion.files.pictures import read_images
from dreamdiffusion.models.encoders.processor import EEGProcessor
from dreamdiffusion.models.judge.judge import Judge
from dreamdiffusion.models.picture_prints import load_prints, picture_prints
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

TIME = {
    "block_design",
    "time_across_split",
    "fixed_order",
    "class_by_run",
    "drift",
    "prestimulus_signal",
}
"""Findings of an audit after which the EEG without its slow course is a control too."""


def time_suspected(audit: dict[str, Any] | None) -> bool:
    """Whether an audit found that time, or what changes slowly, may predict the class."""
    findings = (audit or {}).get("findings", [])
    return any(f["name"] in TIME and f["severity"] in ("severe", "warning") for f in findings)


def gather_reasons(
    *,
    folds: Sequence[HeldOut],
    side: str,
    trials: Trials,
    audits: Sequence[dict[str, Any] | None],
    judge: Judge,
    judge_folder: Path,
    image_size: int,
    scores: Sequence[Score],
    control_p: float,
) -> list[Reason]:
    """Return every reason to withhold the headline, each name once.

    Parameters
    ----------
    folds, audits
        What each model is scored on, and the audit beside it.
    side
        ``train``, ``validation``, ``test`` or ``new``.
    image_size
        Pixels of the generator's pictures.
    scores
        The first is the headline's.
    control_p
        Of the shuffled EEG's images, by permutation of the trials.
    """
    first = scores[0]
    found: list[Reason | None] = [side_reason(side)]
    for audit in audits:
        found += audit_reasons(audit)
    for held in folds:
        if held.split is not None:
            found.append(_changed_split(held.model, held.split))
            found.append(_foreign_scale(held.model, trials, held.split))
    rows = np.concatenate([held.rows for held in folds])
    if not shares_pictures(folds):  # else the claim is of known pictures, to every network
        found += _seen_pictures(folds[0].model, trials, rows, judge, judge_folder, image_size)
    shuffled = first.controls["shuffled_eeg"].value
    found += [control_reason(first.metric, shuffled, first.chance, control_p), time_reason(first)]
    by_name: dict[str, Reason] = {}
    for reason in found:
        if reason is not None:
            by_name.setdefault(reason.name, reason)
    return list(by_name.values())


def _changed_split(model: Path, split: Split) -> Reason | None:
    about = json.loads((model / "about.json").read_text(encoding="utf-8"))
    return split_reason(about.get("split_sha256"), split.sha256)


def _foreign_scale(model: Path, trials: Trials, split: Split) -> Reason | None:
    stored = EEGProcessor.from_pretrained(model / "eeg_processor", use_safetensors=True)
    if list(stored.config["ch_names"]) != list(trials.ch_names):
        return None  # its channels are a part of these, in another order
    again = EEGProcessor.fit(trials, split.train, stored.config["scale"], stored.n_chans)
    return scale_reason(stored.matrix.numpy(), again.matrix.numpy())


def _seen_pictures(
    model: Path, trials: Trials, rows: np.ndarray, judge: Judge, judge_folder: Path, image_size: int
) -> list[Reason | None]:
    """Only where it is known which picture was shown: a class as such is no secret."""
    if trials.pairing != "stim_file":
        return []
    paths = list(dict.fromkeys(trials.select(rows).images()))
    found = []
    source = generator_source(model)
    known = {"judge": (load_prints(judge_folder), int(judge.config["image_size"]))}
    if isinstance(source, Path):
        known["generator"] = (load_prints(source), image_size)
    for who, (prints, size) in known.items():
        if prints is not None:
            found.append(pictures_reason(who, picture_prints(read_images(paths, size)), prints))
    return found
