"""Schemas of the commands around recordings; importing this module must stay cheap."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    PositiveFloat,
)
from tyro.conf import Positional

from dreamdiffusion.files.schema import Schema

Unit = Literal["V", "mV", "uV", "nV"]


class StatedConfig(Schema):
    """What a recording's file says wrongly or not at all, as its owner states it."""

    unit: Unit | None = Field(
        default=None, description="of the file's EEG, where it says it wrongly or not at all"
    )
    board: str | None = Field(
        default=None, description="of a BrainFlow csv: name or number, such as CYTON_BOARD or 0"
    )
    file_sfreq: PositiveFloat | None = Field(
        default=None, description="Hz, of a file that has no clock"
    )
    file_channels: list[str] | None = Field(
        default=None,
        description="names of the file's EEG channels, in its order, where it numbers them",
    )
    stream: str | None = Field(
        default=None, description="of an XDF with several EEG streams: the name of one"
    )

    def stated(self) -> dict[str, Any]:
        """Return these settings alone, as keywords of `read_recording`."""
        return {name: getattr(self, name) for name in StatedConfig.model_fields}


class SignalConfig(StatedConfig):
    """From a raw recording to a clean, comparable signal."""

    l_freq: float | None = Field(default=0.5, description="Hz, high-pass edge")
    h_freq: float | None = Field(default=40.0, description="Hz, low-pass edge")
    notch: list[float] = Field(default=[], description="Hz, line frequencies to remove")
    sfreq: PositiveFloat = Field(default=256.0, description="Hz after resampling")
    resample_up: bool = Field(default=False, description="accept recordings below sfreq")
    reference: Literal["none", "average"] | list[str] = "none"
    picks: list[str] | None = Field(default=None, description="channels to keep, in this order")
    reject_uv: float | None = Field(
        default=None, description="peak-to-peak microvolts above: rejected"
    )
    flat_uv: float = Field(default=0.5, description="peak-to-peak microvolts below: rejected")
    bad_channels: Literal["raise", "interpolate"] = "raise"


class InspectConfig(StatedConfig):
    """What was understood of one recording, and a picture of it; folders of data: `info`."""

    path: Positional[Path | None] = Field(None, description="recording, or a folder that holds one")
    picture: Path | None = Field(
        None, description="PNG to write; empty: runs/inspect/<folder>_<name of the recording>.png"
    )
