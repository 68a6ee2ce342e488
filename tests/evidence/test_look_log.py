"""The log of looks: kept whatever happens, one line each, and what follows from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.evidence import look_log as looks
from dreamdiffusion.evidence.look_log import (
    config_hash,
    log_look,
    model_hash,
    read_looks,
    selection_suspected,
    trials_hash,
    user_log,
)
from dreamdiffusion.evidence.scores import Look
from dreamdiffusion.trials.trials import Trials

ROOT = Path(__file__).parents[2]
TWENTY = "import sys; from test_look_log import look_often; look_often(sys.argv[1])"


def metadata(n=6):
    return pd.DataFrame(
        {
            "subject": "1",
            "session": "1",
            "run": ["1", "2"] * (n // 2),
            "onset": np.arange(n) / 4,
            "category": "face",
            "stim_file": [f"{i}.png" for i in range(n)],
        }
    )


def make_model(folder: Path, value: float = 0.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"w": np.full(3, value, np.float32)}, folder / "model.safetensors")
    return folder


def look(
    root: Path, model: str = "model", side: str = "test", rows=(1, 3, 5), data="data", table=None,
    simulated=False, **settings,
):  # fmt: skip
    (root / data).mkdir(exist_ok=True)
    return log_look(
        model=root / model,
        data=root / data,
        metadata=metadata() if table is None else table,
        rows=np.array(rows),
        n_trials=len(rows),
        side=side,
        config=EvaluateConfig(**settings),
        simulated=simulated,
    )


def look_often(root: str) -> None:
    """Look twenty times; two processes run this at once."""
    for _ in range(20):
        look(Path(root))


def test_looks_are_counted_and_told(tmp_path):
    model = make_model(tmp_path / "model")
    (first,) = look(tmp_path)
    assert (first.number, first.model, first.config) == (
        1, model_hash(model), config_hash(EvaluateConfig())
    )  # fmt: skip
    assert first.when.endswith("+00:00")
    both = look(tmp_path, output=Path("elsewhere"))
    assert [each.number for each in both] == [1, 2]
    assert both[0] == first
    for folder in ("model", "data"):
        lines = (tmp_path / folder / "looks.jsonl").read_text("utf-8").splitlines()
        assert len(lines) == 2
        kept = json.loads(lines[1])
        assert kept["model"] == first.model
        assert (kept["side"], kept["n_trials"]) == ("test", 3)
        assert kept["trials"] == trials_hash(metadata().iloc[[1, 3, 5]])


def test_only_locked_sides_are_logged_and_each_has_its_own_count(tmp_path):
    make_model(tmp_path / "model")
    for side in ("train", "validation"):
        assert look(tmp_path, side=side) == []
    assert not list(tmp_path.rglob("looks.jsonl"))
    assert len(look(tmp_path, side="new", rows=range(6))) == 1
    assert len(look(tmp_path)) == 1  # other trials
    assert len(look(tmp_path, rows=(0, 2))) == 1  # another fold
    assert len(look(tmp_path)) == 2


def test_looks_of_other_models_at_the_same_trials_count(tmp_path):
    make_model(tmp_path / "a", 1)
    make_model(tmp_path / "b", 2)
    assert selection_suspected(look(tmp_path, "a")) is None
    found = look(tmp_path, "b")
    assert [each.model for each in found] == [model_hash(tmp_path / m) for m in ("a", "b")]
    reason = selection_suspected(found)
    assert reason is not None
    assert reason.name == "selection_on_test"
    assert "this is look 2 at these trials since 20" in reason.what
    assert "2 different models have looked at it, so the model may have been cho" in reason.what
    # Going back to the first does not undo it, and the log of the trials alone suffices.
    (tmp_path / "a" / "looks.jsonl").unlink()
    back = selection_suspected(look(tmp_path, "a"))
    assert back is not None and "2 different models" in back.what
    # Trials in another folder, on another machine: what the model itself remembers.
    (tmp_path / "data" / "looks.jsonl").unlink()
    user_log().unlink()
    assert len(look(tmp_path, "a")) == 2


@pytest.mark.parametrize(
    ("settings", "n_configs"),
    [
        ({"output": "x", "batch_size": 3, "runtime": {"device": "cpu"}, "data": "y"}, 1),
        ({"folds": ["fewer"]}, 2),  # who leaves out a bad fold has chosen
        ({"sample": {"seed": 1}}, 2),
        ({"limit": 2}, 2),
        ({"sample": {"guidance_scale": 5}}, 2),
    ],
)
def test_configurations_of_one_model(tmp_path, settings, n_configs):
    make_model(tmp_path / "model")
    look(tmp_path)
    reason = selection_suspected(look(tmp_path, **settings))
    if n_configs == 1:
        assert reason is None
    else:
        assert reason is not None
        assert f"{n_configs} different configurations, so the configuration may" in reason.what
        assert "models" not in reason.what


def test_configurations_of_another_model_do_not_count_as_this_ones():
    def at(model, config):
        return Look(number=1, when="2026-01-02T03:04:05+00:00", model=model, config=config)

    assert selection_suspected([]) is None
    assert selection_suspected([at("a", "1"), at("a", "1"), at("a", "1")]) is None
    reason = selection_suspected([at("a", "1"), at("a", "2"), at("b", "1"), at("c", "1")])
    assert reason is not None
    assert reason.what == (
        "this is look 4 at these trials since 2026-01-02: 3 different models have looked at it, so "
        "the model may have been chosen on test"
    )


def test_two_processes_at_once_lose_no_look(tmp_path):
    make_model(tmp_path / "model")
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(Path(__file__).parent)])
    }  # fmt: skip
    processes = [
        subprocess.Popen([sys.executable, "-c", TWENTY, str(tmp_path)], env=environment)
        for _ in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    for folder in ("model", "data"):
        assert len({line.id for line in read_looks(tmp_path / folder / "looks.jsonl")}) == 40
    assert [each.number for each in look(tmp_path)] == list(range(1, 42))


def test_a_look_that_crashed_counts(tmp_path):
    make_model(tmp_path / "model")

    def evaluate():
        look(tmp_path)
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        evaluate()
    assert [each.number for each in look(tmp_path)] == [1, 2]


def test_a_damaged_log_ends_it_and_no_line_is_added(tmp_path):
    make_model(tmp_path / "model")
    look(tmp_path)
    path = tmp_path / "model" / "looks.jsonl"
    whole = path.read_text("utf-8")
    for text, message in (
        (whole + "{broken\n", f"line 2 of {path} is not a look"),
        ('{"when": "now"}\n' + whole, f"line 1 of {path} is not a look"),
        (whole + "\n", "line 2 of"),
        (whole[:-1], f"line 1 of {path} has no end"),
        (whole[:-9], "line 1 of"),
    ):
        path.write_text(text, "utf-8")
        with pytest.raises(ValueError, match=message):
            look(tmp_path)
        assert path.read_text("utf-8") == text
        assert len(read_looks(tmp_path / "data" / "looks.jsonl")) == 1


def test_folders_that_cannot_be_written_to(tmp_path, monkeypatch, caplog):
    make_model(tmp_path / "model")
    look(tmp_path)
    really = os.open
    locked = {tmp_path / "model" / "looks.jsonl"}

    def refuse(path, flags, *more, **keywords):
        if Path(os.fspath(path)) in locked and flags & os.O_WRONLY:
            raise OSError(30, "Read-only file system", str(path))
        return really(path, flags, *more, **keywords)

    monkeypatch.setattr(looks.os, "open", refuse)
    caplog.set_level("INFO")
    assert len(look(tmp_path)) == 2
    assert "model/looks.jsonl cannot be written to" in caplog.text
    locked |= {tmp_path / "data" / "looks.jsonl", user_log()}
    assert [each.number for each in look(tmp_path)] == [1, 2, 3]  # two kept, and this one
    assert "this look at the test side is in no log" in caplog.text
    assert len(read_looks(tmp_path / "model" / "looks.jsonl")) == 1
    assert len(read_looks(tmp_path / "data" / "looks.jsonl")) == 2


def test_the_hash_of_a_model_is_of_its_weights(tmp_path):
    model = make_model(tmp_path / "model")
    before = model_hash(model)
    (model / "split.json").write_text("{}")
    save_file({"w": np.ones(2, np.float32)}, model / "lda_pooled.safetensors")
    beside = model / "baselines" / "any"
    beside.mkdir(parents=True)
    save_file({"w": np.ones(2, np.float32)}, beside / "weights.safetensors")
    assert model_hash(model) == before
    assert model_hash(make_model(tmp_path / "copy")) == before
    make_model(model / "unet", 1)
    second = model_hash(model)
    assert second != before
    (model / "adapter.json").write_text('{"generator": "x"}')
    assert model_hash(model) != second
    with pytest.raises(FileNotFoundError, match="no weights of a model"):
        model_hash(tmp_path / "none")


def test_the_hash_of_trials_is_of_which_they_are():
    table = metadata()
    before = trials_hash(table)
    assert trials_hash(table.iloc[::-1]) == before
    assert trials_hash(table.assign(category="house", onset=table["onset"] + 1e-5)) == before
    assert trials_hash(table[1:]) != before
    assert trials_hash(table.assign(onset=table["onset"] + 0.01)) != before
    assert trials_hash(table.assign(subject="2")) != before
    # Where no onset is published: the picture and its repetition.
    blind = table.assign(onset=np.nan, repetition=0)
    assert trials_hash(blind) != trials_hash(blind.assign(repetition=1))


def test_the_log_survives_that_trials_are_prepared_again(tmp_path):
    make_model(tmp_path / "model")
    table = metadata()
    trials = Trials(np.zeros((6, 1, 4), np.float32), ["Cz"], 4.0, 0.0, table)
    trials.save(tmp_path / "data")
    look(tmp_path)
    trials.save(tmp_path / "data")
    again = Trials.load(tmp_path / "data")
    found = log_look(
        model=tmp_path / "model", data=tmp_path / "data", metadata=again.metadata,
        rows=np.array([5, 3, 1]), n_trials=3, side="test", config=EvaluateConfig(),
    )  # fmt: skip
    assert [each.number for each in found] == [1, 2]


def test_trials_that_were_copied_or_prepared_elsewhere_are_seen(tmp_path):
    """The third log, of the user: another folder, another model, some other trials rejected."""
    table = metadata(100)
    rows = np.arange(80)
    for name, value in (("a", 1), ("b", 2), ("c", 3)):
        make_model(tmp_path / name, value)
    assert len(look(tmp_path, "a", data="one", table=table, rows=rows)) == 1
    moved = look(tmp_path, "b", data="two", table=table, rows=rows)
    assert selection_suspected(moved).name == "selection_on_test"
    fewer = look(tmp_path, "c", data="three", table=table, rows=rows[rows % 12 > 0])
    assert [one.number for one in fewer] == [1, 2, 3]
    # Another fold of the same recordings is another side.
    assert len(look(tmp_path, "c", data="four", table=table, rows=np.arange(80, 100))) == 1


def test_a_deleted_log_is_made_up_for_by_the_users(tmp_path):
    make_model(tmp_path / "a", 1)
    make_model(tmp_path / "b", 2)
    look(tmp_path, "a")
    for log in tmp_path.rglob("looks.jsonl"):
        log.unlink()
    assert selection_suspected(look(tmp_path, "b")) is not None


def test_the_users_log_lies_where_the_variable_says(tmp_path, monkeypatch):
    make_model(tmp_path / "model")
    monkeypatch.setenv("DREAMDIFFUSION_STATE", str(tmp_path / "deep" / "state"))
    look(tmp_path, simulated=True)
    assert not user_log().exists()  # simulated trials can be made anew at will
    look(tmp_path)
    assert len(read_looks(tmp_path / "deep" / "state" / "looks.jsonl")) == 1
    monkeypatch.delenv("DREAMDIFFUSION_STATE")
    assert user_log().name == "looks.jsonl"
    assert "dreamdiffusion" in user_log().parts
