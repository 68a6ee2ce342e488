"""What pre-training on many headsets is worth on real data: faces and houses from a Muse headset.

Real recordings (`muse_n170`), two people, one run held out at a time. The EEG encoder and its
head are fine-tuned towards the CLIP embeddings of the photos, as in the whole system but without
the U-Net, which costs a hundred times as much and does not change the embedding's decision. The
score is the area under the curve (AUC) of that decision within the held-out run. Compared:

* electrodes by place (`any`) and by number, tiled to 128 as in the paper (`tiled`),
* pre-trained on the store of prepare-all.yaml, or not (`msm`, `scratch`),
* all four electrodes, or two of them taken away in the held-out run only (`any` alone can do that).

Needs the outputs of::

    dreamdiffusion prepare --config all
    dreamdiffusion pretrain --config all
    dreamdiffusion pretrain --config all --encoder.montage fixed \\
        --n_chans 128 --channel_dropout 0 --output runs/pretrain-all-tiled
    dreamdiffusion train-generator --config n170

and writes docs/results/any_montage.json. Run from the repository::

    python benchmarks/any_montage.py --recordings ../shared/data/muse_n170 --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from scipy.stats import t
from sklearn.metrics import roc_auc_score

from dreamdiffusion.datasets.prepare import prepare
from dreamdiffusion.decoders.config import FinetuneConfig
from dreamdiffusion.decoders.dreamdiffusion.build import (
    fit_processor,
    make_conditioner,
    make_encoder,
)
from dreamdiffusion.decoders.dreamdiffusion.loss import FinetuneTask
from dreamdiffusion.decoders.dreamdiffusion.pairs import Pairs, load_pairs
from dreamdiffusion.decoders.fit import make_split
from dreamdiffusion.decoders.linear import fit_lda
from dreamdiffusion.files.schema import read_yaml
from dreamdiffusion.files.shipped import CONFIGS
from dreamdiffusion.models.generator.generator import Generator, load_generator
from dreamdiffusion.training.loop import train_task
from dreamdiffusion.trials.config import PrepareConfig, SplitConfig
from dreamdiffusion.trials.trials import Trials

POSITIVE = "faces"
VARIANTS = ("any/msm", "any/scratch", "tiled/msm", "tiled/scratch")


def main() -> None:
    """Run every variant, seed and person that is not done yet; print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=Path, default=Path("../shared/data/muse_n170"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--work", type=Path, default=Path("runs/n170-any"))
    parser.add_argument("--output", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    logging.getLogger("dreamdiffusion").setLevel(logging.ERROR)
    base = FinetuneConfig(**read_yaml(CONFIGS / "finetune-n170-any.yaml"))
    generator = load_generator(base.generator)
    cache = options.work / "aucs.json"
    done: dict[str, dict] = json.loads(cache.read_text()) if cache.exists() else {}
    people = {}
    for subject in ("1", "2"):
        folder = prepare_subject(options.recordings, subject, options.work)
        trials = Trials.load(folder)
        people[subject] = folder, trials, load_pairs(trials, generator)
        if f"lda/{subject}" not in done:
            done[f"lda/{subject}"] = lda_aucs(trials)
    for seed, variant, subject in itertools.product(options.seeds, options.variants, people):
        name = f"{variant}/{subject}/{seed}"
        if name in done:
            continue
        folder, trials, pairs = people[subject]
        config = configure(base, variant, folder, seed, options.work)
        done[name] = leave_one_run_out(trials, pairs, generator, config)
        cache.write_text(json.dumps(done, indent=1))
        print(name, json.dumps(done[name]), flush=True)
    content = {
        "data": "muse_n170, real recordings",
        "split": "leave one run out; AUC within the held-out run, meant over trials",
        "n": {subject: len(people[subject][1]) for subject in people},
        "chance": 0.5,
        "lda": {subject: done[f"lda/{subject}"] for subject in people},
        "variants": summarise(done, options.seeds, list(people)),
        "msm_minus_scratch": differences(done, options.seeds, list(people)),
    }
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "any_montage.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(content, indent=1))


def prepare_subject(recordings: Path, subject: str, work: Path) -> Path:
    """Cut the trials of one person, once."""
    output = work / f"subject{subject}" / "trials"
    settings = read_yaml(CONFIGS / "prepare-n170-any.yaml") | {
        "input": [recordings / f"subject{subject}"],
        "stimuli": recordings / "stimuli",
        "output": output,
    }
    return output if (output / "info.json").exists() else prepare(PrepareConfig(**settings))


def configure(
    base: FinetuneConfig, variant: str, folder: Path, seed: int, work: Path
) -> FinetuneConfig:
    """Return the fine-tuning of one variant."""
    montage, weights = variant.split("/")
    kind, n_chans = ("any", None) if montage == "any" else ("fixed", 128)
    pretrained = Path("runs/pretrain-all" if montage == "any" else "runs/pretrain-all-tiled")
    return base.model_copy(
        update={
            "data": folder,
            "output": work / "fold",
            "pretrained": pretrained if weights == "msm" else None,
            "encoder": base.encoder.model_copy(update={"montage": kind}),
            "n_chans": n_chans,
            "noise_weight": 0.0,
            "seed": seed,
        }
    )


def leave_one_run_out(
    trials: Trials, pairs: Pairs, generator: Generator, config: FinetuneConfig
) -> dict[str, float]:
    """Return the AUC with all electrodes, and with each two of them where the encoder can."""
    runs = trials.metadata["run"].to_numpy()
    truth = (trials.metadata["category"] == POSITIVE).to_numpy()
    # The direction from houses to faces among the CLIP embeddings of the photos.
    axis = pairs.mean_embedding(np.flatnonzero(truth)) - pairs.mean_embedding(
        np.flatnonzero(~truth)
    )
    decisions: dict[str, np.ndarray] = {}
    for run in sorted(set(runs)):
        fold = config.model_copy(update={"split": SplitConfig(by="run", test=[run])})
        shutil.rmtree(fold.output, ignore_errors=True)
        fold.output.mkdir(parents=True)
        split = make_split(trials, fold)
        encoder = make_encoder(trials, fold)
        processor = fit_processor(trials, split.train, fold.scale, encoder)
        conditioner = make_conditioner(fold, encoder, generator)
        eeg = processor(np.asarray(trials.data), trials.ch_names, trials.sfreq)
        task = FinetuneTask(
            fold, eeg, pairs, split.train, split.validation, encoder, conditioner,
            generator.unet, DDPMScheduler.from_config(generator.scheduler.config),
            generator.image_size,
        )  # fmt: skip
        train_task(task, fold, fold.output, run, {"encoder": fold.encoder_lr_scale})
        encoder.eval()
        conditioner.eval()
        for name, kept in electrodes_kept(trials.ch_names, fold.encoder.montage == "any"):
            rows = [trials.ch_names.index(channel) for channel in kept]
            seen = processor(np.asarray(trials.data)[split.test][:, rows], kept, trials.sfreq)
            with torch.no_grad():
                embedding = conditioner.embed(encoder(seen))
            decision = decisions.setdefault(name, np.full(len(trials), np.nan))
            decision[split.test] = (embedding @ axis).numpy()
    return {name: auc_within(truth, decision, runs) for name, decision in decisions.items()}


def electrodes_kept(ch_names: list[str], any_montage: bool) -> list[tuple[str, list[str]]]:
    """Name the sets of electrodes that the held-out run is decoded with."""
    sets = [("all", ch_names)]
    if any_montage:
        pairs = itertools.combinations(ch_names, 2)
        sets += [("only " + " ".join(pair), list(pair)) for pair in pairs]
    return sets


def auc_within(truth: np.ndarray, decision: np.ndarray, runs: np.ndarray) -> float:
    """Return the mean over trials of the AUC within each run."""
    names, counts = np.unique(runs, return_counts=True)
    values = [roc_auc_score(truth[runs == name], decision[runs == name]) for name in names]
    return float(np.average(values, weights=counts))


def lda_aucs(trials: Trials) -> dict[str, float]:
    """Return the same AUC of a shrinkage LDA on the same trials, all electrodes and TP9, TP10."""
    runs = trials.metadata["run"].to_numpy()
    truth = (trials.metadata["category"] == POSITIVE).to_numpy()
    aucs = {}
    for name, kept in (("all", trials.ch_names), ("only TP9 TP10", ["TP9", "TP10"])):
        data = np.asarray(trials.data)[:, [trials.ch_names.index(channel) for channel in kept]]
        decision = np.full(len(trials), np.nan)
        for run in set(runs):
            test = runs == run
            decoder = fit_lda(data[~test], truth[~test], trials.sfreq, 0.047)
            decision[test] = decoder.predict_proba(data[test])[:, 1]
        aucs[name] = auc_within(truth, decision, runs)
    return aucs


def summarise(done: dict[str, dict], seeds: list[int], people: list[str]) -> dict[str, dict]:
    """Return mean and interval over seeds of every variant, person and set of electrodes."""
    table: dict[str, dict] = {}
    for variant, subject in itertools.product(VARIANTS, people):
        records = [done.get(f"{variant}/{subject}/{seed}") for seed in seeds]
        if all(records):
            table.setdefault(variant, {})[subject] = {
                name: over_seeds([record[name] for record in records]) for name in records[0]
            }
    return table


def differences(done: dict[str, dict], seeds: list[int], people: list[str]) -> dict[str, dict]:
    """Return what pre-training adds, seed by seed."""
    table: dict[str, dict] = {}
    for montage, subject in itertools.product(("any", "tiled"), people):
        pairs = [
            (done.get(f"{montage}/msm/{subject}/{s}"), done.get(f"{montage}/scratch/{subject}/{s}"))
            for s in seeds
        ]
        if all(msm and scratch for msm, scratch in pairs):
            gains = [msm["all"] - scratch["all"] for msm, scratch in pairs]
            table.setdefault(montage, {})[subject] = over_seeds(gains)
    return table


def over_seeds(values: list[float]) -> dict[str, object]:
    """Return mean and 95 % t interval of the mean."""
    mean = float(np.mean(values))
    record: dict[str, object] = {"mean": mean, "seeds": values}
    if len(values) > 1:
        half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
        record["ci95"] = [mean - float(half), mean + float(half)]
    return record


if __name__ == "__main__":
    main()
