"""What pre-training is worth to a reader, with few and many trials of one's own.

``--part n170``: real recordings (`muse_n170`): faces and houses, two people, one run held out at a
time. Networks of fit-reader-n170.yaml start from random weights, or where a reader of the other
person ended (``init``). The score is the AUC within the held-out run, of the networks alone and
with the linear models beside them. Needs the trials of examples/n170.py. A quarter of an hour on
one core.

``--part simulated``: a SIMULATED person and ten others. Both encoders, under the same losses, start
from random weights (``neither``), from masked signal modelling of the others' recordings without
labels (``msm``; the transformer alone), from a reader of the others' labelled trials
(``supervised``), or from such a reader that began with masked signal modelling (``both``). Runs 1-8
train, run 9 chooses the learning rate, runs 11 and 12 are the test (480 trials). A seed is that of
all three trainings, so each seed has other pre-trained weights, and of which trials are used.
Beside it what a linear classifier makes of the same trials. About half an hour on one core::

    dreamdiffusion simulate --output runs/scenes-person --n_runs 12
    dreamdiffusion prepare --config scenes --input runs/scenes-person --output runs/scenes-trials
    dreamdiffusion simulate --output runs/scenes-people --first_subject 2 --n_subjects 10 --n_runs 2
    dreamdiffusion prepare --config scenes --input runs/scenes-people \\
        --output runs/scenes-people-trials
    dreamdiffusion prepare --config scenes-windows --input runs/scenes-people

Of the training trials some are used, the fewer among the more. Run from the repository::

    python benchmarks/pretraining_worth.py --part simulated --seeds 0 1 2

Writes its part of docs/results/pretraining_worth.json and draws all of it. What was computed stays
in ``--work``, a line for each fit, and is not computed again; a fit that was stopped goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import shutil
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

from dreamdiffusion.decoders.base import Decoder
from dreamdiffusion.decoders.config import LdaConfig, ReaderConfig, ReaderOptimConfig
from dreamdiffusion.decoders.fit import make_split
from dreamdiffusion.decoders.lda import LDA
from dreamdiffusion.decoders.reader.decoder import Reader
from dreamdiffusion.evidence.statistics.bootstrap import seed_interval
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.files.schema import read_yaml
from dreamdiffusion.files.shipped import CONFIGS
from dreamdiffusion.models.config import PretrainConfig
from dreamdiffusion.models.encoders.pretrain import pretrain
from dreamdiffusion.trials.config import SplitConfig
from dreamdiffusion.trials.scaling import scale_matrix
from dreamdiffusion.trials.splits import Split, subset_training
from dreamdiffusion.trials.trials import Trials

STARTS = ("scratch", "other")
SIZES: dict[str, tuple[int, ...]] = {"1": (50, 150, 500), "2": (50, 150)}
"""Trials of each person that train; person 2 has no more in one run."""

RUNS = [f"{number:02d}" for number in range(1, 9)]
CHOICE, TEST = ["09"], ["11", "12"]
STARTS_OF = {
    "compact": ("neither", "supervised"),
    "mae": ("neither", "msm", "supervised", "both"),
}
ARMS = [(encoder, start) for encoder, starts in STARTS_OF.items() for start in starts]
LABELLED = {"supervised", "both"}
"""Starts that know other people's labels."""
LINEAR = "LDA, pooled, 47 ms"
STEPS = {50: 150, 150: 200, 500: 400, 1920: 600}
"""Of the training, by the person's trials. All there are of 8 runs are 1,920."""
MSM_STEPS = 1000
OTHERS_STEPS = 600
BATCH = 64
RATES = {
    ("compact", "fresh"): (2e-3,), ("compact", "init"): (1e-4, 5e-4, 2e-3),
    ("mae", "fresh"): (1e-3,), ("mae", "init"): (1e-4,),
}  # fmt: skip
"""Learning rates that run 9 chooses from, with 150 trials and seed 0, from the start ``neither`` or
``supervised``. Where there is one it was chosen before: that of the compact network from nothing on
other data, the transformer's are those of its pre-training and of the compact network."""
MAE = {"patch_size": 8, "embed_dim": 128, "depth": 3, "num_heads": 4, "mlp_ratio": 2.0}
DRAWS = 2000


def main() -> None:
    """Fit what is not there yet; write figures and table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("n170", "simulated"), required=True)
    parser.add_argument("--trials", type=Path, default=Path("runs/n170"))
    parser.add_argument("--person", type=Path, default=Path("runs/scenes-trials"))
    parser.add_argument("--others", type=Path, default=Path("runs/scenes-people-trials"))
    parser.add_argument("--windows", type=Path, default=Path("runs/scenes-windows"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=int, default=2, help="held-out runs of each person of N170")
    parser.add_argument("--work", type=Path, default=Path("runs/pretraining-worth"))
    parser.add_argument("--output", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    logging.getLogger("dreamdiffusion").setLevel(logging.ERROR)
    options.work.mkdir(parents=True, exist_ok=True)
    options.output.mkdir(parents=True, exist_ok=True)
    part = measure_n170(options) if options.part == "n170" else Simulated(options).measure()
    path = options.output / "pretraining_worth.json"
    content = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    content[options.part] = part
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    draw(content, options.output / "pretraining_worth.png")


def measure_n170(options: argparse.Namespace) -> dict[str, Any]:
    """Return what another person's reader is worth on the real recordings."""
    people = {s: Trials.load(options.trials / f"subject{s}" / "trials") for s in SIZES}
    cache = options.work / "aucs.json"
    done: dict[str, dict[str, float]] = json.loads(cache.read_text()) if cache.is_file() else {}
    for subject, seed in itertools.product(people, options.seeds):
        runs = sorted(people[subject].metadata["run"].unique())[: options.runs]
        for run, size, start in itertools.product(runs, SIZES[subject], STARTS):
            name = f"{subject}/{size}/{start}/{seed}/{run}"
            if name not in done:
                done[name] = score(people, subject, size, start, seed, run, options)
                cache.write_text(json.dumps(done, indent=1))
                print(name, done[name], flush=True)
    return {
        "data": "muse_n170, real recordings",
        "split": f"leave one run out, {options.runs} runs of each person",
        "seeds": options.seeds,
        "auc": summarise(done, options.seeds),
    }


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


class Simulated:
    """The fits on simulated people, each done once."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.person = Trials.load(options.person)
        self.lines = options.work / "simulated.jsonl"
        text = self.lines.read_text("utf-8") if self.lines.is_file() else ""
        self.done = {_key(line): line for line in map(json.loads, text.splitlines())}

    @cached_property
    def others(self) -> Trials:
        return align(Trials.load(self.options.others))

    def measure(self) -> dict[str, Any]:
        """Return the table of every arm and size, mean and interval over trials and seeds."""
        for seed, size in itertools.product(self.options.seeds, STEPS):
            if size < max(STEPS) or not seed:  # all trials are the same ones with every seed
                self.short_cut(size, seed)
        for encoder in STARTS_OF:
            for seed in self.options.seeds:
                for size, start in itertools.product(STEPS, STARTS_OF[encoder]):
                    self.reader(encoder, start, size, seed, self.rate(encoder, start))
                for start in set(STARTS_OF[encoder]) & LABELLED:
                    self.untrained(encoder, start, seed)
        return {
            "data": "SIMULATED: person 1 (target), persons 2-11 with 2 runs each (others)",
            "split": "runs 1-8 train, 9 chooses, 11 and 12 test (480 trials, chance .042)",
            "seeds": self.options.seeds,
            "steps": STEPS,
            "rates": {f"{of}, {start}": self.rate(of, start) for of, start in ARMS},
            "category": self.summarise(),
        }

    def rate(self, encoder: str, start: str) -> float:
        """Return the learning rate that names most trials of the run for choosing right."""
        like, kind = ("supervised", "init") if start in LABELLED else ("neither", "fresh")
        rates = RATES[encoder, kind]
        if len(rates) == 1:
            return rates[0]
        lines = [self.reader(encoder, like, 150, 0, rate) for rate in rates]
        return max(lines, key=lambda line: line["right"].count("1"))["rate"]

    def rows(self, size: int, seed: int) -> np.ndarray:
        """Return the trials of the person that train; the fewer are among the more."""
        train = np.flatnonzero(self.person.metadata["run"].isin(RUNS))
        split = Split(train, np.arange(0), np.arange(0), "runs 1-8")
        categories = self.person.metadata["category"].to_numpy()
        return subset_training(split, categories, size, seed).train

    def reader(self, encoder: str, start: str, size: int, seed: int, rate: float) -> dict[str, Any]:
        """Fit a reader on some trials of the person; return what it got right when choosing."""
        line = {"of": encoder, "start": start, "n_trials": size, "seed": seed, "rate": rate}
        key = _key(line | {"runs": CHOICE})
        if key in self.done:
            return self.done[key]
        begin: dict[str, Any] = {}
        if start == "msm":
            begin["pretrained"] = self.masked_signal_modelling(seed)
        elif start in LABELLED:
            begin["init"] = self.others_reader(encoder, start, seed)
        folder = self.options.work / "fits" / "-".join(map(str, line.values()))
        trials = self.person.select(self.rows(size, seed))
        reader = fit_reader(trials, encoder, STEPS[size], seed, rate, folder, **begin)
        self.keep(line, reader, TEST)
        chosen = self.keep(line, reader, CHOICE)
        shutil.rmtree(folder)
        return chosen

    def masked_signal_modelling(self, seed: int) -> Path:
        """Pre-train the transformer on the others' recordings, once for each seed."""
        folder = self.options.work / f"msm-{seed}"
        if not (folder / "scores.json").is_file():
            settings: dict[str, Any] = read_yaml(CONFIGS / "pretrain-scenes.yaml")
            settings |= {"data": self.options.windows, "output": folder, "seed": seed}
            settings["encoder"] |= MAE
            pretrain(PretrainConfig(**settings | {"steps": MSM_STEPS}))
        return folder

    def others_reader(self, encoder: str, start: str, seed: int) -> Path:
        """Fit a reader on the other people, once for each seed; return its folder."""
        folder = self.options.work / f"others-{encoder}-{start}-{seed}"
        if not (folder / "model" / "decoder.json").is_file():
            begin = {"pretrained": self.masked_signal_modelling(seed)} if start == "both" else {}
            rate = self.rate(encoder, "neither")
            reader = fit_reader(self.others, encoder, OTHERS_STEPS, seed, rate, folder, **begin)
            reader.save(folder / "model")
        return folder / "model"

    def untrained(self, encoder: str, start: str, seed: int) -> None:
        """Score the other people's reader on the person, of whom it knows the covariance alone."""
        line = {"of": encoder, "start": start, "n_trials": 0, "seed": seed}
        if _key(line | {"runs": TEST}) not in self.done:
            reader = Reader.load(self.others_reader(encoder, start, seed))
            train = np.asarray(self.person.data[self.rows(1920, 0)])
            whitening = 1e-5 * scale_matrix(train, "whiten")
            data = np.einsum("ij,njt->nit", whitening, np.asarray(self.person.data))
            self.keep(line, reader, TEST, replace(self.person, data=data.astype(np.float32)))

    def short_cut(self, size: int, seed: int) -> None:
        """Score what a linear classifier makes of the same trials."""
        line = {"of": LINEAR, "start": "neither", "n_trials": size, "seed": seed}
        if _key(line | {"runs": TEST}) not in self.done:
            split = Split(self.rows(size, seed), np.arange(0), np.arange(0), "runs 1-8")
            self.keep(line, LDA.fit(self.person, split, LdaConfig(width_s=0.047)), TEST)

    def keep(
        self,
        line: dict[str, Any],
        decoder: Decoder,
        runs: list[str],
        person: Trials | None = None,
    ) -> dict[str, Any]:
        """Write which trials of some runs a decoder names right."""
        person = person or self.person
        side = person.select(np.flatnonzero(person.metadata["run"].isin(runs)))
        labels = decoder.decode(side).labels
        assert labels is not None
        right = np.array(labels) == side.metadata["category"].to_numpy()
        line = line | {"runs": runs, "right": "".join("01"[int(value)] for value in right)}
        with self.lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.done[_key(line)] = line
        print(_key(line), round(float(right.mean()), 3), flush=True)
        return line

    def summarise(self) -> list[dict[str, Any]]:
        """Return the share right of every row, and what each start adds to none."""
        test = self.person.select(np.flatnonzero(self.person.metadata["run"].isin(TEST)))
        design = Exchange.of(test.metadata)
        found = {}
        for line in self.done.values():
            chosen = "rate" not in line or line["rate"] == self.rate(line["of"], line["start"])
            if line["runs"] == TEST and chosen:
                place = (line["of"], line["start"], line["n_trials"])
                right = [int(letter) for letter in line["right"]]
                found.setdefault(place, {})[line["seed"]] = np.array(right, float)
        rows = []
        for (of, start, size), seeds in found.items():
            values = np.stack([seeds[seed] for seed in sorted(seeds)])
            row = {"of": of, "start": start, "n_trials": size, "n_seeds": len(values)}
            row |= _mean_and_interval("category", values, design)
            plain = found.get((of, "neither", size))
            both = sorted(set(seeds) & set(plain or {}))
            if start != "neither" and plain is not None and both:
                less = np.stack([seeds[seed] - plain[seed] for seed in both])
                row |= _mean_and_interval("gain", less, design)
            rows.append(row)
        return sorted(rows, key=lambda row: (row["of"], row["n_trials"], row["start"]))


def fit_reader(
    trials: Trials, encoder: str, steps: int, seed: int, rate: float, folder: Path, **begin: Any
) -> Reader:
    """Fit one network, and no linear model, on all of the trials."""
    config = ReaderConfig(
        encoder=encoder,  # type: ignore[arg-type]
        mae=MAE,  # type: ignore[arg-type]
        output=folder, seed=seed, linear=False, steps=steps,
        batch_size=min(BATCH, len(trials)),
        checkpoint_every=200, validate_every=steps,
        optim=ReaderOptimConfig(lr=rate, warmup_steps=steps // 5),
        **begin,
    )  # fmt: skip
    split = Split(np.arange(len(trials)), np.arange(0), np.arange(0), "all")
    return Reader.fit(trials, split, config)


def align(trials: Trials) -> Trials:
    """Whiten each person's trials by their own covariance, as the person's own reader has it."""
    data = np.array(trials.data)
    for subject in trials.metadata["subject"].unique():
        rows = np.flatnonzero(trials.metadata["subject"] == subject)
        # In volts again, since the reader fits its own scale.
        data[rows] = 1e-5 * np.einsum("ij,njt->nit", scale_matrix(data[rows], "whiten"), data[rows])
    return replace(trials, data=data)


def _key(line: dict[str, Any]) -> str:
    names = ("of", "start", "n_trials", "seed", "rate", "runs")
    return "/".join(str(line[name]) for name in names if name in line)


def _mean_and_interval(name: str, values: np.ndarray, design: Exchange) -> dict[str, Any]:
    interval = seed_interval(values, design, DRAWS, np.random.default_rng(0))
    return {name: float(values.mean()), f"{name}_ci95": list(interval)}


def draw(content: dict[str, Any], path: Path) -> None:
    """Draw what is there: simulated people above, N170 below."""
    mpl.rcParams["svg.hashsalt"] = "0"
    parts = [name for name in ("simulated", "n170") if name in content]
    figure = Figure(figsize=(9, 3.6 * len(parts)), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(parts), 2, sharey="row", squeeze=False)
    for name, (left, right) in zip(parts, rows, strict=True):
        if name == "simulated":
            draw_simulated(content[name]["category"], left, "mae")
            draw_simulated(content[name]["category"], right, "compact")
            left.set_ylabel("category right, of 24")
        else:
            draw_n170(content[name]["auc"], left, "1")
            draw_n170(content[name]["auc"], right, "2")
            left.set_ylabel("AUC, faces against houses")
    figure.savefig(path, dpi=120)


def draw_simulated(table: list[dict], axes: Axes, encoder: str) -> None:
    """Draw the share right against the number of trials: starts and the short cut."""
    names = {
        "neither": "from scratch",
        "msm": "masked signal modelling",
        "supervised": "other people's labels",
        "both": "both",
    }
    lines = [*((encoder, start) for start in STARTS_OF[encoder]), (LINEAR, "neither")]
    for number, (of, start) in enumerate(lines):
        rows = [r for r in table if (r["of"], r["start"]) == (of, start) and r["n_trials"]]
        if not rows:
            continue  # not fitted yet
        middle = np.array([r["category"] for r in rows])
        edges = np.array([r["category_ci95"] for r in rows]).reshape(-1, 2)
        axes.errorbar(
            [r["n_trials"] * 1.03 ** (number - 2) for r in rows],
            middle,
            np.abs(edges.T - middle),
            color="0.5" if of == LINEAR else f"C{list(names).index(start)}",
            linestyle="--" if of == LINEAR else "-",
            marker="o",
            markersize=4,
            label=of if of == LINEAR else names[start],
        )
    axes.axhline(1 / 24, color="0.8", linewidth=1)
    title = "transformer (mae)" if encoder == "mae" else "compact network"
    axes.set(xscale="log", xlabel="trials of the person", title=f"SIMULATED, {title}")
    axes.set_xticks(list(STEPS), [f"{n:,}" for n in STEPS])
    axes.minorticks_off()
    axes.set_ylim(-0.02, 1.08)
    axes.legend(fontsize=7, loc="upper left", ncols=2)


def draw_n170(table: list[dict], axes: Axes, subject: str) -> None:
    """Draw AUC against the number of trials."""
    colours = {"scratch": "C0", "other": "C2"}
    names = {"scratch": "from scratch", "other": "from the other person's reader"}
    for start, kind in itertools.product(STARTS, ("networks", "with_linear")):
        rows = [r for r in table if (r["subject"], r["start"], r["of"]) == (subject, start, kind)]
        axes.errorbar(
            [r["n_trials"] for r in rows],
            [r["auc"] for r in rows],
            [r["sd_over_seeds"] or 0 for r in rows],
            color=colours[start],
            linestyle="-" if kind == "networks" else "--",
            marker="o",
            markersize=4,
            label=f"{names[start]}, {'networks' if kind == 'networks' else '+ linear models'}",
        )
    axes.axhline(0.5, color="0.8", linewidth=1)
    axes.set(
        xscale="log", xlabel="trials of the person", title=f"real recordings, person {subject}"
    )
    axes.set_xticks(SIZES[subject], [str(n) for n in SIZES[subject]])
    axes.minorticks_off()
    axes.legend(fontsize=7)


if __name__ == "__main__":
    main()
