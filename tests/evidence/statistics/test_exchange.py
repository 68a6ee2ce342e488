"""What may change places with what: read from metadata, drawn, enumerated, averaged exactly."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trial_rows import metadata, shuffled

from dreamdiffusion.evidence.audit.permutation import permutations, random_derangement
from dreamdiffusion.evidence.statistics.exchange import Exchange


def design_of(people, runs, blocks, clusters=None):
    return Exchange(*(np.array(x) for x in (people, runs, blocks, clusters or blocks)))


@given(st.integers(2, 40), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_derangement_moves_every_trial(n, seed):
    moved = random_derangement(n, np.random.default_rng(seed))
    assert sorted(moved) == list(range(n))
    assert (moved != np.arange(n)).all()


@given(st.integers(1, 30), st.integers(1, 5), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_permutations_stay_within_groups(n, n_groups, seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(n_groups, size=n)
    drawn = permutations(n, 7, rng, groups)
    assert (np.sort(drawn, axis=1) == np.arange(n)).all()
    assert (groups[drawn] == groups).all()


def test_permutations_are_uniform():
    drawn = permutations(3, 6000, np.random.default_rng(0))
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == 6
    assert counts.min() > 900
    assert counts.max() < 1100


@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 5), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_exchanges_keep_runs_and_move_blocks_as_a_whole(n, n_runs, length, seed):
    rng = np.random.default_rng(seed)
    runs = rng.integers(n_runs, size=n)
    blocks = runs * n + rng.integers(-(-n // length), size=n)
    design = design_of(np.zeros(n), runs, blocks)
    drawn = design.exchanges(5, rng)
    assert (design.runs[drawn] == design.runs).all()
    for row in drawn:
        # All trials of a block get truths of one block, and no block is given twice.
        given_to = {(b, design.blocks[s]) for b, s in zip(design.blocks, row, strict=True)}
        assert len(given_to) == len({b for _, b in given_to}) == design.n_blocks


def test_blocks_of_equal_length_are_exchanged_trial_by_trial():
    design = design_of([0] * 4, [0] * 4, [0, 0, 1, 1])
    assert design.n_exchanges == 2
    assert design.all_exchanges().tolist() == [[0, 1, 2, 3], [2, 3, 0, 1]]
    # Of another length: the first half of the block gets the first truth.
    design = design_of([0] * 6, [0] * 6, [0, 0, 0, 0, 1, 1])
    assert design.all_exchanges().tolist() == [[0, 1, 2, 3, 4, 5], [4, 4, 5, 5, 0, 2]]


@given(st.integers(4, 40), st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_control_gets_the_eeg_of_another_block_of_its_run(n, length, seed):
    each = np.arange(2 * n * length)
    runs, blocks = each % 2, each % 2 + each // (2 * length) * 2
    design = design_of(0 * each, runs, blocks)
    moved = design.derangement(np.random.default_rng(seed))
    assert (design.runs[moved] == design.runs).all()
    assert (design.blocks[moved] != design.blocks).all()
    assert sorted(moved) == each.tolist()
    # One block in a run: over all trials, and none keeps its own.
    alone = design_of([0] * 5, [0, 0, 0, 0, 1], [0, 1, 2, 3, 4])
    assert (alone.derangement(np.random.default_rng(seed)) != np.arange(5)).all()


def test_number_of_exchanges_is_counted_and_said():
    two_runs = design_of([0] * 5, [0, 0, 0, 1, 1], [0, 1, 2, 3, 4])
    assert two_runs.n_exchanges == math.factorial(3) * math.factorial(2)
    all_of_them = two_runs.all_exchanges()
    assert len(np.unique(all_of_them, axis=0)) == 12
    assert all_of_them[0].tolist() == [0, 1, 2, 3, 4]
    assert two_runs.in_words(999) == (
        "one-sided; truths of trials permuted within each of 2 runs: all 12 permutations there "
        "are, too few for p to reach 0.05"
    )
    assert Exchange.one_run(300).n_exchanges == math.inf
    assert "of one run: 999 draws" in Exchange.one_run(300).in_words(999)
    assert "2 blocks of trials" in design_of([0] * 4, [0] * 4, [0, 0, 1, 1]).in_words(9)


@pytest.mark.parametrize(
    "design",
    [
        design_of([0] * 5, [0, 1, 0, 1, 1], [0, 1, 2, 3, 4]),
        design_of([0] * 7, [0] * 7, [0, 0, 0, 1, 2, 2, 1]),
        design_of([0] * 3 + [1] * 4, [0] * 3 + [1] * 4, [0, 0, 1, 2, 2, 3, 4]),
    ],
)
def test_expectation_is_the_mean_over_all_exchanges(design):
    pairs = np.random.default_rng(1).random((len(design),) * 2)
    drawn = pairs[design.all_exchanges(), np.arange(len(design))]
    assert design.expectation(pairs) == pytest.approx(drawn.mean(), abs=1e-12)


def test_runs_are_subject_session_and_run_together():
    frame = pd.concat(
        [metadata(shuffled(20, int(run)), who, run) for who in "12" for run in "12"],
        ignore_index=True,
    ).sample(frac=1, random_state=0)
    design = Exchange.of(frame)
    assert design.n_people == 2
    assert len(np.unique(design.runs)) == 4
    assert design.n_blocks == len(frame) == 80
    same = frame[["subject", "run"]].to_numpy()[:, None] == frame[["subject", "run"]].to_numpy()
    np.testing.assert_array_equal(design.runs[:, None] == design.runs, same.all(axis=-1))
    assert design.drawn == "2 people, and trials within each"


def test_a_block_design_is_found_and_a_random_order_is_not():
    order = np.repeat(shuffled(20, n_classes=10), 12)
    order[12:24] = (order[:12] + 1) % 10  # neighbours differ, so that no stretches join
    found = Exchange.of(metadata(order))
    changes = np.concatenate([[0], np.cumsum(np.diff(order) != 0)])
    np.testing.assert_array_equal(found.blocks, changes)
    np.testing.assert_array_equal(found.clusters, changes)
    assert found.drawn == "blocks of trials"
    assert Exchange.of(metadata(shuffled(240, n_classes=10))).n_blocks == 240


def test_a_block_column_is_believed():
    whole = Exchange.of(metadata([0, 0, 1, 1, 0, 0], block=[7, 7, 8, 8, 9, 9]))
    assert whole.blocks.tolist() == [0, 0, 1, 1, 2, 2]
    assert not whole.runs.any()
    # Blocks that hold several categories were shuffled within, so they are like recordings.
    mixed = Exchange.of(metadata([0, 1, 1, 0, 0, 0], block=[7, 7, 7, 8, 8, 8]))
    assert mixed.n_blocks == 6
    assert mixed.runs.tolist() == [0, 0, 0, 1, 1, 1]


def test_repeated_pictures_are_drawn_as_one_where_there_are_enough():
    n = 60
    pictures = [f"{i % 12}.png" for i in range(n)]
    frame = metadata(shuffled(n), stim_file=pictures)
    design = Exchange.of(frame)
    assert design.n_blocks == n
    assert design.clusters.max() + 1 == 12
    assert (design.clusters[:12] == design.clusters[12:24]).all()
    assert design.drawn == "pictures"
    few = Exchange.of(frame.assign(stim_file=[f"{i % 4}.png" for i in range(n)]))
    assert few.clusters.max() + 1 == n


def test_impossible_designs_are_refused():
    with pytest.raises(ValueError, match="number 0 of blocks lies in several of runs"):
        design_of([0, 0], [0, 1], [5, 5])
    with pytest.raises(ValueError, match="number 1 of runs lies in several of people"):
        design_of([0, 1, 2], [0, 1, 1], [0, 1, 2])
    with pytest.raises(ValueError, match="deal groups within runs"):
        design_of([0, 0], [0, 1], [0, 1]).within(np.zeros(2, int))
    with pytest.raises(ValueError, match=r"runs has shape \(2,\), expected \(3,\)"):
        design_of([0] * 3, [0] * 2, [0] * 3)
    with pytest.raises(ValueError, match=r"lack session, onset; use Exchange.one_run"):
        Exchange.of(metadata([0, 1]).drop(columns=["session", "onset"]))
