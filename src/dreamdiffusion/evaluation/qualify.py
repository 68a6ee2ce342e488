"""What scores are worth: the headline, or what is known that forbids one (see `headline`)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from dreamdiffusion.decoders.repair import said_already
from dreamdiffusion.evaluation.opening import Fold, Opened
from dreamdiffusion.evaluation.pictures import PictureFiles
from dreamdiffusion.evaluation.score import Scored
from dreamdiffusion.evidence.audit.run import SEVERITIES
from dreamdiffusion.evidence.headline import (
    audit_reasons,
    control_reason,
    pictures_reason,
    scale_reason,
    shown_reason,
    side_reason,
    split_reason,
    state_headline,
    time_reason,
)
from dreamdiffusion.evidence.look_log import LOCKED, selection_suspected
from dreamdiffusion.evidence.scores import Headline, Look, Reason
from dreamdiffusion.evidence.trained_on import trained_on_reason
from dreamdiffusion.files.schema import PictureFit
from dreamdiffusion.models.picture_descriptors import alike_pictures, describe_pictures
from dreamdiffusion.models.picture_prints import (
    load_descriptions,
    load_prints,
    picture_prints,
    shown_before,
)
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials


@dataclass
class Qualified:
    """What the scores of an evaluation are worth.

    Attributes
    ----------
    headline
        What is claimed, or why nothing is.
    looks
        At the held-out trials, of the fold that was looked at most often.
    audit
        Of the training trials; of several folds each finding at its most severe.
    """

    headline: Headline
    looks: list[Look]
    audit: dict[str, Any] | None


def qualify(opened: Opened, scored: Scored) -> Qualified:
    """Go through looks, audit, split, scale, networks and controls for what forbids a headline.

    Returns
    -------
    Qualified
        The headline takes the first metric of the images.
    """
    reasons = gather_reasons(opened, scored)
    return Qualified(
        headline=state_headline(scored.images.scores, reasons, opened.shares_pictures),
        looks=max(opened.looks, key=len),
        audit=join_audits([fold.audit for fold in opened.folds]),
    )


def gather_reasons(opened: Opened, scored: Scored) -> list[Reason]:
    """Return every reason to withhold the headline, each name once."""
    found: list[Reason | None] = [
        # One of them is enough: they say the same of different trials.
        next(filter(None, map(selection_suspected, opened.looks)), None),
        side_reason(opened.config.split),
    ]
    for fold in opened.folds:
        found += audit_reasons(fold.audit)
    if opened.config.split in LOCKED:
        for fold in opened.folds:
            found.append(trained_on_reason(fold.model, opened.trials, fold.held.rows))
    for fold in opened.folds:
        if fold.split is not None:
            found.append(_changed_split(fold.model, fold.split))
            found.append(_foreign_scale(fold, opened.trials, fold.split))
    if not opened.shares_pictures:  # else the claim is of known pictures, to every network
        found += [*_seen_pictures(opened), *_seen_in_training(opened)]
    found += _seen_in_bank(opened)
    first = scored.images.scores[0]
    shuffled = first.controls["shuffled_eeg"].value
    found.append(control_reason(first.metric, shuffled, first.chance, scored.images.control_p))
    found.append(time_reason(first))
    by_name: dict[str, Reason] = {}
    for reason in found:
        if reason is not None:
            by_name.setdefault(reason.name, reason)
    return list(by_name.values())


def join_audits(audits: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """Return the audit of the only model; of several folds, each finding at its most severe."""
    known = [audit for audit in audits if audit is not None]
    if len(known) < len(audits) or len(known) == 1:
        return known[0] if len(known) == len(audits) else None
    findings: dict[str, dict[str, Any]] = {}
    for audit in known:
        for finding in audit["findings"]:
            kept = findings.setdefault(finding["name"], finding)
            if SEVERITIES.index(finding["severity"]) < SEVERITIES.index(kept["severity"]):
                findings[finding["name"]] = finding
    joined = sorted(findings.values(), key=lambda finding: SEVERITIES.index(finding["severity"]))
    return {
        **known[0],
        "split": f"{len(known)} folds, each with its own split",
        "severe": [finding["name"] for finding in joined if finding["severity"] == "severe"],
        "acknowledged": sorted({name for audit in known for name in audit["acknowledged"]}),
        "findings": joined,
    }


def _changed_split(model: Path, split: Split) -> Reason | None:
    about = json.loads((model / "about.json").read_text(encoding="utf-8"))
    return split_reason(about.get("split_sha256"), split.sha256)


def _foreign_scale(fold: Fold, trials: Trials, split: Split) -> Reason | None:
    stored = fold.decoder.processor
    if list(stored.config["ch_names"]) != list(trials.ch_names):
        return None  # its channels are a part of these, in another order
    with said_already():
        again = fold.decoder.scale_again(trials, split.train)
    return scale_reason(stored.matrix.cpu().numpy(), again.matrix.numpy())


def _seen_pictures(opened: Opened) -> list[Reason | None]:
    """Only where it is known which picture was shown: a class as such is no secret."""
    if opened.shown.files is None:
        return []
    known = {}
    if opened.judge is not None and opened.config.judge is not None:
        size = int(opened.judge.config["image_size"])
        known["judge"] = (opened.config.judge, size)
    source = opened.folds[0].decoder.generator_source()
    if isinstance(source, Path):
        known["generator"] = (source, opened.image_size)
    found = []
    # A network may have been trained on the pictures made square in another way than these trials'.
    for (who, (folder, size)), fit in itertools.product(known.items(), get_args(PictureFit)):
        pixels, descriptions = opened.shown.files.distinct(size, fit), load_descriptions(folder)
        alike = None if descriptions is None else alike_pictures(pixels, descriptions)
        found.append(pictures_reason(who, picture_prints(pixels), load_prints(folder), alike))
    return found


def _seen_in_training(opened: Opened) -> list[Reason | None]:
    """Say where pictures of the training trials were shown again, also changed a little.

    Of a new recording `hold_out` says it: what it shares with training is claimed as known.
    """
    if opened.shown.files is None or opened.config.split != "test":
        return []
    found = []
    for fold in opened.folds:
        # The audit compares files; a fit that went on although some are the same says so already.
        if "shared_stimuli" not in (fold.audit or {}).get("severe", []):
            found.append(shown_reason(shown_before(fold.model, fold.held.tested)))
    return found


def _seen_in_bank(opened: Opened) -> list[Reason | None]:
    """Say where images could start from the pictures that were shown, also changed a little."""
    if opened.shown.files is None:
        return []
    found = []
    for files in {tuple(fold.decoder.picture_files()) for fold in opened.folds} - {()}:
        size, fit = opened.image_size, opened.shown.files.fit
        shown = opened.shown.files.distinct(size)
        bank = PictureFiles(list(files), fit).distinct(size)
        alike = alike_pictures(shown, describe_pictures(bank))
        found.append(pictures_reason("bank", picture_prints(shown), picture_prints(bank), alike))
    return found
