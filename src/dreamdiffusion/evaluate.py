"""The stage `evaluate`: decode held-out trials, score them beside their controls, report."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .audit import SEVERITIES, read_audit
from .config import write_yaml
from .config_evidence import EvaluateConfig
from .decoding import Decoded, decode, join
from .design import Design
from .gallery import draw_gallery, rank_trials, save_gallery, trial_values
from .generator import embed_images, load_clip
from .headline import headline
from .judge import Judge, label_indices
from .metrics import retrieval_pairs, top1_pairs
from .pictures import read_image
from .pipeline import clip_source
from .report import write_report
from .runtime import choose_device, is_main_process
from .scores import Score, Scores
from .scoring import Embed, Gallery, score_images
from .splits import Split
from .statistics import score
from .suspicions import gather_reasons, time_suspected
from .trials import Trials

__all__ = ["evaluate", "score_images"]

logger = logging.getLogger(__name__)

LDA = {
    "lda_class": "scikit-learn's shrinkage LDA (a covariance for each class, averaged)",
    "lda_pooled": "shrinkage LDA with one pooled covariance, the stronger baseline",
}


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
    models = [config.model, *config.folds]
    splits = [
        None if config.split == "new" else Split.load(model / "split.json") for model in models
    ]
    held_out = [choose_trials(split, config.split, len(trials), config.limit) for split in splits]
    if config.split == "new":
        for model in models:
            check_new(model, trials)
    audits = [read_audit(model) for model in models]
    judge = load_judge(config.judge)
    # Before the long part, so that a judge for other data does not waste it.
    every = np.concatenate([rows for rows, _ in held_out])
    label_indices(judge.categories, trials.metadata["category"].iloc[every])

    embed = load_embedder(clip_source(config.model), choose_device(config.runtime))
    controls = ["shuffled_eeg", *config.controls]
    if "time_removed_eeg" not in controls and any(time_suspected(audit) for audit in audits):
        controls.append("time_removed_eeg")
    decoded = join(
        [
            decode(config, model, trials, rows, None if split is None else split.train, controls,
                   embed)
            for model, split, (rows, _) in zip(models, splits, held_out, strict=True)
        ]
    )  # fmt: skip
    if not is_main_process():
        return config.output
    rows = decoded.rows
    seen, pools = _load_pictures(trials.select(rows), decoded.generated.shape[-1])
    metadata = trials.metadata.iloc[rows].reset_index(drop=True)
    rng = np.random.default_rng([config.sample.seed, 1])
    counts = {"n_permutations": config.n_permutations, "n_bootstrap": config.n_bootstrap}
    parts = score_images(
        generated=decoded.generated, controls=decoded.controls, seen=seen, pools=pools,
        metadata=metadata, judge=judge, embed=embed, rng=rng, **counts,
    )  # fmt: skip
    parts["not_scored"] |= decoded.left_out
    reasons = gather_reasons(
        models=models, splits=splits, side=config.split, trials=trials, rows=rows, audits=audits,
        judge=judge, judge_folder=config.judge, image_size=decoded.generated.shape[-1],
        scores=parts["scores"], control_p=parts.pop("control_p"),
    )  # fmt: skip
    gallery = _embedding_gallery(seen, pools, metadata, embed)
    baselines, told = _score_baselines(config, decoded, trials, gallery, rng)
    parts["not_scored"] |= told.pop("not_scored")
    parts["protocol"] |= told
    result = Scores(
        split=" | ".join(dict.fromkeys(told for _, told in held_out)),
        simulated=trials.simulated,
        noise_level=noise_level(trials),
        headline=headline(parts["scores"], reasons),
        baselines=baselines,
        audit=_join_audits(audits),
        made={
            "command": f"dreamdiffusion evaluate --config {config.output / 'config.yaml'}",
            "config": config.model_dump(mode="json"),
            "versions": versions(),
        },
        **parts,
    )
    write_results(config.output, result, decoded.generated, seen)
    write_yaml(config, config.output / "config.yaml")
    return config.output


def choose_trials(
    split: Split | None, side: str, n_trials: int, limit: int | None
) -> tuple[np.ndarray, str]:
    """Return the rows of one side of a split, and the words that go with their scores.

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

    Raises
    ------
    ValueError
        If the split names trials that the data do not have, or fewer than two are left.
    """
    if split is None:
        rows, told = np.arange(n_trials), f"{side}: a recording that no training trial comes from"
    else:
        sides = (split.train, split.validation, split.test)
        last = max(int(side_rows.max()) for side_rows in sides if len(side_rows))
        if last >= n_trials:
            raise ValueError(
                f"the model's split names trial {last}, the data have {n_trials} trials; evaluate "
                "on the trials that the model was fine-tuned on, or with --split new on others"
            )
        rows, told = getattr(split, side), f"{side}: {split.rule}"
    n_side = len(rows)
    rows = rows[:limit]
    if len(rows) < 2:
        raise ValueError(f"the {side} side has {len(rows)} trials to score, expected two or more")
    if side == "train":
        told += "; THESE TRIALS WERE TRAINED ON, so this is no measure of decoding"
    if len(rows) < n_side:
        told += f"; the first {len(rows)} of its {n_side} trials"
    return rows, told


def load_judge(folder: Path) -> Judge:
    """Open a judge.

    Raises
    ------
    FileNotFoundError
        If the folder holds none.
    """
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"judge {folder} does not exist; make one with train-judge")
    return Judge.from_pretrained(folder, use_safetensors=True).eval()


def load_embedder(source: str | Path, device: torch.device) -> Embed:
    """Return the image tower of a CLIP (folder or hub id) as a function of pictures in [0, 1].

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    clip = load_clip(source).to(device).eval()  # pyright: ignore[reportArgumentType]

    def embed(images: Tensor) -> Tensor:
        return embed_images(clip, images.to(device, torch.float32) * 2 - 1).cpu()

    return embed


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


def _score_baselines(
    config: EvaluateConfig,
    decoded: Decoded,
    trials: Trials,
    gallery: Gallery,
    rng: np.random.Generator,
) -> tuple[list[Score], dict[str, Any]]:
    """Score the decoders that draw no image; return them, and how each is computed."""
    design = Design.of(trials.metadata.iloc[decoded.rows])
    n_permutations, n_bootstrap = config.n_permutations, config.n_bootstrap
    scores: list[Score] = []
    told: dict[str, Any] = {"not_scored": {}}

    def add(metric: str, pairs: np.ndarray, how: str) -> None:
        # Without seeds, shuffled EEG only moves the answers.
        control = {"shuffled_eeg": pairs[np.arange(len(pairs)), decoded.moved]}
        scores.append(score(metric, pairs, control, rng, design, n_permutations, n_bootstrap))
        told[metric] = how

    labels = trials.metadata["category"].iloc[decoded.rows].astype(str).tolist()
    for name, told_of in LDA.items() if config.split != "train" else ():
        metric = f"{name}_category_top1"
        if name not in decoded.named:
            told["not_scored"][metric] = "the model's training trials were too few to fit it"
            continue
        add(
            metric,
            label_pairs(decoded.named[name], labels),
            f"{told_of}, on window means, fitted on the same training trials as the model; one "
            "guess per trial, no image",
        )
    if len(gallery.embeddings) > 1:
        add(
            "eeg_retrieval_top1",
            retrieval_pairs(decoded.embeddings[:, None], gallery.embeddings, gallery.truth),
            f"the EEG embedding against the gallery of {len(gallery.embeddings)}, no image",
        )
    return scores, told


def label_pairs(named: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Score one named category for each trial: pairs, see `metrics`."""
    place = {label: i for i, label in enumerate(sorted({*labels, *named}))}
    return top1_pairs(
        np.array([[place[label]] for label in named]),
        np.array([place[label] for label in labels]),
        len(place),
    )


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


def write_results(folder: Path, result: Scores, generated: Tensor, seen: Tensor | None) -> None:
    """Write ``scores.json``, ``gallery.png`` and ``report.html`` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    content = result.model_dump(mode="json")
    (folder / "scores.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    trials = result.trials
    title = "Seen and decoded: best, median and worst trials by rank"
    if result.simulated:
        level = result.noise_level
        title += " (SIMULATED EEG" + ("" if level is None else f", noise level {level}") + ")"
    ranked = rank_trials(trial_values(result.headline.metric, trials)[1], 8)
    groups = {name: ranked[name] for name in ("best", "median", "worst")}
    picture = draw_gallery(
        generated, trials["category"], trials["judged_category"], groups, seen, title
    )
    save_gallery(folder / "gallery.png", picture)
    write_report(folder / "report.html", result, generated, seen)


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
