"""Schemas of the commands that belong to no stage; importing this module must stay cheap."""

from __future__ import annotations

from pathlib import Path

from pydantic import (
    Field,
    PositiveInt,
)
from tyro.conf import Positional

from dreamdiffusion.files.schema import Schema
from dreamdiffusion.training.config import RuntimeConfig


class DemoConfig(Schema):
    """From nothing to decoded images with the bundled weights."""

    output: Path = Path("runs/demo")
    weights: Path = Path("weights")
    trials: PositiveInt = Field(default=96, description="held-out trials that are decoded")
    seed: int = 0
    runtime: RuntimeConfig = RuntimeConfig()


class InfoConfig(Schema):
    """Versions, device and bundled weights; with a path, what that file or folder holds.

    `inspect` tells the same of a recording, also where its units are wrong, and draws it.
    """

    path: Positional[Path | None] = Field(
        None, description="recording, BIDS folder, prepared folder, run folder or model"
    )
