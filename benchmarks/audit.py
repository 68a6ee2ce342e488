"""How often the audit objects to experiments with nothing wrong in them.

    python benchmarks/audit.py

audits 200 made-up experiments with random order and writes the share of them in which each finding
was severe, or a warning, to ``docs/results/audit/false_alarms.json`` (about a minute on one core).
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from dreamdiffusion.evidence.audit.findings import ALPHA, N_PERMUTATIONS
from dreamdiffusion.evidence.audit.run import audit_trials
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

ROOT = Path(__file__).parents[1]
SHAPES = {
    "2 classes, 6 runs of 60, each as often": {"n_classes": 2, "n_runs": 6, "n_trials": 60},
    "2 classes drawn freely, 3 runs of 80": {
        "n_classes": 2, "n_runs": 3, "n_trials": 80, "balanced": False,
    },
    "8 classes, 4 people, 8 runs of 40": {
        "n_classes": 8, "n_runs": 8, "n_trials": 40, "n_subjects": 4,
    },
    "40 classes, 4 runs of 80": {"n_classes": 40, "n_runs": 4, "n_trials": 80},
}  # fmt: skip
TESTED = (
    "block_design", "alternating_order", "time_across_split", "fixed_order", "class_by_run",
    "event_timing", "drift", "prestimulus_signal", "early_signal",
    "class_in_channel", "duplicate_trials",
)  # fmt: skip


def experiment(
    rng: np.random.Generator, n_classes: int, n_runs: int, n_trials: int, n_subjects: int = 1,
    balanced: bool = True,
) -> Trials:  # fmt: skip
    """Draw an experiment: order, intervals and noise at random; signals drift, none responds."""
    tables, pieces = [], []
    for run in range(n_runs):
        labels = np.arange(n_trials) % n_classes
        labels = rng.permutation(labels) if balanced else rng.integers(n_classes, size=n_trials)
        onsets = np.cumsum(rng.uniform(0.8, 1.4, n_trials))
        walk = np.cumsum(rng.standard_normal((n_trials, 4, 1)), axis=0)
        signal = 1e-5 * (rng.standard_normal((n_trials, 4, 64)) + 0.5 * walk)
        kept = rng.random(n_trials) > 0.1
        table = {"subject": run % n_subjects, "session": 1, "run": run, "onset": onsets}
        tables.append(pd.DataFrame(table | {"category": labels, "stim_file": ""})[kept])
        pieces.append(signal[kept].astype(np.float32))
    metadata = pd.concat(tables, ignore_index=True)
    metadata[["subject", "run"]] = metadata[["subject", "run"]].astype(str)
    return Trials(np.concatenate(pieces), ["TP9", "AF7", "AF8", "TP10"], 100.0, -0.2, metadata)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=200, help="experiments, over all shapes")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "docs" / "results" / "audit" / "false_alarms.json"
    )
    options = parser.parse_args()
    severe: Counter[str] = Counter()
    warned: Counter[str] = Counter()
    any_severe, begun, shapes = 0, time.process_time(), list(SHAPES.values())
    for number in range(options.n):
        rng = np.random.default_rng([number, 2026])
        trials = experiment(rng, **shapes[number % len(shapes)])
        tested = rng.random(len(trials)) < 0.25  # the split that forgives least
        split = Split(np.flatnonzero(~tested), [], np.flatnonzero(tested), "at random")
        findings = [f for f in audit_trials(trials, split, seed=number) if f.name in TESTED]
        severe.update(f.name for f in findings if f.severity == "severe")
        warned.update(f.name for f in findings if f.severity == "warning")
        any_severe += any(f.severity == "severe" for f in findings)
    found = {
        "what": "share of experiments with nothing wrong in which a finding was made",
        "n_experiments": options.n,
        "shapes": list(SHAPES),
        "split": "a quarter of the trials, at random",
        "alpha_of_a_test": ALPHA,
        "n_permutations": N_PERMUTATIONS,
        "severe": {name: severe[name] / options.n for name in TESTED},
        "warning": {name: warned[name] / options.n for name in TESTED},
        "any_severe": any_severe / options.n,
        "cpu_seconds": round(time.process_time() - begun, 1),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
