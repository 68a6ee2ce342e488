"""Schemas of the commands that look at data; imports as little as :mod:`dreamdiffusion.config`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from tyro.conf import Positional

from .config import Schema


class InspectConfig(Schema):
    """What was understood of one recording, and a picture of it; `info` tells it without one."""

    path: Positional[Path | None] = Field(None, description="recording, or a folder that holds one")
    picture: Path | None = Field(
        None, description="PNG to write; empty: runs/inspect/<folder>_<name of the recording>.png"
    )
