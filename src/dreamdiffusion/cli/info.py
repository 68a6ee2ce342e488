"""``dreamdiffusion info``: what is installed here, or what a folder holds."""

from __future__ import annotations

import math
import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from dreamdiffusion import __version__
from dreamdiffusion.cli.config import InfoConfig
from dreamdiffusion.files.shipped import find_weights
from dreamdiffusion.files.whole import parse_json

PACKAGES = ("torch", "diffusers", "transformers", "mne", "mne-bids", "numpy", "scikit-learn")


def info(config: InfoConfig) -> dict[str, Any]:
    """Describe the installation, or the folder that ``config.path`` names.

    Returns
    -------
    dict
        Plain values that JSON can hold; :func:`format_text` prints them.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        For a file, which `inspect` is for, and for a folder of nothing that this package knows.
    """
    if config.path is None:
        return describe_installation()
    path = config.path
    if path.is_file():
        raise ValueError(
            f"{path} is a file, expected a folder; "
            f"`dreamdiffusion inspect {shlex.quote(str(path))}` shows what was understood of a "
            "recording"
        )
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist; expected a folder")
    found: dict[str, Any] = {}
    for describe in (
        _describe_prepared,
        _describe_bids,
        _describe_model,
        _describe_decoder,
        _describe_run,
    ):
        found |= describe(path)
    if not found:
        raise ValueError(
            f"{path} holds nothing that dreamdiffusion knows; expected a BIDS folder, a folder "
            "written by a command (info.json, config.yaml, scores.json), a decoder (decoder.json) "
            "or a diffusers model; "
            "`dreamdiffusion inspect` shows a recording"
        )
    return {"path": str(path), **found}


def describe_installation() -> dict[str, Any]:
    """Return versions, processor, device and the weights below the working directory."""
    import torch

    from dreamdiffusion.training.config import RuntimeConfig
    from dreamdiffusion.training.device import choose_device, cpu_has_bf16

    device = choose_device(RuntimeConfig())
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    weights = find_weights(Path("weights"))
    models = sorted(path for path in weights.iterdir() if path.is_dir()) if weights.is_dir() else []
    return {
        "dreamdiffusion": __version__,
        "python": platform.python_version(),
        "packages": {package: metadata.version(package) for package in PACKAGES},
        "device": f"{device} ({name})",
        "cpu_cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "cpu_has_bf16": cpu_has_bf16(),
        "weights": {model.name: f"{_parameters(model) / 1e6:.1f} M parameters" for model in models},
    }


def format_text(found: Mapping[str, Any], indent: str = "") -> str:
    """Return ``found`` as aligned lines; nested mappings are indented."""
    width = max((len(str(key)) for key in found), default=0)
    lines = []
    for key, value in found.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{key}", format_text(value, indent + "  ")]
        else:
            items = value if isinstance(value, list) else [value]
            shown = "-" if value is None or value == {} else ", ".join(map(str, items)) or "-"
            lines.append(f"{indent}{key!s:<{width}}  {shown}")
    return "\n".join(lines)


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return ``rows``, which all have the same keys, as aligned columns under their names."""
    table = [list(rows[0])] + [["-" if v is None else str(v) for v in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in table)
    return "\n".join(lines)


def _describe_prepared(folder: Path) -> dict[str, Any]:
    """Trials or windows: ``info.json`` without the settings that made them."""
    if not (folder / "info.json").is_file():
        return {}
    content = _read_json(folder / "info.json")
    kind = content.pop("kind", "unknown data")
    simulated = " (SIMULATED)" if content.get("simulated") else ""
    for settings in ("signal", "shards", "layouts"):
        content.pop(settings, None)
    if dataset := content.pop("source", {}).get("dataset"):
        content["dataset"] = dataset
    return {"holds": f"prepared {kind}{simulated}", **content}


def _describe_bids(folder: Path) -> dict[str, Any]:
    if not (folder / "dataset_description.json").is_file():
        return {}
    from dreamdiffusion.recordings.find import find_recordings

    description = _read_json(folder / "dataset_description.json")
    return {
        "holds": "a BIDS folder",
        "name": description.get("Name"),
        "subjects": sorted(path.name.removeprefix("sub-") for path in folder.glob("sub-*")),
        "n_recordings": len(find_recordings([folder])),
    }


def _describe_model(folder: Path) -> dict[str, Any]:
    for name in ("model_index.json", "config.json"):
        if (folder / name).is_file():
            content = _read_json(folder / name)
            parts = {
                key: value[1]
                for key, value in content.items()
                if isinstance(value, list) and len(value) == 2 and isinstance(value[1], str)
            }
            return {
                "holds": f"a model ({content.get('_class_name', 'unknown class')})",
                "parameters": _parameters(folder),
                "components": parts if name == "model_index.json" else {},
            }
    return {}


def _describe_decoder(folder: Path) -> dict[str, Any]:
    """A fitted decoder: its name, and what ``about.json`` says of its trials."""
    if not any((folder / name).is_file() for name in ("decoder.json", "adapter.json")):
        return {}
    name = "dreamdiffusion"  # also before decoders left a record
    if (folder / "decoder.json").is_file():
        name = _read_json(folder / "decoder.json").get("decoder", "unknown")
    about = _read_json(folder / "about.json") if (folder / "about.json").is_file() else {}
    simulated = " (SIMULATED EEG)" if about.pop("simulated", False) else ""
    about.pop("runs", None)
    return {"holds": f"a decoder, {name}{simulated}", "parameters": _parameters(folder), **about}


def _describe_run(folder: Path) -> dict[str, Any]:
    """Configuration, progress and scores of a run folder."""
    from dreamdiffusion.files.schema import read_yaml

    found: dict[str, Any] = {}
    if (folder / "config.yaml").is_file():
        found["config"] = read_yaml(folder / "config.yaml")
    steps = [path.name.removeprefix("step-") for path in folder.glob("checkpoints/step-*")]
    if steps:
        found["checkpoint_steps"] = sorted(int(step) for step in steps if step.isdigit())
    if (folder / "scores.json").is_file():
        content = _read_json(folder / "scores.json")
        if isinstance(content.get("scores"), list):
            content["scores"] = {
                score["metric"]: ", ".join(
                    f"{key} {value}" for key, value in score.items() if key != "metric"
                )
                for score in content["scores"]
            }
        found["scores"] = content
    return found


def _parameters(folder: Path) -> int:
    """Count the numbers in every safetensors file below ``folder``, from the headers alone."""
    from safetensors import safe_open

    total = 0
    for path in folder.rglob("*.safetensors"):
        if "checkpoints" in path.relative_to(folder).parts:
            continue
        with safe_open(path, framework="numpy") as file:
            total += sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
    return total


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected an object")
    return content
