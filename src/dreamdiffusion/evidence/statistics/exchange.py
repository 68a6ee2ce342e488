"""Which trials could have changed places with which: people, recordings, blocks, pictures.

The truths of an experiment were dealt to its trials by whoever drew the order. A permutation test
repeats that deal, so it may exchange only what that deal could have exchanged: trials within a
recording, and in a block design whole blocks within a recording. A bootstrap repeats the choice of
people and of what they were shown, so it draws people, and within them blocks, pictures or trials.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dreamdiffusion.evidence.audit.blocks import block_design
from dreamdiffusion.evidence.audit.permutation import permutations, random_derangement
from dreamdiffusion.evidence.audit.trial_order import TrialOrder

Floats = NDArray[np.float64]
Ints = NDArray[np.integer]

LEAST_PICTURES = 10
"""Fewer pictures than this are no sample of pictures: they are taken as given."""
LEAST_EXCHANGES = 20
"""With fewer no p can reach .05."""


@dataclass(frozen=True)
class Exchange:
    """Of each trial, (n,) each: numbers that are equal for trials that belong together.

    Attributes
    ----------
    people
        Its person.
    runs
        The recording (subject, session and run), within which truths are permuted.
    blocks
        The stretch of trials that moves as a whole; where order is random, each trial is its own.
    clusters
        What the bootstrap draws within a person: blocks, else pictures that were shown several
        times, else trials.
    """

    people: Ints
    runs: Ints
    blocks: Ints
    clusters: Ints

    def __post_init__(self) -> None:
        for name in ("people", "runs", "blocks", "clusters"):
            numbers = np.asarray(getattr(self, name))
            if numbers.ndim != 1 or len(numbers) != len(self.people) or not len(numbers):
                raise ValueError(f"{name} has shape {numbers.shape}, expected ({len(self)},)")
            # Numbered from 0 without gaps, so that they can be counted and looked up.
            object.__setattr__(self, name, np.unique(numbers, return_inverse=True)[1])
        for inner, outer in (("runs", "people"), ("blocks", "runs"), ("clusters", "people")):
            pairs = np.unique(np.stack([getattr(self, inner), getattr(self, outer)]), axis=1)
            if pairs.shape[1] > pairs[0, -1] + 1:
                at = pairs[0, np.flatnonzero(np.diff(pairs[0]) == 0)[0]]
                raise ValueError(f"number {at} of {inner} lies in several of {outer}")

    @classmethod
    def one_run(cls, n: int) -> Exchange:
        """Describe n trials of one person and recording in random order."""
        return cls(np.zeros(n, int), np.zeros(n, int), np.arange(n), np.arange(n))

    @classmethod
    def of(cls, metadata: pd.DataFrame) -> Exchange:
        """Read the design from the metadata of trials.

        Parameters
        ----------
        metadata : DataFrame
            Columns ``subject``, ``session``, ``run``, ``onset``, ``category`` and perhaps
            ``stim_file`` and ``block``. Blocks of one category each move as a whole; a block
            that holds several was shuffled within, so it counts as a recording of its own.
            Without such a column, blocks are the stretches of one category where the audit finds
            that neighbours in time share their category (`audit_design.block_design`, severe).

        Raises
        ------
        ValueError
            If a column is missing.
        """
        needed = ("subject", "session", "run", "onset", "category")
        missing = [name for name in needed if name not in metadata]
        if missing:
            raise ValueError(
                f"the metadata lack {', '.join(missing)}; use Exchange.one_run where all trials "
                "are of one recording in random order"
            )
        n, order = len(metadata), TrialOrder.of(metadata)
        runs, labels, people = (np.empty(n, int) for _ in range(3))
        runs[order.rows], labels[order.rows] = order.runs, order.labels
        people[order.rows] = order.subjects
        blocks = np.arange(n)
        if "block" in metadata:
            named = _joined(runs, metadata["block"].astype(str).to_numpy(str))
            mixed = np.array(
                [len(np.unique(labels[named == b])) > 1 for b in range(named.max() + 1)]
            )
            within = np.isin(runs, runs[mixed[named]])
            blocks = np.where(within, n + blocks, named)
            runs = np.where(within, order.n_runs + named, runs)
        elif block_design(order, order.shuffles(order.runs, 0)).severity == "severe":
            changes = (np.diff(order.labels) != 0) | (np.diff(order.runs) != 0)
            blocks[order.rows] = np.concatenate([[0], np.cumsum(changes)])
        moving = np.bincount(np.unique(blocks, return_inverse=True)[1]).max() > 1
        clusters = blocks if moving else _pictures(metadata, people)
        return cls(people, runs, blocks, clusters)

    def __len__(self) -> int:
        return len(self.people)

    @property
    def n_people(self) -> int:
        """Number of people."""
        return int(self.people.max()) + 1

    @property
    def n_blocks(self) -> int:
        """Number of what can change places: blocks, or trials."""
        return int(self.blocks.max()) + 1

    @property
    def n_exchanges(self) -> float:
        """Number of ways to deal the truths: the product of the factorials; inf above 1e15."""
        log = sum(math.lgamma(units + 1) for units in np.bincount(self._run_of_block()))
        return float(round(math.exp(log))) if log < math.log(1e15) else math.inf

    @property
    def drawn(self) -> str:
        """What the bootstrap draws, in words."""
        what = "pictures" if self.clusters.max() + 1 < len(self) else "trials"
        what = "blocks of trials" if self.n_blocks < len(self) else what
        return what if self.n_people == 1 else f"{self.n_people} people, and {what} within each"

    def within(self, groups: Ints) -> Exchange:
        """Return the design that exchanges only within groups (n,), which lie within runs.

        Raises
        ------
        ValueError
            If a group reaches over runs or cuts a block.
        """
        runs = np.unique(np.stack([groups, self.runs]), axis=1)
        if runs.shape[1] > len(np.unique(groups)):
            raise ValueError("a group reaches over several runs; deal groups within runs")
        return replace(self, runs=groups)

    def exchanges(self, count: int, rng: np.random.Generator) -> Ints:
        """Draw ``count`` deals: for each trial (count, n) the one whose truth it gets."""
        return self._sources(permutations(self.n_blocks, count, rng, self._run_of_block()))

    def derangement(self, rng: np.random.Generator) -> Ints:
        """Draw for each trial, (n,), another one whose EEG the shuffled control decodes.

        Within runs and by whole blocks, as truths are permuted: across them it would also take
        away what is known from the recording or the block alone. Where a run has one block only
        there is nothing to exchange within it, and trials are dealt over all of the data.
        """
        run_of_block = self._run_of_block()
        if np.bincount(run_of_block).min() < 2:
            return random_derangement(len(self), rng)
        dealt = np.empty(self.n_blocks, int)
        for run in range(run_of_block.max() + 1):
            own = np.flatnonzero(run_of_block == run)
            dealt[own] = own[random_derangement(len(own), rng)]
        return self._sources(dealt[None])[0]

    def all_exchanges(self) -> Ints:
        """Return every deal, (n_exchanges, n); the first leaves all as it is."""
        run_of_block = self._run_of_block()
        members = [np.flatnonzero(run_of_block == run) for run in range(run_of_block.max() + 1)]
        dealt = np.empty((int(self.n_exchanges), self.n_blocks), int)
        each = itertools.product(*(itertools.permutations(own) for own in members))
        for row, orders in enumerate(each):
            for own, order in zip(members, orders, strict=True):
                dealt[row, own] = order
        return self._sources(dealt)

    def expectation(self, pairs: Floats) -> float:
        """Return the mean over all deals of the mean of pairs ``(n, n)``; none is drawn."""
        run_of_block, total = self._run_of_block(), 0.0
        for run in range(run_of_block.max() + 1):
            own, units = np.flatnonzero(self.runs == run), np.flatnonzero(run_of_block == run)
            if len(own) == len(units):
                total += float(pairs[np.ix_(own, own)].mean(axis=0).sum())
                continue
            dealt = np.repeat(np.arange(self.n_blocks)[None], len(units), axis=0)
            dealt[:, units] = units[:, None]
            total += float(pairs[self._sources(dealt)[:, own], own].mean(axis=0).sum())
        return total / len(self)

    def in_words(self, count: int) -> str:
        """Say how p is made with ``count`` draws."""
        what = "trials" if self.n_blocks == len(self) else f"{self.n_blocks} blocks of trials"
        n_runs = int(self.runs.max()) + 1
        where = "of one run" if n_runs == 1 else f"within each of {n_runs} runs"
        text = f"one-sided; truths of {what} permuted {where}: "
        if self.n_exchanges > count:
            return text + f"{count} draws, (1 + hits) / (1 + draws)"
        text += f"all {self.n_exchanges:.0f} permutations there are"
        few = self.n_exchanges < LEAST_EXCHANGES
        return text + (", too few for p to reach 0.05" if few else "")

    def _run_of_block(self) -> Ints:
        result = np.empty(self.n_blocks, int)
        result[self.blocks] = self.runs
        return result

    def _sources(self, dealt: Ints) -> Ints:
        """Trial (rows, n) whose truth each one gets where its block gets that of ``dealt``.

        In a block of another length the places are stretched: the trial halfway gets the truth
        halfway. Where a block shows one category, that is the exchange of the categories.
        """
        by_block = np.argsort(self.blocks, kind="stable")
        given = dealt[:, self.blocks]
        if self.n_blocks == len(self):
            return by_block[given]
        sizes = np.bincount(self.blocks)
        first = np.cumsum(sizes) - sizes
        place = np.empty(len(self), int)
        place[by_block] = np.arange(len(self)) - np.repeat(first, sizes)
        return by_block[first[given] + place * sizes[given] // sizes[self.blocks]]


def _joined(numbers: Ints, names: NDArray[np.str_]) -> Ints:
    """Number the combinations of a number and a name."""
    coded = np.unique(names, return_inverse=True)[1]
    return np.unique(numbers * (coded.max() + 1) + coded, return_inverse=True)[1]


def _pictures(metadata: pd.DataFrame, people: Ints) -> Ints:
    """Number the pictures of each person where they repeat, else the trials."""
    trials = np.arange(len(metadata))
    if "stim_file" not in metadata:
        return trials
    names = metadata["stim_file"].astype(str).to_numpy(str)
    if (names == "").any() or len(np.unique(names)) < LEAST_PICTURES:
        return trials
    return _joined(people, names)
