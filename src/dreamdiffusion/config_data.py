"""Schemas of the commands around data, beside `config`; importing this module must stay cheap."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from tyro.conf import Positional

from .config import Schema


class InspectConfig(Schema):
    """What was understood of one recording, and a picture of it; `info` tells it without one."""

    path: Positional[Path | None] = Field(None, description="recording, or a folder that holds one")
    picture: Path | None = Field(
        None, description="PNG to write; empty: runs/inspect/<folder>_<name of the recording>.png"
    )


class DatasetsConfig(Schema):
    """Public data sets: `list` them, `show NAME`, or `fetch NAME`."""

    action: Positional[Literal["list", "show", "fetch"]] = Field(
        default="list", description="list; show or fetch the data set that follows"
    )
    name: Positional[str | None] = Field(default=None, description="a name that list shows")
    output: Path | None = Field(
        default=None, description="fetch: folder to download to; empty: data/NAME"
    )
    subjects: list[str] = Field(default_factory=list, description="fetch: people; empty: all")
