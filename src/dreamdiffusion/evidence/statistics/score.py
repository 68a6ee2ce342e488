"""From a matrix of pair scores to a record: value, chance, controls, intervals, p.

A matrix ``pairs`` (n, n) holds at [i, j] the score of the images decoded from trial *j* against
what was shown in trial *i* (see `metrics`). Trials are the unit of everything here: the samples of
one trial are never treated as independent. What may change places says `exchange.Exchange`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dreamdiffusion.evidence.scores import ControlScore, Score
from dreamdiffusion.evidence.statistics.bootstrap import bootstrap_means, percentile_interval
from dreamdiffusion.evidence.statistics.exchange import Exchange

Floats = NDArray[np.float64]
Ints = NDArray[np.integer]

_CHUNK = 2_000_000


def chance_level(pairs: Floats, design: Exchange) -> float:
    """Return the expected score when truths are dealt at random, as the design allows.

    Within a run each truth meets each trial equally often, so the expectation is a mean of
    entries of the matrix: exact, with no permutation drawn. For labels it is the sum over classes
    of how often the class is shown times how often it is named.

    Raises
    ------
    ValueError
        If the matrix is not (n, n), or an entry that the design asks for was not computed.
    """
    _check(pairs, design)
    level = design.expectation(pairs)
    if not np.isfinite(level):
        raise ValueError(
            "pairs that can change places are not finite; where only some were computed, pass the "
            "groups within which they were"
        )
    return level


def permutation_p(pairs: Floats, count: int, rng: np.random.Generator, design: Exchange) -> float:
    """One-sided p of the mean diagonal when truths change places as the design allows.

    Of ``count`` draws it is (1 + hits) / (1 + count). Where the design has no more than ``count``
    exchanges in all, each is looked at once and p is the share of them that score as high, which
    is never below 1 / their number.

    Raises
    ------
    ValueError
        If the matrix is not (n, n).
    """
    _check(pairs, design)
    n, value = len(design), np.diagonal(pairs).mean()
    columns = np.arange(n)

    def hits(sources: Ints) -> int:
        # Sums in another order differ in the last digits; an equal score counts as a hit.
        return int((pairs[sources, columns].mean(axis=1) >= value - 1e-12).sum())

    if design.n_exchanges <= count:
        return hits(design.all_exchanges()) / design.n_exchanges
    found, left = 0, count
    while left:
        some = min(left, max(1, _CHUNK // n))
        found += hits(design.exchanges(some, rng))
        left -= some
    return (1 + found) / (1 + count)


def score_metric(
    metric: str,
    pairs: Floats,
    controls: Mapping[str, Floats],
    rng: np.random.Generator,
    design: Exchange,
    n_permutations: int = 2000,
    n_bootstrap: int = 2000,
    groups: Ints | None = None,
    against: Collection[str] | None = None,
) -> Score:
    """Make the record of one metric.

    Parameters
    ----------
    metric : str
        Its name.
    pairs : array, (n, n)
        Pair scores of the images; the diagonal is the score.
    controls : mapping of str to array, (n,) or (n, n)
        Scores of each control's images on the same trials, or their pairs.
    rng : numpy.random.Generator
    design : Exchange
        Of the n trials.
    n_permutations, n_bootstrap : int
    groups : array of int, (n,), optional
        Where only pairs within groups were computed (`metrics.trial_groups`).
    against : collection of str, optional
        The controls among which the strongest is looked for; all of them by default.

    Raises
    ------
    ValueError
        If there are fewer than two trials or no control, shapes differ or a score is not finite.
    """
    n = len(pairs)
    if n < 2:
        raise ValueError(f"{metric} has {n} trial; chance and interval need two or more")
    if not controls:
        raise ValueError(f"{metric} has no control to compare with; pass shuffled_eeg at least")
    columns = [np.diagonal(pairs)]
    for name, control in controls.items():
        columns.append(np.diagonal(control) if control.ndim == 2 else control)
        if columns[-1].shape != (n,):
            raise ValueError(f"{metric}: {n} trials but {len(columns[-1])} of {name}")
    table = np.stack(columns, axis=1)
    for name, column in zip(("the score", *controls), columns, strict=True):
        if not np.isfinite(column).all():
            raise ValueError(f"{metric}: {name} of a trial is not finite")
    allowed = design if groups is None else design.within(groups)
    chance = chance_level(pairs, allowed)
    means = table.mean(axis=0)
    draws = bootstrap_means(table, design, n_bootstrap, rng)
    rivals = [1 + i for i, name in enumerate(controls) if against is None or name in against]
    if not rivals:
        raise ValueError(f"{metric} has none of the controls {', '.join(against or [])}")
    strongest = rivals[int(means[rivals].argmax())]
    return Score(
        metric=metric,
        value=float(means[0]),
        n=n,
        n_people=design.n_people,
        chance=chance,
        ci95=percentile_interval(draws[:, 0]),
        p=permutation_p(pairs, n_permutations, rng, allowed),
        controls={
            name: ControlScore(
                value=float(means[1 + at]),
                difference=float(means[0] - means[1 + at]),
                difference_ci95=percentile_interval(draws[:, 0] - draws[:, 1 + at]),
            )
            for at, name in enumerate(controls)
        },
        strongest=list(controls)[strongest - 1],
        difference=float(means[0] - means[strongest]),
        # Chosen anew in every draw, so that a lucky choice of the control is part of the interval.
        difference_ci95=percentile_interval(draws[:, 0] - draws[:, rivals].max(axis=1)),
    )


def correct(scores: Sequence[Score]) -> list[Score]:
    """Set ``p_corrected`` of scores that are shown beside each other (Holm 1979).

    The chance that any of them is at most 0.05 where there is nothing is then at most 0.05,
    however the metrics depend on each other.
    """
    order = sorted(range(len(scores)), key=lambda at: scores[at].p)
    corrected, largest = [0.0] * len(scores), 0.0
    for rank, at in enumerate(order):
        largest = max(largest, min(1.0, (len(scores) - rank) * scores[at].p))
        corrected[at] = largest
    return [
        record.model_copy(update={"p_corrected": p})
        for record, p in zip(scores, corrected, strict=True)
    ]


def _check(pairs: Floats, design: Exchange) -> None:
    if pairs.shape != (len(design),) * 2:
        raise ValueError(f"pairs has shape {pairs.shape}, expected {(len(design),) * 2}")
