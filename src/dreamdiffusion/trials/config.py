"""Schemas of trials, windows and splits; importing this module must stay cheap."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from dreamdiffusion.files.schema import PictureFit, Schema
from dreamdiffusion.recordings.config import SignalConfig

ValidationBy = Literal["stim_file", "run", "trial"]
"""What a validation fraction draws whole."""


class PrepareConfig(Schema):
    """Recordings -> labelled trials, or unlabelled windows for pre-training."""

    input: list[Path] = Field(default_factory=list, description="files, folders, BIDS folders")
    dataset: str | None = Field(
        default=None,
        description="name of a public data set (datasets list), whose folder input is; "
        "what is not given below is then as that data set needs it",
    )
    subjects: list[str] = Field(
        default_factory=list, description="people of the data set; empty: all"
    )
    output: Path = Field(
        default=Path("runs/trials"), description="of windows runs/windows, where none is given"
    )
    kind: Literal["trials", "windows"] = "trials"
    signal: SignalConfig = SignalConfig()
    tmin: float = Field(default=0.0, description="s, from stimulus onset")
    tmax: float = Field(default=0.5, description="s, from stimulus onset; excluded")
    baseline: tuple[float, float] | None = Field(default=None, description="s, from stimulus onset")
    events: dict[str, int] | None = Field(default=None, description="category -> marker code")
    stimuli: Path | None = Field(default=None, description="folder of the pictures that were shown")
    picture_fit: PictureFit = Field(
        default="crop",
        description="how pictures become squares: the middle cut out, padded with grey, or "
        "squashed as in the paper; kept with the trials",
    )
    pair_by: Literal["stim_file", "category", "none"] = Field(
        default="stim_file",
        description="category: only the class of a picture is known; none: no pictures",
    )
    window_s: PositiveFloat = Field(default=0.5, description="s, length of an unlabelled window")
    window_stride_s: PositiveFloat = Field(default=0.5, description="s")
    scale: Literal["whiten", "robust"] = Field(
        default="whiten",
        description="windows only; trials are scaled by what the training split fits",
    )
    strict: bool = Field(default=False, description="windows: a broken file ends the run")
    jobs: PositiveInt = Field(default=1, description="windows: recordings worked on at a time")
    scheduler: str | None = Field(
        default=None,
        description="windows: address of a Dask scheduler, whose workers do it instead",
    )

    @model_validator(mode="before")
    @classmethod
    def _name_windows(cls, given: Any) -> Any:
        """Write windows where pretrain looks for them, as trials where fit does."""
        if isinstance(given, dict) and given.get("kind") == "windows":
            return {"output": Path("runs/windows"), **given}
        return given


class SplitConfig(Schema):
    """Which trials train, validate and test; never by chance alone when runs are known."""

    by: str = Field(default="run", description="column of the metadata")
    test: list[str] = Field(default_factory=list, description="values of that column held out")
    validation: list[str] = Field(
        default_factory=list, description="values of that column; empty: a fraction of the trials"
    )
    validation_fraction: float = Field(
        default=0.1, ge=0, lt=1, description="of the training trials, where no values are named"
    )
    validation_by: ValidationBy | None = Field(
        default=None,
        description="what that fraction draws whole: the trials of a picture, a run, or single "
        "trials; empty: pictures, or trials where pictures may be shared",
    )
    allow_shared_stimuli: bool = Field(
        default=False,
        description="pictures of training may be tested: scores then say which of the known "
        "pictures was seen, and nothing of pictures never seen",
    )
