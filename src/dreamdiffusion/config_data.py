"""Schemas of the commands that look at data; imports as little as :mod:`dreamdiffusion.config`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from tyro.conf import Positional

from .config import Schema


class InspectConfig(Schema):
    """What was understood of one recording, and a picture; `info` gives it without the picture."""

    path: Positional[Path | None] = Field(
        None, description="recording; a person's folder of the UCI EEG Database"
    )
    output: Path | None = Field(
        None, description="PNG to write; empty: runs/inspect/<name of the recording>.png"
    )
