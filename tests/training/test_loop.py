"""The training loop: rates, order of the data, averages, resuming, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from dreamdiffusion.training import workers
from dreamdiffusion.training.config import TrainConfig
from dreamdiffusion.training.loop import train_task
from dreamdiffusion.training.random_numbers import Draw
from dreamdiffusion.training.task import Task

# nn.Linear draws its first weights from torch's global numbers; they are overwritten here.
pytestmark = pytest.mark.global_rng


class Slope(Task):
    """Fits w in w * x to y = 3 x; the noise it adds comes from the step's generator."""

    def __init__(self, bad_step: int | None = None) -> None:
        self.model = nn.Linear(1, 1, bias=True)
        with torch.no_grad():
            self.model.weight.fill_(0.0)
            self.model.bias.fill_(0.0)
        self.modules = {"model": self.model}
        self.x = torch.linspace(-1, 1, 10)[:, None]
        self.n_samples, self.bad_step, self.calls = 10, bad_step, 0
        self.batches: list[list[int]] = []

    def loss(self, indices: torch.Tensor, draw: Draw) -> dict[str, torch.Tensor]:
        self.batches.append(indices.tolist())
        x = self.x[indices] + 0.01 * draw.randn(1)
        loss = (self.model(x) - 3 * self.x[indices]).square().mean()
        if self.calls == self.bad_step:
            loss = loss * float("nan")
        self.calls += 1
        return {"loss": loss}

    def validate(self) -> dict[str, float]:
        return {"validation_weight": float(self.model.weight)}


def config(**changes: object) -> TrainConfig:
    settings: dict[str, object] = {
        "steps": 20,
        "batch_size": 4,
        "checkpoint_every": 5,
        "validate_every": 10,
        "log_every": 5,
        "optim": {"lr": 0.1, "clip_grad": 10.0},
        "runtime": {"device": "cpu", "precision": "fp32"},
    }
    return TrainConfig(**(settings | changes))


def test_parts_of_a_batch_give_the_step_of_the_whole(tmp_path: Path) -> None:
    whole, parts = Slope(), Slope()
    train_task(whole, config(), tmp_path / "whole", "slope")
    runtime = {"device": "cpu", "precision": "fp32", "micro_batch": 2}
    train_task(parts, config(runtime=runtime), tmp_path / "parts", "slope")
    assert [len(batch) for batch in parts.batches[:4]] == [2, 2, 2, 2]
    torch.testing.assert_close(parts.model.weight, whole.model.weight, atol=1e-6, rtol=1e-5)
    with pytest.raises(ValueError, match="batch_size is 4, which 1 processes in parts of 3"):
        train_task(Slope(), config(runtime=runtime | {"micro_batch": 3}), tmp_path / "odd", "slope")


def test_stopped_run_resumes_with_the_same_bits(tmp_path: Path) -> None:
    whole = Slope()
    averaged = config(optim={"lr": 0.1, "ema_decay": 0.9})
    history = train_task(whole, averaged, tmp_path / "a", "slope")
    stopped = Slope(bad_step=13)
    with pytest.raises(FloatingPointError, match=r"slope: the loss of step 13 is nan"):
        train_task(stopped, averaged, tmp_path / "b", "slope")
    resumed = Slope()
    again = train_task(resumed, averaged, tmp_path / "b", "slope")
    assert resumed.batches == whole.batches[10:]  # from the checkpoint of step 10
    for mine, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(mine, other)
    plain = [{k: v for k, v in e.items() if k != "seconds"} for e in history]
    assert plain == [{k: v for k, v in e.items() if k != "seconds"} for e in again]
    lines = (tmp_path / "b" / "log.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [e["step"] for e in history]


def test_a_run_that_is_out_of_time_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, runtime = Slope(), {"device": "cpu", "precision": "fp32", "max_seconds": 1e-9}
    train_task(whole, config(steps=3), tmp_path / "a", "slope")
    for done in (1, 2, 3):  # one step is always taken
        part = Slope()
        log = train_task(part, config(steps=3, runtime=runtime), tmp_path / "b", "slope")
        assert log[-1]["step"] == done
    assert "stopped at step 2 of 3, as runtime.max_seconds is 1e-09" in capsys.readouterr().err
    for mine, other in zip(whole.model.parameters(), part.model.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_final_weights_are_the_running_average(tmp_path: Path) -> None:
    task = Slope()
    history = train_task(
        task, config(optim={"lr": 0.1, "clip_grad": 10.0, "ema_decay": 0.999}), tmp_path, "slope"
    )
    # Validation too is done with the average.
    assert history[-1]["validation_weight"] == pytest.approx(float(task.model.weight.detach()))
    last = Slope()
    train_task(last, config(), tmp_path / "plain", "slope")
    assert float(task.model.weight.detach()) < float(
        last.model.weight.detach()
    )  # it lags on the way up


def test_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    train_task(Slope(), config(), tmp_path, "slope")
    with pytest.raises(ValueError, match="written with batch_size = 4, this run has 5"):
        train_task(Slope(), config(batch_size=5), tmp_path, "slope")
    # Where it runs may change.
    train_task(Slope(), config(runtime={"device": "cpu", "threads": 1}), tmp_path, "slope")


def test_broken_checkpoint_is_named(tmp_path: Path) -> None:
    train_task(Slope(), config(), tmp_path, "slope")
    newest = tmp_path / "checkpoints" / "step-00000020"
    (newest / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(ValueError, match="step-00000020 cannot be read"):
        train_task(Slope(), config(), tmp_path, "slope")


def test_nothing_to_train_is_an_error(tmp_path: Path) -> None:
    task = Slope()
    task.model.requires_grad_(False)
    with pytest.raises(ValueError, match="every parameter is frozen"):
        train_task(task, config(), tmp_path, "slope")


def test_half_precision_trains_survives_overflow_and_resumes(tmp_path: Path) -> None:
    """The first scale overflows fp16 gradients; steps are skipped, not lost, and counted alike."""

    def run(folder: Path, bad_step: int | None = None) -> Slope:
        task = Slope(bad_step)
        train_task(
            task, config(steps=40, runtime={"device": "cpu", "precision": "fp16"}), folder, "slope"
        )
        return task

    whole = run(tmp_path / "a")
    reference = Slope()
    train_task(reference, config(steps=40), tmp_path / "fp32", "slope")
    assert float(whole.model.weight) == pytest.approx(float(reference.model.weight), rel=0.2)
    with pytest.raises(FloatingPointError, match="step 23"):
        run(tmp_path / "b", bad_step=23)
    state = json.loads(
        (tmp_path / "b" / "checkpoints" / "step-00000020" / "state.json").read_text("utf-8")
    )
    assert 1 <= state["scaler"]["scale"] < 65536  # at least one step overflowed
    resumed = run(tmp_path / "b")
    assert torch.equal(whole.model.weight, resumed.model.weight)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_networks_learn_the_same(tmp_path: Path) -> None:
    plain, compiled = Slope(), Slope()
    train_task(plain, config(), tmp_path / "plain", "slope")
    train_task(
        compiled, config(runtime={"device": "cpu", "compile": True}), tmp_path / "fast", "slope"
    )
    assert float(compiled.model.weight) == pytest.approx(float(plain.model.weight), abs=0.02)
    assert list(compiled.model.state_dict()) == ["weight", "bias"]


def test_figures_and_previews_reach_tensorboard(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    task = Slope()
    task.preview = lambda: torch.full((2, 3, 4, 4), 0.5)  # pyright: ignore[reportAttributeAccessIssue]
    runtime = {"device": "cpu", "precision": "fp32", "track": "tensorboard"}
    history = train_task(task, config(runtime=runtime), tmp_path, "slope")
    (file,) = tmp_path.rglob("events.out.tfevents*")
    found = events.EventAccumulator(str(file))
    found.Reload()
    logged = {e.step: e.value for e in found.Scalars("loss")}
    assert logged == pytest.approx({e["step"]: e["loss"] for e in history if "loss" in e})
    assert [e.step for e in found.Scalars("validation_weight")] == [10, 20]
    assert [e.step for e in found.Images("preview")] == [10, 20]


def test_a_missing_tracker_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(workers._AVAILABLE, "wandb", lambda: False)
    with pytest.raises(ValueError, match="track is wandb, which is not installed: pip install"):
        train_task(Slope(), config(runtime={"device": "cpu", "track": "wandb"}), tmp_path, "slope")
