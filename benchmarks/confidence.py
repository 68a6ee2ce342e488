"""How well a confidence fitted on some trials is calibrated on others, all of them SIMULATED.

    python benchmarks/confidence.py

writes ``docs/results/confidence.json`` and ``.png``. Two cases: new runs of the person that the
bundled model knows, and people whom neither a model fine-tuned on nine other people nor the
calibrator knows. What is decoded stays under ``runs/confidence``;
decoding and the fine-tuning take about 20 minutes on two idle cores, the rest seconds.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from dreamdiffusion.datasets.config import SimulateConfig
from dreamdiffusion.datasets.prepare import prepare
from dreamdiffusion.datasets.simulation.bids import balanced_scenes, simulate
from dreamdiffusion.datasets.simulation.scenes import render
from dreamdiffusion.decoders.config import FinetuneConfig, SampleConfig
from dreamdiffusion.decoders.dreamdiffusion.adapter import clip_source
from dreamdiffusion.decoders.dreamdiffusion.finetune import finetune
from dreamdiffusion.decoders.fit import open_image_decoder
from dreamdiffusion.decoders.sampling import collect, decode_batches
from dreamdiffusion.evaluation.confidence.calibrator import (
    FEATURES,
    Guesses,
    assess,
    category_prototypes,
    fit_calibrator,
    guess,
    trial_names,
)
from dreamdiffusion.evidence.scores import Confidence
from dreamdiffusion.files.pictures import to_tensor
from dreamdiffusion.files.schema import read_yaml
from dreamdiffusion.files.shipped import CONFIGS
from dreamdiffusion.models.embedder import load_embedder
from dreamdiffusion.models.judge.judge import Judge, label_indices, load_judge
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.trials.config import PrepareConfig, SplitConfig
from dreamdiffusion.trials.trials import Trials

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "weights"
SAMPLE = SampleConfig(num_inference_steps=6, num_images_per_prompt=4)
SIGNAL = SignalConfig(l_freq=1.0)
NOISE = 0.34
TOLD = {
    "own": "new runs of the person the model knows",
    "many": "held-out people, model of nine others",
}
DIVISIONS = {
    "own": ("run", ["11"]),
    "many": ("subject", ["12", "13"]),
}
FEATURE_SETS = {
    "all": FEATURES,
    "images alone": ("share", "entropy", "probability"),
    "EEG embedding alone": ("cosine", "margin", "nearest"),
}
CASES = {  # (person, run, trials) that are decoded
    "own": [(1, run, 240) for run in range(11, 14)],
    "many": [(person, 1, 120) for person in range(12, 18)],
}

INK, PALE, BLUE, RED = "#23272e", "#9aa1ab", "#2557c7", "#c8502f"
STYLE = {
    "font.size": 11, "axes.edgecolor": PALE, "text.color": INK, "axes.labelcolor": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left",
    "axes.titlesize": 11, "legend.frameon": False, "legend.fontsize": 10,
}  # fmt: skip


def prepared(folder: Path, subject: int, run: int, n_trials: int) -> Trials:
    """Simulate and cut one run of one person, once."""
    folder = folder / f"person-{subject:02d}-run-{run:02d}"
    if not (folder / "trials").is_dir():
        if not (folder / "recording").is_dir():
            simulate(
                SimulateConfig(
                    output=folder / "recording", noise_level=NOISE, first_subject=subject,
                    n_runs=1, first_run=run, trials_per_run=n_trials,
                )
            )  # fmt: skip
        prepare(
            PrepareConfig(
                input=[folder / "recording"], output=folder / "trials", signal=SIGNAL, tmin=0.0,
                tmax=0.5,
            )
        )  # fmt: skip
    return Trials.load(folder / "trials")


def decoded(model: Path, judge: Judge, trials: Trials, cache: Path) -> dict[str, np.ndarray]:
    """Draw k images of every trial once; keep what the judge says of them, and the embeddings."""
    if not cache.is_file():
        decoder = open_image_decoder(model).to("cpu")
        start, numbers = time.monotonic(), np.arange(len(trials))
        parts = list(decode_batches(decoder, trials, SAMPLE, numbers, 16, cache.stem))
        answer = collect(parts)
        images, embeddings = answer.images, answer.embeddings
        said = judge.predict(images.flatten(0, 1))["category"].unflatten(0, images.shape[:2])
        np.savez(cache, probabilities=said.numpy(), embeddings=embeddings.float().numpy())
        print(f"{cache.stem}: {len(trials)} trials in {time.monotonic() - start:.0f} s", flush=True)
    with np.load(cache, allow_pickle=False) as content:
        return dict(content)


def many_people(runs: Path, folder: Path, steps: int) -> Path:
    """Fine-tune on people 2 to 11, as the bundled model on person 1 but shorter; once."""
    output = folder / "finetune-people"
    if not (output / "model" / "adapter.json").is_file():
        data = folder / "people-02-11"
        if not data.is_dir():
            source = runs / "scenes-people"
            if not source.is_dir():
                simulate(SimulateConfig(output=source, n_subjects=10, first_subject=2, n_runs=3))
            prepare(PrepareConfig(input=[source], output=data, signal=SIGNAL, tmin=0.0, tmax=0.5))
        told = read_yaml(CONFIGS / "finetune-scenes.yaml")
        pretrained = runs / "pretrain-scenes"
        told |= {
            "data": data, "output": output, "generator": str(WEIGHTS / "scenes-generator"),
            "pretrained": pretrained if pretrained.is_dir() else None, "steps": steps,
            "split": SplitConfig(by="subject", test=[], validation=["11"]),
            "validate_every": steps, "checkpoint_every": steps,
        }  # fmt: skip
        finetune(FinetuneConfig(**told))
    return output / "model"


def decode_case(name: str, runs: Path, folder: Path, steps: int) -> None:
    """Decode every run of a case that is not decoded yet."""
    judge = load_judge(WEIGHTS / "judge")
    model = many_people(runs, folder, steps) if name == "many" else WEIGHTS / "eeg-scenes"
    for subject, run, n_trials in CASES[name]:
        cache = folder / f"{name}-{subject:02d}-{run:02d}.npz"
        decoded(model, judge, prepared(folder, subject, run, n_trials), cache)


def training_prototypes(judge: Judge, name: str, cache: Path) -> np.ndarray:
    """Mean CLIP embedding of each category, of pictures that the case's model was trained on."""
    if not cache.is_file():
        # The pictures of a simulated run follow from its numbers: they are drawn again.
        seen = [(1, r) for r in range(1, 9)] if name != "many" else [(p, 1) for p in range(2, 11)]
        scenes = [
            scene
            for person, run in seen
            for scene in balanced_scenes(np.random.default_rng([0, person, run, 2]), 240)
        ]
        embed = load_embedder(clip_source(WEIGHTS / "eeg-scenes"), torch.device("cpu"))
        pixels = np.stack([np.asarray(render(scene)) for scene in scenes])
        embeddings = [embed(to_tensor(pixels[i : i + 128])) for i in range(0, len(pixels), 128)]
        labels = label_indices(judge.categories, [scene.category for scene in scenes])
        found = category_prototypes(torch.cat(embeddings), np.array(labels), len(judge.categories))
        np.save(cache, found)
    return np.load(cache, allow_pickle=False)


def load_case(name: str, folder: Path) -> tuple[Guesses, np.ndarray, pd.DataFrame]:
    """Guesses, truths and metadata of every trial of a case that is decoded."""
    judge = load_judge(WEIGHTS / "judge")
    parts, tables = [], []
    for subject, run, n_trials in CASES[name]:
        cache = folder / f"{name}-{subject:02d}-{run:02d}.npz"
        with np.load(cache, allow_pickle=False) as content:
            parts.append((content["probabilities"], content["embeddings"]))
        tables.append(prepared(folder, subject, run, n_trials).metadata)
    which = "many" if name == "many" else "own"
    prototypes = training_prototypes(judge, which, folder / f"prototypes-{which}.npy")
    probabilities, embeddings = (np.concatenate(p) for p in zip(*parts, strict=True))
    metadata = pd.concat(tables, ignore_index=True)
    truth = np.array(label_indices(judge.categories, metadata["category"]))
    return guess(probabilities, embeddings, prototypes), truth, metadata


def rate(
    guesses: Guesses, truth: np.ndarray, metadata: pd.DataFrame, fitted: np.ndarray, told: str
) -> Confidence:
    """Fit on some trials, assess on the others."""
    names = np.array(trial_names(metadata))

    def part(which: np.ndarray) -> tuple[Guesses, np.ndarray, list[str]]:
        taken = Guesses(guesses.named[which], guesses.features[which])
        return taken, truth[which], names[which].tolist()

    groups = metadata["subject"].to_numpy()[fitted]
    calibrator = fit_calibrator(*part(fitted), fitted_on=told, groups=groups)
    return assess(calibrator, *part(~fitted), risk_limit=0.2, rng=np.random.default_rng(0))


def measure(name: str, folder: Path) -> tuple[dict[str, Any], Confidence]:
    """Measure one case: the stated division, then all others, then fewer features."""
    guesses, truth, metadata = load_case(name, folder)
    column, first = DIVISIONS[name]
    units = metadata[column].astype(str).to_numpy()
    told = f"{column} {', '.join(first)} of {', '.join(sorted(set(units)))}"
    record = rate(guesses, truth, metadata, np.isin(units, first), told)
    scored = ~np.isin(units, first)
    others = [
        rate(guesses, truth, metadata, np.isin(units, chosen), "another division")
        for chosen in combinations(sorted(set(units)), len(first))
    ]
    fewer = {}
    for told_of, kept in FEATURE_SETS.items():
        constant = guesses.features.copy()
        constant[:, [i for i, feature in enumerate(FEATURES) if feature not in kept]] = 0.0
        part = rate(Guesses(guesses.named, constant), truth, metadata, ~scored, told_of)
        fewer[told_of] = {"calibration_error": part.calibration_error, "auc": part.auc}
    # Truths dealt to the trials at random: what the same answers would score.
    rng = np.random.default_rng(0)
    named, shown = guesses.named[scored], truth[scored]
    dealt = [float(np.mean(named == rng.permutation(shown))) for _ in range(1000)]
    shuffled = truth.copy()
    shuffled[scored] = rng.permutation(shown)
    control = rate(guesses, shuffled, metadata, ~scored, "control")
    content = {
        "case": TOLD[name],
        "simulated": True,
        "noise_level": NOISE,
        "split": f"scored: every {column} but {', '.join(first)}; fitted on {told}",
        "chance_accuracy": float(np.mean(dealt)),
        "eeg_of_other_trials": {"accuracy": control.accuracy, "auc": control.auc},
        **record.model_dump(exclude={"of_trial", "coverage", "risk"}),
        "risk_at_coverage": {
            str(share): record.risk[int(np.searchsorted(record.coverage, share - 1e-9))]
            for share in (0.1, 0.25, 0.5, 0.75, 1.0)
        },
        "all_divisions": {
            "n": len(others),
            "calibration_error": _spread([r.calibration_error for r in others]),
            "error_if_perfect": _spread([r.error_if_perfect for r in others]),
            "auc": _spread([r.auc for r in others if r.auc is not None]),
            "risk_kept_above_limit": sum(
                r.risk_kept is not None and r.risk_kept > r.risk_limit for r in others
            ),
        },
        "features": fewer,
    }
    return content, record


def _spread(values: list[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "min": min(values), "max": max(values)}


def draw_reliability(record: Confidence) -> Figure:
    """Draw accuracy against confidence, bin by bin, with 95 % Wilson intervals.

    The bar at the bottom of each bin's place says how many trials it holds.
    """
    with mpl.rc_context(STYLE):
        figure = figure_of(4.8, 4.6)
        axis = figure.add_subplot()
        confidence = np.array([b.confidence for b in record.bins])
        accuracy = np.array([b.accuracy for b in record.bins])
        n = np.array([b.n for b in record.bins])
        low, high = _wilson(accuracy, n)
        axis.plot([0, 1], [0, 1], color=PALE, lw=1, ls="--", label="perfect")
        axis.vlines(confidence, low, high, color=BLUE, lw=1.2, alpha=0.55)
        axis.plot(confidence, accuracy, "o", color=BLUE, ms=6, label="bins of equal size")
        axis.set(
            xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="confidence",
            ylabel="share that is right",
        )  # fmt: skip
        axis.set_aspect("equal")
        axis.legend(loc="upper left")
        axis.set_title(
            f"calibration error {record.calibration_error:.3f} (perfect at n = {record.n}: "
            f"{record.error_if_perfect:.3f})",
            fontsize=10,
        )
    return figure


def draw_risk_coverage(record: Confidence) -> Figure:
    """Draw the share of wrong answers among the most confident ones, and the chosen threshold."""
    with mpl.rc_context(STYLE):
        figure = figure_of(4.8, 3.9)
        axis = figure.add_subplot()
        coverage, risk = np.array(record.coverage), np.array(record.risk)
        axis.plot(coverage, risk, color=BLUE, lw=2, drawstyle="steps-post" if len(risk) < 3 else
                  "default", marker="o" if len(risk) < 3 else None)  # fmt: skip
        axis.axhline(record.risk_limit, color=RED, lw=1, ls="--")
        axis.annotate(
            f"limit {record.risk_limit:g}", (1, record.risk_limit), xytext=(0, 3),
            textcoords="offset points", ha="right", color=RED, fontsize=10,
        )  # fmt: skip
        if record.threshold is None:
            told = "no threshold reaches the limit: every answer is withheld"
        elif record.risk_kept is None:
            told = f"no answer has a confidence of {record.threshold:g}: all are withheld"
        else:
            axis.plot(record.kept, record.risk_kept, "o", color=RED, ms=8, zorder=3)
            told = (
                f"from {record.threshold:g} on {100 * record.kept:.0f} % are kept, "
                f"{100 * record.risk_kept:.0f} % of them wrong"
            )
        axis.set_title(told, fontsize=10)
        top = max(0.1, float(risk.max()), record.risk_limit)
        axis.set(
            xlim=(0, 1.02), ylim=(-0.02 * top, 1.12 * top),
            xlabel="coverage: share of trials kept, surest first", ylabel="risk: share wrong",
        )  # fmt: skip
    return figure


def _wilson(share: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval of a share, 95 %."""
    z = 1.96
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return middle - half, middle + half


def figure_of(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    return figure


def join(records: dict[str, Confidence], path: Path) -> None:
    """Put reliability and risk-coverage of all cases into one picture, a column each."""
    columns = []
    for name, record in records.items():
        figures = [draw_reliability(record), draw_risk_coverage(record)]
        figures[0].suptitle(f"SIMULATED: {TOLD[name]}", fontsize=9)
        for figure in figures:
            figure.canvas.draw()
        columns.append([Image.fromarray(np.asarray(f.canvas.buffer_rgba())) for f in figures])
    width, heights = columns[0][0].width, [image.height for image in columns[0]]
    whole = Image.new("RGB", (width * len(columns), sum(heights)), "white")
    for i, (above, below) in enumerate(columns):
        whole.paste(above, (i * width, 0))
        whole.paste(below, (i * width, heights[0]))
    whole.save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results")
    parser.add_argument(
        "--runs", type=Path, default=ROOT / "runs", help="where the runs of the recipes are"
    )
    parser.add_argument("--steps", type=int, default=400, help="of the fine-tuning on nine people")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    args = parser.parse_args()
    folder = ROOT / "runs" / "confidence"
    folder.mkdir(parents=True, exist_ok=True)
    cases, records = {}, {}
    for name in args.cases:
        decode_case(name, args.runs, folder, args.steps)
        cases[name], records[name] = measure(name, folder)
        told = cases[name]
        print(
            f"{name}: accuracy {told['accuracy']:.3f}, calibration error "
            f"{told['calibration_error']:.3f} (perfect {told['error_if_perfect']:.3f}, 95 % "
            f"{told['error_if_perfect_95']:.3f}), AUC {told['auc']}, features {told['features']}",
            flush=True,
        )
    result = {"sample": SAMPLE.model_dump(), "n_bins": 10, "cases": cases}
    (args.output / "confidence.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    join(records, args.output / "confidence.png")


if __name__ == "__main__":
    main()
