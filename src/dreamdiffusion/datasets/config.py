"""Schemas of the commands around data sets; importing this module must stay cheap."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
)
from tyro.conf import Positional

from dreamdiffusion.files.schema import Schema
from dreamdiffusion.recordings.config import StatedConfig

Montage = Literal["muse4", "emotiv14", "easycap32", "easycap64", "biosemi128"]


class SimulateConfig(Schema):
    """A BIDS folder of SIMULATED recordings: people who look at drawn pictures."""

    output: Path = Path("runs/simulated")
    montage: Montage = "easycap64"
    sfreq: PositiveFloat = Field(default=256.0, description="Hz")
    noise_level: float | None = Field(
        default=None,
        ge=0,
        description="1 is realistic, 0 is none; empty: the documented easy default",
    )
    n_subjects: PositiveInt = 1
    first_subject: PositiveInt = 1
    n_sessions: PositiveInt = Field(default=1, description="of each person, with n_runs each")
    n_runs: PositiveInt = 8
    first_run: PositiveInt = Field(default=1, description="number of the first run that is written")
    trials_per_run: PositiveInt = 240
    n_pictures: PositiveInt | None = Field(
        default=None,
        description="every run shows the same so many pictures, equally often; empty: no picture "
        "is shown twice",
    )
    image_size: PositiveInt = Field(default=64, description="pixels")
    seed: int = 0


class BidsConfig(StatedConfig):
    """Recordings of any format, and what was shown -> a BIDS data set that `prepare` reads."""

    recordings: Positional[list[Path]] = Field(
        default_factory=list, description="files, or folders of them"
    )
    pictures: Path | None = Field(
        default=None,
        description="folder of the pictures; without a table its folders are classes, and events "
        "are named after classes or pictures",
    )
    events: Path | None = Field(
        default=None,
        description="table (csv, tsv): picture, label, and onset or code; without either its rows "
        "are the recording's events in order",
    )
    codes: dict[str, int] | None = Field(
        default=None, description="class -> marker code, where a recording's events are codes"
    )
    output: Path = Path("runs/bids")


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
