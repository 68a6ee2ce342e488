"""The headline: what it claims, when it is withheld, and the name of each reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dreamdiffusion.evidence.headline import (
    audit_reasons,
    control_reason,
    metrics_beyond_category,
    pictures_reason,
    scale_reason,
    side_reason,
    split_reason,
    state_headline,
    time_reason,
)
from dreamdiffusion.evidence.scores import ControlScore, Reason, Score
from dreamdiffusion.models.picture_prints import load_prints, picture_prints, save_prints


def control(value: float, difference: float, half: float = 0.05) -> ControlScore:
    return ControlScore(
        value=value, difference=difference, difference_ci95=(difference - half, difference + half)
    )


def record(difference: float = 0.2, half: float = 0.1, p: float = 0.001, **controls) -> Score:
    return Score(
        metric="category_top1", value=0.5, n=90, chance=0.1, ci95=(0.4, 0.6), p=p,
        controls={"shuffled_eeg": control(0.5 - difference, difference, half)} | controls,
        strongest="shuffled_eeg", difference=difference,
        difference_ci95=(difference - half, difference + half),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("score", "verdict"),
    [
        (record(), "above"),
        (record(half=0.25), "not above"),  # the interval reaches below nothing
        (record(p=0.06), "not above"),
        (record(difference=-0.2), "not above"),
    ],
)
def test_verdict(score: Score, verdict: str) -> None:
    made = state_headline([score], [])
    assert made.verdict == verdict
    assert (made.metric, made.strongest) == ("category_top1", "shuffled_eeg")
    assert made.difference == score.difference


def test_any_reason_withholds_it() -> None:
    made = state_headline([record()], [Reason(name="drift", what="...")])
    assert made.verdict == "withheld"
    assert [reason.name for reason in made.reasons] == ["drift"]


def test_beyond_category_needs_every_control_without_an_image() -> None:
    assert metrics_beyond_category([record()]) is None
    assert metrics_beyond_category([record(label_only=control(0.4, 0.1))]) == ["category_top1"]
    beaten = record(label_only=control(0.4, 0.1), nearest_training_image=control(0.5, 0.0))
    assert metrics_beyond_category([beaten]) == []
    # .1 with a half width of .09 holds for one metric (1.96) and not for two (2.24).
    close = record(label_only=control(0.4, 0.1, half=0.09))
    assert metrics_beyond_category([close]) == ["category_top1"]
    assert metrics_beyond_category([close, record(label_only=control(0.5, 0.0))]) == []


def test_severe_findings_become_reasons() -> None:
    finding = {"name": "block_design", "severity": "severe", "what": "A.", "consequence": "B."}
    note = finding | {"name": "units", "severity": "note"}
    (reason,) = audit_reasons({"findings": [finding, note]})
    assert (reason.name, reason.what) == ("block_design", "A. B.")
    assert audit_reasons({"findings": [note]}) == []
    assert [r.name for r in audit_reasons(None)] == ["not_audited"]


@pytest.mark.parametrize(
    ("side", "named"), [("train", 1), ("validation", 1), ("test", 0), ("new", 0)]
)
def test_only_held_out_trials_make_a_headline(side: str, named: int) -> None:
    reason = side_reason(side)
    assert (reason is not None) == bool(named)
    assert reason is None or reason.name == "not_held_out"


def test_a_control_above_chance_is_named() -> None:
    assert control_reason("category_top1", 0.3, 0.1, p=0.01) is None
    reason = control_reason("category_top1", 0.3, 0.1, p=0.0005)
    assert reason and reason.name == "control_above_chance"
    assert "0.300" in reason.what and "0.100" in reason.what


@pytest.mark.parametrize(
    ("difference", "lost", "half", "gone"),
    [
        (0.4, 0.38, 0.05, True),
        (0.4, 0.1, 0.05, False),  # most of it survives
        (0.4, 0.3, 0.35, False),  # what is lost is within its interval
        (0.05, 0.05, 0.01, False),  # there was no difference to lose
    ],
)
def test_a_score_that_vanishes_with_time_is_named(
    difference: float, lost: float, half: float, gone: bool
) -> None:
    score = record(difference, time_removed_eeg=control(0.5 - lost, lost, half))
    reason = time_reason(score)
    assert (reason is not None) == gone
    assert reason is None or reason.name == "rests_on_time"
    assert time_reason(record()) is None


def test_pictures_in_memory_are_counted_each_once(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 4, 4, 3)).astype(np.uint8)
    save_prints(tmp_path, pixels[[0, 1, 2, 2]])
    known = load_prints(tmp_path)
    assert known is not None and len(known) == 3
    reason = pictures_reason("judge", picture_prints(pixels[[2, 2, 4, 5]]), known)
    assert reason and reason.name == "judge_saw_the_pictures"
    assert "1 of the 3 pictures" in reason.what
    assert pictures_reason("judge", picture_prints(pixels[3:]), known) is None
    assert pictures_reason("generator", picture_prints(pixels), None) is None
    assert load_prints(tmp_path / "elsewhere") is None
    one = pixels[0].copy()
    one[0, 0, 0] ^= 1
    assert picture_prints(one[None])[0] != picture_prints(pixels[:1])[0]


def test_a_damaged_file_of_prints_is_named(tmp_path: Path) -> None:
    (tmp_path / "pictures_trained_on.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="does not hold prints"):
        load_prints(tmp_path)


def test_a_scale_of_other_trials_and_a_changed_split_are_named() -> None:
    scale = np.diag([1.0, 2.0])
    assert scale_reason(scale * (1 + 1e-5), scale) is None
    reason = scale_reason(scale * 1.05, scale)
    assert reason and reason.name == "scale_not_of_training" and "5 %" in reason.what
    assert split_reason("a", "a") is None and split_reason(None, "a") is None
    changed = split_reason("a", "b")
    assert changed and changed.name == "split_changed"
