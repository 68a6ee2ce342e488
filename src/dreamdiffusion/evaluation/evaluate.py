"""The stage `evaluate`: decode held-out trials, score them beside their controls, report."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dreamdiffusion.decoders.dreamdiffusion.adapter import clip_source
from dreamdiffusion.decoders.dreamdiffusion.pipeline import EEGToImagePipeline
from dreamdiffusion.decoders.dreamdiffusion.training_means import TrainingMeans
from dreamdiffusion.evaluation.confidence.per_trial import FILE as CONFIDENCE
from dreamdiffusion.evaluation.confidence.per_trial import Certainty
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.evaluation.decode import decode, join
from dreamdiffusion.evaluation.held_out import HeldOut, check_folds, hold_out, shares_pictures
from dreamdiffusion.evaluation.metrics.suites import ImageSuites
from dreamdiffusion.evaluation.rivals import score_baselines
from dreamdiffusion.evaluation.scoring import Gallery, score_images
from dreamdiffusion.evaluation.suspicions import gather_reasons, time_suspected
from dreamdiffusion.evidence.audit.run import SEVERITIES, read_audit
from dreamdiffusion.evidence.headline import state_headline
from dreamdiffusion.evidence.look_log import log_look, selection_suspected
from dreamdiffusion.evidence.protocols.follow import Planned, follow
from dreamdiffusion.evidence.protocols.schema import load_protocol
from dreamdiffusion.evidence.scores import Followed, Look, Reason, Scores
from dreamdiffusion.files.output import writes_output
from dreamdiffusion.files.pictures import read_image
from dreamdiffusion.files.schema import write_yaml
from dreamdiffusion.models.generator.generator import (
    Embed,
    image_size,
    load_embedder,
)
from dreamdiffusion.models.judge.judge import label_indices, load_judge
from dreamdiffusion.report.write import write_results
from dreamdiffusion.training.device import choose_device, is_main_process
from dreamdiffusion.trials.trials import Trials

__all__ = ["evaluate", "score_images"]

logger = logging.getLogger(__name__)


@writes_output()
def evaluate(config: EvaluateConfig) -> Path:
    """Decode held-out trials from their EEG and by every control, and score all of them.

    Returns
    -------
    Path
        ``config.output`` with ``scores.json`` (`scores.Scores`), ``gallery.png``, ``report.html``
        and ``config.yaml`` (the resolved configuration).

    Raises
    ------
    FileNotFoundError
        If a model, its split or CLIP, the judge, the trials or a picture is missing.
    ValueError
        If a split was made for other trials, it has fewer than two trials, two folds hold out one
        trial, or the judge does not know a category of the data.
    """
    trials = Trials.load(config.data)
    folds = [hold_out(config, model, trials) for model in [config.model, *config.folds]]
    check_folds(folds)
    audits = [read_audit(held.model) for held in folds]
    judge = load_judge(config.judge)
    # Before the long part, so that a judge for other data does not waste it.
    for held in folds:
        label_indices(judge.categories, held.tested.metadata["category"])
    followed = _follow(config, folds, trials)
    clip, suites = clip_source(config.model), _suites(config, folds)
    looks, reasons = _look(config, folds, trials) if is_main_process() else ([], [])

    embed = load_embedder(clip, choose_device(config.runtime))
    controls = ["shuffled_eeg", *config.controls]
    if "time_removed_eeg" not in controls and any(time_suspected(audit) for audit in audits):
        controls.append("time_removed_eeg")
    decoded = join([decode(config, held, trials, controls, embed) for held in folds])
    tested, rng = decoded.tested, np.random.default_rng([config.sample.seed, 1])
    size = decoded.generated.shape[-1]
    seen, pools = _load_pictures(tested, size)
    means = TrainingMeans.load(config.model)
    certain = Certainty(config, folds, decoded, trials, means, judge, embed, rng)
    if not is_main_process():
        return config.output
    parts = score_images(
        generated=decoded.generated, controls=decoded.controls, seen=seen, pools=pools,
        metadata=tested.metadata, judge=judge, embed=embed, rng=rng, suites=suites,
        n_permutations=config.n_permutations, n_bootstrap=config.n_bootstrap,
    )  # fmt: skip
    reasons += gather_reasons(
        folds=folds, side=config.split, trials=trials, audits=audits, judge=judge,
        judge_folder=config.judge, image_size=size, scores=parts["scores"],
        control_p=parts.pop("control_p"),
    )  # fmt: skip
    gallery = _embedding_gallery(seen, pools, tested.metadata, embed)
    baselines, how, left_out = score_baselines(config, decoded, gallery, rng)
    parts["not_scored"] |= decoded.left_out | left_out | certain.not_told
    parts["protocol"] |= how
    result = Scores(
        split=_split_in_words(folds),
        simulated=trials.simulated,
        noise_level=noise_level(trials),
        headline=state_headline(parts["scores"], reasons, shares_pictures(folds)),
        baselines=baselines,
        curves=certain.curves,
        confidence=certain.confidence,
        occlusion=certain.occlusion,
        followed=followed,
        looks=looks,
        audit=_join_audits(audits),
        made={
            "command": f"dreamdiffusion evaluate --config {config.output / 'config.yaml'}",
            "config": config.model_dump(mode="json"),
            "versions": versions(),
        },
        **parts,
    )
    write_results(config.output, result, decoded.generated, seen, certain.figures)
    if certain.calibrator is not None:
        certain.calibrator.save(config.output / CONFIDENCE)
    write_yaml(config, config.output / "config.yaml")
    return config.output


def _split_in_words(folds: Sequence[HeldOut]) -> str:
    first = folds[0].told
    return (
        first if len(folds) == 1 else f"{len(folds)} models, each held out others; first: {first}"
    )


def _follow(config: EvaluateConfig, folds: Sequence[HeldOut], trials: Trials) -> Followed | None:
    """Check every fold against the protocol, where there is one."""
    if config.protocol is None:
        return None
    protocol = load_protocol(config.protocol)
    exact = trials.pairing == "stim_file"
    found = []
    for held in folds:
        shown = held.tested.metadata["stim_file" if exact else "category"]
        planned = Planned(
            config.split, limit=config.limit, judge=str(config.judge),
            images_per_trial=config.sample.num_images_per_prompt,
            gallery="exact" if exact else "prototypes", gallery_size=len(set(shown)),
        )  # fmt: skip
        found.append(follow(protocol, trials, held.split, planned, held.tested.metadata))
    departures = dict.fromkeys(told for one in found for told in one.departures)
    return found[0].model_copy(update={"departures": list(departures)})


def _look(
    config: EvaluateConfig, folds: Sequence[HeldOut], trials: Trials
) -> tuple[list[Look], list[Reason]]:
    """Write down that the folds' held-out trials are about to be scored."""
    looks: list[Look] = []
    reasons: list[Reason] = []
    for held in folds:
        seen = log_look(
            model=held.model, data=config.data, metadata=trials.metadata, rows=held.rows,
            n_trials=len(held.tested), side=config.split, config=config, simulated=trials.simulated,
        )  # fmt: skip
        reason = selection_suspected(seen)
        if reason is not None and not reasons:
            reasons.append(reason)
        if len(seen) > len(looks):
            looks = seen
    return looks, reasons


def _suites(config: EvaluateConfig, folds: Sequence[HeldOut]) -> ImageSuites | None:
    """Open the published metrics' judges, so that a missing one does not waste the decoding."""
    if not config.suites:
        return None
    device = choose_device(config.runtime)
    pipe: Any = EEGToImagePipeline.from_pretrained(config.model)
    size = image_size(pipe.unet, pipe.vae)
    shown = [_load_pictures(held.tested, size)[0] for held in folds]
    seen = torch.cat([one for one in shown if one is not None]) if shown[0] is not None else None
    return ImageSuites(
        seen, config.suites, config.image_judges, device, config.n_way, config.n_way_top
    )


def noise_level(trials: Trials) -> float | list[float] | None:
    """Return the simulation's noise level (or levels) that the metadata state, if they do."""
    if not trials.simulated or "noise_level" not in trials.metadata:
        return None
    levels = sorted({float(level) for level in trials.metadata["noise_level"]})
    return levels[0] if len(levels) == 1 else levels


def _embedding_gallery(
    seen: Tensor | None, pools: dict[str, Tensor] | None, metadata: pd.DataFrame, embed: Embed
) -> Gallery:
    if seen is not None:
        return Gallery.of_pictures(seen, embed)
    return Gallery.of_prototypes(pools or {}, metadata["category"].tolist(), embed)


def _join_audits(audits: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
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


def versions() -> dict[str, str]:
    """Return the versions that matter to the result."""
    names = ("dreamdiffusion", "torch", "diffusers", "transformers", "mne", "numpy")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from the source tree
            continue
    return found


def _load_pictures(trials: Trials, size: int) -> tuple[Tensor | None, dict[str, Tensor] | None]:
    """Return the picture of each trial, or the pictures of each category where that is all."""

    def read(paths: list[Path]) -> Tensor:
        known = {path: read_image(path, size) for path in dict.fromkeys(paths)}
        pixels = np.stack([known[path] for path in paths])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float() / 255

    if trials.pairing == "stim_file":
        return read(trials.images()), None
    pools = trials.image_pools()
    by_category = trials.metadata.groupby("category")["pool"].unique()
    return None, {
        str(category): read([path for pool in names for path in pools[pool]])
        for category, names in by_category.items()
    }
