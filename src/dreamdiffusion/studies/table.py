"""The table of an ablation: means over seeds, intervals, paired differences, claims checked.

Notation: S seeds, T trials. Every row is scored on the same trials with the same seeds, so rows
are compared in pairs, and trials and seeds are crossed: a bootstrap draw takes seeds and trials
anew, one set of trials for all its seeds. Seeds then do not multiply the trials.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dreamdiffusion.files.schema import Schema
from dreamdiffusion.studies.config import AblateClaim, AblateRow

Floats = NDArray[np.float64]
Verdict = Literal["beyond the interval", "in the mean only", "not", "not known"]


class Outcome(NamedTuple):
    """What one row scored with one seed."""

    row: str
    seed: int
    hits: Floats
    """(T,): for each trial the share of its images that are right."""
    chance: float
    shuffled_eeg: float
    short_cuts: dict[str, float]
    """Scores on the same trials of what needs no decoder of images."""
    encoder_parameters: int | None


class TableRow(Schema):
    """One row: the mean over seeds beside chance, the control and the paper's figure."""

    row: str
    changes: dict[str, Any]
    seeds: list[int] = Field(description="that are done; without any there is no value")
    value: float | None = None
    of_seed: list[float] = Field(default_factory=list, description="in the order of the seeds")
    ci95: tuple[float, float] | None = Field(
        default=None, description="bootstrap over seeds and trials"
    )
    n: int = Field(default=0, description="trials")
    chance: float | None = Field(default=None, description="mean over seeds")
    shuffled_eeg: float | None = Field(default=None, description="mean over seeds")
    short_cuts: dict[str, float] = Field(
        default_factory=dict,
        description="on the same trials, means over seeds: baselines fitted beside the decoder, "
        "and controls that use the EEG and reconstruct nothing",
    )
    encoder_parameters: int | None = None
    paper: float | None = Field(default=None, description="%")


class Difference(Schema):
    """One row minus another, over the same trials and the seeds that both have."""

    better: str
    worse: str
    value: float
    ci95: tuple[float, float] = Field(description="paired bootstrap over seeds and trials")
    n: int = Field(description="trials")
    n_seeds: int


class Checked(Schema):
    """A claim, and whether the rows show it."""

    text: str
    rows: list[str]
    holds: Verdict
    differences: list[Difference]


class AgainstPaper(Schema):
    """How often two rows stand in the paper's order; pairs of equal figures do not count."""

    n_pairs: int
    same_beyond_the_interval: int
    same_in_the_mean: int = Field(description="those beyond the interval included")
    reversed_beyond_the_interval: list[Difference] = Field(
        description="the paper's better row first; intervals are not corrected for their number"
    )


class Table(Schema):
    """The content of ``table.json``."""

    metric: str
    simulated: bool
    split: str
    seeds: list[int]
    rows: list[TableRow]
    claims: list[Checked]
    against_first: list[Difference] = Field(description="every other row minus the first")
    against_paper: AgainstPaper
    missing: dict[str, str] = Field(description="row and seed -> why there is no score")


def crossed_bootstrap_means(hits: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Return the mean of `count` draws of seeds and of trials, both with replacement.

    The bootstrap of crossed factors (Owen 2007, "The pigeonhole bootstrap"): it errs on the wide
    side for what differs between trials. What differs between seeds is known from S values only;
    with S = 3 an interval is rough there, so the values of the seeds go beside it.

    Parameters
    ----------
    hits : array, (S, T)

    Returns
    -------
    array, (count,)
    """
    n_seeds, n_trials = hits.shape
    of_seed = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=count) / n_seeds
    of_trial = rng.multinomial(n_trials, np.full(n_trials, 1 / n_trials), size=count) / n_trials
    return ((of_seed @ hits) * of_trial).sum(axis=1)


def crossed_interval(hits: Floats, count: int = 5000, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean of ``hits (S, T)``, seeds x trials."""
    drawn = crossed_bootstrap_means(hits, count, np.random.default_rng(seed))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


class Outcomes:
    """What the rows of a grid scored, by row and seed.

    Raises
    ------
    ValueError
        If two outcomes have not the same number of trials.
    """

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self._of: dict[str, dict[int, Outcome]] = {}
        for outcome in outcomes:
            if len(outcome.hits) != len(outcomes[0].hits):
                raise ValueError(
                    f"row {outcome.row!r}, seed {outcome.seed} has {len(outcome.hits)} trials, row "
                    f"{outcomes[0].row!r} has {len(outcomes[0].hits)}; rows are compared on the "
                    "same trials, so evaluate has to be the same in all of them"
                )
            self._of.setdefault(outcome.row, {})[outcome.seed] = outcome

    def row(self, row: AblateRow) -> TableRow:
        """Summarise a row over its seeds."""
        of_seed = self._of.get(row.name, {})
        summary = TableRow(
            row=row.name, changes=row.changes, paper=row.paper, seeds=sorted(of_seed)
        )
        if not of_seed:
            return summary
        found = [of_seed[seed] for seed in summary.seeds]
        hits = np.stack([outcome.hits for outcome in found])
        summary.of_seed = hits.mean(axis=1).tolist()
        summary.value, summary.ci95 = float(hits.mean()), crossed_interval(hits)
        summary.n = hits.shape[1]
        summary.chance = float(np.mean([outcome.chance for outcome in found]))
        summary.shuffled_eeg = float(np.mean([outcome.shuffled_eeg for outcome in found]))
        names = dict.fromkeys(name for outcome in found for name in outcome.short_cuts)
        summary.short_cuts = {
            name: float(np.mean([outcome.short_cuts[name] for outcome in found]))
            for name in names
            if all(name in outcome.short_cuts for outcome in found)
        }
        summary.encoder_parameters = found[0].encoder_parameters
        return summary

    def difference(self, better: str, worse: str) -> Difference | None:
        """Compare two rows, or return None where they have no seed in common."""
        first, second = self._of.get(better, {}), self._of.get(worse, {})
        common = sorted(first.keys() & second.keys())
        if not common:
            return None
        hits = np.stack([first[seed].hits - second[seed].hits for seed in common])
        return Difference(
            better=better, worse=worse, value=float(hits.mean()), ci95=crossed_interval(hits),
            n=hits.shape[1], n_seeds=len(common),
        )  # fmt: skip

    def against_first(self, rows: Sequence[AblateRow]) -> list[Difference]:
        """Compare every other row with the first, where both have a seed in common."""
        found = [self.difference(row.name, rows[0].name) for row in rows[1:]]
        return [difference for difference in found if difference is not None]

    def check(self, claim: AblateClaim) -> Checked:
        """Check a claim: the order of neighbours, or the best inner row against both ends."""
        rows = claim.order or claim.middle
        if any(row not in self._of for row in rows):
            return Checked(text=claim.text, rows=rows, holds="not known", differences=[])
        pairs = list(itertools.pairwise(claim.order))
        if claim.middle:
            best = max(claim.middle[1:-1], key=self._mean)
            pairs = [(best, claim.middle[0]), (best, claim.middle[-1])]
        found = [self.difference(*pair) for pair in pairs]
        known = [difference for difference in found if difference is not None]
        verdict = "not known" if len(known) < len(found) else holds(known)
        return Checked(text=claim.text, rows=rows, holds=verdict, differences=known)

    def against_paper(self, rows: Sequence[AblateRow]) -> AgainstPaper:
        """Compare the order of every two rows with the paper's."""
        ranked = sorted(
            (row for row in rows if row.paper is not None and row.name in self._of),
            key=lambda row: -(row.paper or 0),
        )
        found = [
            self.difference(better.name, worse.name)
            for better, worse in itertools.combinations(ranked, 2)
            if better.paper != worse.paper
        ]
        known = [difference for difference in found if difference is not None]
        return AgainstPaper(
            n_pairs=len(known),
            same_beyond_the_interval=sum(pair.ci95[0] > 0 for pair in known),
            same_in_the_mean=sum(pair.value > 0 for pair in known),
            reversed_beyond_the_interval=[pair for pair in known if pair.ci95[1] < 0],
        )

    def _mean(self, row: str) -> float:
        return float(np.mean([outcome.hits.mean() for outcome in self._of[row].values()]))


def holds(differences: Sequence[Difference]) -> Verdict:
    """Say whether every difference is above zero: with its interval, in the mean only, or not."""
    if all(difference.ci95[0] > 0 for difference in differences):
        return "beyond the interval"
    if all(difference.value > 0 for difference in differences):
        return "in the mean only"
    return "not"
