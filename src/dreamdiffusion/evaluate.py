"""The stage `evaluate`: decode held-out trials, score them with their controls, write a report."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .audit import read_audit
from .config import SampleConfig, write_yaml
from .config_evidence import EvaluateConfig
from .decoders.linear import LinearDecoder
from .design import Design
from .drawing import collect, draw_trials, eeg_of
from .gallery import draw_gallery, rank_trials, save_gallery, trial_values
from .generator import change_scheduler, embed_images, load_clip
from .headline import audit_reasons, headline
from .judge import Judge, label_indices
from .metrics import retrieval_pairs, top1_pairs
from .permutation import random_derangement
from .pictures import read_image
from .pipeline import EEGToImagePipeline, clip_source
from .report import write_report
from .runtime import autocast, choose_device, is_main_process
from .scores import Score, Scores
from .scoring import Embed, Gallery, score_images
from .splits import Split
from .statistics import score
from .trials import Trials

__all__ = ["evaluate", "score_images"]

logger = logging.getLogger(__name__)

LDA = {
    "lda_class": "scikit-learn's shrinkage LDA (a covariance for each class, averaged)",
    "lda_pooled": "shrinkage LDA with one pooled covariance, the stronger baseline",
}


def evaluate(config: EvaluateConfig) -> Path:
    """Decode the trials of a split twice, from their own and from shuffled EEG, and score both.

    Returns
    -------
    Path
        ``config.output`` with ``scores.json``, ``gallery.png``, ``report.html`` and
        ``config.yaml`` (the resolved configuration).

    Raises
    ------
    FileNotFoundError
        If the model, its split or CLIP, the judge, the trials or a picture is missing. A model
        without `audit.json` was fine-tuned before there were audits: the scores say so.
    ValueError
        If the split was made for other trials, it has fewer than two trials, or the judge does not
        know a category of the data.
    """
    trials = Trials.load(config.data)
    split = None if config.split == "new" else Split.load(config.model / "split.json")
    rows, told = choose_trials(split, config.split, len(trials), config.limit)
    if split is None:
        check_new(config.model, trials)
    audited = read_audit(config.model)
    judge = load_judge(config.judge)
    # Before the long part, so that a judge for other data does not waste it.
    label_indices(judge.categories, trials.metadata["category"].iloc[rows])

    device = choose_device(config.runtime)
    embed = load_embedder(clip_source(config.model), device)
    pipe = EEGToImagePipeline.from_pretrained(config.model).to(device)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = change_scheduler(pipe.scheduler, config.sample.scheduler)
    rng = np.random.default_rng([config.sample.seed, 0])
    moved = random_derangement(len(rows), rng)
    eeg = np.asarray(trials.data[rows])
    with autocast(device, config.runtime.precision, pipe.unet.config.sample_size**2):
        generated = _decode(pipe, trials, rows, eeg, config, config.sample, "decoding")
        # Other seeds too: nothing of the true trial's path may be left in the control.
        other = config.sample.model_copy(update={"seed": config.sample.seed + 1_000_003})
        shuffled = _decode(pipe, trials, rows, eeg[moved], config, other, "decoding shuffled EEG")
    if not is_main_process():
        return config.output
    seen, pools = _load_pictures(trials.select(rows), generated.shape[-1])
    metadata = trials.metadata.iloc[rows].reset_index(drop=True)

    counts = {"n_permutations": config.n_permutations, "n_bootstrap": config.n_bootstrap}
    result = score_images(
        generated=generated, shuffled=shuffled, seen=seen, pools=pools, metadata=metadata,
        judge=judge, embed=embed, rng=rng, split=told, simulated=trials.simulated,
        noise_level=noise_level(trials), **counts,
    )  # fmt: skip
    result["audit"] = audited
    result["baselines"] = []
    if config.split != "train":
        for name, told_of in LDA.items():
            metric = f"{name}_category_top1"
            if not (config.model / f"{name}.safetensors").is_file():
                result["not_scored"][metric] = "the model's training trials were too few to fit it"
                continue
            decoder = LinearDecoder.load(config.model / f"{name}.safetensors")
            record = lda_baseline(decoder, metric, trials, rows, moved, rng, **counts)
            result["baselines"].append(record.model_dump(mode="json"))
            result["protocol"][metric] = (
                f"{told_of}, on window means, fitted on the same training trials as the model; "
                "one guess per trial, no image"
            )
    gallery = (
        Gallery.of_pictures(seen, embed)
        if seen is not None
        else Gallery.of_prototypes(pools or {}, metadata["category"].tolist(), embed)
    )
    if len(gallery.embeddings) > 1:
        answers = torch.cat(
            [pipe.embed(part, trials.ch_names, trials.sfreq) for part in _batches(eeg, config)]
        )[:, None]
        pairs = retrieval_pairs(answers, gallery.embeddings, gallery.truth)
        record = _deterministic(
            "eeg_retrieval_top1", pairs, moved, rng, Design.of(metadata), **counts
        )
        result["baselines"].append(record.model_dump(mode="json"))
        result["protocol"]["eeg_retrieval_top1"] = (
            f"the EEG embedding against the gallery of {len(gallery.embeddings)}, no image"
        )
    result["made"] = {
        "command": f"dreamdiffusion evaluate --config {config.output / 'config.yaml'}",
        "config": config.model_dump(mode="json"),
        "versions": versions(),
    }
    records = [Score.model_validate(record) for record in result["scores"]]
    result["headline"] = headline(records, audit_reasons(audited))
    write_results(config.output, Scores.model_validate(result), generated, seen)
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


def lda_baseline(
    decoder: LinearDecoder,
    metric: str,
    trials: Trials,
    rows: np.ndarray,
    moved: np.ndarray,
    rng: np.random.Generator,
    n_permutations: int = 2000,
    n_bootstrap: int = 2000,
) -> Score:
    """Score the category that a linear decoder names."""
    labels = trials.metadata["category"].astype(str).to_numpy()[rows]
    place = {label: i for i, label in enumerate(sorted({*labels, *decoder.classes}))}
    named = decoder.predict(np.asarray(trials.data[rows]))
    pairs = top1_pairs(
        np.array([[place[str(label)]] for label in named]),
        np.array([place[label] for label in labels]),
        len(place),
    )
    design = Design.of(trials.metadata.iloc[rows])
    return _deterministic(metric, pairs, moved, rng, design, n_permutations, n_bootstrap)


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


def _deterministic(
    metric: str,
    pairs: np.ndarray,
    moved: np.ndarray,
    rng: np.random.Generator,
    design: Design,
    n_permutations: int,
    n_bootstrap: int,
) -> Score:
    """Make the record of a decoder without seeds: shuffled EEG only moves its answers."""
    control = pairs[np.arange(len(moved)), moved]
    controls = {"shuffled_eeg": control}
    return score(metric, pairs, controls, rng, design, n_permutations, n_bootstrap)


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


def _batches(eeg: np.ndarray, config: EvaluateConfig) -> list[np.ndarray]:
    return [eeg[i : i + config.batch_size] for i in range(0, len(eeg), config.batch_size)]


def _decode(
    pipe: Any, trials: Trials, rows: np.ndarray, eeg: np.ndarray, config: EvaluateConfig,
    sample: SampleConfig, told: str,
) -> Tensor:  # fmt: skip
    """Generate k images of each trial: (n, k, 3, H, W) in [0, 1], on the CPU."""
    batch_size = config.batch_size
    given = eeg_of(eeg, trials.ch_names, trials.sfreq)
    parts = draw_trials(pipe, given, rows, sample, batch_size, told)
    return collect(list(parts))


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
