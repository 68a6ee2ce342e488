"""Schemas of the commands that belong to no stage; importing this module must stay cheap."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    model_validator,
)
from tyro.conf import Positional

from dreamdiffusion.decoders.config import SampleConfig
from dreamdiffusion.files.schema import PictureFit, Schema, Weights
from dreamdiffusion.recordings.config import StatedConfig, Unit
from dreamdiffusion.training.config import RuntimeConfig


class DemoConfig(Schema):
    """From nothing to decoded images with the bundled weights."""

    output: Path = Path("runs/demo")
    weights: Weights = Field(
        default=Path("weights"), validate_default=True, description="folder of the bundled models"
    )
    decoder: Literal["prior", "dreamdiffusion"] = Field(
        default="prior",
        description="prior chooses from pictures that nobody saw and draws from there on; "
        "dreamdiffusion, the paper's: EEG tokens condition the generator",
    )
    trials: PositiveInt = Field(default=64, description="held-out trials that are decoded")
    seed: int = 0
    runtime: RuntimeConfig = RuntimeConfig()


class RunConfig(StatedConfig):
    """From recordings of one's own to a report, in one command."""

    recordings: Positional[list[Path]] = Field(
        default_factory=list, description="files, or a folder: of recordings, or BIDS"
    )
    pictures: Path | None = Field(default=None, description="as bids; a BIDS folder has its own")
    events: Path | None = Field(
        default=None, description="table of what was shown, as bids; a BIDS folder has its own"
    )
    codes: dict[str, int] | None = Field(default=None, description="class -> code, as bids")
    output: Path = Path("runs/own")
    seed: int = 0


class InfoConfig(Schema):
    """Versions, device and bundled weights; with a path, what that folder holds.

    A recording is shown by `inspect`.
    """

    path: Positional[Path | None] = Field(
        None, description="BIDS folder, prepared folder, run folder or model"
    )


class CompletionConfig(Schema):
    """A script for the shell that completes commands and options, to be read by its start file."""

    shell: Positional[Literal["bash", "zsh", "tcsh"]] = Field(
        default="bash", description="bash, zsh or tcsh"
    )


Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]+$")]
"""A label of BIDS: letters and digits."""
Port = Annotated[int, Field(ge=0, le=65535)]


class StimulateConfig(Schema):
    """Show pictures full screen in a browser of this machine, and say when each was seen."""

    pictures: Positional[Path | None] = Field(
        None, description="folder with one folder of pictures per class, or of pictures"
    )
    output: Path = Field(
        default=Path("runs/session"),
        description="folder of the session; the same goes on where it was left",
    )
    subject: Label = "01"
    session: Label = "01"
    minutes: PositiveFloat = Field(default=15.0, description="of the whole session, with breaks")
    picture_s: PositiveFloat = Field(default=0.5, description="s, a picture is on; whole frames")
    gap_s: tuple[PositiveFloat, PositiveFloat] = Field(
        default=(0.5, 0.8), description="s, empty screen before a picture: least and most"
    )
    size: int = Field(default=512, ge=16, le=4096, description="pixels, side of a picture")
    picture_fit: PictureFit = Field(
        default="crop", description="how pictures become squares, as in prepare"
    )
    photodiode: bool = Field(
        default=False, description="a corner of the screen is white while a picture is on"
    )
    lsl: bool = Field(default=False, description="markers as streams of the Lab Streaming Layer")
    consent: Path | None = Field(
        default=None, description="text file that is shown first; empty: that of docs/stimulate.md"
    )
    check: bool = Field(
        default=False, description="measure the timing of this screen and browser, show no picture"
    )
    port: Port = Field(default=0, description="of the page on 127.0.0.1; 0: a free one")
    seed: int = Field(default=0, ge=0, description="of the order")

    @model_validator(mode="after")
    def _gaps_in_order(self) -> Self:
        if self.gap_s[0] > self.gap_s[1]:
            raise ValueError(f"gap_s is {self.gap_s}, expected the least gap before the most")
        return self


class LiveConfig(Schema):
    """A stream of EEG, decoded as it comes and recorded, until it ends or until Ctrl-C."""

    source: str = Field(
        default="simulated",
        description="simulated, file:PATH (a recording, played), lsl: or lsl:NAME, "
        "brainflow:BOARD[,PORT]",
    )
    model: Weights = Field(
        default=Path("weights/prior-scenes"),
        validate_default=True,
        description="folder of a decoder",
    )
    output: Path = Path("runs/live")
    judge: Weights | None = Field(
        default=None, description="judge that names what the images show, such as weights/judge"
    )
    record_only: bool = Field(
        default=False, description="decode nothing: no model has to fit the headset yet"
    )
    ch_names: list[str] = Field(
        default_factory=list,
        description="names of all channels of the stream, in its order, where it says none or "
        "others",
    )
    unit: Unit | None = Field(
        default=None, description="of the stream's numbers, where it says it wrongly or not at all"
    )
    markers: list[str] = Field(
        default_factory=list, description="markers that show a picture; empty: every marker does"
    )
    marker_streams: list[str] = Field(
        default_factory=list,
        description="LSL streams of the markers; empty: all of type Markers in this network",
    )
    pictures: Path | None = Field(
        default=None,
        description="folder of the pictures that markers name, such as cat/3.png: those markers "
        "alone show a picture, which is drawn beside the images and kept with the recording",
    )
    stride: PositiveFloat = Field(
        default=1.0, description="s between windows while no marker has come"
    )
    lag: float = Field(
        default=0.2,
        ge=0,
        le=2,
        description="s of signal after a window that its filters wait for; more is nearer to the "
        "filters of prepared trials",
    )
    sample: SampleConfig = SampleConfig(num_images_per_prompt=1, num_inference_steps=6)
    check: bool = Field(
        default=False,
        description="run 20 s of a session that is thrown away, and say whether stream, markers, "
        "model, disk and latency are as they should be (exit code 1: they are not)",
    )
    duration: PositiveFloat | None = Field(
        default=None, description="s after which the session ends; empty: Ctrl-C ends it"
    )
    speed: PositiveFloat = Field(
        default=1.0, description="of a recording or simulation: times real time"
    )
    subject: Label = Field(default="01", description="label of the person in the recording")
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps")


class AppConfig(Schema):
    """A page in three steps, recording, model, picture, for a browser of this machine."""

    models: list[Weights] = Field(
        default=[Path("weights/prior-scenes"), Path("weights/eeg-scenes")],
        min_length=1,
        validate_default=True,
        description="model folders; the first one's recording.json makes the sample recordings",
    )
    judge: Weights | None = Field(
        default=Path("weights/judge"),
        validate_default=True,
        description="names what images show, for their confidence",
    )
    live: Path | None = Field(default=None, description="folder of a live session that is shown")
    max_upload_mb: PositiveFloat = Field(default=200.0, description="MB, largest file")
    queue: PositiveInt = Field(default=64, description="jobs that wait at most")
    keep_s: PositiveFloat = Field(
        default=300.0, description="s, an answer that is not fetched is kept"
    )
    device: list[str] = Field(
        default=["auto"],
        min_length=1,
        description="auto, cpu, cuda, cuda:1, mps; of several, each draws one job at a time with "
        "models of its own",
    )
    port: Port = Field(default=0, description="of the page on 127.0.0.1; 0: a free one")
