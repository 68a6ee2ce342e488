"""The stage `ablate`: shared pre-trainings, nothing twice, kills, failures, parts, the table."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import SIZE, SIZES, write_generator, write_trials
from window_folders import write_windows

from dreamdiffusion.cli import commands as cli
from dreamdiffusion.decoders.fit import load_decoder
from dreamdiffusion.files.schema import write_yaml
from dreamdiffusion.models.judge.judge import Judge
from dreamdiffusion.studies import ablate as stage
from dreamdiffusion.studies.ablate import FAILED, ablate, is_done, read_outcome
from dreamdiffusion.studies.config import AblateConfig
from dreamdiffusion.studies.grid import expand
from dreamdiffusion.trials.trials import Trials

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng

CPU = {"device": "cpu", "precision": "fp32"}


def grid(root: Path, **changes: object) -> AblateConfig:
    """Two rows that share their pre-training, and one without, on what `world` wrote."""
    sizes = SIZES.model_dump()
    content: dict = {
        "output": root / "grid",
        "pretrain": {
            "data": root / "windows", "encoder": sizes, "steps": 2, "batch_size": 4,
            "checkpoint_every": 1, "runtime": CPU,
        },
        "fit": {
            "decoder": "dreamdiffusion", "data": root / "trials",
            "generator": str(root / "generator"), "encoder": sizes, "n_condition_tokens": 4,
            "steps": 4, "batch_size": 4, "checkpoint_every": 1, "log_every": 1,
            "split": {"by": "run", "test": ["3"], "validation_fraction": 0.0}, "runtime": CPU,
        },
        "evaluate": {
            "judge": root / "judge", "n_permutations": 50, "n_bootstrap": 50,
            "sample": {"num_inference_steps": 2, "num_images_per_prompt": 1}, "runtime": CPU,
        },
        "rows": [
            {"name": "full", "paper": 45.8},
            {"name": "E only", "changes": {"fit.train_cross_attention": False}},
            {"name": "CLIP only", "changes": {"pretrain": False}, "paper": 32.3},
        ],
        "seeds": [0],
        "claims": [{"text": "parts help", "order": ["full", "CLIP only"]}],
    }  # fmt: skip
    return AblateConfig(**(content | changes))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Windows, trials, a generator and a judge, all tiny."""
    root = tmp_path_factory.mktemp("world")
    rng = torch.Generator().manual_seed(0)
    write_windows(root / "windows", torch.randn(20, 3, 16, generator=rng).numpy())
    write_trials(root / "trials")
    write_generator(root / "generator")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        judge = Judge(["disc", "square"], [], image_size=SIZE, channels=[8], trained_on="nothing")
    judge.save_pretrained(root / "judge")
    return root


@pytest.fixture(scope="module")
def done(world: Path) -> Path:
    """The grid after one uninterrupted run."""
    return ablate(grid(world))


def test_a_grid_ends_in_one_table(world: Path, done: Path) -> None:
    table = json.loads((done / "table.json").read_text("utf-8"))
    assert [row["row"] for row in table["rows"]] == ["full", "E only", "CLIP only"]
    assert table["simulated"] and table["missing"] == {}
    for row in table["rows"]:
        folder = done / f"{row['row'].replace(' ', '')}-0"
        record = json.loads((folder / "evaluate" / "scores.json").read_text("utf-8"))
        score = next(s for s in record["scores"] if s["metric"] == "category_top1")
        assert row["value"] == pytest.approx(score["value"])
        assert (row["n"], row["chance"]) == (8, pytest.approx(score["chance"]))
        assert row["ci95"][0] <= row["value"] <= row["ci95"][1]
    assert [row["paper"] for row in table["rows"]] == [45.8, None, 32.3]
    assert table["claims"][0]["holds"] in ("beyond the interval", "in the mean only", "not")
    assert (done / "table.md").read_text("utf-8").startswith("SIMULATED EEG; category_top1; 8 tr")
    assert (done / "table.png").is_file()
    assert len([path for path in (done / "pretrain").iterdir() if path.is_dir()]) == 1
    assert not list(done.rglob("*.lock")) and not list(done.rglob("checkpoints"))


def test_what_is_done_is_not_done_again(world: Path, done: Path, monkeypatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*.safetensors")}
    for name in ("pretrain", "finetune", "fit_decoder", "evaluate", "score_labels"):
        monkeypatch.setattr(stage, name, lambda *_: pytest.fail("computed again"))
    assert ablate(grid(world)) == done
    assert before == {path: path.stat().st_mtime_ns for path in done.rglob("*.safetensors")}


def test_scores_of_another_configuration_are_not_taken(world: Path, done: Path) -> None:
    content = grid(world).model_dump()
    content["fit"]["noise_augment"] = 0.5
    (cell, *_) = expand(AblateConfig(**content))
    with pytest.raises(ValueError, match=r"config.yaml says noise_augment = 0.0, this grid has"):
        is_done(cell)
    with pytest.raises(ValueError, match=r"3 of 3 cells failed: full, seed 0, .*config\.yaml says"):
        ablate(AblateConfig(**content))
    for cell in expand(grid(world)):
        assert is_done(cell)
        (cell.folder / FAILED).unlink()


def test_a_pretraining_is_computed_once(world: Path, tmp_path: Path, monkeypatch) -> None:
    seen: dict[str, list] = {"pretrain": [], "pairs": []}
    real = stage.load_pairs
    monkeypatch.setattr(stage, "load_pairs", lambda *a: (seen["pairs"].append(1), real(*a))[1])
    trained = stage.pretrain
    monkeypatch.setattr(
        stage, "pretrain", lambda config: (seen["pretrain"].append(config.seed), trained(config))
    )
    ablate(grid(world, output=tmp_path / "grid", rows=grid(world).rows[:2], claims=[]))
    assert seen == {"pretrain": [0], "pairs": [1]}


def test_one_row_fails_and_the_others_go_on(world: Path, tmp_path: Path, capsys) -> None:
    rows = [
        {"name": "lost", "changes": {"pretrain": False, "fit.data": str(tmp_path / "none")}},
        {"name": "CLIP only", "changes": {"pretrain": False}},
    ]
    config = grid(world, output=tmp_path / "grid", rows=rows, claims=[])
    # As the command does it, for the exit status.
    write_yaml(config, tmp_path / "grid.yaml")
    assert cli.main(["ablate", "--config", str(tmp_path / "grid.yaml")]) == 2
    said = capsys.readouterr()
    assert "1 of 2 cells failed: lost, seed 0; the first says: FileNotFoundError" in said.err
    table = json.loads((tmp_path / "grid" / "table.json").read_text("utf-8"))
    assert [row["value"] is None for row in table["rows"]] == [True, False]
    assert list(table["missing"]) == ["lost, seed 0"]
    assert "Traceback" in (tmp_path / "grid" / "lost-0" / FAILED).read_text("utf-8")


def test_parts_run_their_share_and_write_no_table(
    world: Path, done: Path, monkeypatch, caplog
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(stage, "run", lambda cell, known: asked.append(cell.name) or True)
    before = (done / "table.json").stat().st_mtime_ns
    for number in (1, 2):
        ablate(grid(world, part=f"{number}/2"))
    assert asked == ["full, seed 0", "CLIP only, seed 0", "E only, seed 0"]
    assert (done / "table.json").stat().st_mtime_ns == before
    with caplog.at_level(logging.WARNING):
        ablate(grid(world, table=True, seeds=[0, 1]))
    assert len(asked) == 3  # a table runs nothing
    assert "full, seed 1: no scores: not run yet" in caplog.text
    table = json.loads((done / "table.json").read_text("utf-8"))
    assert [row["seeds"] for row in table["rows"]] == [[0], [0], [0]]


def test_no_scores_at_all_is_an_error(world: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no category_top1 of this grid; run it first"):
        ablate(grid(world, output=tmp_path / "empty", table=True))


def test_several_processes_of_one_run_are_refused(world: Path, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="ablate runs in one process, here are 2"):
        ablate(grid(world))


def test_a_killed_grid_goes_on_and_ends_with_the_same_bits(
    world: Path, done: Path, tmp_path: Path
) -> None:
    config = grid(world, output=tmp_path / "grid", rows=grid(world).rows[:1], claims=[])
    write_yaml(config, tmp_path / "grid.yaml")
    log = tmp_path / "grid" / "full-0" / "log.jsonl"
    command = [sys.executable, "-m", "dreamdiffusion", "ablate"]
    process = subprocess.Popen(
        [*command, "--config", str(tmp_path / "grid.yaml")],
        stderr=subprocess.DEVNULL,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
            "OMP_NUM_THREADS": "1",
        },
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if log.is_file() and len(log.read_text("utf-8").splitlines()) >= 2:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it was killed"
    assert (tmp_path / "grid" / "full-0.lock").is_file()  # taken over by the next
    (encoder,) = (tmp_path / "grid" / "pretrain").glob("*/encoder/*.safetensors")
    before = encoder.stat().st_mtime_ns
    ablate(config)
    assert encoder.stat().st_mtime_ns == before  # not pre-trained again
    for path in sorted((done / "full-0" / "model").rglob("*.safetensors")):
        same = tmp_path / "grid" / path.relative_to(done)
        assert path.read_bytes() == same.read_bytes(), path.name


def every_decoder(root: Path, output: Path) -> AblateConfig:
    """A row for each decoder, the default first."""
    short = {"fit.steps": 2, "fit.batch_size": 8, "fit.runtime": CPU}
    reader = short | {"fit.clip": str(root / "generator" / "clip"), "fit.attributes": ["category"],
                      "fit.compact": {"n_temporal": 8, "embed_dim": 16}}  # fmt: skip
    draws = {"fit.generator": str(root / "generator")}
    paper = {"fit.encoder": SIZES.model_dump(), "fit.n_condition_tokens": 4}
    changes = {
        "prior": reader | draws | {"fit.bank_size": 8, "fit.image_size": SIZE},
        "dreamdiffusion": short | draws | paper,
        "caption": reader | draws,
        "reader": reader,
        "encoding": {},
        "lda": {},
    }
    rows = [{"name": name, "changes": {"fit.decoder": name} | of} for name, of in changes.items()]
    fit = {"data": root / "trials", "split": {"by": "run", "test": ["3"], "validation": ["2"]}}
    scored = {"controls": ["label_only", "bank_picture"], "confidence": False, "occlusion": False}
    return grid(
        root, output=output, pretrain=None, fit=fit, rows=rows, claims=[],
        evaluate=grid(root).evaluate | scored,
    )  # fmt: skip


def test_every_decoder_in_one_table(world: Path, tmp_path: Path) -> None:
    config = every_decoder(world, tmp_path / "grid")
    output = ablate(config)
    table = json.loads((output / "table.json").read_text("utf-8"))
    rows = {row["row"]: row for row in table["rows"]}
    assert list(rows) == [row.name for row in config.rows] and table["missing"] == {}
    tested = Trials.load(world / "trials")
    tested = tested.select(np.flatnonzero(tested.metadata["run"] == "3"))
    truth = tested.metadata["category"].tolist()
    for name in ("reader", "encoding", "lda"):
        said = load_decoder(output / f"{name}-0" / "model").decode(tested).labels
        right = np.mean([a == b for a, b in zip(said or [], truth, strict=True)])
        assert (rows[name]["value"], rows[name]["n"]) == (pytest.approx(right), 8)
    assert rows["lda"]["value"] == 1.0  # the amplitude tells the category
    assert rows["lda"]["shuffled_eeg"] < 1.0
    assert set(rows["prior"]["short_cuts"]) == {
        "label_only", "bank_picture", "lda_class", "lda_pooled",
    }  # fmt: skip
    assert rows["prior"]["short_cuts"]["lda_pooled"] == 1.0
    assert rows["lda"]["short_cuts"] == {} and rows["lda"]["encoder_parameters"] is None
    assert [(pair["better"], pair["worse"]) for pair in table["against_first"]] == [
        (name, "prior") for name in list(rows)[1:]
    ]
    for pair in table["against_first"]:
        difference = rows[pair["better"]]["value"] - rows["prior"]["value"]
        assert (pair["value"], pair["n"]) == (pytest.approx(difference), 8)
    assert "| minus prior |" in (output / "table.md").read_text("utf-8")
    assert all(is_done(cell) for cell in expand(config))
    looks = (output / "lda-0" / "model" / "looks.jsonl").read_text("utf-8").splitlines()
    assert len(looks) == 1
    with pytest.raises(ValueError, match=r"holds no color_top1 .* lda|holds no color_top1"):
        ablate(config.model_copy(update={"table": True, "metrics": ["color_top1"]}))


def test_a_metric_that_one_row_lacks_is_missing_there(world: Path, tmp_path: Path) -> None:
    config = every_decoder(world, tmp_path / "grid")
    config.rows = [row for row in config.rows if row.name in ("encoding", "lda")]
    output = ablate(config)
    path = output / "encoding-0" / "evaluate" / "labels.json"
    record = json.loads(path.read_text("utf-8"))
    assert record["not_scored"]["color_top1"] == "the decoder names category"
    score = next(s for s in record["scores"] if s["metric"] == "category_top1")
    record["scores"].append(score | {"metric": "color_top1"})
    shown = record["trials"]
    shown |= {"color": shown["category"], "judged_color": shown["judged_category"]}
    path.write_text(json.dumps(record), "utf-8")
    ablate(config.model_copy(update={"table": True, "metrics": ["category_top1", "color_top1"]}))
    table = json.loads((output / "table-color_top1.json").read_text("utf-8"))
    assert [row["value"] is None for row in table["rows"]] == [False, True]
    assert table["missing"] == {
        "lda, seed 0": "lda, seed 0 has no color_top1: the decoder names category"
    }
    text = (output / "table.md").read_text("utf-8")
    assert "; category_top1; 8 trials" in text and "; color_top1; 8 trials" in text


def test_hits_are_shares_of_a_trials_images(world: Path, done: Path) -> None:
    record = {
        "scores": [{"metric": "category_top1", "chance": 0.5, "shuffled_eeg": 0.25}],
        "trials": {"category": ["disc", "square"],
                   "judged_category": [["disc", "square"], ["square", "square"]]},
        "not_scored": {"color_top1": "the data have no colours"},
    }  # fmt: skip
    cell = expand(grid(world))[0]
    found = read_outcome(cell, record, "category_top1")
    assert found.hits.tolist() == [0.5, 1.0]
    assert (found.chance, found.shuffled_eeg) == (0.5, 0.25)
    # 3 channels x 4 points x 16 + 16 (patches), 272 x 3 + 272 (attention), ...: by hand
    patches, attention, mlp, norms = 3 * 4 * 16 + 16, 4 * (16 * 16 + 16), 2 * (16 * 16 + 16), 3 * 32
    assert found.encoder_parameters - (patches + attention + mlp + norms) in (0, 16)  # cls token
    record["scores"][0]["controls"] = {"shuffled_eeg": {"value": 0.125}}
    assert read_outcome(cell, record, "category_top1").shuffled_eeg == 0.125
    with pytest.raises(ValueError, match="full, seed 0 has no color_top1: the data have no col"):
        read_outcome(cell, record, "color_top1")
