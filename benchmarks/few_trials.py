"""What `run` chooses for few electrodes, beside what it chose before, with few and more trials.

``linear``: where no picture is given, the linear encoding model, and whether it learns which
electrodes to trust. ``reader``: where the class of each picture is known, and how many networks
are trained for how many steps.

Real recordings (`muse_n170`), person 1, four electrodes: one run trains, or four do, and the next
is the test, six times. A SIMULATED person, eight electrodes at the back of the head or the four of
a Muse: some trials of some categories of runs 1-8 train, runs 9 and 10 are the test. A reader's fit
validates as `run` does, on 15 % of the training trials. Run from the repository::

    dreamdiffusion prepare --config n170 --signal.picks TP9 AF7 AF8 TP10 --output runs/n170-four
    dreamdiffusion simulate --output runs/scenes-person --n_runs 10
    dreamdiffusion prepare --config scenes --input runs/scenes-person --output runs/scenes-trials
    python benchmarks/few_trials.py linear
    python benchmarks/few_trials.py reader

The first takes a minute on one core, the second five. Writes its part of
docs/results/few_trials.json. What was fitted stays in ``--work`` and is not fitted again.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from dreamdiffusion.cli.own.plan import FEW, FEW_OF_CLASSES
from dreamdiffusion.decoders.config import EncodingConfig, ReaderConfig, ReaderOptimConfig
from dreamdiffusion.decoders.encoding import Encoding
from dreamdiffusion.decoders.reader.decoder import Reader
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

ELECTRODES = {
    "eight electrodes": ["PO7", "PO8", "P7", "P8", "O1", "O2", "Pz", "Cz"],
    "Muse": ["TP9", "AF7", "AF8", "TP10"],
}
TRAINING, TEST = [f"{number:02d}" for number in range(1, 9)], ["09", "10"]
SIMULATED = {"linear": [(2, 50), (2, 130), (4, 50), (4, 150), (8, 150), (24, 500)],
             "reader": [(24, 150)]}  # fmt: skip
"""Categories and training trials."""
VALIDATION = 0.15
NONE = np.arange(0)
READERS: dict[str, dict[str, Any]] = {
    "one network, 60 steps": {
        "steps": 60, "ensemble": 1,
        "optim": ReaderOptimConfig(lr=1e-3, weight_decay=0.1, warmup_steps=20),
    },
    "now": {},
}  # fmt: skip
"""What differs from what `run` chooses now."""


@dataclass
class Case:
    """Trials of which some train and others are the test."""

    kind: str
    number: int
    trials: Trials
    train: np.ndarray
    test: np.ndarray


def main() -> None:
    """Fit what is not there yet; write and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=SIMULATED)
    parser.add_argument("--n170", type=Path, default=Path("runs/n170-four"))
    parser.add_argument("--person", type=Path, default=Path("runs/scenes-trials"))
    parser.add_argument("--repeats", type=int, help="of a simulated case; 8 linear, 2 readers")
    parser.add_argument("--work", type=Path, default=Path("runs/few-trials"))
    parser.add_argument("--output", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    logging.getLogger("dreamdiffusion").setLevel(logging.ERROR)
    options.work.mkdir(parents=True, exist_ok=True)
    repeats = options.repeats or {"linear": 8, "reader": 2}[options.part]
    cases = [*n170_cases(options.n170), *simulated_cases(options.person, options.part, repeats)]
    cases.sort(key=lambda case: case.number)  # some of each, if it is stopped
    ways = linear_ways() if options.part == "linear" else reader_ways(options.work / "fit")
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for case in cases:
        for name, read in ways.items():
            rows = found.setdefault(case.kind, {}).setdefault(name, [])
            rows.append(score(case, name, read, options.work))
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "few_trials.json"
    content = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    content[options.part] = {kind: summarise(rows) for kind, rows in found.items()}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(content[options.part], indent=1))


def n170_cases(folder: Path) -> Iterator[Case]:
    """Give the cases of the real person: the run after those that train is the test."""
    trials = Trials.load(folder)
    of_trial = trials.metadata["run"].to_numpy()
    runs = sorted(set(of_trial))
    for kind, count in (("one run", 1), ("four runs", 4)):
        for last in range(len(runs)):
            kept = [runs[(last - back) % len(runs)] for back in range(count)]
            train = np.random.default_rng(last).permutation(np.flatnonzero(np.isin(of_trial, kept)))
            test = np.flatnonzero(of_trial == runs[(last + 1) % len(runs)])
            yield Case(f"N170, {kind}", last, trials, train, test)


def simulated_cases(folder: Path, part: str, repeats: int) -> Iterator[Case]:
    """Give the cases of the SIMULATED person: other categories and other trials each time."""
    every = Trials.load(folder)
    of_trial = every.metadata["run"].astype(str)
    category = every.metadata["category"].astype(str)
    trains, tests = of_trial.isin(TRAINING), of_trial.isin(TEST)
    for headset, picks in ELECTRODES.items():
        places = [every.ch_names.index(name) for name in picks]
        trials = replace(every, data=np.asarray(every.data)[:, places], ch_names=picks)
        for n_classes, size in SIMULATED[part]:
            for number in range(repeats):
                rng = np.random.default_rng(number)
                chosen = rng.choice(sorted(set(category)), n_classes, replace=False).tolist()
                shown = category.isin(chosen)
                train = rng.permutation(np.flatnonzero(shown & trains))[:size]
                kind = f"simulated, {headset}, {n_classes} classes, {size} trials"
                yield Case(kind, number, trials, train, np.flatnonzero(shown & tests))


def linear_ways() -> dict[str, Callable[[Case], pd.DataFrame]]:
    """Return how a table of probabilities comes from the trials alone."""

    def read(case: Case, learned: bool) -> pd.DataFrame:
        config = EncodingConfig(attributes=["category"], electrode_relevance=learned)
        model = Encoding.fit(case.trials, Split(case.train, NONE, NONE, ""), config)
        return (model.decode(case.trials.select(case.test)).probabilities or {})["category"]

    return {
        "electrodes alike": lambda case: read(case, False),
        "electrode_relevance": lambda case: read(case, True),
    }


def reader_ways(folder: Path) -> dict[str, Callable[[Case], pd.DataFrame]]:
    """Return how it comes from trials and the pictures of their classes."""

    def read(case: Case, changes: dict[str, Any]) -> pd.DataFrame:
        shutil.rmtree(folder, ignore_errors=True)
        settings = FEW | FEW_OF_CLASSES | changes
        settings |= dict.fromkeys(("checkpoint_every", "validate_every"), settings["steps"])
        config = ReaderConfig(output=folder, seed=case.number, attributes=["category"], **settings)
        n_validation = round(VALIDATION * len(case.train))
        split = Split(case.train[n_validation:], case.train[:n_validation], NONE, "")
        reader = Reader.fit(case.trials, split, config)
        return (reader.decode(case.trials.select(case.test)).probabilities or {})["category"]

    return {
        name: lambda case, changes=changes: read(case, changes)
        for name, changes in READERS.items()
    }  # fmt: skip


def score(
    case: Case, name: str, read: Callable[[Case], pd.DataFrame], work: Path
) -> dict[str, float]:
    """Fit and read, unless that was done; return AUC (mean over classes) and share right."""
    kept = work / f"{case.kind} {case.number} {name}.json".replace(" ", "-").replace(",", "")
    if kept.is_file():
        return json.loads(kept.read_text("utf-8"))
    table = read(case)
    truth = case.trials.metadata["category"].astype(str).to_numpy()[case.test]
    told = [one for one in table.columns if (truth == one).any()]
    found = {
        "auc": float(np.mean([roc_auc_score(truth == one, table[one]) for one in told])),
        "right": float(np.mean(np.array(table.columns)[table.to_numpy().argmax(axis=1)] == truth)),
    }
    kept.write_text(json.dumps(found), encoding="utf-8")
    print(kept.stem, found, flush=True)
    return found


def summarise(rows: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return means, and what the second way is above the first: mean and standard error."""
    before, after = [pd.DataFrame(each) for each in rows.values()]
    more = after - before
    return {
        "n": len(more),
        **{name: pd.DataFrame(each).mean().to_dict() for name, each in rows.items()},
        "difference": more.mean().to_dict(),
        "standard_error": more.sem().to_dict(),
    }


if __name__ == "__main__":
    main()
