"""``dreamdiffusion inspect``: what was understood of a recording, as figures and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dreamdiffusion.files.output import explaining_disk_errors
from dreamdiffusion.files.whole import write_picture
from dreamdiffusion.recordings.bad_channels import spectrum
from dreamdiffusion.recordings.config import InspectConfig
from dreamdiffusion.recordings.find import find_recordings
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.report.inspection import describe_recording
from dreamdiffusion.report.inspection_picture import draw_inspection


def inspect(config: InspectConfig) -> dict[str, Any]:
    """Read `config.path`, describe it, and draw it to `config.picture`.

    A recording whose amplitudes cannot be EEG is described as well: `problems` says so.

    Returns
    -------
    dict
        As `describe_recording`, and `picture`: the path of the PNG.

    Raises
    ------
    ValueError, FileNotFoundError
        As `read_recording`, and for a folder of no or several recordings.
    """
    if config.path is None:
        raise ValueError("inspect has no recording; pass the path of one")
    paths = find_recordings([config.path])
    if len(paths) > 1:
        raise ValueError(
            f"{config.path} holds {len(paths)} recordings; inspect one, such as {paths[0]} (`info` "
            "shows what a BIDS folder holds)"
        )
    recording = read_recording(paths[0], check_units=False, **config.stated())
    power = spectrum(recording.raw)
    found = describe_recording(recording, power)
    name = "_".join(paths[0].absolute().parts[-2:]).replace(".", "_")
    picture = config.picture or Path("runs/inspect") / f"{name}.png"
    if picture.suffix.lower() != ".png":
        raise ValueError(f"picture is {picture}, expected a name that ends in .png")
    picture.parent.mkdir(parents=True, exist_ok=True)
    with explaining_disk_errors(picture, "no picture is written"):
        write_picture(picture, draw_inspection(recording, power, found), dpi=130)
    return {**found, "picture": str(picture)}
