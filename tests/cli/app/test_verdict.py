"""Better than chance or not, worked by hand, in words."""

from __future__ import annotations

import numpy as np
import pytest

from dreamdiffusion.cli.app.verdict import judge_recording

KNOWN = ["cat", "car", "sun", "cup"]


def test_all_right_is_better_than_chance(rng):
    seen = KNOWN * 5
    verdict = judge_recording(seen, seen, KNOWN, rng)
    assert verdict.kind == "above"
    assert verdict.head == "Better than chance."
    assert verdict.text.startswith("The EEG names the right kind in 20 of 20 pictures (100 %);")
    assert "guessing gives 25 % (p = 0.0005)" in verdict.text


def test_one_answer_for_all_is_no_better_than_chance(rng):
    verdict = judge_recording(["cat"] * 20, KNOWN * 5, KNOWN, rng)
    assert (verdict.kind, verdict.head) == ("chance", "No better than chance.")
    assert "5 of 20 pictures (25 %); guessing gives 25 % (p = 1)" in verdict.text


def test_chance_is_called_better_in_five_of_a_hundred():
    rng = np.random.default_rng(3)
    kinds = [
        judge_recording(rng.choice(KNOWN, 40).tolist(), KNOWN * 10, KNOWN, rng).kind
        for _ in range(100)
    ]
    assert kinds.count("above") <= 10
    assert set(kinds) <= {"above", "chance"}


@pytest.mark.parametrize(
    ("named", "seen", "head"),
    [
        (["cat"] * 4, KNOWN, "Too few pictures."),
        (["cat"] * 20, ["S 1"] * 20, "Nobody can tell whether these images are right."),
        ([], ["cat"] * 20, "Nobody can tell."),
    ],
)
def test_where_nothing_can_be_said(named, seen, head, rng):
    verdict = judge_recording(named, seen, KNOWN, rng)
    assert (verdict.kind, verdict.head) == ("unknown", head)
