"""Schemas of audit and protocols; importing this module must stay cheap."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from tyro.conf import Positional

from dreamdiffusion.files.schema import Schema
from dreamdiffusion.trials.config import SplitConfig


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


class ProtocolsConfig(Schema):
    """How scores are made so that they can be compared: `list` the protocols, or `show NAME`."""

    action: Positional[Literal["list", "show"]] = Field(
        default="list", description="list; show the protocol that follows"
    )
    name: Positional[str | None] = Field(
        default=None, description="a name that list shows, or the path of a YAML file"
    )
