"""A reader on other headsets than its own, and on people it has never seen (all SIMULATED).

Person 1: a reader of 64 channels (``montage: any``) reads runs 11 and 12 with all of them, with the
32 of an easycap32 and with the 14 of an EMOTIV (against its own reference, P3), beside LDA fitted
on those channels. Others: persons 2-9 train, four with 64 channels, two with 32, two with 14; 10
and 11 weigh networks and linear model; persons 12-17 and 18-23 are the test, two for each cap. The
smaller caps are those channels of recordings with 64. Run from the repository::

    dreamdiffusion simulate --output runs/scenes-person --n_runs 12
    dreamdiffusion prepare --config scenes --input runs/scenes-person --output runs/scenes-trials
    dreamdiffusion simulate --output runs/scenes-people --first_subject 2 --n_subjects 10 --n_runs 2
    dreamdiffusion prepare --config scenes --input runs/scenes-people \\
        --output runs/scenes-people-trials
    dreamdiffusion simulate --output runs/scenes-strangers --first_subject 12 --n_subjects 6 \\
        --n_runs 1
    dreamdiffusion prepare --config scenes --input runs/scenes-strangers \\
        --output runs/scenes-strangers-trials
    dreamdiffusion simulate --output runs/scenes-strangers-2 --first_subject 18 --n_subjects 6 \\
        --n_runs 1
    dreamdiffusion prepare --config scenes --input runs/scenes-strangers-2 \\
        --output runs/scenes-strangers-2-trials
    python benchmarks/other_headsets.py

Writes docs/results/other_headsets.json. Fits are kept in ``--work``. Four minutes on one core.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dreamdiffusion.datasets.simulation.sources import get_cap
from dreamdiffusion.decoders.base import Decoder
from dreamdiffusion.decoders.config import LdaConfig, ReaderConfig
from dreamdiffusion.decoders.lda import LDA
from dreamdiffusion.decoders.reader.decoder import Reader
from dreamdiffusion.decoders.reader.montage import CapEstimate
from dreamdiffusion.decoders.reader.pooling import fit_pooling
from dreamdiffusion.evaluation.confidence.calibration import calibration_error, error_if_perfect
from dreamdiffusion.evidence.statistics.bootstrap import bootstrap_ci
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.files.whole import write_json
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

CAPS = ("easycap64", "easycap32", "emotiv14")
CAP_OF = {
    "02": 0, "03": 0, "04": 0, "05": 0, "06": 1, "07": 1, "08": 2, "09": 2, "10": 0, "11": 1,
    "12": 0, "13": 0, "14": 1, "15": 1, "16": 2, "17": 2,
    "18": 0, "19": 0, "20": 1, "21": 1, "22": 2, "23": 2,
}  # fmt: skip
"""Place in `CAPS` of what each person wears."""
VALIDATION = ("10", "11")
PERSON = {"steps": 1500, "batch_size": 256}
PEOPLE = {"steps": 400, "batch_size": 128}


def main() -> None:
    """Fit what is not there yet; print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--person", type=Path, default=Path("runs/scenes-trials"))
    parser.add_argument("--others", type=Path, default=Path("runs/scenes-people-trials"))
    strangers_default = [Path(f"runs/scenes-strangers{part}-trials") for part in ("", "-2")]
    parser.add_argument("--strangers", nargs="+", type=Path, default=strangers_default)
    parser.add_argument("--work", type=Path, default=Path("runs/other-headsets"))
    parser.add_argument("--output", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    found = {
        "data": "SIMULATED",
        "training": {"one_person": PERSON, "strangers": PEOPLE},
        "one_person": one_person(Trials.load(options.person), options.work),
        "strangers": strangers(
            Trials.load(options.others), [Trials.load(o) for o in options.strangers], options.work
        ),
    }
    print(json.dumps(found, indent=1))
    write_json(options.output / "other_headsets.json", found)


def one_person(trials: Trials, work: Path) -> list[dict[str, Any]]:
    """Return what the reader of 64 channels makes of fewer, beside those fitted on fewer."""
    run = trials.metadata["run"]
    sides = [
        np.flatnonzero(run.isin(names))
        for names in ([f"{number:02d}" for number in range(1, 9)], ["09"], ["11", "12"])
    ]
    split = Split(*sides, rule="runs 1-8 train, 9 validates, 11 and 12 test")
    whole = fit(trials, split, work / "person-64", PERSON)
    rows = []
    for cap in CAPS:
        worn = wear(trials, cap)
        test = worn.select(split.test)
        rows.append(score("reader of 64 channels", cap, whole, test))
        lda = LDA.fit(worn, split, LdaConfig(width_s=0.047))
        rows.append(score("LDA, pooled, fitted on these channels", cap, lda, test))
    return rows


def strangers(others: Trials, unknown: list[Trials], work: Path) -> list[dict[str, Any]]:
    """Return what a reader of several people with several caps makes of people it never saw."""
    readers = fit_people(others, work)
    found, everybody = [], []
    for trials in unknown:
        rows = read_strangers(readers, trials)
        subjects = sorted(trials.metadata["subject"].unique())
        about = {"people": f"{subjects[0]}-{subjects[-1]}"}
        found += [about | row for row in [*rows, *together(rows)]]
        everybody += rows
    found += [{"people": "all"} | row for row in together(everybody)]
    for row in found:
        row.pop("confidence", None)
        row.pop("right", None)
    return found


def fit_people(others: Trials, work: Path) -> dict[str, Reader]:
    """Fit a reader of several people with several caps; return it, and it with other weights."""
    cap = None
    parts = []
    for subject in sorted(others.metadata["subject"].unique()):
        worn = of_person(others, subject)
        if cap is None:
            first = [s for s, place in CAP_OF.items() if place == 0 and s not in VALIDATION]
            known = others.select(np.flatnonzero(others.metadata["subject"].isin(first)))
            cap = CapEstimate.fit(np.asarray(known.data), known.ch_names)
        parts.append(cap(worn))
    pooled = replace(
        parts[0],
        data=np.concatenate([part.data for part in parts]),
        metadata=pd.concat([part.metadata for part in parts], ignore_index=True),
    )
    held = pooled.metadata["subject"].isin(VALIDATION).to_numpy()
    split = Split(np.flatnonzero(~held), np.flatnonzero(held), np.arange(0), "by person")
    reader = fit(pooled, split, work / "people", PEOPLE, linear=True)
    reader.cap = cap
    alone = [
        replace(reader, pooling=dict.fromkeys(reader.attributes, weights))
        for weights in ([1.0, 0.0], [0.0, 1.0])
    ]
    validation = pooled.select(split.validation)
    networks, linear = [one.decode(validation).probabilities or {} for one in alone]
    # Hundreds of trials validate: how sure the linear model was before makes no difference.
    fitted = fit_pooling(networks, linear, validation.metadata, {})
    return {
        "networks and linear model": reader,
        "their weights not limited": replace(reader, pooling=fitted),
        "networks alone": alone[0],
    }


def read_strangers(readers: dict[str, Reader], unknown: Trials) -> list[dict[str, Any]]:
    """Return what each reader makes of people under each cap."""
    rows = []
    for place, name in enumerate(CAPS):
        people = [s for s in sorted(unknown.metadata["subject"].unique()) if CAP_OF[s] == place]
        worn = wear(unknown.select(np.flatnonzero(unknown.metadata["subject"].isin(people))), name)
        rows += [score(of, name, reader, worn) for of, reader in readers.items()]
    return rows


def together(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the calibration over the people of all caps."""
    found = []
    for of in dict.fromkeys(row["of"] for row in rows):
        parts = [row for row in rows if row["of"] == of]
        confidence = np.concatenate([row["confidence"] for row in parts])
        right = np.concatenate([row["right"] for row in parts])
        found.append({"of": of, "cap": "all", **calibration(confidence, right)})
    return found


def of_person(trials: Trials, subject: str) -> Trials:
    """Return the trials of a person under the cap that the person wears."""
    rows = np.flatnonzero(trials.metadata["subject"] == subject)
    return wear(trials.select(rows), CAPS[CAP_OF[subject]])


def wear(trials: Trials, name: str) -> Trials:
    """Return the channels of a cap, against its own reference."""
    cap = get_cap(name)
    data = np.asarray(trials.data)
    shown = data[:, [trials.ch_names.index(channel) for channel in cap.ch_names]]
    if cap.reference in trials.ch_names:
        shown = shown - data[:, [trials.ch_names.index(cap.reference)]]
    return replace(trials, data=shown, ch_names=list(cap.ch_names))


def fit(
    trials: Trials, split: Split, folder: Path, training: dict[str, int], linear: bool = False
) -> Reader:
    """Fit a reader of one network, and perhaps the linear model, once."""
    if not (folder / "model" / "decoder.json").is_file():
        config = ReaderConfig(
            output=folder, montage="any", steps=training["steps"],
            batch_size=training["batch_size"], checkpoint_every=200,
            validate_every=training["steps"], linear=linear, linear_widths_s=[0.047],
        )  # fmt: skip
        Reader.fit(trials, split, config).save(folder / "model")
    return Reader.load(folder / "model")


def score(of: str, cap: str, decoder: Decoder, test: Trials) -> dict[str, Any]:
    """Return the share of right categories, and how far the confidence can be believed."""
    answer = decoder.decode(test)
    assert answer.probabilities is not None
    right = np.array(answer.labels) == test.metadata["category"].to_numpy()
    confidence = answer.probabilities["category"].to_numpy().max(axis=1)
    design = Exchange.of(test.metadata)
    interval = bootstrap_ci(right.astype(float), design, 2000, np.random.default_rng(0))
    row: dict[str, Any] = {"of": of, "cap": cap, "category": float(right.mean())}
    row |= {"ci95": list(interval), **calibration(confidence, right)}
    if len(test.metadata["subject"].unique()) > 1:
        row |= {"confidence": confidence, "right": right}
    return row


def calibration(confidence: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """Return the calibration error, and that of a perfect confidence of the same values."""
    perfect = error_if_perfect(confidence, np.random.default_rng(0))
    return {
        "n": len(right),
        "mean_confidence": float(confidence.mean()),
        "calibration_error": calibration_error(confidence, right),
        "error_if_perfect": list(perfect),
    }


if __name__ == "__main__":
    main()
