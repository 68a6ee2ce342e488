"""How often our tests object to data in which there is nothing, and how often intervals cover.

    python benchmarks/null_data.py [--recordings ../shared/data/muse_n170]

draws data sets whose labels were dealt at random, with decoders that drift and have habits but
know nothing, and writes to ``docs/results/null_data.json``, for each design and metric, the share
of them with p <= 0.05, with any corrected p <= 0.05, and with an interval of the difference to
shuffled EEG that leaves out 0. With ``--recordings``, also a linear decoder fitted and
tested on real EEG whose labels were permuted within runs. Takes about 8 minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd

from dreamdiffusion.datasets.prepare import prepare
from dreamdiffusion.decoders.linear import fit_lda
from dreamdiffusion.evaluation.metrics.pairs import auc_pairs, top1_pairs, trial_groups
from dreamdiffusion.evidence.statistics.bootstrap import bootstrap_ci, seed_interval
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.evidence.statistics.score import correct, permutation_p, score_metric
from dreamdiffusion.files.schema import read_yaml
from dreamdiffusion.files.shipped import CONFIGS
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.trials import Trials

ROOT = Path(__file__).parents[1]
N_CLASSES, N_PICTURES = 6, 24
ALPHA = 0.05
N_PERMUTATIONS, N_BOOTSTRAP = 399, 1000
DESIGNS = {
    "one run of 120": {"n_trials": 120},
    "4 runs of 40, classes in other shares in each": {"n_runs": 4, "n_trials": 40},
    "block design: 2 runs of 20 blocks of 6": {"n_runs": 2, "n_trials": 120, "block": 6},
    "8 people with 2 runs of 20": {"n_people": 8, "n_runs": 2, "n_trials": 20},
}


def experiment(
    rng: np.random.Generator, n_trials: int, n_runs: int = 1, n_people: int = 1, block: int = 1
) -> pd.DataFrame:
    """Draw the metadata of an experiment: classes at random, in runs that hold other shares."""
    tables = []
    for person in range(n_people):
        for run in range(n_runs):
            shares = rng.dirichlet(np.full(N_CLASSES, 2.0)) if n_runs > 1 else None
            labels = rng.choice(N_CLASSES, size=n_trials // block, p=shares).repeat(block)
            pictures = labels + N_CLASSES * rng.integers(N_PICTURES // N_CLASSES, size=n_trials)
            table = {"subject": str(person), "session": "1", "run": str(run)}
            table |= {"onset": np.arange(n_trials) * 1.0, "category": labels}
            tables.append(pd.DataFrame(table | {"stim_file": pictures}))
    return pd.concat(tables, ignore_index=True)


def drift(rng: np.random.Generator, design: Exchange, n: int) -> np.ndarray:
    """Draw n courses, (n_trials, n), that change slowly within a run and jump between runs."""
    course = rng.standard_normal((len(design), n))
    for trial in range(1, len(design)):
        if design.runs[trial] == design.runs[trial - 1]:
            course[trial] = 0.97 * course[trial - 1] + np.sqrt(1 - 0.97**2) * course[trial]
    return course


def outputs(
    rng: np.random.Generator,
    metadata: pd.DataFrame,
    states: dict[str, np.ndarray],
    order: np.ndarray,
    groups: np.ndarray,
) -> dict[str, np.ndarray]:
    """Pairs (n, n) of each metric: what a decoder draws from the drifting state of trial order[j].

    Four labels of each trial for the two metrics of labels; seeds of its own in every call.
    """
    n, found = len(metadata), {}
    for name, column in (("category_top1", "category"), ("retrieval_top1", "stim_file")):
        logits = 1.5 * states[name][order]
        chosen = (logits[:, None] + rng.gumbel(size=(n, 4, logits.shape[1]))).argmax(-1)
        found[name] = top1_pairs(chosen, metadata[column].to_numpy(), logits.shape[1])
    seen = np.random.default_rng(0).standard_normal((N_PICTURES, 3))[metadata["stim_file"]]
    for name in ("pcc", "ssim"):
        state = states[name][order]  # three that meet the picture, and how bright it is drawn
        made = state[:, :3] + rng.standard_normal((n, 3))
        found[name] = seen @ made.T + state[:, 3] + 0.3 * rng.standard_normal((n, n))
    found["ssim"][groups[:, None] != groups] = np.nan
    return found


def one(rng: np.random.Generator, shape: dict[str, int]) -> dict[str, float]:
    """Score one data set; return 1 for each test that objects to it."""
    metadata = experiment(rng, **shape)
    design = Exchange.of(metadata)
    groups = trial_groups(design, rng, largest=16)
    widths = {"category_top1": N_CLASSES, "retrieval_top1": N_PICTURES, "pcc": 4, "ssim": 4}
    states = {name: drift(rng, design, width) for name, width in widths.items()}
    pairs = outputs(rng, metadata, states, np.arange(len(design)), groups)
    others = [outputs(rng, metadata, states, design.derangement(rng), groups) for _ in range(6)]
    hits, records = {}, []
    for name, own in pairs.items():
        restricted = groups if name == "ssim" else None
        controls = {"shuffled_eeg": others[0][name]}
        counts = (N_PERMUTATIONS, N_BOOTSTRAP)
        record = score_metric(name, own, controls, rng, design, *counts, restricted)
        records.append(record)
        low, high = record.difference_ci95
        hits[f"p/{name}"] = record.p <= ALPHA
        hits[f"difference/{name}"] = low > 0 or high < 0
        six = {str(at): other[name] for at, other in enumerate(others)}
        low, _ = score_metric(
            name, own, six, rng, design, 1, N_BOOTSTRAP, restricted
        ).difference_ci95
        hits[f"above_strongest_of_6/{name}"] = low > 0
        if name != "ssim":
            one_run = Exchange.one_run(len(design))
            hits[f"p_if_design_ignored/{name}"] = permutation_p(own, 399, rng, one_run) <= ALPHA
    hits["any_corrected"] = min(record.p_corrected or 0 for record in correct(records)) <= ALPHA
    return {name: float(hit) for name, hit in hits.items()}


def auc(rng: np.random.Generator) -> dict[str, float]:
    """Test the AUC of 3 runs of 60 as `examples/n170.py` does: decisions drift, labels are free."""
    metadata = experiment(rng, 60, 3)
    each, truth = np.arange(180), metadata["category"].to_numpy() % 2 == 1
    design = Exchange(0 * each, each // 60, each, each)
    truth[::60], truth[1::60] = True, False  # a run of one class has no AUC
    decision = drift(rng, design, 1)[:, 0] + rng.standard_normal(len(truth))
    p = permutation_p(auc_pairs(decision, truth, design.runs), N_PERMUTATIONS, rng, design)
    return {"p/auc": float(p <= ALPHA)}


def coverage(rng: np.random.Generator) -> dict[str, float]:
    """Whether intervals hold the truth, 0, for scores with differences between people or seeds."""
    hits = {}
    one_person, eight = (
        Exchange.one_run(100),
        Exchange(*[np.arange(400) // 50] * 2, *[np.arange(400)] * 2),
    )
    low, high = bootstrap_ci((rng.random(100) < 0.3) - 0.3, one_person, N_BOOTSTRAP, rng)
    hits["one person, 100 trials right in 30 %"] = low <= 0 <= high
    pictures = np.arange(200) // 5
    repeated = Exchange(*[np.zeros(200, int)] * 2, np.arange(200), pictures)
    values = rng.standard_normal(200) + rng.standard_normal(40)[pictures]
    low, high = bootstrap_ci(values, repeated, N_BOOTSTRAP, rng)
    hits["one person, 40 pictures 5 times, half of the variance between pictures"] = (
        low <= 0 <= high
    )
    for told, between in (("none", 0.0), ("as much as trials give", 1.0), ("4 times that", 2.0)):
        people = between / np.sqrt(50) * rng.standard_normal(8)
        values = rng.standard_normal(400) + people[eight.people]
        low, high = bootstrap_ci(values, eight, N_BOOTSTRAP, rng)
        hits[f"8 people of 50 trials, variance between people: {told}"] = low <= 0 <= high
    for n_seeds in (3, 5):
        seeds = rng.standard_normal((n_seeds, 1)) / 10
        values = rng.standard_normal(100) + seeds + rng.standard_normal((n_seeds, 100))
        low, high = seed_interval(values, one_person, N_BOOTSTRAP, rng)
        hits[f"{n_seeds} seeds on 100 trials, seeds and trials vary alike"] = low <= 0 <= high
    return {name: float(hit) for name, hit in hits.items()}


def real(trials: Trials, rng: np.random.Generator) -> dict[str, float]:
    """Permute labels within the runs of a recording, fit an LDA on the other runs, score it."""
    runs, each = pd.factorize(trials.metadata["run"])[0], np.arange(len(trials))
    design = Exchange(np.zeros(len(trials), int), runs, each, each)
    labels = trials.metadata["category"].to_numpy()[design.exchanges(1, rng)[0]]
    truth = labels == labels[0]
    named, decision = np.empty(len(trials), int), np.empty(len(trials))
    for run in range(runs.max() + 1):
        train, test = runs != run, runs == run
        decoder = fit_lda(trials.data[train], truth[train], trials.sfreq, 0.047)
        decision[test] = decoder.predict_proba(trials.data[test])[:, 1]
        named[test] = decision[test] > 0.5
    pairs = top1_pairs(named[:, None], truth.astype(int), 2)
    areas = auc_pairs(decision, truth, runs)
    return {
        "p/lda_category_top1": float(permutation_p(pairs, N_PERMUTATIONS, rng, design) <= ALPHA),
        "p/lda_auc": float(permutation_p(areas, N_PERMUTATIONS, rng, design) <= ALPHA),
    }


def shares(draw, n: int, seed: int) -> dict[str, float]:
    """Repeat a draw n times, each with its own random numbers; return the mean of each hit."""
    found = defaultdict(list)
    for number in range(n):
        for name, hit in draw(np.random.default_rng([seed, number])).items():
            found[name].append(hit)
    return {name: round(float(np.mean(hits)), 4) for name, hits in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1000, help="data sets of each design")
    parser.add_argument("--n-real", type=int, default=200, help="permutations of real labels")
    parser.add_argument("--recordings", type=Path, help="folder muse_n170")
    parser.add_argument("--work", type=Path, default=Path("runs/null_data"))
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results" / "null_data.json")
    options = parser.parse_args()
    begun = time.process_time()
    found = {
        "what": "share of data sets with nothing in them to which a test objects, at 0.05",
        "n_data_sets": options.n,
        "n_permutations": N_PERMUTATIONS,
        "n_bootstrap": N_BOOTSTRAP,
        "designs": {},
    }
    for seed, (name, shape) in enumerate(DESIGNS.items()):
        found["designs"][name] = shares(lambda rng, s=shape: one(rng, s), options.n, seed)
        print(name, json.dumps(found["designs"][name], indent=1), flush=True)
    found["designs"]["AUC within 3 runs of 60"] = shares(auc, options.n, 100)
    found["coverage_of_95_percent_intervals"] = shares(coverage, 5 * options.n, 102)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    if options.recordings:
        settings = read_yaml(CONFIGS / "prepare-n170.yaml")
        settings |= {
            "input": [options.recordings / "subject1"], "output": options.work / "trials",
            "stimuli": options.recordings / "stimuli",
        }  # fmt: skip
        trials = Trials.load(prepare(PrepareConfig(**settings)))
        name = f"real EEG (muse_n170, subject 1), {options.n_real} times labels permuted in runs"
        found["designs"][name] = shares(lambda rng: real(trials, rng), options.n_real, 101)
    found["cpu_seconds"] = round(time.process_time() - begun)
    options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
