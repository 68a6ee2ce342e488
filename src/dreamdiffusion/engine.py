"""The one training loop: every stage that trains weights hands it a task.

All that is random in step *n*, the order of the data included, is a pure function of the seed and
*n*. A checkpoint therefore needs no generator state, and a run that was killed and resumed ends
with the same bits as one that was not.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from tqdm import tqdm

from .checkpoint import load_checkpoint, save_checkpoint
from .config import OptimConfig, TrainConfig
from .runtime import autocast, batch_indices, choose_device, step_generator


class Task(Protocol):
    """What a stage trains: its modules, its loss on a batch and its validation."""

    n_samples: int
    modules: dict[str, nn.Module]
    """Saved in checkpoints; parameters that require a gradient are trained."""

    def loss(self, indices: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Return ``loss``, which is minimised, and other scalars to log."""
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
) -> torch.optim.AdamW:
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
    return torch.optim.AdamW(list(merged.values()), lr=optim.lr, betas=optim.betas, fused=True)


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
    device = choose_device(config.runtime)
    for module in task.modules.values():
        module.to(device)
    parameters = trained_parameters(task.modules)
    if not parameters:
        raise ValueError(f"{name}: nothing to train, every parameter is frozen")
    optimizer = build_optimizer(parameters, config.optim, lr_scale or {})
    decay = config.optim.ema_decay
    averages = {key: p.detach().clone() for key, p in parameters.items()} if decay else {}
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    fingerprint = config.model_dump(mode="json", exclude={"output", "runtime"})
    first = load_checkpoint(checkpoints, task.modules, optimizer, averages, fingerprint)
    averages = {key: value.to(device) for key, value in averages.items()}
    log_path = folder / "log.jsonl"
    history = _read_log(log_path, before=first)
    if first:
        tqdm.write(f"{name}: resuming at step {first} of {config.steps}", file=sys.stderr)
    clock = time.monotonic()
    bar = tqdm(
        total=config.steps, initial=first, desc=name, unit="step", file=sys.stderr, mininterval=1
    )
    try:
        for step in range(first, config.steps):
            record = _step(task, config, optimizer, parameters, step, device, name)
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
                entry |= {key: float(value.detach()) for key, value in record.items()}
                entry["seconds"] = round(time.monotonic() - clock, 1)
                bar.set_postfix({"loss": f"{entry['loss']:.4f}"}, refresh=False)
                _append(log_path, history, entry)
            if done % config.validate_every == 0 or done == config.steps:
                with _using(parameters, averages), torch.no_grad():
                    figures = task.validate()
                if figures:
                    _append(log_path, history, {"step": done, **figures})
            if done % config.checkpoint_every == 0 or done == config.steps:
                save_checkpoint(checkpoints, done, task.modules, optimizer, averages, fingerprint)
    except KeyboardInterrupt:
        tqdm.write(
            f"{name}: stopped; the same command goes on from the last checkpoint in {checkpoints}",
            file=sys.stderr,
        )
        raise
    finally:
        bar.close()
    with torch.no_grad():
        for key, value in averages.items():
            parameters[key].copy_(value)
    return history


def _step(
    task: Task,
    config: TrainConfig,
    optimizer: torch.optim.AdamW,
    parameters: dict[str, nn.Parameter],
    step: int,
    device: torch.device,
    name: str,
) -> dict[str, torch.Tensor]:
    rate = learning_rate(config.optim, step, config.steps)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
    for module in task.modules.values():
        module.train()
    indices = batch_indices(task.n_samples, config.batch_size, step, config.seed)
    with autocast(device, config.runtime.precision):
        record = task.loss(indices, step_generator(config.seed, step))
    loss = record["loss"]
    if not torch.isfinite(loss):
        raise FloatingPointError(
            f"{name}: the loss of step {step} is {float(loss.detach())}, samples "
            f"{indices.tolist()[:8]}...; lower optim.lr or look at those samples"
        )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(parameters.values(), config.optim.clip_grad, foreach=True)
    optimizer.step()
    return record


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
