"""Schemas of the commands that belong to no stage; importing this module must stay cheap."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import (
    Field,
    PositiveInt,
)
from tyro.conf import Positional

from dreamdiffusion.files.schema import Schema, Weights
from dreamdiffusion.training.config import RuntimeConfig


class DemoConfig(Schema):
    """From nothing to decoded images with the bundled weights."""

    output: Path = Path("runs/demo")
    weights: Weights = Field(
        default=Path("weights"), validate_default=True, description="folder of the bundled models"
    )
    trials: PositiveInt = Field(default=96, description="held-out trials that are decoded")
    seed: int = 0
    runtime: RuntimeConfig = RuntimeConfig()


class InfoConfig(Schema):
    """Versions, device and bundled weights; with a path, what that folder holds.

    A recording is shown by `inspect`.
    """

    path: Positional[Path | None] = Field(
        None, description="BIDS folder, prepared folder, run folder or model"
    )


class CompletionConfig(Schema):
    """A script for the shell that completes commands and options, to be read by its start file."""

    shell: Positional[Literal["bash", "zsh", "tcsh"]] = Field(
        default="bash", description="bash, zsh or tcsh"
    )
