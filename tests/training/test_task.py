"""What a task need not define, and that the loop uses what it does define."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from dreamdiffusion.training.config import TrainConfig
from dreamdiffusion.training.loop import train_task
from dreamdiffusion.training.random_numbers import Draw, batch_indices
from dreamdiffusion.training.task import Task


class Mean(Task):
    """Learns the mean of four numbers; defines no more than it must."""

    def __init__(self) -> None:
        self.value = nn.Parameter(torch.zeros(1))
        module = nn.Module()
        module.register_parameter("value", self.value)
        self.modules = {"mean": module}
        self.numbers = torch.tensor([1.0, 2.0, 3.0, 4.0])
        self.n_samples = 4

    def loss(self, indices: torch.Tensor, draw: Draw) -> dict[str, torch.Tensor]:
        return {"loss": (self.numbers[indices] - self.value).square().mean()}


class Reads(Mean):
    """Notes which samples are announced, and which are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.announced: list[list[int]] = []
        self.asked: list[list[int]] = []

    def announce(self, indices: torch.Tensor) -> None:
        self.announced.append(indices.tolist())

    def loss(self, indices: torch.Tensor, draw: Draw) -> dict[str, torch.Tensor]:
        self.asked.append(indices.tolist())
        return super().loss(indices, draw)


def config(**changes: object) -> TrainConfig:
    settings: dict[str, object] = {
        "steps": 6,
        "batch_size": 4,
        "log_every": 3,
        "optim": {"lr": 0.1, "warmup_steps": 0, "weight_decay": 0.0},
        "runtime": {"device": "cpu", "precision": "fp32"},
    }
    return TrainConfig(**(settings | changes))


def test_a_task_without_a_loss_is_none() -> None:
    class Nothing(Task):
        pass

    with pytest.raises(TypeError, match="loss"):
        Nothing()  # pyright: ignore[reportAbstractUsage]


def test_the_smallest_task_trains(tmp_path: Path) -> None:
    task = Mean()
    assert task.validate() == {} and task.preview() is None and list(task.frozen) == []
    assert not task.whole_batch and task.n_places == 0
    history = train_task(task, config(steps=200), tmp_path, "mean")
    assert float(task.value.detach()) == pytest.approx(2.5, abs=0.02)
    assert history[-1]["step"] == 200
    # The variance of 1, 2, 3, 4 is all that is left of the loss.
    assert history[-1]["loss"] == pytest.approx(1.25, abs=0.01)


def test_samples_are_announced_one_step_ahead_and_by_parts(tmp_path: Path) -> None:
    runtime = {"device": "cpu", "precision": "fp32", "micro_batch": 2}
    task = Reads()
    train_task(task, config(steps=3, runtime=runtime), tmp_path, "reads")
    batches = [batch_indices(4, 4, step, 0).tolist() for step in range(3)]
    parts = [part for batch in batches for part in (batch[:2], batch[2:])]
    assert task.asked == parts
    assert task.announced == parts[2:]  # of the first step there is nobody to say it


def test_a_loss_over_the_whole_batch_is_not_computed_in_parts(tmp_path: Path) -> None:
    task = Mean()
    task.whole_batch = True
    runtime = {"device": "cpu", "micro_batch": 2}
    with pytest.raises(ValueError, match=r"compares all samples .* runtime.micro_batch 0"):
        train_task(task, config(runtime=runtime), tmp_path, "mean")
