"""Splits: every trial on one side, nothing shared, errors that name the values."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from dreamdiffusion.trials.config import SplitConfig
from dreamdiffusion.trials.splits import (
    Split,
    leave_one_out,
    split_by,
    split_trials,
    subset_training,
)


def make_metadata(n_runs=4, per_run=10, stimuli="unique"):
    n = n_runs * per_run
    names = {
        "unique": [f"{i}.png" for i in range(n)],
        "unknown": [""] * n,
        "repeated": [f"{i % per_run}.png" for i in range(n)],
    }[stimuli]
    return pd.DataFrame(
        {
            "subject": ["1" if i < n // 2 else "2" for i in range(n)],
            "session": "1",
            "run": [str(i // per_run + 1) for i in range(n)],
            "category": [("face", "house")[i % 2] for i in range(n)],
            "stim_file": names,
        }
    )


def test_stated_values():
    split = split_by(make_metadata(), "run", ["4"], ["2"], seed=0)
    assert split.test.tolist() == list(range(30, 40))
    assert split.validation.tolist() == list(range(10, 20))
    assert split.train.tolist() == [*range(10), *range(20, 30)]
    assert split.rule == "test run 4; validation run 2; no picture on two sides"


def test_a_fraction_is_drawn_in_every_category_from_the_training_side():
    metadata = make_metadata()
    split = split_by(metadata, "run", ["1"], 0.2, seed=3)
    assert len(split.validation) == 6  # 20 % of 15 faces and of 15 houses
    assert metadata.category[split.validation].value_counts().to_dict() == {"face": 3, "house": 3}
    assert not set(split.validation) & set(range(10))
    again = split_by(metadata, "run", ["1"], 0.2, seed=3)
    other = split_by(metadata, "run", ["1"], 0.2, seed=4)
    assert again.validation.tolist() == split.validation.tolist()
    assert other.validation.tolist() != split.validation.tolist()


@settings(max_examples=30, deadline=None)
@given(
    stimuli=st.lists(st.integers(0, 8), min_size=8, max_size=40),
    fraction=st.floats(0.2, 0.6),
    seed=st.integers(0, 99),
)
def test_drawn_validation_never_shares_a_picture(stimuli, fraction, seed):
    metadata = pd.DataFrame(
        {
            "run": "1",
            "category": "a",
            "stim_file": [f"{name}.png" for name in stimuli],
        }
    )
    try:
        split = split_by(metadata, "run", [], fraction, seed)
    except ValueError:
        reject()  # every picture repeats more often than the fraction allows
    names = metadata.stim_file
    assert not set(names[split.train]) & set(names[split.validation])
    assert sorted([*split.train, *split.validation]) == list(range(len(metadata)))


def test_shared_pictures_are_refused_or_stated():
    with pytest.raises(ValueError, match=r"10 pictures are on two sides .*0\.png, 1\.png"):
        split_by(make_metadata(stimuli="repeated"), "run", ["1"], 0.0, 0)
    allowed = split_by(make_metadata(stimuli="repeated"), "run", ["1"], 0.0, 0, True)
    assert allowed.rule.endswith("10 pictures on two sides")
    with pytest.raises(ValueError, match="40 trials have no stim_file"):
        split_by(make_metadata(stimuli="unknown"), "run", ["1"], 0.1, 0)
    unknown = split_by(make_metadata(stimuli="unknown"), "run", ["1"], 0.1, 0, True)
    assert "unknown" in unknown.rule


@pytest.mark.parametrize(
    ("column", "test", "validation", "message"),
    [
        ("runs", ["1"], 0.1, "no column runs; they have subject, session, run"),
        ("run", ["9"], 0.1, "test names run 9, which no trial has; there are 1, 2, 3, 4"),
        ("run", ["1"], ["7"], "validation names run 7"),
        ("run", ["1"], ["1"], "run 1 is in both test and validation"),
        ("run", ["1", "2", "3", "4"], 0.0, "no trial for training"),
        ("run", ["1"], 1.5, "expected 0 <= fraction < 1"),
        ("run", ["1"], 0.001, "draws none of 30 trials"),
    ],
)
def test_errors_name_the_values(column, test, validation, message):
    with pytest.raises(ValueError, match=message):
        split_by(make_metadata(), column, test, validation, 0)


def test_columns_can_be_joined():
    split = split_by(make_metadata(), "subject+run", ["1/2"], 0.0, 0)
    assert split.test.tolist() == list(range(10, 20))


def test_leave_one_out():
    metadata = make_metadata()
    found = list(leave_one_out(metadata, "run", validation="2"))
    assert [value for value, _ in found] == ["1", "2", "3", "4"]
    assert [metadata.run[split.validation].unique().tolist() for _, split in found] == [
        ["2"], ["3"], ["2"], ["2"],
    ]  # fmt: skip
    tested = np.concatenate([split.test for _, split in found])
    assert sorted(tested) == list(range(40))
    with pytest.raises(ValueError, match="one value 1; leaving it out"):
        next(leave_one_out(make_metadata(n_runs=1), "run"))


def test_save_and_load(tmp_path):
    split = split_by(make_metadata(), "run", ["4"], ["2"], 0)
    split.save(tmp_path / "split.json")
    again = Split.load(tmp_path / "split.json")
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(again, name), getattr(split, name))
    assert again.rule == split.rule
    (tmp_path / "split.json").write_text('{"rule": "x"}')
    with pytest.raises(ValueError, match="is not a split"):
        Split.load(tmp_path / "split.json")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Split.load(tmp_path / "no.json")


def test_overlap_is_refused():
    with pytest.raises(ValueError, match="trial 2 is on more than one side"):
        Split(np.array([1, 2]), np.array([2]), np.array([3]), "by hand")


def test_training_trials_are_chosen_alike_in_each_category_and_the_fewer_are_among_the_more():
    categories = np.array(["a"] * 10 + ["b"] * 10 + ["c"] * 3 + ["d"] * 7)
    split = Split(np.arange(2, 25), np.array([0, 1]), np.arange(25, 30), "by hand")
    chosen = {n: subset_training(split, categories, n, seed=4) for n in range(1, 24)}
    counts = {
        n: [int((categories[part.train] == name).sum()) for name in "abcd"]
        for n, part in chosen.items()
    }
    assert counts[8] == [2, 2, 2, 2]  # training has 8 a, 10 b, 3 c, 2 d
    assert counts[11] == [3, 3, 3, 2]
    assert counts[15] == [5, 5, 3, 2]
    assert max(counts[6]) - min(counts[6]) == 1
    assert counts[23] == [8, 10, 3, 2]
    for n in range(1, 23):
        assert set(chosen[n].train) < set(chosen[n + 1].train)
    assert chosen[8].validation.tolist() == [0, 1]
    assert chosen[8].test.tolist() == [25, 26, 27, 28, 29]
    assert chosen[8].rule == "by hand; 8 of 23 training trials, alike in each category (seed 4)"
    assert subset_training(split, categories, 8, seed=4).train.tolist() == chosen[8].train.tolist()
    others = [subset_training(split, categories, 8, seed).train.tolist() for seed in range(5)]
    assert len(set(map(tuple, others))) > 1
    with pytest.raises(ValueError, match="n_pairs is 24, the split has 23 training trials"):
        subset_training(split, categories, 24, seed=0)


def two_sessions(n_people=2, n_runs=2, n_pictures=20, repeats=5):
    """Twenty pictures, one of a kind, in every run of two sessions of each person."""
    pictures = np.tile(np.arange(n_pictures), repeats)
    rows = [
        {"subject": who, "session": session, "run": run, "category": f"kind {i}",
         "stim_file": f"{i}.png"}
        for who in map(str, range(n_people)) for session in "ab"
        for run in map(str, range(n_runs)) for i in pictures
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_one_session_held_out_where_every_session_shows_the_same_pictures():
    metadata = two_sessions()
    asked = SplitConfig(by="session", test=["b"])
    with pytest.raises(ValueError, match=r"20 pictures are on two .*--split\.allow_shared_stimuli"):
        split_trials(metadata, asked, 0)
    known = asked.model_copy(update={"allow_shared_stimuli": True})
    split = split_trials(metadata, known, 0)
    assert split.shared_stimuli
    assert set(metadata.session[split.test]) == {"b"} and len(split.test) == 400
    counts = metadata.category[split.validation].value_counts()
    assert set(counts) == {2} and len(counts) == 20  # single trials: a tenth of 20 of each picture
    assert split.rule == (
        "test session b; validation 0.1 of the training trials, drawn by trial (seed 0); "
        "20 pictures on two sides"
    )


def test_validation_is_drawn_as_whole_runs():
    metadata = two_sessions()
    known = SplitConfig(by="session", test=["b"], allow_shared_stimuli=True, validation_by="run")
    split = split_trials(metadata, known.model_copy(update={"validation_fraction": 0.5}), 3)
    runs = metadata[["subject", "session", "run"]].agg("/".join, axis=1)
    for side in (split.train, split.validation):
        assert len(set(runs[side])) == 2 and len(side) == 200
    assert not set(runs[split.train]) & set(runs[split.validation])
    with pytest.raises(ValueError, match=r"0.1 draws none of 400 .* 4 whole runs; raise --split"):
        split_trials(metadata, known, 0)


def test_pictures_of_validation_alone_may_not_be_shared_unasked():
    """Held-out pictures, but validation of single trials: only the setting allows it."""
    metadata = two_sessions()
    asked = SplitConfig(by="stim_file", test=["3.png"], validation_by="trial")
    with pytest.raises(ValueError, match="19 pictures are on two sides"):
        split_trials(metadata, asked, 0)
    split = split_trials(metadata, asked.model_copy(update={"allow_shared_stimuli": True}), 0)
    assert not split.shared_stimuli  # what is tested was never trained on
    with pytest.raises(ValueError, match=r"760 trials, which are drawn as 19 whole pictures"):
        split_trials(metadata, asked.model_copy(update={"validation_by": "stim_file"}), 0)


def test_allowing_what_does_not_occur_changes_no_claim():
    split = split_by(make_metadata(), "run", ["4"], ["2"], 0, allow_shared_stimuli=True)
    assert not split.shared_stimuli
    assert split.rule.endswith("no picture on two sides")
    unknown = split_by(make_metadata(stimuli="unknown"), "run", ["1"], 0.1, 0, True)
    assert not unknown.shared_stimuli  # then only the category is claimed


def test_that_pictures_are_shared_is_kept(tmp_path):
    split = split_by(make_metadata(stimuli="repeated"), "run", ["4"], ["2"], 0, True)
    kept = subset_training(split, make_metadata().category.to_numpy(), 10, 0)
    assert split.shared_stimuli and kept.shared_stimuli
    split.save(tmp_path / "split.json")
    assert Split.load(tmp_path / "split.json").shared_stimuli
    content = json.loads((tmp_path / "split.json").read_text())
    del content["shared_stimuli"]  # as models made before say nothing of it
    (tmp_path / "split.json").write_text(json.dumps(content))
    assert not Split.load(tmp_path / "split.json").shared_stimuli
