"""The one training loop: every stage that trains weights gives it a `Task`.

All that is random in step *n*, the order of the data included, is a pure function of the seed and
*n*. A checkpoint therefore needs no generator state, and a run that was killed and resumed ends
with the same bits as one that was not.

The batch of a step is fixed by the configuration. How many processes share it (accelerate), and in
how many parts each computes its share, changes neither its samples nor their random numbers.
"""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dreamdiffusion.files.progress import progress, write_line
from dreamdiffusion.training.averages import RunningAverage
from dreamdiffusion.training.checkpoint import load_checkpoint, save_checkpoint
from dreamdiffusion.training.config import TrainConfig
from dreamdiffusion.training.device import attention_kernel, autocast
from dreamdiffusion.training.log import TrainingLog
from dreamdiffusion.training.memory import peak_bytes, planned_bytes
from dreamdiffusion.training.optimizer import (
    build_optimizer,
    learning_rate,
    restore_moments,
    trained_parameters,
)
from dreamdiffusion.training.random_numbers import Draw, batch_indices
from dreamdiffusion.training.sharding import make_whole, whole
from dreamdiffusion.training.task import Task
from dreamdiffusion.training.workers import Workers

logger = logging.getLogger(__name__)


def train_task(
    task: Task,
    config: TrainConfig,
    folder: Path,
    name: str,
    lr_scale: dict[str, float] | None = None,
) -> list[dict[str, Any]]:
    """Train ``task`` and leave the final weights (their running average, if kept) in its modules.

    Parameters
    ----------
    folder
        Gets ``log.jsonl`` and ``checkpoints/``. If it holds checkpoints of the same configuration,
        training goes on from the newest.
    name
        What the progress bar calls this training.
    lr_scale
        Factor on the learning rate by module name.

    Returns
    -------
    list of dict
        The entries of ``log.jsonl``.

    Raises
    ------
    FloatingPointError
        If the loss of a step is not finite; the last checkpoint stays.
    ValueError
        If the folder holds a checkpoint of another configuration, or of other data (`Task.given`).
    """
    workers = Workers(config, folder, name)
    run = _Run(task, config, folder, workers, lr_scale or {})
    bar = progress(desc=name, total=config.steps, initial=run.first, unit="step")
    try:
        for step in range(run.first, config.steps):
            figures = run.take_step(step)
            bar.update()
            done = step + 1
            stopping = run.is_out_of_time() and done < config.steps
            if stopping or run.is_due(done, config.log_every):
                loss = run.log_step(done, figures)
                bar.set_postfix({"loss": f"{loss:.4f}"}, refresh=False)
            if run.is_due(done, config.validate_every):
                run.validate(done)
            if stopping or run.is_due(done, config.checkpoint_every):
                run.save(done)
            if stopping:
                write_line(
                    f"{name}: stopped at step {done} of {config.steps}, as runtime.max_seconds is "
                    f"{config.runtime.max_seconds:g}; the same command goes on from there"
                )
                break
    except KeyboardInterrupt:
        write_line(
            f"{name}: stopped; the same command goes on from the last checkpoint in "
            f"{run.checkpoints}"
        )
        raise
    finally:
        bar.close()
        workers.stop()
    return run.finish()


class _Run:
    """A training from its first step, or from its newest checkpoint, to its last step."""

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        folder: Path,
        workers: Workers,
        lr_scale: dict[str, float],
    ) -> None:
        self.task, self.config, self.workers = task, config, workers
        parameters = self._prepare_modules()
        self.checkpoints = folder / "checkpoints"
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self._fingerprint = {
            **config.model_dump(mode="json", exclude={"output", "runtime"}),
            **task.given,
        }
        output = Path(getattr(config, "output", folder))
        stored = load_checkpoint(self.checkpoints, task.modules, self._fingerprint, output)
        self.first = stored.step
        self.log = TrainingLog(folder / "log.jsonl", self.first) if workers.main else None
        if workers.main:
            self._announce_start(parameters)
        if config.runtime.compile:
            for module in self._on_device:
                module.compile()
        self.model = workers.share(_Model(task))
        self.parameters = trained_parameters(task.modules)  # again: sharing may have cut them
        self.optimizer = build_optimizer(self.parameters, config.optim, lr_scale)
        restore_moments(self.optimizer, stored.moments)
        # In fp16 small gradients would vanish, so the loss is scaled up before they are computed.
        self.scaler = torch.amp.GradScaler(
            workers.device.type, enabled=config.runtime.precision == "fp16"
        )
        if stored.scaler:
            self.scaler.load_state_dict(stored.scaler)
        self.average = RunningAverage(self.parameters, config.optim.ema_decay, stored.averages)
        self._clock = time.monotonic()

    @property
    def _on_device(self) -> list[nn.Module]:
        return [*self.task.modules.values(), *self.task.frozen]

    def _prepare_modules(self) -> dict[str, nn.Parameter]:
        """Check that the task can be trained here, and move its modules to the device."""
        workers, name = self.workers, self.workers.name
        if self.task.whole_batch and len(workers.parts) * workers.count > 1:
            raise ValueError(
                f"{name} compares all samples of a batch with each other, so it cannot be computed "
                "in parts; run it in one process with runtime.micro_batch 0"
            )
        for module in self.task.modules.values():
            module.to(workers.device)
        parameters = trained_parameters(self.task.modules)
        if not parameters:
            raise ValueError(f"{name}: nothing to train, every parameter is frozen")
        return parameters

    def _announce_start(self, parameters: dict[str, nn.Parameter]) -> None:
        name, config = self.workers.name, self.config
        if self.first:
            write_line(f"{name}: resuming at step {self.first} of {config.steps}")
        planned = planned_bytes(parameters.values(), self._on_device, bool(config.optim.ema_decay))
        logger.info(
            "%s: %.1f M parameters are trained; weights, gradients and moments take %.2f GB, what "
            "a step keeps comes on top",
            name,
            sum(p.numel() for p in parameters.values()) / 1e6,
            planned / 1e9,
        )

    def is_due(self, done: int, every: int) -> bool:
        """Whether something is done after step number ``done``: every so often, and at the end."""
        return done % every == 0 or done == self.config.steps

    def is_out_of_time(self) -> bool:
        """Whether the time that ``runtime.max_seconds`` allows is over, for all processes alike."""
        limit = self.config.runtime.max_seconds
        if not limit:
            return False
        late = torch.tensor(float(time.monotonic() - self._clock > limit))
        return float(self.workers.mean({"late": late.to(self.workers.device)})["late"]) > 0

    def take_step(self, step: int) -> dict[str, torch.Tensor]:
        """Take one step and return the scalars of this process's share, meant over its parts."""
        rate = learning_rate(self.config.optim, step, self.config.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        for module in self.task.modules.values():
            module.train()
        indices = self._batch(step)
        if step + 1 < self.config.steps:
            coming = self._batch(step + 1)
            for part in self.workers.parts:
                self.task.announce(coming[part])
        self.optimizer.zero_grad(set_to_none=True)
        figures = self._add_up_gradients(step, indices)
        self._clip_gradients(step, indices, figures["loss"])
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update(step)
        return figures

    def _batch(self, step: int) -> torch.Tensor:
        config = self.config
        return batch_indices(self.task.n_samples, config.batch_size, step, config.seed)

    def _add_up_gradients(self, step: int, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute loss and gradient part by part; return the figures, meant over the parts."""
        workers, config = self.workers, self.config
        total: dict[str, torch.Tensor] = {}
        for part in workers.parts:
            draw = Draw(config.seed, step, config.batch_size, part)
            last = part is workers.parts[-1]
            with workers.gradients_kept_back(self.model, not last):
                with self._precision():
                    figures = self.model(indices[part], draw)
                # Activations may be computed again there, by the same attention.
                kernel = attention_kernel(workers.device, workers.precision, self.task.n_places)
                with workers.naming_a_lost_process(step), kernel:
                    self.scaler.scale(figures["loss"] / len(workers.parts)).backward()
            for key, value in figures.items():
                total[key] = total.get(key, 0) + value.detach() / len(workers.parts)
        return total

    def _clip_gradients(self, step: int, indices: torch.Tensor, loss: torch.Tensor) -> None:
        """Limit the norm of the gradient; raise where it or the loss is not finite."""
        self.scaler.unscale_(self.optimizer)
        limit = self.config.optim.clip_grad
        norm = whole(nn.utils.clip_grad_norm_(self.parameters.values(), limit, foreach=True))
        # The gradients are those of all processes, so all stop at the same step.
        # In fp16 an overflow is no failure: the scaler skips the step and scales less.
        overflow = self.scaler.is_enabled() and self.scaler.get_scale() > 1
        if not (torch.isfinite(loss) and (overflow or torch.isfinite(norm))):
            raise FloatingPointError(
                f"{self.workers.name}: the loss of step {step} is {float(loss)} (norm of its "
                f"gradient {float(norm)}), samples {indices.tolist()[:8]}...; lower optim.lr or "
                "look at those samples"
            )

    def _precision(self) -> contextlib.AbstractContextManager[None]:
        """Return what steps, validation and previews compute in.

        Frozen weights may lie in half precision (`memory.keep_frozen_in`), which only fits there.
        """
        return autocast(self.workers.device, self.workers.precision, self.task.n_places)

    def log_step(self, done: int, figures: dict[str, torch.Tensor]) -> float:
        """Log the figures of a step, averaged over the processes, and return the loss."""
        entry: dict[str, Any] = {"step": done}
        entry |= {key: float(value) for key, value in self.workers.mean(figures).items()}
        entry["seconds"] = round(time.monotonic() - self._clock, 3)
        if self.log:
            self.log.append(entry)
            self.workers.track(entry)
        return entry["loss"]

    def validate(self, done: int) -> None:
        """Validate and preview with the running average, and log what that gives."""
        preview, figures = None, {}
        with (
            self.average.in_use(),
            torch.no_grad(),
            self.workers.whole(self.model),
            self._precision(),
        ):
            if self.workers.main:
                figures = self.task.validate()
                if self.config.runtime.track != "none":
                    preview = self.task.preview()
        if figures and self.log:
            self.log.append({"step": done, **figures})
        self.workers.track({"step": done, **figures}, preview)

    def save(self, done: int) -> None:
        """Write a checkpoint; every process takes part."""
        save_checkpoint(
            self.checkpoints,
            done,
            self.task.modules,
            self.optimizer,
            self.average.values,
            self.scaler,
            self._fingerprint,
        )
        self.workers.wait()

    def finish(self) -> list[dict[str, Any]]:
        """Leave the final weights in the modules, whole in every process; return the log."""
        if self.workers.main:
            peak = peak_bytes(self.workers.device) / 1e9
            logger.info("%s: at most %.2f GB were in use", self.workers.name, peak)
        self.average.copy_to_parameters()
        make_whole(self.task.modules.values())
        return self.log.entries if self.log else []


class _Model(nn.Module):
    """A task as the one module whose forward is its loss, which is what gradients are shared of."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(task.modules)
        self._loss = task.loss

    def forward(self, indices: torch.Tensor, draw: Draw) -> dict[str, torch.Tensor]:
        return self._loss(indices.cpu(), draw)  # FSDP sends arguments to the GPU
