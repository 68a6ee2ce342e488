"""Do runs repeat one order of classes or stimuli?

Trials may be missing from a run because they were rejected, and pauses may differ, so two runs are
laid over each other in two ways: by what follows what (the best alignment of the two sequences,
with gaps), and by when (onsets counted in intervals, so that a rejected trial leaves its place
empty). Both are compared with the same runs in another order. That order keeps stretches of six
trials together, so that rules which hold within each run (at most two alike in a row, each class
once in every pair) do not look like one order of all runs.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from dreamdiffusion.evidence.audit.blocks import not_checked
from dreamdiffusion.evidence.audit.findings import ALPHA, N_PERMUTATIONS, Finding, Floats, Ints
from dreamdiffusion.evidence.audit.trial_order import TrialOrder, excess, max_p, rounded

LEAST = 4  # trials of a run that is compared
LONGEST = 100  # trials of a run that are compared
MOST_PAIRS = 24  # pairs of runs that are compared
STRETCH = 6  # trials that stay together when an order is permuted
SHIFTS = 8  # intervals by which two runs may begin apart
LEAST_ORDER_EXCESS = 0.4


def fixed_order(design: TrialOrder, stimuli: Ints | None, seed: int) -> Finding:
    """Is the order of classes, or of stimuli, that of another run?

    Parameters
    ----------
    stimuli
        Number of the stimulus of each trial in the design's order, ``(n_trials,)``; None: unknown.
    """
    name = "fixed_order"
    pairs = choose_run_pairs(design, seed)
    if not pairs:
        return not_checked(name, "it needs two recordings with four trials each")
    kinds = {"class": design.labels}
    if stimuli is not None and _repeats(design, stimuli):
        kinds["stimulus"] = stimuli
    shuffles = shuffled_stretches(design, seed)
    columns, alike, most = [], {}, 0.0
    compared = {by_sequence: pairs, by_onset: timed_pairs(design, pairs)}
    for kind, values in kinds.items():
        sequences = values[shuffles].astype(np.int16 if values.max() < 32767 else np.int32)
        for how, runs in compared.items():
            if not runs:
                continue
            scores = np.stack(
                [how(design, sequences, one, other) for one, other in runs], axis=1
            )  # (1 + count, n_pairs)
            chance, spread = scores.mean(axis=0), np.maximum(scores.std(axis=0), 1e-9)
            columns += [scores.mean(axis=1), ((scores - chance) / spread).max(axis=1)]
            further = [excess(a, b) for a, b in zip(scores[0], chance, strict=True)]
            basis = how.__name__.removeprefix("by_")
            alike[f"{kind}_{basis}_likeness"] = scores[0].mean()
            alike[f"{kind}_{basis}_chance"] = chance.mean()
            most = max(most, *further)
    p = max_p(np.stack(columns, axis=1))
    figures = {
        "n_runs": design.n_runs, "n_pairs_compared": len(pairs),
        "trials_compared_of_a_run": max(len(own) for pair in pairs for own in pair),
        **alike, "excess": most, "p": p,
    }  # fmt: skip
    if p >= ALPHA:
        what = "The orders of the recordings are no more alike than random ones."
        return Finding(name, "passed", what, rounded(figures))
    return Finding(
        name,
        "severe" if most >= LEAST_ORDER_EXCESS else "warning",
        "Recordings repeat one order of trials."
        if most >= LEAST_ORDER_EXCESS
        else "The orders of recordings are more alike than random ones.",
        rounded(figures),
        "The place in the run predicts the class, in a held-out run too: whatever changes in the "
        "course of a run (fatigue, drying electrodes), and whatever the person learns to expect, "
        "is decoded as if it were a response.",
        "Draw a new order for every run. With these recordings, compare with a decoder that knows "
        "the time in the run only, and say in every report that the order was fixed.",
    )


def shuffled_stretches(design: TrialOrder, seed: int, count: int = N_PERMUTATIONS) -> Ints:
    """Return places ``(1 + count, n_trials)``: as they are, then stretches of each run permuted."""
    rng = np.random.default_rng([seed, len(design), 1])
    places = np.arange(len(design))[None].repeat(count + 1, axis=0)
    for run in range(design.n_runs):
        own = np.flatnonzero(design.runs == run)
        begins = rng.integers(STRETCH, size=(count, 1))
        stretch = (np.arange(len(own)) + begins) // STRETCH
        keys = rng.random((count, stretch.max() + 1))
        order = np.argsort(np.take_along_axis(keys, stretch, axis=1), axis=1, kind="stable")
        places[1:, own] = own[order]
    return places


def choose_run_pairs(design: TrialOrder, seed: int) -> list[tuple[Ints, Ints]]:
    """Return pairs of recordings, as places of their first trials ``(n,)``; at most `MOST_PAIRS`.

    Half of the places are kept for pairs within a person, half for pairs across.
    """
    places = [np.flatnonzero(design.runs == run) for run in range(design.n_runs)]
    places = [own[:LONGEST] for own in places if len(own) >= LEAST]
    pairs = list(combinations(range(len(places)), 2))
    of = [int(design.subjects[own[0]]) for own in places]
    rng = np.random.default_rng([seed, len(pairs)])
    within = [pair for pair in pairs if of[pair[0]] == of[pair[1]]]
    across = [pair for pair in pairs if of[pair[0]] != of[pair[1]]]
    half = MOST_PAIRS // 2
    n_within = max(MOST_PAIRS - len(across), half)
    n_across = max(MOST_PAIRS - len(within), half)
    chosen: list[tuple[int, int]] = []
    for some, most in ((within, n_within), (across, n_across)):
        drawn = rng.permutation(len(some))[:most]
        chosen += [some[i] for i in sorted(drawn.tolist())]
    return [(places[one], places[other]) for one, other in chosen]


def timed_pairs(design: TrialOrder, pairs: list[tuple[Ints, Ints]]) -> list[tuple[Ints, Ints]]:
    """Return the pairs without trials whose onset is not known, where enough are left."""
    timed = [(one[design.timed[one]], other[design.timed[other]]) for one, other in pairs]
    return [pair for pair in timed if min(map(len, pair)) >= LEAST]


def by_sequence(design: TrialOrder, sequences: Ints, one: Ints, other: Ints) -> Floats:
    """Score the best alignment of two runs (Needleman and Wunsch 1970), (n_rows,), 1 the most.

    A match counts 1, a mismatch or a trial left out -1; what overhangs at either end is free. The
    sum is divided by the length of the shorter run.
    """
    if len(one) > len(other):
        one, other = other, one
    # Permutations along the last axis, where numpy is fast.
    a, b = np.ascontiguousarray(sequences[:, one].T), np.ascontiguousarray(sequences[:, other].T)
    above = np.zeros((len(b) + 1, a.shape[1]), np.int16)
    best = np.zeros(a.shape[1], np.int16)
    for value in a:
        row = above - np.int16(1)
        match = np.where(value == b, np.int16(1), np.int16(-1))
        np.maximum(row[1:], above[:-1] + match, out=row[1:])
        row[0] = 0
        # A gap of up to 15 along the row, less one for each trial: by 1, 2, 4 and 8 in turn.
        for k in (1, 2, 4, 8):
            row[k:] = np.maximum(row[k:], row[:-k] - np.int16(k))
        above = row
        best = np.maximum(best, above[-1])
    return np.maximum(best, above.max(axis=0)) / len(a)


def by_onset(design: TrialOrder, sequences: Ints, one: Ints, other: Ints) -> Floats:
    """Score the best overlay of two runs in time, (n_rows,), 1 the most.

    Onsets are counted in typical intervals. Over the shifts, the largest number of places where
    both runs have the same less those where they differ, divided by the trials of the shorter run.
    """
    places = [_count_intervals(design.onsets[own]) for own in (one, other)]
    length = int(max(p[-1] for p in places)) + 1
    grids = []
    for own, place in zip((one, other), places, strict=True):
        grid = np.full((len(sequences), length), -1, sequences.dtype)
        grid[:, place] = sequences[:, own]
        grids.append(grid)
    best = np.full(len(sequences), -np.inf)
    for shift in range(-SHIFTS, SHIFTS + 1):
        if abs(shift) >= length:
            continue
        a = grids[0][:, max(shift, 0) : length + min(shift, 0)]
        b = grids[1][:, max(-shift, 0) : length - max(shift, 0)]
        both = (a[0] >= 0) & (b[0] >= 0)
        if not both.any():
            continue
        same = (a[:, both] == b[:, both]).sum(axis=1)
        best = np.maximum(best, (2 * same - both.sum()) / min(len(one), len(other)))
    return best


def _count_intervals(onsets: Floats) -> Ints:
    """Return the place of each trial in units of the typical interval; a pause counts little."""
    gaps = np.diff(onsets)
    typical = max(float(np.median(gaps)), 1e-9)
    steps = np.clip(np.round(gaps / typical), 1, 5).astype(int)
    return np.concatenate([[0], np.cumsum(steps)])


def _repeats(design: TrialOrder, stimuli: Ints) -> bool:
    """Return whether some stimulus is shown in two recordings."""
    shown = np.unique(np.stack([stimuli, design.runs], axis=1), axis=0)
    return len(np.unique(shown[:, 0])) < len(shown)
