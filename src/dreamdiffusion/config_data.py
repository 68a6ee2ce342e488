"""Schemas of the commands around data, beside `config`; importing this module must stay cheap."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from tyro.conf import Positional

from dreamdiffusion.files.schema import Schema, SplitConfig


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


class AuditConfig(Schema):
    """What could make a score of these trials say something else than it seems to."""

    data: Path = Field(
        default=Path("runs/trials"), description="folder written by prepare, kind trials"
    )
    output: Path = Path("runs/audit")
    split: SplitConfig = Field(
        default=SplitConfig(),
        description="as fine-tuning; without values in test or validation no split is audited",
    )
    seed: int = Field(default=0, description="of the drawn validation trials, as fine-tuning")
