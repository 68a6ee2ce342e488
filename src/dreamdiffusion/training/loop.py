"""The one training loop: every stage that trains weights hands it a task.

All that is random in step *n*, the order of the data included, is a pure function of the seed and
*n*. A checkpoint therefore needs no generator state, and a run that was killed and resumed ends
with the same bits as one that was not.

The batch of a step is fixed by the configuration. How many processes share it (accelerate), and in
how many parts each computes its share, changes neither its samples nor their random numbers.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from tqdm import tqdm

from dreamdiffusion.training.checkpoint import load_checkpoint, save_checkpoint
from dreamdiffusion.training.config import OptimConfig, TrainConfig
from dreamdiffusion.training.device import autocast
from dreamdiffusion.training.memory import peak_bytes, planned_bytes
from dreamdiffusion.training.random_numbers import Draw, batch_indices
from dreamdiffusion.training.sharding import cut_like, make_whole, whole
from dreamdiffusion.training.workers import Workers

logger = logging.getLogger(__name__)


class Task(Protocol):
    """What a stage trains: its modules, its loss on a batch and its validation.

    A task whose loss compares samples with each other sets ``whole_batch = True``; one that uses
    further modules, which are not trained, lists them as ``frozen``; one that can show its state
    has ``preview()``, which returns images ``(n, 3, height, width)`` in [0, 1]; one that reads its
    samples from disk has ``announce(indices)``, told while a step is computed which ones the next
    step will ask ``loss`` for; one whose attention runs over long sequences tells ``n_places``.
    """

    n_samples: int
    modules: dict[str, nn.Module]
    """Saved in checkpoints; parameters that require a gradient are trained."""

    def loss(self, indices: torch.Tensor, draw: Draw) -> dict[str, torch.Tensor]:
        """Return ``loss``, the mean over these samples, and other scalars to log.

        Parameters
        ----------
        indices
            int64 ``(n,)``, samples: the batch, or a part of it.
        draw
            The random numbers of these samples; nothing else may be random.
        """
        ...

    def validate(self) -> dict[str, float]:
        """Return figures on held-out data; may be empty."""
        ...


def learning_rate(optim: OptimConfig, step: int, steps: int) -> float:
    """Return the rate of one step: linear warm-up, then constant or half a cosine to zero."""
    if step < optim.warmup_steps:
        return optim.lr * (step + 1) / optim.warmup_steps
    if optim.schedule == "constant":
        return optim.lr
    done = (step - optim.warmup_steps) / max(1, steps - optim.warmup_steps)
    return optim.lr * 0.5 * (1 + math.cos(math.pi * done))


def trained_parameters(modules: dict[str, nn.Module]) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by ``module.parameter`` name, each once."""
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for prefix, module in modules.items():
        for name, parameter in module.named_parameters():
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                found[f"{prefix}.{name}"] = parameter
    return found


def build_optimizer(
    parameters: dict[str, nn.Parameter], optim: OptimConfig, lr_scale: dict[str, float]
) -> torch.optim.Optimizer:
    """Return AdamW with weight decay on parameters of more than one dimension only."""
    groups = []
    for name, parameter in parameters.items():
        groups.append(
            {
                "params": [parameter],
                "weight_decay": optim.weight_decay if parameter.ndim > 1 else 0.0,
                "scale": lr_scale.get(name.split(".", 1)[0], 1.0),
            }
        )
    merged: dict[tuple[float, float], dict[str, Any]] = {}
    for group in groups:
        key = (group["weight_decay"], group["scale"])
        merged.setdefault(key, {**group, "params": []})["params"] += group["params"]
    groups = list(merged.values())
    if optim.kind == "adamw8bit":
        try:
            import bitsandbytes  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ValueError(
                "optim.kind is adamw8bit, which needs bitsandbytes: pip install bitsandbytes"
            ) from error
        return bitsandbytes.optim.AdamW8bit(groups, lr=optim.lr, betas=optim.betas)
    return torch.optim.AdamW(groups, lr=optim.lr, betas=optim.betas, fused=True)


def fit(
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

    Raises
    ------
    FloatingPointError
        If the loss of a step is not finite; the last checkpoint stays.
    ValueError
        If the folder holds a checkpoint of another configuration.
    """
    workers = Workers(config, folder, name)
    if getattr(task, "whole_batch", False) and len(workers.parts) * workers.count > 1:
        raise ValueError(
            f"{name} compares all samples of a batch with each other, so it cannot be computed in "
            "parts; run it in one process with runtime.micro_batch 0"
        )
    for module in task.modules.values():
        module.to(workers.device)
    parameters = trained_parameters(task.modules)
    if not parameters:
        raise ValueError(f"{name}: nothing to train, every parameter is frozen")
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    fingerprint = config.model_dump(mode="json", exclude={"output", "runtime"})
    stored = load_checkpoint(checkpoints, task.modules, fingerprint)
    first, decay = stored.step, config.optim.ema_decay
    log_path = folder / "log.jsonl"
    history = _read_log(log_path, before=first) if workers.main else []
    if first and workers.main:
        tqdm.write(f"{name}: resuming at step {first} of {config.steps}", file=sys.stderr)
    on_device = [*task.modules.values(), *getattr(task, "frozen", [])]
    if workers.main:
        planned = planned_bytes(parameters.values(), on_device, bool(decay))
        count = sum(p.numel() for p in parameters.values())
        logger.info(
            "%s: %.1f M parameters are trained; weights, gradients and moments take %.2f GB, what "
            "a step keeps comes on top",
            name,
            count / 1e6,
            planned / 1e9,
        )
    if config.runtime.compile:
        for module in on_device:
            module.compile()
    model = workers.share(_Model(task))
    parameters = trained_parameters(task.modules)  # again: sharing may have cut them
    optimizer = build_optimizer(parameters, config.optim, lr_scale or {})
    _restore_moments(optimizer, stored.moments)
    # In fp16 small gradients would vanish, so the loss is scaled up before they are computed.
    scaler = torch.amp.GradScaler(workers.device.type, enabled=config.runtime.precision == "fp16")
    if stored.scaler:
        scaler.load_state_dict(stored.scaler)
    averages = {}
    if decay:
        averages = {
            key: cut_like(stored.averages[key], p) if stored.averages else p.detach().clone()
            for key, p in parameters.items()
        }
    del stored  # a second copy of moments and averages
    clock = time.monotonic()
    bar = tqdm(
        total=config.steps, initial=first, desc=name, unit="step", file=sys.stderr, mininterval=1,
        disable=not workers.main,
    )  # fmt: skip
    try:
        for step in range(first, config.steps):
            record = _step(task, model, config, optimizer, scaler, parameters, step, workers)
            if decay:
                # Early on the average follows closely, or it would remember the random start.
                rate = min(decay, (1 + step) / (10 + step))
                shadow = list(averages.values())
                current = [parameters[key].detach() for key in averages]
                torch._foreach_lerp_(shadow, current, 1 - rate)  # pyright: ignore[reportPrivateImportUsage]
            bar.update()
            done = step + 1
            if done % config.log_every == 0 or done == config.steps:
                entry: dict[str, Any] = {"step": done}
                entry |= {key: float(value) for key, value in workers.mean(record).items()}
                entry["seconds"] = round(time.monotonic() - clock, 1)
                bar.set_postfix({"loss": f"{entry['loss']:.4f}"}, refresh=False)
                if workers.main:
                    _append(log_path, history, entry)
                    workers.track(entry)
            if done % config.validate_every == 0 or done == config.steps:
                with (
                    _using(parameters, averages),
                    torch.no_grad(),
                    workers.whole(model),
                    _precision(task, workers),
                ):
                    figures = task.validate() if workers.main else {}
                    tracked = workers.main and config.runtime.track != "none"
                    preview = _preview(task) if tracked else None
                if figures:
                    _append(log_path, history, {"step": done, **figures})
                workers.track({"step": done, **figures}, preview)
            if done % config.checkpoint_every == 0 or done == config.steps:
                save_checkpoint(
                    checkpoints, done, task.modules, optimizer, averages, scaler, fingerprint
                )
                workers.wait()
    except KeyboardInterrupt:
        tqdm.write(
            f"{name}: stopped; the same command goes on from the last checkpoint in {checkpoints}",
            file=sys.stderr,
        )
        raise
    finally:
        bar.close()
        workers.stop()
    if workers.main:
        logger.info("%s: at most %.2f GB were in use", name, peak_bytes(workers.device) / 1e9)
    with torch.no_grad():
        for key, value in averages.items():
            parameters[key].copy_(value)
    make_whole(task.modules.values())
    return history


def _restore_moments(
    optimizer: torch.optim.Optimizer, moments: dict[int, dict[str, torch.Tensor]]
) -> None:
    """Give an optimiser the state of a checkpoint, cut as its parameters are."""
    if not moments:
        return
    ordered = [p for group in optimizer.param_groups for p in group["params"]]
    content = optimizer.state_dict()
    content["state"] = {
        index: {key: cut_like(value, ordered[index]) for key, value in entry.items()}
        for index, entry in moments.items()
    }
    optimizer.load_state_dict(content)


class _Model(nn.Module):
    """A task as the one module whose forward is its loss, which is what gradients are shared of."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(task.modules)
        self._loss = task.loss

    def forward(self, indices: torch.Tensor, draw: Draw) -> dict[str, torch.Tensor]:
        return self._loss(indices.cpu(), draw)  # FSDP sends arguments to the GPU


def _step(
    task: Task,
    model: nn.Module,
    config: TrainConfig,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    parameters: dict[str, nn.Parameter],
    step: int,
    workers: Workers,
) -> dict[str, torch.Tensor]:
    """Take one step and return the scalars of this process's share, meant over its parts."""
    rate = learning_rate(config.optim, step, config.steps)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
    for module in task.modules.values():
        module.train()
    indices = batch_indices(task.n_samples, config.batch_size, step, config.seed)
    announce = getattr(task, "announce", None)
    if announce and step + 1 < config.steps:
        coming = batch_indices(task.n_samples, config.batch_size, step + 1, config.seed)
        for part in workers.parts:
            announce(coming[part])
    optimizer.zero_grad(set_to_none=True)
    total: dict[str, torch.Tensor] = {}
    for part in workers.parts:
        draw = Draw(config.seed, step, config.batch_size, part)
        last = part is workers.parts[-1]
        with workers.gradients_kept_back(model, not last):
            with _precision(task, workers):
                record = model(indices[part], draw)
            with workers.naming_a_lost_process(step):
                scaler.scale(record["loss"] / len(workers.parts)).backward()
        for key, value in record.items():
            total[key] = total.get(key, 0) + value.detach() / len(workers.parts)
    scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(parameters.values(), config.optim.clip_grad, foreach=True)
    norm = whole(norm)
    # The gradients are those of all processes, so all stop at the same step.
    # In fp16 an overflow is no failure: the scaler skips the step and scales less.
    overflow = scaler.is_enabled() and scaler.get_scale() > 1
    if not (torch.isfinite(total["loss"]) and (overflow or torch.isfinite(norm))):
        raise FloatingPointError(
            f"{workers.name}: the loss of step {step} is {float(total['loss'])} (norm of its "
            f"gradient {float(norm)}), samples {indices.tolist()[:8]}...; lower optim.lr or look "
            "at those samples"
        )
    scaler.step(optimizer)
    scaler.update()
    return total


def _precision(task: Task, workers: Workers) -> contextlib.AbstractContextManager[None]:
    """Return what the run computes in: its steps, and what is validated and shown between them.

    Frozen weights may lie in half precision (`memory.keep_frozen_in`), which only fits there.
    """
    return autocast(workers.device, workers.precision, getattr(task, "n_places", 0))


def _preview(task: Task) -> torch.Tensor | None:
    """Return a few images that a task can show of its state, or None."""
    draw = getattr(task, "preview", None)
    return draw() if draw else None


@contextlib.contextmanager
def _using(parameters: dict[str, nn.Parameter], averages: dict[str, torch.Tensor]):
    """Put the running averages in place of the weights for the time of the block."""
    kept = {key: parameters[key].detach().clone() for key in averages}
    with torch.no_grad():
        for key, value in averages.items():
            parameters[key].copy_(value)
    try:
        yield
    finally:
        with torch.no_grad():
            for key, value in kept.items():
                parameters[key].copy_(value)


def _read_log(path: Path, before: int) -> list[dict[str, Any]]:
    """Read the log up to a step, and drop from the file what a killed run wrote after it."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):  # a kill may cut the last line
            entries.append(json.loads(line))
    entries = [entry for entry in entries if entry["step"] <= before]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return entries


def _append(path: Path, history: list[dict[str, Any]], entry: dict[str, Any]) -> None:
    history.append(entry)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
