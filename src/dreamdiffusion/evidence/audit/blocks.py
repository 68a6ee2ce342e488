"""Does the design predict the class without any brain? Order, time and timing of the trials."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from dreamdiffusion.evidence.audit.findings import ALPHA, Finding, Floats, Ints
from dreamdiffusion.evidence.audit.trial_order import TrialOrder, excess, max_p, rounded
from dreamdiffusion.trials.splits import Split

WIDTHS = (1, 4, 16)
"""Neighbours in time, in trials, over which the classes are compared."""
FEW = 10
"""Training trials of a class below which there is little to learn from."""
NO_ONSETS = "the onsets of the trials are not known"
LEAST_EXCESS = 0.1
"""How far from chance (0) to certainty (1) time has to predict the class to be severe."""
LEAST_AGREEMENT = 0.04
"""The same of pairs that share their class. It is about the square: where time names 3 of 5 trials
of two classes, an excess of 0.2, the excess of the pairs is 0.04."""

BY_RUN = (
    "What differs between recordings (person, day, impedance, gain) predicts the class: with "
    "recordings on both sides of a split this is scored; with whole recordings held out, a model "
    "still learns the recordings instead of the classes."
)
BY_RUN_REMEDY = "Record every class in every run; hold out whole recordings that hold all classes."


def not_checked(name: str, why: str) -> Finding:
    """Say that a check had nothing to look at."""
    return Finding(name, "note", f"Not checked: {why}.")


def block_design(design: TrialOrder, shuffles: Ints) -> Finding:
    """Do neighbours in time share their class more often than by chance?

    ``shuffles`` are places, int ``(1 + n_permutations, n_trials)``."""
    if not design.varied:
        return not_checked("block_design", "no recording holds two classes")
    labels = design.labels[shuffles].astype(np.int32)
    hits, n_pairs, shares = np.zeros(len(labels)), 0, []
    for lag in range(1, max(WIDTHS) + 1):
        together = design.runs[lag:] == design.runs[:-lag]
        n_pairs += int(together.sum())
        same = labels[:, lag:] == labels[:, :-lag]
        hits = hits + same[:, together].sum(axis=1)
        if lag in WIDTHS:
            shares.append(hits / max(n_pairs, 1))
    table = np.stack(shares, axis=1)
    p, chance = max_p(table), table[1:].mean(axis=0)
    most = max(excess(seen, by) for seen, by in zip(table[0], chance, strict=True))
    evidence: dict[str, object] = {"n_trials": len(design), "n_runs": design.n_runs}
    for width, seen, by in zip(WIDTHS, table[0], chance, strict=True):
        evidence[f"same_class_within_{width}"] = seen
        evidence[f"chance_within_{width}"] = by
    evidence |= {"excess": most, "p": p}
    return _graded(
        "block_design", p, most, LEAST_AGREEMENT, evidence,
        found="Trials that are near in time show the same class: the class can be "
        "predicted from the time within a recording alone.",
        passed="Neighbours in time do not share their class more often than by chance.",
        consequence="Whatever changes slowly (electrodes, sweat, fatigue) predicts the class. "
        "A split that puts neighbours on two sides scores drift, not a response.",
        remedy="Record with the classes in random order. With these recordings, hold out whole "
        "blocks or runs whose order differs, and report the accuracy from time alone.",
    )  # fmt: skip


def time_across_split(design: TrialOrder, shuffles: Ints, split: Split | None) -> Finding:
    """Is the class of a tested trial that of the training trials nearest in time?

    ``shuffles`` are places, int ``(1 + n_permutations, n_trials)``."""
    name = "time_across_split"
    if split is None:
        return not_checked(name, "no split was given")
    train, tested = design.side(split.train), design.side(split.tested)
    shared = np.intersect1d(design.runs[train], design.runs[tested])
    figures: dict[str, object] = {"n_tested": int(tested.sum()), "n_shared_runs": len(shared)}
    if not len(shared):
        return Finding(name, "passed", "No recording is on both sides of the split.", figures)
    train, tested = train & design.timed, tested & design.timed
    shared = np.intersect1d(design.runs[train], design.runs[tested])
    if not len(shared):
        return not_checked(name, NO_ONSETS)
    labels, nearest, places = design.labels[shuffles], [], []
    for run in shared:
        own = np.flatnonzero((design.runs == run) & train)
        asked = np.flatnonzero((design.runs == run) & tested)
        away = np.abs(design.onsets[asked, None] - design.onsets[None, own])
        order = np.argsort(away, axis=1, kind="stable")[:, :5]
        # A recording with fewer than five training trials repeats its farthest.
        order = np.pad(order, ((0, 0), (0, 5 - order.shape[1])), mode="edge")
        nearest.append(own[order])
        places.append(asked)
    places_, nearest_ = np.concatenate(places), np.concatenate(nearest)
    same = np.stack([labels[:, places_] == labels[:, nearest_[:, k]] for k in range(5)])
    table = np.stack([same[0].mean(axis=1), same.mean(axis=(0, 2))], axis=1)
    p, chance = max_p(table), table[1:].mean(axis=0)
    most = max(excess(a, b) for a, b in zip(table[0], chance, strict=True))
    figures |= {
        "class_of_nearest": table[0, 0], "chance": chance[0],
        "class_of_nearest_5": table[0, 1], "chance_5": chance[1], "excess": most, "p": p,
    }  # fmt: skip
    return _graded(
        name, p, most, LEAST_EXCESS, figures,
        found="The class of a tested trial follows from the training trials nearest in time.",
        passed="Training trials nearest in time do not predict the class of a tested trial.",
        consequence="A model that recognises the moment scores above chance with no response to "
        "the picture in it.",
        remedy="Split by run, session or subject, so that no recording is on both sides.",
    )  # fmt: skip


def class_by_run(design: TrialOrder, split: Split | None, seed: int) -> Finding:
    """Does the recording predict the class?"""
    name = "class_by_run"
    if len(design.names) < 2 or len(np.unique(design.runs)) < 2:
        return not_checked(name, "it needs two classes and two recordings")
    shuffles = design.shuffles(design.subjects, seed)
    chi2, best, counts = _tables(
        design.runs, design.labels[shuffles], len(design.names),
        lambda table: table.max(axis=1).sum() / len(design),
    )  # fmt: skip
    p, chance = max_p(chi2[:, None]), float(best[1:].mean())
    single = [design.run_names[r] for r in np.flatnonzero((counts > 0).sum(axis=1) == 1)]
    figures = {
        "n_trials": len(design), "n_runs": design.n_runs, "n_single_class_runs": len(single),
        "class_from_run": best[0], "chance": chance, "excess": excess(best[0], chance), "p": p,
    }  # fmt: skip
    apart = False
    if split is not None:
        train, tested = design.side(split.train), design.side(split.tested)
        apart = not len(np.intersect1d(design.runs[train], design.runs[tested]))
        figures["split_shares_runs"] = not apart
    one = f" {len(single)} recordings hold one class only ({', '.join(single[:3])})."
    found = _graded(
        name, p, figures["excess"], 0.2, figures,
        found="The recording alone predicts the class." + (one if single else ""),
        passed="Every recording holds the classes in much the same shares.",
        consequence=BY_RUN,
        remedy=BY_RUN_REMEDY,
    )  # fmt: skip
    one_each = _one_class_each(design, split)
    if one_each is not None:
        what = f"Every {one_each} holds one class only: class and {one_each} cannot be told apart."
        return Finding(name, "severe", what, rounded(figures), BY_RUN, BY_RUN_REMEDY)
    if found.severity == "severe" and apart:
        return Finding(name, "warning", found.what, found.evidence, found.consequence, found.remedy)
    if found.severity == "passed" and single:
        what = "Some recordings hold one class only." + one
        return Finding(
            name, "warning", what, found.evidence, "", "Leave them out, or record again."
        )
    return found


def _one_class_each(design: TrialOrder, split: Split | None) -> str | None:
    """Name the largest kind of group that is on both sides of a split and holds one class each."""
    train = np.ones(len(design), bool) if split is None else design.side(split.train)
    tested = train if split is None else design.side(split.tested)
    sessions = np.array([name.rpartition("/")[0] for name in design.run_names])[design.runs]
    kinds = {"person": design.subjects, "session": sessions, "recording": design.runs}
    for kind, groups in kinds.items():
        several = np.unique(groups)
        if len(several) < 2 or not len(np.intersect1d(groups[train], groups[tested])):
            continue
        if all(len(np.unique(design.labels[groups == group])) == 1 for group in several):
            return kind
    return None


def event_timing(design: TrialOrder, shuffles: Ints, metadata: pd.DataFrame) -> Finding:
    """Does the time to the trial before or after, or the duration, predict the class?

    ``shuffles`` are places, int ``(1 + n_permutations, n_trials)``."""
    name = "event_timing"
    if not design.varied:
        return not_checked(name, "no recording holds two classes")
    table, figures, most = [], {"n_trials": len(design)}, 0.0
    known_times = timings(design, metadata)
    if not known_times and not design.timed.all():
        return not_checked(name, NO_ONSETS)
    for what, values in known_times.items():
        known = np.isfinite(values)
        edges = np.unique(np.quantile(values[known], np.linspace(0, 1, 9)[1:-1]))
        # Clocks and screens round times: differences below a millisecond say nothing.
        bins = np.searchsorted(edges, values[known] - 1e-3)
        if len(np.unique(bins)) < 2:
            continue
        within = design.labels[shuffles][:, known]
        chi2, rule, _ = _tables(bins, within, len(design.names), _likeliest)
        table.append(chi2)
        figures |= {f"class_from_{what}": rule[0], f"chance_{what}": rule[1:].mean()}
        most = max(most, excess(rule[0], float(rule[1:].mean())))
    if not table:
        return Finding(name, "passed", "All trials follow each other after the same time.", figures)
    p = max_p(np.stack(table, axis=1))
    return _graded(
        name, p, most, LEAST_EXCESS, figures | {"excess": most, "p": p},
        found="The time between trials predicts the class.",
        passed="The time between trials does not predict the class.",
        consequence="Expectation, and what is left of the trial before, differ between classes: "
        "they can be decoded without any response to the picture.",
        remedy="Record with intervals drawn without regard to the class; where classes are "
        "rejected unevenly, mend the rejection.",
    )  # fmt: skip


def timings(design: TrialOrder, metadata: pd.DataFrame) -> dict[str, Floats]:
    """Return seconds to the trial before and after (NaN: none), durations; ``(n_trials,)``."""
    gaps = np.diff(design.onsets)
    gaps[design.runs[1:] != design.runs[:-1]] = np.nan
    nothing = np.array([np.nan])
    found = {
        "interval_before": np.concatenate([nothing, gaps]),
        "interval_after": np.concatenate([gaps, nothing]),
    }
    if "duration" in metadata:
        lasts = pd.to_numeric(metadata["duration"], errors="coerce")
        found["duration"] = np.asarray(lasts, dtype=float)[design.rows]
    return {what: values for what, values in found.items() if np.isfinite(values).any()}


def class_balance(design: TrialOrder, split: Split | None) -> list[Finding]:
    """Are the classes equally frequent, and are there enough trials of each to learn from?"""
    counts = np.bincount(design.labels, minlength=len(design.names))
    largest, smallest = int(counts.argmax()), int(counts.argmin())
    ratio, share = counts.max() / counts.min(), counts.max() / counts.sum()
    figures = rounded(
        {
            "n_trials": len(design), "n_classes": len(counts), "ratio": ratio,
            "largest_class": design.names[largest], "always_guessing_it": share,
            "chance_balanced": 1 / len(counts),
        }
    )  # fmt: skip
    if len(counts) > 1 and ratio > 1.5:
        balance = Finding(
            "class_balance",
            "warning",
            f"{design.names[largest]} is shown {ratio:.2g} times as often as "
            f"{design.names[smallest]}.",
            figures,
            f"Always naming {design.names[largest]} is right in {100 * share:.3g} % of the trials.",
            "Compare with that accuracy, and score every class alike (balanced accuracy).",
        )
    else:
        what = "The classes are about equally frequent."
        balance = Finding("class_balance", "passed", what, figures)
    learned = design.labels if split is None else design.labels[design.side(split.train)]
    least = np.bincount(learned, minlength=len(counts))
    few = [design.names[i] for i in np.flatnonzero(least < FEW)]
    counted = {"n_classes": len(counts), "fewest_training_trials": int(least.min())}
    if len(counts) > 1 and not few:
        return [balance, Finding("few_trials", "passed", f"{FEW} or more of each class.", counted)]
    return [
        balance,
        Finding(
            "few_trials",
            "warning",
            f"{len(few)} classes have fewer than {FEW} training trials ({', '.join(few[:3])})."
            if few
            else "There is one class.",
            counted | {"n_classes_below": len(few)},
            "What is learned of them is mostly noise, and their scores have wide intervals.",
            "Record more trials, or join classes.",
        ),
    ]


def _graded(
    name: str, p: float, found_excess: float, least: float, evidence: dict, *,
    found: str, passed: str, consequence: str, remedy: str,
) -> Finding:  # fmt: skip
    """Grade a test: severe where it is certain and large, a warning where it is only certain."""
    if p >= ALPHA:
        return Finding(name, "passed", passed, rounded(evidence))
    severity = "severe" if found_excess >= least else "warning"
    return Finding(name, severity, found, rounded(evidence), consequence, remedy)


def _likeliest(table: Ints) -> float:
    """Balanced accuracy of the rule that names the likeliest class of each bin."""
    rates = table / np.maximum(table.sum(axis=0), 1)
    return float(rates.max(axis=1).sum() / table.shape[1])


def _tables(
    bins: Ints, labels: Ints, n_labels: int, reduce: Callable[[Ints], float]
) -> tuple[Floats, Floats, Ints]:
    """Count labels by bin for each row of labels, (n_rows, n), one table at a time.

    Returns
    -------
    chi2
        (n_rows,) Pearson's chi-square.
    reduced
        (n_rows,) what `reduce` makes of each table (n_bins, n_labels).
    first
        The table of the first row.
    """
    n_bins, results, first = int(bins.max()) + 1, [], np.zeros((0, 0), int)
    for number, row in enumerate(labels):
        flat = np.bincount(bins * n_labels + row, minlength=n_bins * n_labels)
        table = flat.reshape(n_bins, n_labels)
        first = table if number == 0 else first
        wanted = table.sum(axis=0) * table.sum(axis=1, keepdims=True) / table.sum()
        distance = ((table - wanted) ** 2 / np.maximum(wanted, 1e-12)).sum()
        results.append((distance, reduce(table)))
    chi2, reduced = np.array(results, dtype=float).T
    return chi2, reduced, first
