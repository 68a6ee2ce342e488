"""Training checkpoints: safetensors and JSON in a folder, written so that a kill loses nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from dreamdiffusion.files.whole import whole_folder, write_json, write_tensors
from dreamdiffusion.training.device import is_main_process
from dreamdiffusion.training.sharding import whole

KEEP = 2
"""Checkpoints kept: the newest, and the one before it."""


@dataclass
class Checkpoint:
    """What a checkpoint holds beside the weights of the modules.

    Parameters
    ----------
    moments
        State of the optimiser by the number of the parameter.
    averages
        Running averages of the trained weights, of their shapes, by full name; may be empty.
    scaler
        State of the loss scale, where the precision is fp16.
    """

    step: int = 0
    moments: dict[int, dict[str, torch.Tensor]] = field(default_factory=dict)
    averages: dict[str, torch.Tensor] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(
    folder: Path,
    step: int,
    modules: dict[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    averages: dict[str, torch.Tensor],
    scaler: torch.amp.GradScaler,
    fingerprint: dict,
) -> None:
    """Write ``folder/step-N`` whole or not at all, then drop the older ones.

    Every process calls it, as each may hold a part of the weights; the first one writes.

    Parameters
    ----------
    averages
        Running averages of the trained weights by full parameter name; may be empty.
    fingerprint
        The configuration of the run; a resume under another one is refused.
    """
    files = {name: _gather(module.state_dict()) for name, module in modules.items()}
    state = optimizer.state_dict()["state"]
    files["optimizer"] = _gather(
        {f"{i}.{key}": value for i, entry in state.items() for key, value in entry.items()}
    )
    files["averages"] = _gather(averages)
    if not is_main_process():
        return
    final = folder / f"step-{step:08d}"
    for killed in folder.glob(".step-*"):  # nobody else writes here, and it is large
        shutil.rmtree(killed)
    with whole_folder(final) as unfinished:
        for name, tensors in files.items():
            tensors = {key: value.contiguous() for key, value in tensors.items()}
            write_tensors(unfinished / f"{name}.safetensors", _unshared(tensors))
        content = {"step": step, "config": fingerprint, "scaler": scaler.state_dict()}
        write_json(unfinished / "state.json", content)
    for old in sorted(folder.glob("step-*"))[:-KEEP]:
        shutil.rmtree(old)


def _gather(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Put tensors together one by one, on the CPU of the first process; the others keep none."""
    gathered = {}
    for key, value in tensors.items():
        tensor = whole(value.detach())
        if is_main_process():
            gathered[key] = tensor.cpu()
    return gathered


def load_checkpoint(
    folder: Path, modules: dict[str, nn.Module], fingerprint: dict, output: Path
) -> Checkpoint:
    """Restore the modules from the newest checkpoint in ``folder`` and return the rest of it.

    Where there is none, the modules stay as they are and the step is 0.

    Parameters
    ----------
    fingerprint
        What the checkpoint has to be written under.
    output
        Of the command; named where the weights there could be a start.

    Raises
    ------
    ValueError
        If the checkpoint was written under another configuration, or cannot be read.
    """
    found = sorted(folder.glob("step-*"))
    if not found:
        return Checkpoint()
    newest = found[-1]
    try:
        state = json.loads((newest / "state.json").read_text(encoding="utf-8"))
        _check_same_config(newest, state["config"], fingerprint, output)
        for name, module in modules.items():
            module.load_state_dict(load_file(newest / f"{name}.safetensors"), strict=True)
        tensors = load_file(newest / "optimizer.safetensors")
        averages = load_file(newest / "averages.safetensors")
    except (OSError, KeyError, RuntimeError, SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(
            f"checkpoint {newest} cannot be read ({error}); delete that folder to go on from the "
            "one before it"
        ) from error
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        moments.setdefault(int(index), {})[name] = value
    return Checkpoint(int(state["step"]), moments, averages, state.get("scaler", {}))


def _check_same_config(path: Path, stored: dict, wanted: dict, output: Path) -> None:
    changed = [key for key in wanted if stored.get(key) != wanted[key]]
    if changed:
        # A start brings its own defaults along, such as the learning rate.
        key = "init" if "init" in changed else changed[0]
        init = f", and --init {output} to start from the weights here"
        raise ValueError(
            f"checkpoint {path} was written with {key} = {stored.get(key)!r}, this run has "
            f"{wanted[key]!r}; give the same configuration to resume, or another output "
            f"folder{init if 'init' in wanted else ''}"
        )


def _unshared(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copy tensors that share memory, which safetensors refuses to write."""
    seen: set[int] = set()
    result = {}
    for key, value in weights.items():
        pointer = value.untyped_storage().data_ptr()
        result[key] = value.clone() if pointer in seen else value
        seen.add(pointer)
    return result
