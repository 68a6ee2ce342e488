"""A SIMULATED person under a headset, who looks at drawn pictures for as long as one likes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dreamdiffusion.datasets.config import SimulateConfig
from dreamdiffusion.datasets.simulation.bids import balanced_scenes
from dreamdiffusion.datasets.simulation.person import Viewer
from dreamdiffusion.datasets.simulation.scenes import render
from dreamdiffusion.datasets.simulation.viewer import DEFAULT_NOISE_LEVEL, simulate_run
from dreamdiffusion.recordings.streams.player import Block, Player
from dreamdiffusion.recordings.streams.source import Marker, StreamInfo

TRIALS = 48
"""Pictures of a block, which is simulated while the one before is played."""
_FADED = 0.5
"""s in which the background of one block becomes that of the next; no picture is shown then."""
_STREAM = 4
"""Of the random numbers; those of recordings are others."""


def open_headset(config: SimulateConfig, speed: float = 1.0, session: int = 0) -> Player:
    """Return the stream of a simulated person; its markers are the categories of the pictures.

    Parameters
    ----------
    config
        Person (``first_subject``), cap, rate, noise and seed, as of a recording. The pictures are
        others than in any recording.
    speed
        Seconds of the stream in one second.
    session
        Another number, other pictures and noise of the same person.
    """
    viewer = Viewer.create(config.first_subject, config.montage, config.seed)
    info = StreamInfo("SIMULATED headset", viewer.ch_names, config.sfreq, simulated=True)
    return Player(info, _blocks(viewer, config, session), speed)


def _blocks(viewer: Viewer, config: SimulateConfig, session: int) -> Iterator[Block]:
    """Simulate block after block, one ahead; the end of each fades into the next."""
    n_faded = round(_FADED * config.sfreq)
    rise = np.linspace(0, 1, n_faded, endpoint=False)
    with ThreadPoolExecutor(1) as pool:
        number = 0
        coming = pool.submit(_simulate, viewer, config, session, number)
        tail = None
        while True:
            block, number = coming.result(), number + 1
            coming = pool.submit(_simulate, viewer, config, session, number)
            if tail is not None:
                block.data[:, :n_faded] = (1 - rise) * tail + rise * block.data[:, :n_faded]
            tail = block.data[:, -n_faded:]
            yield Block(block.data[:, :-n_faded], block.times[:-n_faded], block.markers)


def _simulate(viewer: Viewer, config: SimulateConfig, session: int, number: int) -> Block:
    rng = np.random.default_rng([config.seed, viewer.subject, session, number, _STREAM])
    scenes = balanced_scenes(rng, TRIALS)
    pictures = [render(scene, config.image_size) for scene in scenes]
    noise = DEFAULT_NOISE_LEVEL if config.noise_level is None else config.noise_level
    raw, events = simulate_run(
        viewer, scenes, sfreq=config.sfreq, noise_level=noise, rng=rng, pictures=pictures
    )
    data = np.asarray(raw.get_data())
    onsets, names = events["onset"], events["trial_type"]
    markers = [
        Marker(float(onset), str(name), picture)
        for onset, name, picture in zip(onsets, names, pictures, strict=True)
    ]
    return Block(data, np.arange(data.shape[1]) / config.sfreq, markers)
