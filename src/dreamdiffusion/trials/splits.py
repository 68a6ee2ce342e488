"""Which trials train, validate and test: by run, session, subject, image or any other column."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dreamdiffusion.files.whole import parse_json, write_json
from dreamdiffusion.trials.config import SplitConfig, ValidationBy


@dataclass
class Split:
    """Indices of the trials on each side, sorted, and the rule that made them.

    Attributes
    ----------
    train, validation, test
        Row numbers of the metadata; no row is on two sides.
    rule
        One sentence that goes with every score of this split.
    shared_stimuli
        True where pictures of the tested trials (of validation where there is no test side) were
        shown in training too, and the split allows that. A score then says which of the known
        pictures was seen, and nothing of pictures never seen in training.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    rule: str
    shared_stimuli: bool = False

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            setattr(self, name, np.sort(np.asarray(getattr(self, name), dtype=np.int64)))
        everything = np.concatenate([self.train, self.validation, self.test])
        values, counts = np.unique(everything, return_counts=True)
        if (counts > 1).any():
            raise ValueError(f"trial {values[counts > 1][0]} is on more than one side of the split")
        if not len(self.train):
            raise ValueError("the split leaves no trial for training")

    def save(self, path: Path | str) -> None:
        """Write the split as JSON."""
        sides = {name: getattr(self, name).tolist() for name in ("train", "validation", "test")}
        content = {"rule": self.rule, "shared_stimuli": self.shared_stimuli, **sides}
        write_json(Path(path), content, indent=None)

    @property
    def tested(self) -> np.ndarray:
        """Rows, int ``(n,)``, of the side that a score speaks of: test, else validation."""
        return self.test if len(self.test) else self.validation

    @property
    def sha256(self) -> str:
        """Hash of which trials are on which side."""
        sides = [getattr(self, name).tolist() for name in ("train", "validation", "test")]
        return hashlib.sha256(json.dumps(sides).encode()).hexdigest()

    @classmethod
    def load(cls, path: Path | str) -> Split:
        """Read a split that `save` wrote.

        Raises
        ------
        FileNotFoundError, ValueError
            If the file does not exist, or is not a split.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"split {path} does not exist")
        try:
            content = parse_json(path.read_text("utf-8"))
            return cls(
                content["train"], content["validation"], content["test"], content["rule"],
                # Splits made before pictures could be shared say nothing of it.
                bool(content.get("shared_stimuli", False)),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            why = f"it lacks {error}" if isinstance(error, KeyError) else error
            raise ValueError(f"{path} is not a split: {why}") from error


def split_by(
    metadata: pd.DataFrame,
    column: str,
    test: list[str],
    validation: list[str] | float,
    seed: int,
    allow_shared_stimuli: bool = False,
    validation_by: ValidationBy | None = None,
) -> Split:
    """Hold out the trials whose `column` has one of the stated values.

    Parameters
    ----------
    metadata
        One row per trial, index 0..n-1.
    column
        A column, or several joined by "+": with "subject+run" the values read "1/3". Run 1 of
        every session is held out by "run" where runs are numbered anew in each session.
    test
        Values whose trials are the test side; empty: no test side.
    validation
        Values whose trials are the validation side; or the fraction of the training trials that
        is drawn.
    seed
        Of that draw.
    allow_shared_stimuli
        Accept one picture on two sides, or pictures that are not known. A score then no longer
        speaks for pictures never seen in training: `rule` and `shared_stimuli` say so.
    validation_by
        What a fraction draws whole: the trials of one picture ("stim_file") or single trials
        ("trial"), in every category alike, or the runs of each person and session ("run"). None:
        pictures, or single trials where pictures may be shared.

    Returns
    -------
    split
        Every trial is on exactly one side.

    Raises
    ------
    ValueError
        For an unknown column or value, a value on two sides, a shared or unknown picture, an
        empty training or validation side.

    Examples
    --------
    >>> from dreamdiffusion import Trials, split_by
    >>> trials = Trials.load("trials")
    >>> split = split_by(trials.metadata, "run", test=["02"], validation=0.0, seed=0)
    >>> len(split.train), len(split.test)
    (24, 24)
    """
    keys = column_keys(metadata, column)
    values = {"test": [str(v) for v in test]}
    if not isinstance(validation, float | int):
        values["validation"] = [str(v) for v in validation]
    _check_values(column, values, set(keys))
    in_test = keys.isin(values["test"]).to_numpy()
    # First, since a picture on both sides is the cause of what else the draw would object to.
    _check_stimuli(metadata, np.where(in_test, "test", "train"), allow_shared_stimuli)
    if "validation" in values:
        in_validation = keys.isin(values["validation"]).to_numpy()
        how = f"validation {column} {', '.join(values['validation']) or 'none'}"
    else:
        fraction = float(validation)  # pyright: ignore[reportArgumentType]
        by = validation_by or ("trial" if allow_shared_stimuli else "stim_file")
        in_validation = _draw(metadata, ~in_test, fraction, seed, by)
        words = "" if by == "stim_file" else f", drawn by {by}"
        how = f"validation {fraction:g} of the training trials{words} (seed {seed})"
    side = np.where(in_test, "test", np.where(in_validation, "validation", "train"))
    note = _check_stimuli(metadata, side, allow_shared_stimuli)
    rule = f"test {column} {', '.join(values['test']) or 'none'}; {how}{note}"
    split = Split(*(np.flatnonzero(side == n) for n in ("train", "validation", "test")), rule=rule)
    names = metadata["stim_file"].astype(str).to_numpy()
    known = set(names[split.train]) - {""}
    split.shared_stimuli = bool(known & set(names[split.tested]))
    return split


def subset_training(split: Split, categories: np.ndarray, n: int, seed: int) -> Split:
    """Keep `n` training trials, as many of each category as there are; the other sides stay.

    The choice of a smaller `n` is part of that of a larger one, so that a curve over `n` adds
    trials and changes none.

    Parameters
    ----------
    categories
        Of every trial, (n_trials,).
    n
        Trials to keep. Where they do not divide evenly, the numbers of two categories differ by
        one, or a category has no more.
    seed
        Of the choice.

    Raises
    ------
    ValueError
        If there are fewer than `n` training trials.
    """
    if n > len(split.train):
        raise ValueError(f"n_pairs is {n}, the split has {len(split.train)} training trials")
    rng = np.random.default_rng(seed)
    labels = categories[split.train]
    rounds = np.empty(len(labels), dtype=int)  # in which round its category gives a trial
    turn = np.empty(len(labels), dtype=int)  # the place of the category in a round
    names = np.unique(labels)
    for name, place in zip(names, rng.permutation(len(names)), strict=True):
        members = np.flatnonzero(labels == name)
        rounds[members] = rng.permutation(len(members))
        turn[members] = place
    kept = split.train[np.lexsort((turn, rounds))[:n]]
    rule = f"{split.rule}; {n} of {len(split.train)} training trials, alike in each category"
    rule = f"{rule} (seed {seed})"
    return Split(kept, split.validation, split.test, rule, split.shared_stimuli)


def split_trials(metadata: pd.DataFrame, config: SplitConfig, seed: int) -> Split:
    """Split the trials as a configuration says; see `split_by` for what it can raise."""
    return split_by(
        metadata,
        config.by,
        config.test,
        config.validation or config.validation_fraction,
        seed,
        config.allow_shared_stimuli,
        config.validation_by,
    )


def leave_one_out(
    metadata: pd.DataFrame,
    column: str,
    validation: str | float = 0.1,
    seed: int = 0,
    allow_shared_stimuli: bool = False,
) -> Iterator[tuple[str, Split]]:
    """Yield (held-out value, split) for every value of `column`, in sorted order.

    Parameters
    ----------
    validation
        A fraction of the training trials, or one value of the column: it validates every split
        but its own, where the next value does.

    Raises
    ------
    ValueError
        If the column has fewer than two values; otherwise as `split_by`.
    """
    values = sorted(set(column_keys(metadata, column)))
    if len(values) < 2:
        raise ValueError(
            f"{column} has the one value {', '.join(values)}; leaving it out leaves no training"
        )
    for value in values:
        side: list[str] | float
        if isinstance(validation, str):
            following = values[(values.index(value) + 1) % len(values)]
            side = [following if validation == value else validation]
        else:
            side = validation
        yield value, split_by(metadata, column, [value], side, seed, allow_shared_stimuli)


def column_keys(metadata: pd.DataFrame, column: str) -> pd.Series:
    """Return each trial's value of a column, or of several joined by "+" ("1/3"), as text.

    Raises
    ------
    ValueError
        If there is no such column.
    """
    parts = column.split("+")
    for part in parts:
        if part not in metadata:
            raise ValueError(
                f"the metadata have no column {part}; they have {', '.join(metadata.columns)}"
            )
    columns = [metadata[part].astype(str).tolist() for part in parts]
    return pd.Series(["/".join(values) for values in zip(*columns, strict=True)], dtype=str)


def _check_values(column: str, values: dict[str, list[str]], present: set[str]) -> None:
    """Raise for a value of test or validation that no trial has, or that is in both."""
    for side, wanted in values.items():
        unknown = [v for v in wanted if v not in present]
        if unknown:
            raise ValueError(
                f"{side} names {column} {', '.join(unknown)}, which no trial has; "
                f"there are {', '.join(sorted(present))}"
            )
    both = sorted(set(values["test"]) & set(values.get("validation", [])))
    if both:
        raise ValueError(f"{column} {', '.join(both)} is in both test and validation")


def _draw(
    metadata: pd.DataFrame, among: np.ndarray, fraction: float, seed: int, by: ValidationBy
) -> np.ndarray:
    """Draw a fraction of the trials, a bool for each; see `validation_by` of `split_by`."""
    if not 0 <= fraction < 1:
        raise ValueError(f"the validation fraction is {fraction}, expected 0 <= fraction < 1")
    chosen = np.zeros(len(metadata), dtype=bool)
    if fraction == 0:
        return chosen
    rng = np.random.default_rng(seed)
    rows = np.arange(len(metadata))
    if by == "run":
        groups = column_keys(metadata, "subject+session+run").to_numpy(str)
        runs = sorted(set(groups[among]))
        drawn = rng.permutation(runs)[: round(fraction * len(runs))]
        chosen = among & np.isin(groups, drawn)
    else:
        names = metadata["stim_file"].astype(str).to_numpy(str)
        groups = np.where((names == "") | (by == "trial"), rows.astype(str), names)
        categories = metadata["category"].astype(str).to_numpy(str)
        for category in sorted(set(categories[among])):
            inside = rows[among & (categories == category)]
            wanted = round(fraction * len(inside))
            for group in rng.permutation(sorted(set(groups[inside]))):
                members = inside[groups[inside] == group]
                if wanted < len(members):
                    continue
                chosen[members] = True
                wanted -= len(members)
    if not chosen.any():
        whole = {"stim_file": "pictures", "run": "runs", "trial": "trials"}[by]
        raise ValueError(
            f"a validation fraction of {fraction:g} draws none of {int(among.sum())} trials, which "
            f"are drawn as {len(set(groups[among]))} whole {whole}; raise "
            "--split.validation_fraction, set it to 0 for no validation, name --split.validation, "
            "or draw runs or single trials (--split.validation_by) where pictures may be shared "
            "(--split.allow_shared_stimuli)"
        )
    return chosen


def _check_stimuli(metadata: pd.DataFrame, side: np.ndarray, allowed: bool) -> str:
    """Return what the rule says about pictures on two sides; raise where that is not allowed."""
    names = metadata["stim_file"].astype(str).to_numpy()
    n_unknown = int(np.sum(names == ""))
    if n_unknown:
        if allowed:
            return "; which picture was shown is unknown, so sides share pictures"
        raise ValueError(
            f"{n_unknown} trials have no stim_file, so the sides may share "
            "pictures; pass --split.allow_shared_stimuli to accept that"
        )
    seen: dict[str, set[str]] = {}
    for name, where in zip(names, side, strict=True):
        seen.setdefault(str(name), set()).add(str(where))
    shared = sorted(name for name, sides in seen.items() if len(sides) > 1)
    if not shared:
        return "; no picture on two sides"
    if allowed:
        return f"; {len(shared)} pictures on two sides"
    raise ValueError(
        f"{len(shared)} pictures are on two sides of the split ({', '.join(shared[:3])}, ...); "
        "hold out pictures with --split.by stim_file, or pass --split.allow_shared_stimuli: a "
        "score then says which of the known pictures was seen, and nothing of pictures never seen"
    )
