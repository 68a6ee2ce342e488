"""From single trials to many: what a score gains when trials are averaged before decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dreamdiffusion.evidence.scores import Curve
from dreamdiffusion.evidence.statistics.bootstrap import bootstrap_ci
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.evidence.statistics.score import chance_level
from dreamdiffusion.trials.averages import deal

Floats = NDArray[np.float64]


def n_trial_curve(
    metric: str,
    eeg: NDArray[np.floating],
    metadata: pd.DataFrame,
    score: Callable[[NDArray[np.floating], pd.DataFrame], Floats],
    rng: np.random.Generator,
    n_averaged: Sequence[int] = (1, 2, 4, 8, 16),
    n_bootstrap: int = 2000,
) -> Curve:
    """Average trials of the same person and picture, and score the averages.

    Pictures where some are shown several times to a person, else categories. Averages are
    disjoint: no trial is in two of one size. What is left over of a picture is left out.

    Parameters
    ----------
    metric : str
        Its name.
    eeg : array, (n, n_chans, n_times)
        Volts; trials of one side of a split.
    metadata : DataFrame
        Of the n trials; see `exchange.Exchange.of`.
    score : callable
        Averages (m, n_chans, n_times) and the metadata of their first trials -> pairs (m, m).
    rng : numpy.random.Generator
        Deals trials to averages, and for the bootstrap.
    n_averaged : sequence of int
        Numbers of trials to average; one that leaves fewer than two averages is left out.

    Raises
    ------
    ValueError
        If the metadata are of other trials, or no number leaves two averages.
    """
    if len(eeg) != len(metadata):
        raise ValueError(f"{len(eeg)} trials have {len(metadata)} rows of metadata")
    design = Exchange.of(metadata)
    points: dict[int, tuple[int, float, tuple[float, float], float]] = {}
    for size in n_averaged:
        members = _deal(metadata, design, size, rng)
        if len(members) < 2:
            continue
        averages = np.stack([eeg[own].mean(axis=0) for own in members])
        first = members[:, 0]
        pairs = score(averages, metadata.iloc[first].reset_index(drop=True))
        of_averages = _design_of_averages(design, first)
        points[size] = (
            len(members),
            float(np.diagonal(pairs).mean()),
            bootstrap_ci(np.diagonal(pairs), of_averages, n_bootstrap, rng),
            chance_level(pairs, of_averages),
        )
    if not points:
        raise ValueError(
            f"no two averages of {min(n_averaged)} trials of one picture or category; there are "
            f"{len(metadata)} trials"
        )
    n, value, ci95, chance = (list(column) for column in zip(*points.values(), strict=True))
    return Curve(
        metric=metric, n_averaged=list(points), n=n, value=value, ci95=ci95, chance=chance
    )  # fmt: skip


def _deal(
    metadata: pd.DataFrame, design: Exchange, size: int, rng: np.random.Generator
) -> NDArray[np.integer]:
    """Deal trials to averages: rows (m, size) of the metadata, in the order of the first ones."""
    shown = "category"
    if "stim_file" in metadata and bool((metadata["stim_file"].to_numpy() != "").all()):
        repeated = pd.DataFrame({"who": design.people, "what": metadata["stim_file"].to_numpy()})
        shown = "stim_file" if repeated.duplicated().any() else shown
    # A block that moves as a whole has to move as a whole after averaging too.
    whole = design.blocks if design.n_blocks < len(design) else design.people
    return deal(whole, metadata[shown].astype(str).to_numpy(), size, rng)


def _design_of_averages(design: Exchange, first: NDArray[np.integer]) -> Exchange:
    people, runs, blocks, clusters = (
        numbers[first] for numbers in (design.people, design.runs, design.blocks, design.clusters)
    )
    if design.n_blocks == len(design):
        runs = people  # an average holds trials of any run of a person
    return Exchange(people, runs, blocks, clusters)
