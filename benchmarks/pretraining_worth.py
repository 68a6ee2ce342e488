"""What a reader gains from another person's labelled trials, with few and many of one's own.

Real recordings (`muse_n170`): faces and houses, two people, one run held out at a time. Networks of
fit-reader-n170.yaml start from random weights, or where a reader of the other person ended
(``init``). Some of the training trials are used, the fewer among the more; the score is the AUC
within the held-out run, of the networks alone and with the linear models beside them. Run from the
repository, after the trials of examples/n170.py are there::

    python benchmarks/pretraining_worth.py --seeds 0 1 2

Writes docs/results/pretraining_worth.json and .png. What was computed stays in ``runs/`` and is not
computed again. A quarter of an hour on one core.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

from dreamdiffusion.decoders.config import ReaderConfig
from dreamdiffusion.decoders.fit import make_split
from dreamdiffusion.decoders.reader.decoder import Reader
from dreamdiffusion.files.schema import read_yaml
from dreamdiffusion.files.shipped import CONFIGS
from dreamdiffusion.trials.config import SplitConfig
from dreamdiffusion.trials.trials import Trials

STARTS = ("scratch", "other")
SIZES: dict[str, tuple[int, ...]] = {"1": (50, 150, 500), "2": (50, 150)}
"""Trials of each person that train; person 2 has no more in one run."""


def main() -> None:
    """Fit what is not there yet; write figures and table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=Path, default=Path("runs/n170"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=int, default=2, help="held-out runs of each person")
    parser.add_argument("--work", type=Path, default=Path("runs/pretraining-worth"))
    parser.add_argument("--output", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    logging.getLogger("dreamdiffusion").setLevel(logging.ERROR)
    people = {s: Trials.load(options.trials / f"subject{s}" / "trials") for s in SIZES}
    cache = options.work / "aucs.json"
    options.work.mkdir(parents=True, exist_ok=True)
    done: dict[str, dict[str, float]] = json.loads(cache.read_text()) if cache.is_file() else {}
    for subject, seed in itertools.product(people, options.seeds):
        runs = sorted(people[subject].metadata["run"].unique())[: options.runs]
        for run, size, start in itertools.product(runs, SIZES[subject], STARTS):
            name = f"{subject}/{size}/{start}/{seed}/{run}"
            if name not in done:
                done[name] = score(people, subject, size, start, seed, run, options)
                cache.write_text(json.dumps(done, indent=1))
                print(name, done[name], flush=True)
    table = summarise(done, options.seeds)
    options.output.mkdir(parents=True, exist_ok=True)
    content = {
        "data": "muse_n170, real recordings",
        "split": f"leave one run out, {options.runs} runs of each person",
        "seeds": options.seeds,
        "auc": table,
    }
    path = options.output / "pretraining_worth.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    draw(table, options.output / "pretraining_worth.png")


def configure(folder: Path, output: Path, seed: int, **changes: Any) -> ReaderConfig:
    """Return the fit of one network."""
    settings: dict[str, Any] = read_yaml(CONFIGS / "fit-reader-n170.yaml")
    changes = {"data": folder, "output": output, "seed": seed, "ensemble": 1} | changes
    return ReaderConfig(**settings | changes)


def other_reader(people: dict[str, Trials], subject: str, seed: int, work: Path) -> Path:
    """Fit a reader on all trials of the other person, once; return its folder."""
    other = next(name for name in people if name != subject)
    folder = work / f"person-{other}-seed-{seed}"
    if not (folder / "model" / "decoder.json").is_file():
        split = SplitConfig(by="run", test=[], validation_fraction=0.1)
        config = configure(Path(), folder, seed, split=split)
        trials = people[other]
        reader = Reader.fit(trials, make_split(trials, config), config)
        reader.save(folder / "model")
    return folder / "model"


def score(
    people: dict[str, Trials],
    subject: str,
    size: int,
    start: str,
    seed: int,
    run: str,
    options: argparse.Namespace,
) -> dict[str, float]:
    """Return the AUCs of one held-out run."""
    trials, init = people[subject], None
    if start == "other":
        init = other_reader(people, subject, seed, options.work)
    split_config = SplitConfig(by="run", test=[run], validation_fraction=0.1)
    output = options.work / "fits" / f"{subject}-{size}-{start}-{seed}-{run}"
    config = configure(Path(), output, seed, split=split_config, n_pairs=size, init=init)
    split = make_split(trials, config)
    reader, test = Reader.fit(trials, split, config), trials.select(split.test)
    truth = (test.metadata["category"] == "faces").to_numpy()
    both = {"with_linear": reader, "networks": Reader(reader.processor, reader.networks)}
    aucs = {}
    for name, one in both.items():
        probabilities = one.decode(test).probabilities
        assert probabilities is not None
        aucs[name] = float(roc_auc_score(truth, probabilities["category"]["faces"]))
    return aucs


def summarise(done: dict[str, dict[str, float]], seeds: list[int]) -> list[dict]:
    """Return the mean over held-out runs, and its deviation over seeds."""
    rows = []
    for subject in SIZES:
        for size, start, kind in itertools.product(
            SIZES[subject], STARTS, ("networks", "with_linear")
        ):
            each = [
                float(np.mean([v[kind] for k, v in done.items() if k.startswith(prefix)]))
                for seed in seeds
                if (prefix := f"{subject}/{size}/{start}/{seed}/")
            ]
            rows.append(
                {
                    "subject": subject,
                    "n_trials": size,
                    "start": start,
                    "of": kind,
                    "auc": float(np.mean(each)),
                    "sd_over_seeds": float(np.std(each, ddof=1)) if len(each) > 1 else None,
                }
            )
    return rows


def draw(table: list[dict], path: Path) -> None:
    """Draw AUC against the number of trials."""
    mpl.rcParams["svg.hashsalt"] = "0"
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    colours = {"scratch": "C0", "other": "C1"}
    names = {"scratch": "from scratch", "other": "from the other person's reader"}
    for axes, subject in zip(figure.subplots(1, 2, sharey=True), SIZES, strict=True):
        for start, kind in itertools.product(STARTS, ("networks", "with_linear")):
            rows = [
                r for r in table if (r["subject"], r["start"], r["of"]) == (subject, start, kind)
            ]
            axes.errorbar(
                [r["n_trials"] for r in rows],
                [r["auc"] for r in rows],
                [r["sd_over_seeds"] or 0 for r in rows],
                color=colours[start],
                linestyle="-" if kind == "networks" else "--",
                marker="o",
                label=f"{names[start]}, {'networks' if kind == 'networks' else '+ linear models'}",
            )
        axes.axhline(0.5, color="0.7")
        axes.set(xscale="log", xlabel="trials of the person", title=f"person {subject}")
        axes.set_xticks(SIZES[subject], [str(n) for n in SIZES[subject]])
        axes.minorticks_off()
    figure.axes[0].set_ylabel("AUC, faces against houses")
    figure.axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
