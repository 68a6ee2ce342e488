"""Faces and houses from a real Muse headset, each run held out in turn, two variants.

Real recordings (`muse_n170`), two people. ``prior``: a reader and a bank of photos of the two
classes (fit-prior-n170.yaml); ``paper``: tokens of EEG condition the U-Net, pre-trained or not
(finetune-n170.yaml). Scores of all held-out runs together, with interval and controls. Needs the
outputs of the commands in docs/n170.md, and writes docs/results/n170/. Run from the repository::

    .venv/bin/python examples/n170.py --recordings ../shared/data/muse_n170
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.metrics import roc_auc_score

from dreamdiffusion.datasets.prepare import prepare
from dreamdiffusion.decoders.base import Decoder
from dreamdiffusion.decoders.config import FinetuneConfig, FitConfig, PriorConfig, SampleConfig
from dreamdiffusion.decoders.dreamdiffusion.pairs import load_embeddings
from dreamdiffusion.decoders.fit import MODEL, fit_decoder, load_decoder
from dreamdiffusion.decoders.linear import Covariance, fit_lda
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.evaluation.evaluate import evaluate
from dreamdiffusion.evaluation.metrics.pairs import auc_pairs
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.evidence.statistics.score import permutation_p
from dreamdiffusion.files.schema import read_yaml
from dreamdiffusion.files.shipped import CONFIGS
from dreamdiffusion.files.whole import write_json
from dreamdiffusion.models.embedder import load_embedder
from dreamdiffusion.trials.config import PrepareConfig, SplitConfig
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

POSITIVE = "faces"
N_PERMUTATIONS = 2000
COVARIANCES: tuple[Covariance, ...] = ("class", "pooled")
ARMS = ("prior", "paper", "paper-scratch")
SAMPLES = {
    "prior": SampleConfig(num_images_per_prompt=1, num_inference_steps=8, guidance_scale=4.0),
    "paper": SampleConfig(num_images_per_prompt=2, num_inference_steps=8, guidance_scale=8.0),
}


def main() -> None:
    """Run every fold of every person and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=Path, default=Path("../shared/data/muse_n170"))
    parser.add_argument("--subjects", nargs="+", default=["1", "2"])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--picks", nargs="+", default=["TP9", "TP10"], help="electrodes")
    parser.add_argument(
        "--strength",
        type=float,
        default=0.7,
        help="of the prior; 0: photos of the bank as they are",
    )
    parser.add_argument("--work", type=Path, default=Path("runs/n170"))
    parser.add_argument("--output", type=Path, default=Path("docs/results/n170"))
    options = parser.parse_args()
    path = options.output / "scores.json"
    results = json.loads(path.read_text("utf-8"))["results"] if path.is_file() else []
    for subject in options.subjects:
        trials = prepare_subject(options, subject)
        for arm in options.arms:
            new = run_subject(trials, subject, arm, options)
            results = [r for r in results if (r["subject"], r["arm"]) != (subject, arm)] + [new]
            options.output.mkdir(parents=True, exist_ok=True)
            if arm != "paper-scratch":
                keep_report(subject, arm, options)
            results.sort(key=lambda r: (r["subject"], ARMS.index(r["arm"])))
            content = {"data": "muse_n170, real recordings", "results": results}
            path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            print(json.dumps({k: v for k, v in new.items() if k != "folds"}), flush=True)


def keep_report(subject: str, arm: str, options: argparse.Namespace) -> None:
    """Copy report and gallery of one person."""
    scored = options.work / f"subject{subject}" / arm / "evaluate"
    shutil.copy(scored / "scores.json", options.output / f"report-{arm}-subject{subject}.json")
    if arm == "prior" and not options.strength:
        return  # its images are photos of the data, which are no part of this repository
    with Image.open(scored / "gallery.png") as gallery:
        # 64 colours: a third of the bytes, and the pictures are grey.
        gallery.quantize(64).save(options.output / f"gallery-{arm}-subject{subject}.png")


def prepare_subject(options: argparse.Namespace, subject: str) -> Path:
    """Cut the trials of one person, once."""
    settings: dict[str, Any] = read_yaml(CONFIGS / "prepare-n170.yaml")
    settings["signal"] |= {"picks": options.picks}
    settings |= {
        "input": [options.recordings / f"subject{subject}"],
        "stimuli": options.recordings / "stimuli",
        "output": options.work / f"subject{subject}" / "trials",
    }
    return prepare(PrepareConfig(**settings))


def configure(arm: str, folder: Path, stimuli: Path) -> PriorConfig | FinetuneConfig:
    """Return the fit of one arm."""
    name = "fit-prior-n170.yaml" if arm == "prior" else "finetune-n170.yaml"
    settings: dict[str, Any] = read_yaml(CONFIGS / name) | {"data": folder}
    if arm == "prior":
        return PriorConfig(**settings | {"bank": stimuli})
    return FinetuneConfig(**settings | ({"pretrained": None} if arm == "paper-scratch" else {}))


def run_subject(folder: Path, subject: str, arm: str, options: argparse.Namespace) -> dict:
    """Fit and decode with each run held out in turn; return the record of the person."""
    trials = Trials.load(folder)
    base = configure(arm, folder, options.recordings / "stimuli")
    output = options.work / f"subject{subject}" / arm
    truth = (trials.metadata["category"] == POSITIVE).to_numpy()
    runs = trials.metadata["run"].to_numpy()
    decision, lda = np.full(len(trials), np.nan), np.full(len(trials), np.nan)
    named: dict[Covariance, np.ndarray] = {n: np.zeros(len(trials), bool) for n in COVARIANCES}
    models, folds = [], []
    axis = _axis(trials, truth, base) if arm != "prior" else None
    for run in sorted(set(runs)):
        changes = {
            "output": output / f"run-{run}",
            "split": SplitConfig(by="run", test=[run], validation_fraction=0.1),
        }
        models.append(fit_once(base.model_copy(update=changes), trials))
        split = Split.load(models[-1] / "split.json")
        test = trials.select(split.test)
        decision[split.test] = decide(load_decoder(models[-1]), test, axis)
        # The linear baseline sees the same training trials.
        training = np.asarray(trials.data[split.train])
        linear = fit_lda(training, truth[split.train], trials.sfreq, 0.047)
        lda[split.test] = linear.predict_proba(np.asarray(test.data))[:, 1]
        for name, faces in named.items():
            of_name = fit_lda(training, truth[split.train], trials.sfreq, 0.03, name)
            faces[split.test] = of_name.predict(np.asarray(test.data)) == "True"
        auc = float(roc_auc_score(truth[split.test], decision[split.test]))
        folds.append({"run": run, "n": len(split.test), "auc": auc})
    return {
        "subject": subject,
        "arm": arm,
        **({"strength": options.strength} if arm == "prior" else {}),
        "picks": options.picks,
        "split": "leave one run out; the held-out run is neither trained nor validated on",
        "auc": auc_record(truth, decision, runs),
        "lda_auc": auc_record(truth, lda, runs),
        **({"class_read": class_records(truth, decision, named, runs)} if arm == "prior" else {}),
        "generated_category_top1": evaluate_arm(models, folder, output / "evaluate", arm, options),
        "folds": folds,
    }


def fit_once(config: FitConfig, trials: Trials) -> Path:
    """Fit a fold, or return the model that the same settings made of the same trials."""
    mark = config.output / "fitted.json"
    made_of = {"config": config.model_dump(mode="json"), "digest of data": trials.digest}
    if mark.is_file() and json.loads(mark.read_text("utf-8")) == made_of:
        return config.output / MODEL
    mark.unlink(missing_ok=True)
    model = fit_decoder(config)
    write_json(mark, made_of)
    return model


def _axis(trials: Trials, truth: np.ndarray, base: Any) -> Any:
    """Return the direction from houses to faces among the CLIP embeddings of the photos."""
    pairs = load_embeddings(trials, load_embedder(Path(base.generator) / "clip"))
    positive, other = np.flatnonzero(truth), np.flatnonzero(~truth)
    return pairs.mean_embedding(positive) - pairs.mean_embedding(other)


def decide(decoder: Decoder, test: Trials, axis: Any) -> np.ndarray:
    """Return how much each trial speaks for a face: what is read, or where its embedding lies."""
    answer = decoder.read(test)  # type: ignore[attr-defined]
    if axis is None:
        return answer.probabilities["category"][POSITIVE].to_numpy()
    return (answer.embeddings @ axis).numpy()


def evaluate_arm(
    models: list[Path], trials: Path, output: Path, arm: str, options: argparse.Namespace
) -> dict:
    """Score the images of all held-out runs together; return the record of the category."""
    sample = SAMPLES[arm.split("-")[0]]
    if arm == "prior":
        sample = sample.model_copy(update={"strength": options.strength})
    config = EvaluateConfig(
        model=models[0],
        folds=models[1:],
        data=trials,
        judge=Path("runs/judge-n170"),
        output=output,
        protocol="muse-n170" if options.picks == ["TP9", "TP10"] else None,
        batch_size=64,
        label_prompt="a picture of {category}",
        sample=sample,
    )
    if arm == "paper-scratch":  # only shuffled EEG, which always is
        config = config.model_copy(update={"controls": []})
    if arm == "prior" and not options.strength:  # nothing is drawn, from texts neither
        drawn = ["phase_randomised_eeg", "mean_embedding", "no_eeg_prior", "posterior_draws"]
        config = config.model_copy(update={"controls": drawn})
    scores = evaluate(config).scores
    record = next(record for record in scores if record.metric == "category_top1")
    kept = {"metric", "value", "n", "chance", "ci95", "p"}
    controls = {name: float(one.value) for name, one in record.controls.items()}
    return record.model_dump(mode="json", include=kept) | {"controls": controls}


def class_records(
    truth: np.ndarray, decision: np.ndarray, named: dict[Covariance, np.ndarray], runs: np.ndarray
) -> dict:
    """Share of trials whose class is read, of LDA's class, and what the first is above the second.

    Windows of 30 ms, the covariance of each class and pooled; both read the same trials, so that
    intervals of the difference are over trials within runs.
    """
    rng = np.random.default_rng(0)
    groups = [np.flatnonzero(runs == run) for run in pd.unique(runs)]
    draws = [np.concatenate([rng.choice(g, len(g)) for g in groups]) for _ in range(2000)]
    right = (decision > 0.5) == truth

    def record(values: np.ndarray) -> dict:
        boot = [values[places].mean() for places in draws]
        ci95 = [float(q) for q in np.percentile(boot, [2.5, 97.5])]
        return {"value": float(values.mean()), "ci95": ci95}

    records = {"read": record(right.astype(float))}
    for name, faces in named.items():
        of_lda = faces == truth
        records[f"lda_{name}"] = record(of_lda.astype(float))
        records[f"minus_lda_{name}"] = record(right.astype(float) - of_lda)
    return records


def auc_record(truth: np.ndarray, decision: np.ndarray, runs: np.ndarray) -> dict:
    """Mean over runs of the AUC within each, with interval, shuffled control and p.

    Within each run, because decisions of different folds come from different models.
    """
    rng = np.random.default_rng(0)
    design = Exchange(np.zeros(len(runs), int), pd.factorize(runs)[0], *[np.arange(len(runs))] * 2)
    groups = [np.flatnonzero(runs == run) for run in pd.unique(runs)]
    weights = np.array([len(group) for group in groups]) / len(truth)

    def mean_auc(labels: np.ndarray, places: list[np.ndarray]) -> float:
        values = [roc_auc_score(labels[p], decision[p]) for p in places]
        return float(np.dot(values, weights))

    value = mean_auc(truth, groups)
    boot = [mean_auc(truth, [rng.choice(g, len(g)) for g in groups]) for _ in range(1000)]
    shuffled = truth[design.exchanges(1, rng)[0]]
    pairs = auc_pairs(decision, truth, runs)
    return {
        "metric": "auc",
        "value": value,
        "n": len(truth),
        "chance": 0.5,
        "shuffled_eeg": mean_auc(shuffled, groups),
        "ci95": [float(q) for q in np.percentile(boot, [2.5, 97.5])],
        "p": permutation_p(pairs, N_PERMUTATIONS, rng, design),
    }


if __name__ == "__main__":
    main()
