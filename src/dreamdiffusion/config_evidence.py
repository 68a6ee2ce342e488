"""Schemas of the stages that score, beside `config`; importing this module must stay cheap."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt
from tyro.conf import Positional

from .config import RuntimeConfig, SampleConfig, Schema


class EvaluateConfig(Schema):
    """Scores with chance, shuffled-EEG control, interval and p, and a report."""

    model: Path = Path("runs/finetune")
    data: Path = Field(
        default=Path("runs/trials"), description="folder written by prepare, kind trials"
    )
    judge: Path = Field(default=Path("weights/judge"), description="classifier that names pictures")
    output: Path = Path("runs/evaluate")
    split: Literal["train", "validation", "test", "new"] = Field(
        default="test",
        description="new: another recording, no trial of which the model was trained on",
    )
    protocol: str | None = Field(
        default=None,
        description="name (protocols list) or YAML file of the protocol that this has to follow",
    )
    limit: int | None = Field(default=None, description="number of trials at most")
    batch_size: PositiveInt = 16
    n_permutations: PositiveInt = 2000
    n_bootstrap: PositiveInt = 2000
    sample: SampleConfig = SampleConfig()
    runtime: RuntimeConfig = RuntimeConfig()


class ProtocolsConfig(Schema):
    """How scores are made so that they can be compared: `list` the protocols, or `show NAME`."""

    action: Positional[Literal["list", "show"]] = Field(
        default="list", description="list; show the protocol that follows"
    )
    name: Positional[str | None] = Field(
        default=None, description="a name that list shows, or the path of a YAML file"
    )
