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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import nn
from tqdm import tqdm

from .checkpoint import load_checkpoint, save_checkpoint
from .config import OptimConfig, TrainConfig
from .memory import peak_bytes, planned_bytes
from .runtime import Draw, autocast, batch_indices, choose_device, is_main_process

logger = logging.getLogger(__name__)


class Task(Protocol):
    """What a stage trains: its modules, its loss on a batch and its validation.

    A task whose loss compares samples with each other sets ``whole_batch = True``; one that uses
    further modules, which are not trained, lists them as ``frozen``.
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
    workers = Workers(config, name)
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
    optimizer = build_optimizer(parameters, config.optim, lr_scale or {})
    decay = config.optim.ema_decay
    averages = {key: p.detach().clone() for key, p in parameters.items()} if decay else {}
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    fingerprint = config.model_dump(mode="json", exclude={"output", "runtime"})
    first = load_checkpoint(checkpoints, task.modules, optimizer, averages, fingerprint)
    averages = {key: value.to(workers.device) for key, value in averages.items()}
    model = workers.share(_Model(task))
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
    clock = time.monotonic()
    bar = tqdm(
        total=config.steps, initial=first, desc=name, unit="step", file=sys.stderr, mininterval=1,
        disable=not workers.main,
    )  # fmt: skip
    try:
        for step in range(first, config.steps):
            record = _step(task, model, config, optimizer, parameters, step, workers)
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
            if workers.main and (done % config.validate_every == 0 or done == config.steps):
                with _using(parameters, averages), torch.no_grad():
                    figures = task.validate()
                if figures:
                    _append(log_path, history, {"step": done, **figures})
            if done % config.checkpoint_every == 0 or done == config.steps:
                if workers.main:
                    save_checkpoint(
                        checkpoints, done, task.modules, optimizer, averages, fingerprint
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
    if workers.main:
        logger.info("%s: at most %.2f GB were in use", name, peak_bytes(workers.device) / 1e9)
    with torch.no_grad():
        for key, value in averages.items():
            parameters[key].copy_(value)
    return history


class Workers:
    """The processes that share a run, seen from one of them, and their parts of a batch.

    One process unless ``accelerate launch`` or ``torchrun`` started several.

    Raises
    ------
    ValueError
        If the batch cannot be dealt evenly.
    """

    def __init__(self, config: TrainConfig, name: str) -> None:
        self.name, self.precision = name, config.runtime.precision
        device = choose_device(config.runtime)
        # Some parameters get a gradient only in some steps (a condition that is dropped, say).
        ddp = DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)
        self.accelerator = Accelerator(
            cpu=device.type == "cpu", device_placement=False, kwargs_handlers=[ddp]
        )
        self.count = self.accelerator.num_processes
        self.main = is_main_process()
        self.device = device if self.count == 1 else self.accelerator.device
        share, rest = divmod(config.batch_size, self.count)
        size = min(config.runtime.micro_batch or share, share)
        if rest or share % size:
            raise ValueError(
                f"{name}: batch_size is {config.batch_size}, which {self.count} processes in parts "
                f"of {size} do not share evenly; change batch_size or runtime.micro_batch"
            )
        start = self.accelerator.process_index * share
        self.parts = [slice(i, i + size) for i in range(start, start + share, size)]

    def share(self, model: nn.Module) -> nn.Module:
        """Wrap a model so that its gradients are averaged over the processes."""
        return self.accelerator.prepare(model) if self.count > 1 else model

    def mean(self, record: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Average scalars over the processes."""
        if self.count == 1:
            return record
        return {key: self.accelerator.reduce(value, "mean") for key, value in record.items()}  # pyright: ignore[reportReturnType]

    @contextlib.contextmanager
    def naming_a_lost_process(self, step: int) -> Iterator[None]:
        """Say in words that another process is gone, where sharing gradients fails."""
        try:
            yield
        except RuntimeError as error:
            if self.count == 1 or "out of memory" in str(error):
                raise
            raise ConnectionError(
                f"{self.name}: another process of this run stopped at step {step}; the same "
                f"command goes on from the last checkpoint ({str(error).splitlines()[0]})"
            ) from error

    def wait(self) -> None:
        """Return when every process is here."""
        if self.count > 1:
            self.accelerator.wait_for_everyone()


class _Model(nn.Module):
    """A task as the one module whose forward is its loss, which is what gradients are shared of."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(task.modules)
        self._loss = task.loss

    def forward(self, indices: torch.Tensor, draw: Draw) -> dict[str, torch.Tensor]:
        return self._loss(indices, draw)


def _step(
    task: Task,
    model: nn.Module,
    config: TrainConfig,
    optimizer: torch.optim.Optimizer,
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
    optimizer.zero_grad(set_to_none=True)
    total: dict[str, torch.Tensor] = {}
    for part in workers.parts:
        draw = Draw(config.seed, step, config.batch_size, part)
        last = part is workers.parts[-1]
        with contextlib.nullcontext() if last else workers.accelerator.no_sync(model):
            with autocast(workers.device, workers.precision):
                record = model(indices[part], draw)
            with workers.naming_a_lost_process(step):
                (record["loss"] / len(workers.parts)).backward()
        for key, value in record.items():
            total[key] = total.get(key, 0) + value.detach() / len(workers.parts)
    norm = nn.utils.clip_grad_norm_(parameters.values(), config.optim.clip_grad, foreach=True)
    # The gradients are those of all processes, so all stop at the same step.
    if not (torch.isfinite(total["loss"]) and torch.isfinite(norm)):
        raise FloatingPointError(
            f"{workers.name}: the loss of step {step} is {float(total['loss'])} (norm of its "
            f"gradient {float(norm)}), samples {indices.tolist()[:8]}...; lower optim.lr or look "
            "at those samples"
        )
    optimizer.step()
    return total


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
