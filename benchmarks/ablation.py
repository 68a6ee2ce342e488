"""What pre-training and the alignment with CLIP are worth, on the SIMULATED person.

    python benchmarks/ablation.py

fine-tunes the bundled model's configuration three ways with the same steps, data and seeds: with
both (MSM + CLIP), without pre-training (CLIP only), and with neither; decodes the held-out run with
each, and writes ``docs/results/ablation.json`` and ``ablation.png``. Needs what
``scripts/make_weights.sh`` leaves in ``runs/``; a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import matplotlib
import numpy as np

from dreamdiffusion.bootstrap import seed_interval
from dreamdiffusion.config import FinetuneConfig, SampleConfig, read_yaml
from dreamdiffusion.config_evidence import EvaluateConfig
from dreamdiffusion.design import Design
from dreamdiffusion.evaluate import evaluate
from dreamdiffusion.finetune import finetune

VARIANTS = {
    "MSM + CLIP": {},
    "CLIP only": {"pretrained": None},
    "neither": {"pretrained": None, "clip_weight": 0.0},
}
METRIC = "category_top1"


def main() -> None:
    """Fine-tune, decode, tabulate, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=Path("configs/finetune-scenes.yaml"))
    parser.add_argument("--steps", type=int, default=None, help="default: as configured")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--images", type=int, default=2, help="generated for each trial")
    parser.add_argument("--work", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--output", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    base = FinetuneConfig(**read_yaml(options.config))
    rows = []
    for seed in options.seeds:
        for name, changes in VARIANTS.items():
            folder = folder_of(options.work, name, seed)
            config = base.model_copy(
                update={
                    "seed": seed,
                    "steps": options.steps or base.steps,
                    "output": folder,
                    **changes,
                }
            )
            rows.append({"variant": name, "seed": seed} | run(config, options.images))
            print(json.dumps(rows[-1]), flush=True)
            result = {"simulated": True, "steps": config.steps, "rows": rows}
            result["pooled"] = [pool(rows, variant) for variant in VARIANTS]
            result["differences"] = differences(options.work, [row["seed"] for row in rows])
            options.output.mkdir(parents=True, exist_ok=True)
            text = json.dumps(result, indent=1)
            (options.output / "ablation.json").write_text(text + "\n", encoding="utf-8")
    draw(result["pooled"], options.output / "ablation.png")


def folder_of(work: Path, variant: str, seed: int) -> Path:
    """Where a variant is trained."""
    return work / f"{variant.replace(' ', '')}-{seed}"


def differences(work: Path, seeds: list[int]) -> list[dict]:
    """Compare each variant with the next on the same trials, with a paired bootstrap interval."""
    rng = np.random.default_rng(0)
    found = []
    names = list(VARIANTS)
    for better, worse in itertools.pairwise(names):
        of_seed = [
            hits(folder_of(work, better, seed)) - hits(folder_of(work, worse, seed))
            for seed in sorted(set(seeds))
            if (folder_of(work, worse, seed) / "evaluate" / "scores.json").is_file()
        ]
        if not of_seed:
            continue
        values = np.stack(of_seed)
        interval = seed_interval(values, Design.one_run(values.shape[1]), 5000, rng)
        found.append(
            {
                "difference": f"{better} - {worse}", "metric": METRIC, "n": values.shape[1],
                "n_seeds": len(of_seed), "value": float(values.mean()), "ci95": interval,
            }
        )  # fmt: skip
    return found


def hits(folder: Path) -> np.ndarray:
    """Share of the images of each trial that show its category."""
    trials = json.loads((folder / "evaluate" / "scores.json").read_text("utf-8"))["trials"]
    pairs = zip(trials["category"], trials["judged_category"], strict=True)
    return np.array([np.mean([name == category for name in judged]) for category, judged in pairs])


def run(config: FinetuneConfig, images: int) -> dict:
    """Fine-tune and score one variant; nothing is done twice."""
    scores = config.output / "evaluate" / "scores.json"
    if not scores.is_file():
        evaluate(
            EvaluateConfig(
                model=finetune(config),
                data=config.data,
                output=scores.parent,
                sample=SampleConfig(num_images_per_prompt=images, seed=config.seed),
            )
        )
    content = json.loads(scores.read_text(encoding="utf-8"))
    records = content["scores"] + content["baselines"]
    kept = ("value", "ci95", "chance", "p", "n")
    return {
        r["metric"]: {key: r[key] for key in kept}
        | {"shuffled_eeg": r["controls"]["shuffled_eeg"]["value"]}
        for r in records
    }


def pool(rows: list[dict], variant: str) -> dict:
    """Mean over seeds; their trials are the same, so the interval does not shrink."""
    of_variant = [row[METRIC] for row in rows if row["variant"] == variant]
    if not of_variant:
        return {"variant": variant, "n_seeds": 0}
    mean = {
        key: float(np.mean([record[key] for record in of_variant]))
        for key in ("value", "chance", "shuffled_eeg")
    }
    ci95 = np.mean([record["ci95"] for record in of_variant], axis=0).tolist()
    return {"variant": variant, "n_seeds": len(of_variant), "metric": METRIC, "ci95": ci95} | mean


def draw(pooled: list[dict], path: Path) -> None:
    """Draw the bars with their intervals, their shuffled control and chance."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5.5, 3.5), layout="constrained")
    value = np.array([row["value"] for row in pooled])
    low, high = np.array([row["ci95"] for row in pooled]).T
    places = np.arange(len(pooled))
    axes.bar(
        places, value, yerr=[value - low, high - value], capsize=5, color="tab:blue", width=0.6
    )
    axes.plot(places, [row["shuffled_eeg"] for row in pooled], "kD", label="shuffled EEG")
    axes.plot(
        places, [row["chance"] for row in pooled], "_", color="tab:red", ms=40, label="chance"
    )
    axes.set_xticks(places, [row["variant"] for row in pooled])
    axes.set_ylabel("category right in generated pictures")
    axes.set_title("SIMULATED EEG, held-out run")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
