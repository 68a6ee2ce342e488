"""Does an evaluation follow its protocol? What is done otherwise ends it, or is recorded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dreamdiffusion.evidence.protocols.schema import Protocol
from dreamdiffusion.evidence.scores import Followed
from dreamdiffusion.trials.averages import n_averaged
from dreamdiffusion.trials.splits import Split, column_keys
from dreamdiffusion.trials.trials import Trials

# A drawn validation side has whole pictures and categories, so its share is not met exactly.
_VALIDATION_TOLERANCE = 0.03


@dataclass(frozen=True)
class Planned:
    """What is about to be scored, beside the trials and their split.

    Attributes
    ----------
    side
        Of the split: `test`, ...
    limit
        Trials of that side at most.
    images_per_trial
        Drawn and scored.
    gallery, gallery_size
        What retrieval chooses from: `exact` or `prototypes`, and how many; None: no retrieval.
    judge
        Name, hub id or folder of what scores; None: nothing that the protocol could name.
    selection
        Which step of the training is scored; `finetune` keeps the last.
    """

    side: str
    limit: int | None = None
    images_per_trial: int | None = None
    gallery: str | None = None
    gallery_size: int | None = None
    judge: str | None = None
    selection: str = "last_step"


@dataclass(frozen=True)
class Departure:
    """One thing that is not as the protocol says; a hard one makes it another protocol."""

    what: str
    actual: str
    expected: str
    fix: str
    hard: bool

    def __str__(self) -> str:
        return f"{self.what}: {self.actual}, the protocol says {self.expected}"


def follow(
    protocol: Protocol,
    trials: Trials,
    split: Split | None,
    planned: Planned,
    scored: pd.DataFrame,
) -> Followed:
    """Check an evaluation against its protocol, and return the record of it.

    Parameters
    ----------
    protocol : Protocol
    trials : Trials
        The whole folder, before any trial is chosen or averaged.
    split : Split, optional
        That the model was fine-tuned with; None where the side is `new`.
    planned : Planned
    scored : DataFrame
        Metadata of what is scored: of trials, or of averages (`repeats.average_repeats`).

    Raises
    ------
    ValueError
        If data, people, channels, window, split or the number of averaged repeats are others; the
        message says of each what is found, what is expected and what to do.
    """
    found = departures(protocol, trials, split, planned, scored)
    hard = [departure for departure in found if departure.hard]
    if hard:
        listed = "; ".join(f"{departure} ({departure.fix})" for departure in hard)
        raise ValueError(f"this evaluation does not follow the protocol {protocol.name}: {listed}")
    return Followed(
        name=protocol.name,
        sha256=protocol.sha256,
        departures=[str(departure) for departure in found],
    )


def departures(
    protocol: Protocol,
    trials: Trials,
    split: Split | None,
    planned: Planned,
    scored: pd.DataFrame,
) -> list[Departure]:
    """Return everything that is not as the protocol says; parameters as `follow`."""
    return [
        *_of_data(protocol, trials),
        *_of_people(protocol, trials),
        *_of_signal(protocol, trials),
        *_of_split(protocol, trials.metadata, split, planned),
        *_of_scoring(protocol, split, planned, scored),
    ]


def _of_data(protocol: Protocol, trials: Trials) -> list[Departure]:
    wanted = protocol.data
    if wanted.simulate is not None:
        if not trials.simulated:
            fix = "simulate and prepare them with the commands of dreamdiffusion protocols show"
            return [Departure("data", "recorded trials", "simulated ones", fix, True)]
        level = wanted.simulate.noise_level
        if "noise_level" not in trials.metadata:
            return [Departure("noise level", "not recorded", f"{level:g}", "prepare again", False)]
        levels = sorted({float(found) for found in trials.metadata["noise_level"]})
        if levels == [level]:
            return []
        actual = ", ".join(f"{found:g}" for found in levels)
        fix = f"simulate with --noise_level {level:g}"
        return [Departure("noise level", actual, f"{level:g}", fix, True)]
    expected = " or ".join(wanted.datasets)
    fix = f"prepare with --dataset {wanted.datasets[0]}"
    if trials.simulated:
        return [Departure("data", "SIMULATED trials", expected, fix, True)]
    if "dataset" not in trials.source:
        return [Departure("data set", "not recorded", expected, fix, False)]
    name = trials.source["dataset"]
    if name is None:
        return [Departure("data set", "files that name none", expected, fix, False)]
    return [] if name in wanted.datasets else [Departure("data set", name, expected, fix, True)]


def _of_people(protocol: Protocol, trials: Trials) -> list[Departure]:
    people = sorted(set(trials.metadata["subject"].astype(str)))
    found = []
    others = [person for person in people if protocol.subjects and person not in protocol.subjects]
    if others:
        expected = ", ".join(protocol.subjects)
        fix = f"prepare with --subjects {' '.join(protocol.subjects)}"
        found.append(Departure("people", ", ".join(others), expected, fix, True))
    elif len(people) < len(protocol.subjects):
        actual = f"{', '.join(people)} alone"
        expected = f"all of {', '.join(protocol.subjects)}"
        found.append(Departure("people", actual, expected, "evaluate each and report all", False))
    if protocol.trained == "within" and len(people) > 1:
        actual, expected = f"one model for {len(people)} people", "one model for each person"
        found.append(Departure("training", actual, expected, "prepare person by person", True))
    return found


def _of_signal(protocol: Protocol, trials: Trials) -> list[Departure]:
    found = []
    wanted = protocol.channels
    if wanted is not None and sorted(wanted) != sorted(trials.ch_names):
        fix = f"prepare with --signal.picks {' '.join(wanted)}"
        actual = ", ".join(trials.ch_names)
        found.append(Departure("channels", actual, ", ".join(wanted), fix, True))
    elif protocol.n_chans is not None and protocol.n_chans != trials.n_chans:
        fix = "prepare without --signal.picks, or pick as many"
        n_chans = (f"{trials.n_chans} channels", f"{protocol.n_chans} channels")
        found.append(Departure("channels", *n_chans, fix, True))
    window = protocol.window
    tmax = trials.tmin + trials.n_times / trials.sfreq
    sample = 1 / trials.sfreq
    if abs(trials.tmin - window.tmin) > sample / 2 or abs(tmax - window.tmax) > sample:
        actual, expected = f"{trials.tmin:g} to {tmax:g} s", f"{window.tmin:g} to {window.tmax:g} s"
        fix = f"prepare with --tmin {window.tmin:g} --tmax {window.tmax:g}"
        found.append(Departure("window", actual, expected, fix, True))
    if window.sfreq is not None and not np.isclose(window.sfreq, trials.sfreq):
        actual, expected = f"{trials.sfreq:g} Hz", f"{window.sfreq:g} Hz"
        fix = f"prepare with --signal.sfreq {window.sfreq:g}"
        found.append(Departure("sampling rate", actual, expected, fix, False))
    if window.filter is not None:
        edges = (trials.signal.get("l_freq"), trials.signal.get("h_freq"))
        if not trials.signal:
            fix = "prepare again"
            found.append(Departure("filter", "not recorded", _edges(window.filter), fix, False))
        elif edges != window.filter:
            low, high = window.filter
            fix = f"prepare with --signal.l_freq {low} --signal.h_freq {high}"
            found.append(Departure("filter", _edges(edges), _edges(window.filter), fix, False))
    return found


def _edges(filter_: tuple[float | None, float | None]) -> str:
    low, high = ("none" if edge is None else f"{edge:g} Hz" for edge in filter_)
    return f"high-pass {low}, low-pass {high}"


def _of_split(
    protocol: Protocol, metadata: pd.DataFrame, split: Split | None, planned: Planned
) -> list[Departure]:
    wanted = protocol.split
    if split is None or planned.side != "test":
        fix = "evaluate with --split test, on the trials that the model was fine-tuned on"
        return [Departure("side", planned.side, "test", fix, True)]
    found = []
    if wanted.by is not None:
        try:
            keys = column_keys(metadata, wanted.by).to_numpy()
        except ValueError as error:
            return [Departure("split", str(error), f"by {wanted.by}", "prepare again", True)]
        found += _of_sides(protocol, keys, split)
    elif isinstance(wanted.validation, float | int):
        found += _of_drawn_validation(wanted.validation, split)
    others = np.concatenate([split.train, split.validation])
    for column in wanted.disjoint:
        fix = f"fine-tune with a split by {column}"
        if column not in metadata:
            actual = "a column that the metadata have not"
            found.append(Departure(f"test {column}", actual, "not in training", fix, True))
            continue
        values = metadata[column].astype(str).to_numpy()
        shared = sorted({str(v) for v in values[split.test]} & {str(v) for v in values[others]})
        if "" in shared:
            actual = "not known of some trials"
            found.append(Departure(f"test {column}", actual, "not in training", fix, True))
        elif shared:
            actual = f"{len(shared)} also in training or validation, such as {shared[0]}"
            found.append(Departure(f"test {column}", actual, "none of them", fix, True))
    return found


def _of_sides(protocol: Protocol, keys: np.ndarray, split: Split) -> list[Departure]:
    """Compare the sides with the values of the protocol's column, (n_trials,)."""
    wanted = protocol.split
    found = []
    present = [value for value in wanted.left_out if value in set(keys)]
    if present:
        fix = "remove its recordings and prepare again"
        actual = f"trials of {wanted.by} {', '.join(present)}"
        found.append(Departure("data", actual, "none of them", fix, True))
    held = sorted(set(keys[split.test]))
    actual = f"test {wanted.by} {', '.join(held) or 'none'}"
    if wanted.leave_one_out:
        right = len(held) == 1
        expected = f"one {wanted.by} held out, all of it"
        fix = f"fine-tune with --split.by {wanted.by} --split.test and one value"
    else:
        right = held == sorted(wanted.test)
        expected = f"test {wanted.by} {', '.join(wanted.test)}"
        fix = f"fine-tune with --split.by {wanted.by} --split.test {' '.join(wanted.test)}"
    missing = int(np.isin(keys, held).sum()) - len(split.test)
    if right and missing:
        actual += f" without {missing} of its trials"
    if not right or missing:
        found.append(Departure("split", actual, expected, fix, True))
    if isinstance(wanted.validation, float | int):
        return found + _of_drawn_validation(wanted.validation, split)
    rows = np.flatnonzero(np.isin(keys, wanted.validation))
    if not np.array_equal(rows, split.validation):
        values = sorted(set(keys[split.validation]))
        actual = f"validation {wanted.by} {', '.join(values) or 'none'}"
        expected = f"validation {wanted.by} {', '.join(wanted.validation) or 'none'}, all of it"
        fix = f"fine-tune with --split.validation {' '.join(wanted.validation)}"
        found.append(Departure("split", actual, expected, fix, True))
    return found


def _of_drawn_validation(fraction: float, split: Split) -> list[Departure]:
    drawn = len(split.validation) / (len(split.validation) + len(split.train))
    if abs(drawn - fraction) <= _VALIDATION_TOLERANCE and (drawn > 0) == (fraction > 0):
        return []
    expected = f"{fraction:.1%} of the trials that are not tested"
    fix = f"fine-tune with --split.validation_fraction {fraction:g}"
    return [Departure("validation", f"{drawn:.1%}", expected, fix, False)]


def _of_scoring(
    protocol: Protocol, split: Split | None, planned: Planned, scored: pd.DataFrame
) -> list[Departure]:
    found = []
    averaged, wanted = n_averaged(scored), protocol.repeats.test
    if averaged != wanted:
        fix = f"average {wanted} repeats before decoding" if wanted > 1 else "score single trials"
        actual, expected = f"{averaged} averaged", f"{wanted} averaged"
        found.append(Departure("repeats", actual, expected, fix, True))
    n_side = 0 if split is None else len(getattr(split, planned.side))
    if planned.limit is not None and planned.limit < n_side:
        actual, fix = f"the first {planned.limit} of {n_side} trials", "leave --limit out"
        found.append(Departure("trials", actual, "all of them", fix, False))
    k = protocol.images_per_trial
    if k is not None and planned.images_per_trial not in (None, k):
        actual, fix = f"{planned.images_per_trial}", f"--sample.num_images_per_prompt {k}"
        found.append(Departure("images per trial", actual, f"{k}", fix, False))
    if planned.selection != protocol.selection:
        actual, expected = (
            rule.replace("_", " ") for rule in (planned.selection, protocol.selection)
        )
        fix = "scores of another step cannot be compared with those of the protocol"
        found.append(Departure("step of the training", actual, expected, fix, False))
    gallery = protocol.gallery
    if gallery.kind != "none" and planned.gallery is not None:
        actual, expected = planned.gallery, gallery.kind
        if gallery.size is not None:
            actual, expected = (
                f"{actual} of {planned.gallery_size}",
                f"{expected} of {gallery.size}",
            )
        if actual != expected:
            fix = "retrieval scores cannot be compared with those of the protocol"
            found.append(Departure("gallery", actual, expected, fix, False))
    named = [judge.model for judge in protocol.judges if judge.model != "own"]
    if planned.judge is not None and named and planned.judge not in named:
        expected = " or ".join(named)
        found.append(Departure("judge", planned.judge, expected, f"--judge {named[0]}", False))
    return found
