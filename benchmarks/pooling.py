"""What the linear model beside the networks is worth, with few and many trials of one's own.

SIMULATED person and ten others, as pretraining_worth.py has them: a compact network begins with
random weights (``neither``) or where a reader of the ten ended (``supervised``), and is fitted on
some trials of the person, a tenth of which validate. Three seeds, each with trials of its own; runs
11 and 12 are the test (480 trials, 24 categories). Scored: the networks alone, the linear model
alone, both pooled as `Reader` does it, and pooled without the exponents that cross-validation
within the training trials finds. About ten minutes on one core, after the readers of others, which
are those of pretraining_worth.py. Run from the repository::

    python benchmarks/pooling.py --seeds 0 1 2

Writes docs/results/pooling.json. Each fit is kept in ``--work`` and not done again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pretraining_worth import DRAWS, STEPS, TEST, Simulated

from dreamdiffusion.decoders.attributes import value_places
from dreamdiffusion.decoders.config import ReaderConfig, ReaderOptimConfig
from dreamdiffusion.decoders.reader.decoder import Reader
from dreamdiffusion.decoders.reader.pooling import FLOOR, fit_pooling
from dreamdiffusion.evidence.statistics.bootstrap import seed_interval
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

STARTS = {"neither": 2e-3, "supervised": 1e-4}
"""Learning rate by what the network begins with."""
BATCH = 64
ATTRIBUTES = ("category", "color", "place", "background")


def main() -> None:
    """Fit what is not there yet; write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--person", type=Path, default=Path("runs/scenes-trials"))
    parser.add_argument("--others", type=Path, default=Path("runs/scenes-people-trials"))
    parser.add_argument("--windows", type=Path, default=Path("runs/scenes-windows"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--sizes", nargs="+", type=int, default=list(STEPS))
    parser.add_argument("--work", type=Path, default=Path("runs/pretraining-worth"))
    parser.add_argument("--output", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    logging.getLogger("dreamdiffusion").setLevel(logging.ERROR)
    people = Simulated(options)
    test = people.person.select(np.flatnonzero(people.person.metadata["run"].isin(TEST)))
    design = Exchange.of(test.metadata)
    rows = []
    for size, start in itertools.product(options.sizes, STARTS):
        each = [score(people, test, size, start, seed) for seed in options.seeds]
        rows += [
            {"n_trials": size, "start": start, "of": of, "seeds": options.seeds}
            | summarise([one[of] for one in each], design)
            for of in each[0]
        ]
    content = {
        "data": "SIMULATED: person 1, readers of persons 2-11",
        "split": "runs 1-8 train, a tenth validates; 11 and 12 test (480 trials)",
        "rows": rows,
    }
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "pooling.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def score(people: Simulated, test: Trials, size: int, start: str, seed: int) -> dict[str, Any]:
    """Return which test trials each part of a reader, and their pool, names right."""
    kept = people.options.work / f"pooling-{start}-{size}-{seed}.json"
    if kept.is_file():
        return json.loads(kept.read_text("utf-8"))
    trials = people.person.select(people.rows(size, seed))
    order = np.random.default_rng(seed).permutation(size)
    n_validation = size // 10
    split = Split(order[n_validation:], order[:n_validation], np.arange(0), "a tenth validates")
    folder = people.options.work / "pooling-fit"
    shutil.rmtree(folder, ignore_errors=True)
    begin: dict[str, Any] = {}
    if start != "neither":
        begin["init"] = people.others_reader("compact", start, seed)
    config = ReaderConfig(
        output=folder, seed=seed, steps=STEPS[size], batch_size=min(BATCH, len(split.train)),
        checkpoint_every=STEPS[size], validate_every=STEPS[size],
        optim=ReaderOptimConfig(lr=STARTS[start], warmup_steps=STEPS[size] // 5), **begin,
    )  # fmt: skip
    reader = Reader.fit(trials, split, config)
    found = {}
    for of, one in parts(reader, trials.select(split.validation)).items():
        tables = one.decode(test).probabilities or {}
        found[of] = {"weights": one.pooling.get("category")}
        for name in ATTRIBUTES:
            table, true = tables[name], test.metadata[name].astype(str).to_numpy()
            right = np.array(table.columns)[table.to_numpy().argmax(axis=1)] == true
            found[of][name] = "".join("01"[int(value)] for value in right)
        table = tables["category"]
        places = value_places(test.metadata["category"].tolist(), list(table.columns), -1)
        chances = table.to_numpy()[np.arange(len(table)), places]
        found[of]["said"] = float(table.max(axis=1).mean())
        found[of]["nats"] = -float(np.log(np.maximum(chances, FLOOR)).mean())
    kept.write_text(json.dumps(found), encoding="utf-8")
    print(kept.stem, {of: round(one["nats"], 3) for of, one in found.items()}, flush=True)
    return found


def parts(reader: Reader, validation: Trials) -> dict[str, Reader]:
    """Return a reader's networks, its linear model, both, and both without exponents."""
    alone = {
        of: replace(reader, pooling=dict.fromkeys(reader.attributes, weights))
        for of, weights in {"networks": [1.0, 0.0], "linear model": [0.0, 1.0]}.items()
    }
    networks, linear = [one.decode(validation).probabilities or {} for one in alone.values()]
    sure = fit_pooling(networks, linear, validation.metadata, {})
    return alone | {"pooled": reader, "pooled, no exponents": replace(reader, pooling=sure)}


def summarise(each: list[dict[str, Any]], design: Exchange) -> dict[str, Any]:
    """Return the share right of each attribute, how sure the category is said, and the weights."""
    row: dict[str, Any] = {}
    for name in ATTRIBUTES:
        right = np.array([[int(letter) for letter in one[name]] for one in each], float)
        interval = seed_interval(right, design, DRAWS, np.random.default_rng(0))
        row |= {name: float(right.mean()), f"{name}_ci95": list(interval)}
    row |= {name: float(np.mean([one[name] for one in each])) for name in ("said", "nats")}
    return row | {"weights": [one["weights"] for one in each]}


if __name__ == "__main__":
    main()
