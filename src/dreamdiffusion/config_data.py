"""Schemas of the commands about data, beside those of the stages in `config`; imports no torch."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from .config import Schema, SplitConfig


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
