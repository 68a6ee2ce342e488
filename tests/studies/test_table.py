"""The table of an ablation: bootstrap by hand, paired differences, verdicts, what is written."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from dreamdiffusion.studies.config import AblateClaim, AblateRow
from dreamdiffusion.studies.table import (
    Difference,
    Outcome,
    Outcomes,
    Table,
    crossed_bootstrap_means,
    crossed_interval,
    holds,
)
from dreamdiffusion.studies.table_report import draw_table, to_markdown


def outcome(row: str, seed: int, hits: list[float] | np.ndarray) -> Outcome:
    return Outcome(row, seed, np.asarray(hits, dtype=float), 0.05, 0.04, {"lda": 0.5}, 1000)


def difference(value: float, low: float) -> Difference:
    return Difference(better="a", worse="b", value=value, ci95=(low, 1), n=9, n_seeds=3)


def test_bootstrap_of_two_seeds_by_hand(rng: np.random.Generator) -> None:
    """Seeds that score 0 and 1: a draw of two of them means 0, 1/2, 1 with 1/4, 1/2, 1/4."""
    drawn = crossed_bootstrap_means(np.array([[0.0] * 5, [1.0] * 5]), 8000, rng)
    values, counts = np.unique(drawn.round(12), return_counts=True)
    assert values.tolist() == [0, 0.5, 1]
    assert counts / 8000 == pytest.approx([0.25, 0.5, 0.25], abs=0.02)


def test_bootstrap_of_seeds_and_trials_by_hand(rng: np.random.Generator) -> None:
    """[[0, 0], [0, 1]]: the mean is a product of two binomials, (s / 2)(t / 2) of Bin(2, 1/2)."""
    drawn = crossed_bootstrap_means(np.array([[0.0, 0], [0, 1]]), 16000, rng)
    values, counts = np.unique(drawn.round(12), return_counts=True)
    assert values.tolist() == [0, 0.25, 0.5, 1]
    # P(s) P(t): 0 unless both > 0; 1 x 1: 1/4; 1 x 2 and 2 x 1: 2 x 1/8; 2 x 2: 1/16.
    assert counts / 16000 == pytest.approx([7 / 16, 4 / 16, 4 / 16, 1 / 16], abs=0.02)


def test_seeds_do_not_multiply_the_trials(rng: np.random.Generator) -> None:
    """Seeds that agree on every trial say no more than one: sd is that of the trials."""
    hits = (np.arange(100) < 30).astype(float)
    one = crossed_bootstrap_means(hits[None], 6000, rng).std()
    many = crossed_bootstrap_means(np.tile(hits, (9, 1)), 6000, rng).std()
    expected = np.sqrt(0.3 * 0.7 / 100)
    assert one == pytest.approx(expected, rel=0.05)
    assert many == pytest.approx(expected, rel=0.05)


def test_constant_hits_have_an_interval_of_no_width() -> None:
    assert crossed_interval(np.full((3, 7), 0.25)) == pytest.approx((0.25, 0.25))


def test_a_row_by_hand() -> None:
    grid = Outcomes([outcome("a", 5, [1, 0, 1, 1]), outcome("a", 2, [0, 0, 1, 0])])
    row = grid.row(AblateRow(name="a", paper=45.8))
    assert (row.seeds, row.of_seed, row.value, row.n) == ([2, 5], [0.25, 0.75], 0.5, 4)
    assert (row.chance, row.shuffled_eeg, row.paper) == (0.05, 0.04, 45.8)
    assert row.ci95 is not None and row.ci95[0] < 0.5 < row.ci95[1]
    empty = grid.row(AblateRow(name="b"))
    assert (empty.seeds, empty.value, empty.ci95) == ([], None, None)


def test_a_difference_is_paired_over_trials_and_common_seeds() -> None:
    noise = np.random.default_rng(3).integers(0, 2, 200).astype(float)
    better = np.where(np.arange(200) < 30, 1.0, noise)  # the same trials, but for a few
    grid = Outcomes([outcome("a", 0, better), outcome("b", 0, noise), outcome("a", 1, 1 - better)])
    found = grid.difference("a", "b")
    assert found is not None
    assert found.value == pytest.approx((better - noise).mean())
    assert (found.n, found.n_seeds) == (200, 1)
    # Unpaired, the interval would be 2 x 1.96 x sqrt(2 x 0.25 / 200) = 0.196 wide; 17 of 200
    # trials differ, so paired it is 2 x 1.96 x sqrt(0.085 x 0.915 / 200) = 0.077.
    assert found.ci95[0] > 0
    assert found.ci95[1] - found.ci95[0] == pytest.approx(0.077, abs=0.01)
    assert grid.difference("a", "c") is None


def test_other_trials_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="row 'b', seed 0 has 3 trials, row 'a' has 2"):
        Outcomes([outcome("a", 0, [1, 0]), outcome("b", 0, [1, 0, 0])])


def test_verdicts() -> None:
    assert holds([difference(0.2, 0.1), difference(0.1, 0.01)]) == "beyond the interval"
    assert holds([difference(0.2, 0.1), difference(0.1, 0.0)]) == "in the mean only"
    assert holds([difference(0.2, 0.1), difference(-0.1, -0.2)]) == "not"
    assert holds([difference(0.0, 0.0)]) == "not"


def rows_of(**shares: float) -> Outcomes:
    """100 trials, of which each row has a share right, with three seeds."""
    return Outcomes(
        [
            outcome(row, seed, (np.arange(100) < 100 * share).astype(float))
            for row, share in shares.items()
            for seed in range(3)
        ]
    )


@pytest.mark.parametrize(
    ("order", "verdict"),
    [
        (["high", "middle", "low"], "beyond the interval"),
        (["high", "hair below", "low"], "in the mean only"),
        (["high", "low", "middle"], "not"),
        (["high", "absent"], "not known"),
    ],
)
def test_an_order_is_checked_by_neighbours(order: list[str], verdict: str) -> None:
    grid = rows_of(**{"high": 0.6, "hair below": 0.59, "middle": 0.4, "low": 0.1})
    found = grid.check(AblateClaim(text="t", order=order))
    assert (found.holds, found.rows) == (verdict, order)
    if verdict != "not known":
        assert [(d.better, d.worse) for d in found.differences] == [
            (order[0], order[1]), *([(order[1], order[2])] if len(order) == 3 else []),
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("shares", "verdict", "best"),
    [
        ([0.1, 0.3, 0.6, 0.2], "beyond the interval", "c"),
        ([0.1, 0.6, 0.3, 0.59], "in the mean only", "b"),
        ([0.7, 0.6, 0.3, 0.1], "not", "b"),
    ],
)
def test_the_best_in_the_middle(shares: list[float], verdict: str, best: str) -> None:
    grid = rows_of(**dict(zip("abcd", shares, strict=True)))
    found = grid.check(AblateClaim(text="t", middle=list("abcd")))
    assert found.holds == verdict
    assert [(d.better, d.worse) for d in found.differences] == [(best, "a"), (best, "d")]


def test_pairs_of_rows_are_counted_against_the_paper() -> None:
    """Ours a .6 > b .59 > c .1; the paper b 50 > a 40 = c 40: b-a reversed by a hair, b-c holds."""
    grid = rows_of(a=0.6, b=0.59, c=0.1)
    rows = [
        AblateRow(name=name, paper=paper) for name, paper in zip("abc", (40, 50, 40), strict=True)
    ]
    found = grid.against_paper([*rows, AblateRow(name="d", paper=1), AblateRow(name="e")])
    assert (found.n_pairs, found.same_in_the_mean, found.same_beyond_the_interval) == (2, 1, 1)
    assert found.reversed_beyond_the_interval == []
    rows[2].paper = 60
    found = grid.against_paper(rows)
    assert (found.n_pairs, found.same_in_the_mean) == (3, 0)
    assert [(d.better, d.worse) for d in found.reversed_beyond_the_interval] == [
        ("c", "b"), ("c", "a"),
    ]  # fmt: skip


def test_what_is_written(tmp_path) -> None:
    grid = rows_of(full=0.6, neither=0.1)
    rows = [AblateRow(name="full", paper=45.8), AblateRow(name="neither"), AblateRow(name="lost")]
    table = Table(
        metric="category_top1", simulated=True, split="test: run 10", seeds=[0, 1, 2],
        rows=[grid.row(row) for row in rows],
        claims=[grid.check(AblateClaim(text="parts help", order=["full", "neither"]))],
        against_first=grid.against_first(rows), against_paper=grid.against_paper(rows),
        missing={"lost, seed 0": "ValueError: no data"},
    )  # fmt: skip
    assert Table.model_validate_json(table.model_dump_json()) == table
    text = to_markdown(table)
    assert text.startswith("SIMULATED EEG; category_top1; 100 trials (test: run 10); seeds 0, 1, 2")
    assert "| full | 1 k | **60.0 %** | 5" in text
    assert "| 60.0, 60.0, 60.0 | 5.0 % | 4.0 % | 50.0 % lda |  | 45.8 % |" in text
    (minus,) = table.against_first
    assert (minus.better, minus.worse, minus.n_seeds) == ("neither", "full", 3)
    assert minus.value == pytest.approx(-0.5)
    assert "| 50.0 % lda | -50.0 (-" in text and "| minus full |" in text
    assert "| lost |  | none |  |  |  |  |  |  |  |" in text
    plain = table.model_copy(update={"against_first": [], "claims": []})
    assert "minus" not in to_markdown(plain) and "expected" not in to_markdown(plain)
    assert "| parts help | beyond the interval | full - neither: 50.0 (" in text
    assert "- lost, seed 0: ValueError: no data" in text
    draw_table(table, tmp_path / "table.png")
    with Image.open(tmp_path / "table.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    orange = np.abs(pixels - [255, 127, 14]).sum(axis=2) < 60
    blue = np.abs(pixels - [31, 119, 180]).sum(axis=2) < 60
    assert orange.any() and blue.any()
