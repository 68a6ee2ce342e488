"""A simulated viewer: the EEG that a person would show while looking at drawn pictures.

Everything made here is SIMULATED. The model, its parameters and how its decodability compares with
that of real recordings are in ``docs/simulation.md``.
"""

from __future__ import annotations

from collections.abc import Sequence

import mne
import numpy as np
import pandas as pd
from PIL import Image

from dreamdiffusion.datasets.simulation import sources, vision
from dreamdiffusion.datasets.simulation.noise import BackgroundLevels, background
from dreamdiffusion.datasets.simulation.person import Viewer
from dreamdiffusion.datasets.simulation.response import evoked_response
from dreamdiffusion.datasets.simulation.scenes import Scene, render
from dreamdiffusion.datasets.simulation.sources import FloatArray

DEFAULT_NOISE_LEVEL = 0.34
"""Far easier than life: scikit-learn's shrinkage LDA tells about half of single trials (24-way)."""

DURATION = 0.4
"""Seconds that each picture stays on."""

SOA = (0.7, 0.95)
"""Shortest and longest time in seconds from one picture's onset to the next."""

MARGIN = 2.0
"""Seconds of recording before the first and after the last picture, at least."""


_ATTENTION_JITTER = 0.1  # spread of the response's size from trial to trial, as a fraction


def simulate_run(
    viewer: Viewer,
    scenes: Sequence[Scene],
    *,
    sfreq: float = 256.0,
    noise_level: float = DEFAULT_NOISE_LEVEL,
    rng: np.random.Generator,
    image_size: int = 64,
    stim_files: Sequence[str] | None = None,
    pictures: Sequence[Image.Image] | None = None,
    levels: BackgroundLevels | None = None,
) -> tuple[mne.io.RawArray, pd.DataFrame]:
    """Simulate one recording: the viewer looks at the scenes one after the other.

    Parameters
    ----------
    viewer : Viewer
    scenes : sequence of Scene
        In the order of presentation.
    sfreq : float
        Hz, a whole number of at least 100.
    noise_level : float
        Factor of everything but the response: 1 is realistic, 0 leaves the response alone.
    rng : numpy.random.Generator
        Source of timing and background.
    image_size : int
        Pixels, where the pictures are drawn here.
    stim_files : sequence of str, optional
        Name of each picture's file, for the events.
    pictures : sequence of PIL.Image.Image, optional
        The scenes, already drawn.
    levels : BackgroundLevels, optional
        Another background.

    Returns
    -------
    raw : mne.io.RawArray
        Volts against the cap's reference, with montage and annotations.
    events : pandas.DataFrame
        ``onset`` and ``duration`` (s), ``trial_type`` (category), ``stim_file``, ``color``,
        ``place``, ``background``, ``caption``; one row per picture.

    Raises
    ------
    ValueError
        If there are no scenes, a value is out of range, or lengths differ.
    """
    if not scenes:
        raise ValueError("scenes is empty, expected at least one")
    if sfreq < 100 or sfreq != int(sfreq):
        raise ValueError(f"sfreq is {sfreq} Hz, expected a whole number of 100 or more")
    if noise_level < 0:
        raise ValueError(f"noise_level is {noise_level}, expected 0 or more")
    stim_files = stim_files or [f"trial-{i + 1:03d}.png" for i in range(len(scenes))]
    pictures = pictures or [render(scene, image_size) for scene in scenes]
    if not len(stim_files) == len(pictures) == len(scenes):
        raise ValueError(
            f"{len(scenes)} scenes, {len(pictures)} pictures and {len(stim_files)} stim_files"
        )
    gaps = np.round(rng.uniform(*SOA, len(scenes)) * sfreq).astype(int)
    onsets = round(MARGIN * sfreq) + np.concatenate([[0], np.cumsum(gaps[:-1])])
    # EDF stores whole seconds.
    n_times = int(np.ceil(onsets[-1] / sfreq + MARGIN) * sfreq)

    attention = 1.0 + _ATTENTION_JITTER * min(noise_level, 1.0) * rng.standard_normal(len(scenes))
    categories = [scene.category for scene in scenes]
    evoked = evoked_response(viewer, vision.as_array(pictures), categories, sfreq, attention)
    data = np.zeros((len(viewer.ch_names), n_times))
    if noise_level > 0:
        data += noise_level * background(
            rng, viewer.leadfields, onsets, n_times, sfreq,
            alpha_freq=viewer.alpha_freq, alpha_gain=viewer.alpha_gain, levels=levels,
        )  # fmt: skip
    for onset, response in zip(onsets, evoked, strict=True):
        data[:, onset : onset + response.shape[1]] += response

    events = pd.DataFrame(
        {
            "onset": onsets / sfreq,
            "duration": DURATION,
            "trial_type": categories,
            "stim_file": list(stim_files),
            "color": [scene.color for scene in scenes],
            "place": [scene.place for scene in scenes],
            "background": [scene.background for scene in scenes],
            "caption": [scene.caption for scene in scenes],
        }
    )
    return _as_raw(viewer, data, sfreq, events), events


def _as_raw(
    viewer: Viewer, data: FloatArray, sfreq: float, events: pd.DataFrame
) -> mne.io.RawArray:
    info = mne.create_info(viewer.ch_names, sfreq, "eeg", verbose="error")
    with info._unlock():
        info["line_freq"] = BackgroundLevels.line_freq
    info["description"] = "SIMULATED EEG: no person was recorded"
    raw = mne.io.RawArray(data, info, verbose="error")
    montage = mne.channels.make_standard_montage(sources.get_cap(viewer.montage).template)
    raw.set_montage(montage, verbose="error")
    extras = events.drop(columns=["onset", "duration", "trial_type"]).to_dict("records")
    raw.set_annotations(
        mne.Annotations(events["onset"], events["duration"], events["trial_type"], extras=extras)
    )
    return raw
