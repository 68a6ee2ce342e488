"""Weights to start from: a training that begins where an earlier one ended (``init``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def part_of(folder: Path, part: str) -> Path:
    """Return ``folder/part`` where it exists, as in a training's output; else the folder itself."""
    return folder / part if (folder / part).is_dir() else folder


def start_from(model: Any, folder: Path, aside: tuple[str, ...] = ()) -> Any:
    """Give a network the weights of one of the same class and sizes that was trained before.

    Only weights are taken: the optimiser, its schedule and the step begin anew.

    Parameters
    ----------
    model
        A diffusers model, changed in place.
    folder
        What ``save_pretrained`` wrote.
    aside
        Fields of the configuration that may differ, because no weight depends on them.

    Returns
    -------
    model
        The earlier network.

    Raises
    ------
    FileNotFoundError
        If the folder holds no network.
    ValueError
        If it was built with another value of a field than `model`.
    """
    name = type(model).__name__
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"init {folder} holds no {name}; give the output folder of a training that has ended"
        )
    earlier = type(model).from_pretrained(folder)
    for key, value in _plain(model.config).items():
        other = _plain(earlier.config).get(key)
        if key not in aside and other != value:
            raise ValueError(
                f"init {folder} is a {name} with {key} {other}, this configuration gives {value}; "
                "set it as it was there, or leave init out"
            )
    model.load_state_dict(earlier.state_dict())
    return earlier


def _plain(config: Any) -> dict[str, Any]:
    """Return the fields that a caller sets, as JSON holds them."""
    return {key: json.loads(json.dumps(v)) for key, v in config.items() if not key.startswith("_")}
