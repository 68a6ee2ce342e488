"""The planned order: balanced, without blocks of one class, audited before anything is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from picture_folders import write_pictures

from dreamdiffusion.cli.config import StimulateConfig
from dreamdiffusion.cli.stimulate.plan import (
    TARGET_S,
    Picture,
    Trial,
    block_counts,
    draw_blocks,
    find_pictures,
    plan,
    planned_metadata,
)
from dreamdiffusion.evidence.audit.run import audit_order

PICTURES = [
    Picture(f"{name}/{i}.png", name, Path(f"{i}.png")) for name in ("car", "cat") for i in range(3)
]


def test_fifteen_minutes_are_eleven_blocks_of_a_minute():
    # .5 s picture, .65 s gap on average, a red cross of 1.5 s before every twelfth.
    assert block_counts(StimulateConfig()) == (11, int(60 / (0.5 + 0.65 + 1.5 / 12)))
    assert block_counts(StimulateConfig(minutes=0.1)) == (1, 47)


def test_classes_are_equally_frequent_and_every_picture_comes_before_any_again(rng):
    blocks = draw_blocks(PICTURES, n_blocks=4, n_trials=6, gap_s=(0.5, 0.8), rng=rng)
    for block in blocks:
        names = [PICTURES[trial.picture].category for trial in block]
        assert sorted(names) == ["car"] * 3 + ["cat"] * 3
        assert len({trial.picture for trial in block}) == 6
        assert all(0.5 <= trial.gap_s <= 0.8 for trial in block)
    orders = {tuple(trial.picture for trial in block) for block in blocks}
    assert len(orders) == 4


def test_times_and_rows_of_a_plan():
    block = [Trial(0, 0.5, False), Trial(4, 0.75, True)]
    table = planned_metadata(PICTURES, [block, block], picture_s=0.25)
    assert table["onset"].tolist() == [0.5, 0.5 + 0.25 + TARGET_S + 0.75] * 2
    assert table["category"].tolist() == ["car", "cat"] * 2
    assert table["stim_file"].tolist() == ["car/0.png", "cat/1.png"] * 2
    assert table["run"].tolist() == ["01", "01", "02", "02"]


def test_the_plan_passes_the_audit_and_is_the_same_again():
    config = StimulateConfig()
    blocks, findings = plan(PICTURES, config, 6, 30, seed=[0, 1])
    assert {finding.name for finding in findings} >= {"block_design", "fixed_order", "event_timing"}
    assert not [finding.name for finding in findings if finding.severity == "severe"]
    again, _ = plan(PICTURES, config, 6, 30, seed=[0, 1])
    other, _ = plan(PICTURES, config, 6, 30, seed=[0, 2])
    assert again == blocks != other


def test_an_order_in_blocks_would_not_pass():
    rows = 40
    table = pd.DataFrame(
        {
            "subject": "", "session": "", "run": "01", "onset": np.arange(rows) * 1.2,
            "duration": 0.5, "category": np.repeat(["car", "cat"], rows // 2),
            "stim_file": [f"{i}.png" for i in range(rows)],
        }
    )  # fmt: skip
    severe = [f.name for f in audit_order(table) if f.severity == "severe"]
    assert severe == ["block_design"]


def test_an_order_that_fails_is_drawn_anew_and_then_given_up(monkeypatch):
    import dreamdiffusion.cli.stimulate.plan as module

    def in_blocks(pictures, n_blocks, n_trials, gap_s, rng):
        rng.random()
        halves = [0] * (n_trials // 2) + [3] * (n_trials // 2)
        return [[Trial(i, float(rng.uniform(0.5, 0.8)), False) for i in halves]] * n_blocks

    monkeypatch.setattr(module, "draw_blocks", in_blocks)
    with pytest.raises(ValueError, match=r"20 random orders of 6 pictures failed the audit \("):
        plan(PICTURES, StimulateConfig(), 2, 40, seed=[0])


def test_class_folders_and_a_folder_of_pictures(tmp_path):
    classes = write_pictures(tmp_path / "a", ["cat/b.png", "cat/a.png", "car/x.jpg"])
    assert [(p.name, p.category) for p in find_pictures(classes)] == [
        ("car/x.jpg", "car"), ("cat/a.png", "cat"), ("cat/b.png", "cat"),
    ]  # fmt: skip
    flat = write_pictures(tmp_path / "b", ["sun.png", "moon.png"])
    assert [(p.name, p.category) for p in find_pictures(flat)] == [
        ("moon.png", "moon"), ("sun.png", "sun"),
    ]  # fmt: skip


def test_folders_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"picture folder .*gone does not exist"):
        find_pictures(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no picture"):
        find_pictures(tmp_path / "empty")
    mixed = write_pictures(tmp_path / "mixed", ["cat/a.png", "b.png"])
    with pytest.raises(ValueError, match=r"holds the picture b.png beside the folder cat"):
        find_pictures(mixed)
    broken = write_pictures(tmp_path / "broken", ["cat/a.png"])
    (broken / "cat" / "b.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"b.png"):
        find_pictures(broken)
