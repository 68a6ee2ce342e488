"""From ``--source`` to the stream that it names."""

from __future__ import annotations

import json
import time
from pathlib import Path

from dreamdiffusion.cli.config import LiveConfig
from dreamdiffusion.datasets.config import SimulateConfig
from dreamdiffusion.datasets.simulation.headset import open_headset
from dreamdiffusion.recordings.find import find_recordings
from dreamdiffusion.recordings.streams.boards import BoardStream
from dreamdiffusion.recordings.streams.lsl import LSLStream
from dreamdiffusion.recordings.streams.player import open_file
from dreamdiffusion.recordings.streams.source import Source


def open_source(config: LiveConfig) -> Source:
    """Open the stream that a configuration names.

    Raises
    ------
    ValueError
        If the source is of no known kind.
    FileNotFoundError, OSError
        If there is no such recording, or no such stream.
    """
    kind, _, rest = config.source.partition(":")
    if kind == "simulated" and not rest:
        # Others than in any session before, or a model would meet pictures that it was fitted on.
        return open_headset(_recipe(config.model), config.speed, session=int(time.time()))
    if kind == "file" and rest:
        return open_file(_one_recording(Path(rest)), config.speed, config.unit, config.ch_names)
    if kind == "lsl":
        return LSLStream(rest, config.ch_names, config.unit, config.marker_streams)
    if kind == "brainflow" and rest:
        return BoardStream(rest, config.ch_names, config.marker_streams)
    raise ValueError(
        f"source is {config.source!r}, expected simulated, file:PATH, lsl:, lsl:NAME or "
        "brainflow:BOARD[,PORT]"
    )


def _recipe(model: Path) -> SimulateConfig:
    """Return the simulated person that a model was fitted on, where it says so."""
    path = model / "recording.json"
    if not path.is_file():
        return SimulateConfig()
    return SimulateConfig(**json.loads(path.read_text(encoding="utf-8")))


def _one_recording(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"recording {path} does not exist")
    found = find_recordings([path])
    if len(found) != 1:
        raise ValueError(f"{path} holds {len(found)} recordings; name one of them")
    return found[0]
