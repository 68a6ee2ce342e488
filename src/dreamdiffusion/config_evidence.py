"""Schemas of the stages that score, beside `config`; importing this module must stay cheap."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt

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
    limit: int | None = Field(default=None, description="number of trials at most")
    batch_size: PositiveInt = 16
    n_permutations: PositiveInt = 2000
    n_bootstrap: PositiveInt = 2000
    risk_limit: float = Field(
        default=0.2, gt=0, lt=1, description="share of wrong categories among the answers kept"
    )
    occlusion: bool = Field(
        default=True, description="cover channels and times to see what the model uses"
    )
    sample: SampleConfig = SampleConfig()
    runtime: RuntimeConfig = RuntimeConfig()
