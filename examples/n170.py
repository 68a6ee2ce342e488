"""Faces and houses from a real Muse headset: leave one run out, with and without pre-training.

Real recordings (`muse_n170`), two people. For every run, the model is fine-tuned on the other runs
of the same person and decodes the run it has not seen. Which photo was shown is not recorded, only
whether it was a face or a house, so a training trial is paired with a photo of its class, and the
scores ask for the class.

Needs the outputs of (see docs/n170.md)::

    dreamdiffusion prepare --config muse-cueing
    dreamdiffusion pretrain --config muse
    dreamdiffusion train-generator --config n170
    dreamdiffusion train-judge --config n170

and writes docs/results/n170/: scores.json, and for each person the report of the pre-trained models
(all held-out runs together, every control) with its gallery, in which no source photo is. Run from
the repository::

    .venv/bin/python examples/n170.py --recordings ../shared/data/muse_n170
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.metrics import roc_auc_score

from dreamdiffusion.datasets.prepare import prepare
from dreamdiffusion.decoders.config import FinetuneConfig, SampleConfig
from dreamdiffusion.decoders.dreamdiffusion.finetune import finetune
from dreamdiffusion.decoders.dreamdiffusion.pairs import load_pairs
from dreamdiffusion.decoders.dreamdiffusion.pipeline import EEGToImagePipeline
from dreamdiffusion.decoders.linear import fit_lda
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.evaluation.evaluate import evaluate
from dreamdiffusion.evaluation.metrics.pairs import auc_pairs
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.evidence.statistics.score import permutation_p
from dreamdiffusion.files.schema import read_yaml
from dreamdiffusion.models.generator.generator import load_generator
from dreamdiffusion.trials.config import PrepareConfig, SplitConfig
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

CONFIGS = Path(__file__).parents[1] / "configs"
POSITIVE = "faces"
N_PERMUTATIONS = 2000


def main() -> None:
    """Run every fold of every person and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=Path, default=Path("../shared/data/muse_n170"))
    parser.add_argument("--subjects", nargs="+", default=["1", "2"])
    parser.add_argument("--work", type=Path, default=Path("runs/n170"))
    parser.add_argument("--output", type=Path, default=Path("docs/results/n170"))
    options = parser.parse_args()
    results = []
    for subject in options.subjects:
        trials = prepare_subject(options.recordings, subject, options.work)
        for pretrained in (True, False):
            results.append(run_subject(trials, subject, pretrained, options.work))
            options.output.mkdir(parents=True, exist_ok=True)
            if pretrained:
                keep_report(subject, options.work, options.output)
            content = {"data": "muse_n170, real recordings", "results": results}
            path = options.output / "scores.json"
            path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            print(json.dumps({k: v for k, v in results[-1].items() if k != "folds"}), flush=True)


def keep_report(subject: str, work: Path, output: Path) -> None:
    """Copy report and gallery of the pre-trained models of one person."""
    scored = work / f"subject{subject}" / "msm" / "evaluate"
    shutil.copy(scored / "scores.json", output / f"report-subject{subject}.json")
    with Image.open(scored / "gallery.png") as gallery:
        # 64 colours: a third of the bytes, and the pictures are grey.
        gallery.quantize(64).save(output / f"gallery-subject{subject}.png")


def prepare_subject(recordings: Path, subject: str, work: Path) -> Path:
    """Cut the trials of one person, once."""
    settings = read_yaml(CONFIGS / "prepare-n170.yaml")
    settings |= {
        "input": [recordings / f"subject{subject}"],
        "stimuli": recordings / "stimuli",
        "output": work / f"subject{subject}" / "trials",
    }
    return prepare(PrepareConfig(**settings))


def run_subject(folder: Path, subject: str, pretrained: bool, work: Path) -> dict:
    """Fine-tune and decode with each run held out in turn; return the record of the person."""
    trials = Trials.load(folder)
    base = FinetuneConfig(**read_yaml(CONFIGS / "finetune-n170.yaml"))
    truth = (trials.metadata["category"] == POSITIVE).to_numpy()
    pairs = load_pairs(trials, load_generator(base.generator))
    # The direction from houses to faces among the CLIP embeddings of the photos.
    axis = pairs.mean_embedding(np.flatnonzero(truth)) - pairs.mean_embedding(
        np.flatnonzero(~truth)
    )
    decision = np.full(len(trials), np.nan)
    lda = np.full(len(trials), np.nan)
    folds = []
    arm = work / f"subject{subject}" / ("msm" if pretrained else "scratch")
    models, folds = [], []
    for run in sorted(trials.metadata["run"].unique()):
        config = base.model_copy(
            update={
                "data": folder,
                "output": arm / f"run-{run}",
                "pretrained": base.pretrained if pretrained else None,
                "split": SplitConfig(by="run", test=[run]),
            }
        )
        model = finetune(config)
        models.append(model)
        split = Split.load(model / "split.json")
        test = split.test
        pipe = EEGToImagePipeline.from_pretrained(model)
        embedding = pipe.embed(np.asarray(trials.data[test]), trials.ch_names, trials.sfreq)
        decision[test] = (embedding @ axis).numpy()
        # The linear baseline sees the same training trials.
        picks = [trials.ch_names.index(name) for name in ("TP9", "TP10")]
        decoder = fit_lda(
            np.asarray(trials.data[split.train])[:, picks], truth[split.train], trials.sfreq, 0.047
        )
        lda[test] = decoder.predict_proba(np.asarray(trials.data[test])[:, picks])[:, 1]
        auc = float(roc_auc_score(truth[test], decision[test]))
        folds.append({"run": run, "n": len(test), "auc": auc})
    runs = trials.metadata["run"].to_numpy()
    return {
        "subject": subject,
        "pretrained": pretrained,
        "split": "leave one run out; the held-out run is neither trained nor validated on",
        "auc": auc_record(truth, decision, runs),
        "lda_auc": auc_record(truth, lda, runs),
        "generated_category_top1": evaluate_arm(models, folder, arm / "evaluate", pretrained),
        "folds": folds,
    }


def evaluate_arm(models: list[Path], trials: Path, output: Path, all_controls: bool) -> dict:
    """Score the images of all held-out runs together; return the record of the category."""
    config = EvaluateConfig(
        model=models[0],
        folds=models[1:],
        data=trials,
        judge=Path("runs/judge-n170"),
        output=output,
        protocol="muse-n170",
        batch_size=64,
        label_prompt="a picture of {category}",
        sample=SampleConfig(num_images_per_prompt=2, num_inference_steps=8, guidance_scale=8.0),
    )
    if not all_controls:  # only shuffled EEG, which always is
        config = config.model_copy(update={"controls": []})
    scores = evaluate(config).scores
    record = next(record for record in scores if record.metric == "category_top1")
    kept = {"metric", "value", "n", "chance", "ci95", "p"}
    shuffled = record.controls["shuffled_eeg"].value
    return record.model_dump(mode="json", include=kept) | {"shuffled_eeg": shuffled}


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
