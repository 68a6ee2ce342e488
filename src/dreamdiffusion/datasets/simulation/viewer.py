"""A simulated viewer: the EEG that a person would show while looking at drawn pictures.

Everything made here is SIMULATED. The model, its parameters and how its decodability compares with
that of real recordings are in ``docs/simulation.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import mne
import numpy as np
import pandas as pd
from PIL import Image

from dreamdiffusion.datasets.simulation import sources, vision
from dreamdiffusion.datasets.simulation.noise import BackgroundLevels, background
from dreamdiffusion.datasets.simulation.response import CODE_SEED, evoked_response, shared_code
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

PERSONAL_CODE = 0.35
"""Size of the personal part of the category code relative to the part that all people share."""

_ATTENTION_JITTER = 0.1  # spread of the response's size from trial to trial, as a fraction


@dataclass(frozen=True, eq=False)
class Viewer:
    """A simulated person under a cap. Make one with :meth:`create`.

    Attributes
    ----------
    subject, seed : int
        Who this is; the same pair is the same person under any montage.
    montage : str
        A key of :data:`dreamdiffusion.simulation.sources.CAPS`.
    latency_shift : float
        Seconds by which this person's responses come later than the average's.
    gain : float
        Size of the evoked response relative to the average.
    head_size : float
        Radius of the head relative to the average.
    alpha_freq : float
        Hz.
    alpha_gain : float
        Size of the alpha rhythm relative to the average.
    category_code : array, shape (n_categories, n_higher_sources, 2)
        Departure of the N170 and of the late wave from the common response.
    color_code : array, shape (n_color_sources, 6)
        Weights of figure and picture colour in ventral occipital sources.
    leadfields : dict of str to array, shape (n_chans, n_sources)
        ``early``, ``color`` and ``higher`` in volts per ampere-metre; ``cortex``, ``alpha`` and
        ``eye`` scaled as :func:`dreamdiffusion.simulation.noise.background` wants them.
    """

    subject: int
    montage: str
    seed: int
    latency_shift: float
    gain: float
    head_size: float
    alpha_freq: float
    alpha_gain: float
    category_code: FloatArray = field(repr=False)
    color_code: FloatArray = field(repr=False)
    leadfields: dict[str, FloatArray] = field(repr=False)

    @property
    def ch_names(self) -> list[str]:
        """Names of the electrodes, in the order of the recording."""
        return list(sources.get_cap(self.montage).ch_names)

    @classmethod
    def create(cls, subject: int, montage: str, seed: int) -> Viewer:
        """Make up a person.

        Parameters
        ----------
        subject : int
            Number of the person.
        montage : str
            ``muse4``, ``emotiv14``, ``easycap32``, ``easycap64`` or ``biosemi128``.
        seed : int
            Seed of the population that the person belongs to.

        Raises
        ------
        ValueError
            If the montage is unknown, or a number is negative.
        """
        for name, value in (("subject", subject), ("seed", seed)):
            if value < 0:
                raise ValueError(f"{name} is {value}, expected 0 or more")
        sources.get_cap(montage)
        rng = np.random.default_rng([seed, subject, 1])
        latency_shift = float(np.clip(rng.normal(0.0, 0.006), -0.015, 0.015))
        gain = float(np.clip(rng.lognormal(0.0, 0.06), 0.88, 1.14))
        head_size = float(np.clip(rng.normal(1.0, 0.035), 0.92, 1.08))
        alpha_freq = float(np.clip(rng.normal(10.0, 0.8), 8.5, 11.5))
        alpha_gain = float(np.clip(rng.lognormal(0.0, 0.25), 0.6, 1.7))
        shared = shared_code()
        personal = rng.standard_normal(shared.shape)
        code = (shared + PERSONAL_CODE * personal) / np.sqrt(1 + PERSONAL_CODE**2)
        color_code = np.random.default_rng([CODE_SEED, 2]).standard_normal(
            (sources.N_COLOR_SOURCES, 2 * len(vision.OPPONENTS))
        )
        dipoles = {
            "early": sources.early_visual().jitter(rng, 0.02, 0.15),
            "color": sources.color_visual().jitter(rng, 0.03, 0.2),
            "higher": sources.higher_visual().jitter(rng, 0.03, 0.2),
            "cortex": sources.cortex(rng),
            "alpha": sources.alpha_generators().jitter(rng, 0.03, 0.15),
            "eye": sources.eye_dipole(),
        }
        return cls(
            subject=subject, montage=montage, seed=seed, latency_shift=latency_shift, gain=gain,
            head_size=head_size, alpha_freq=alpha_freq, alpha_gain=alpha_gain, category_code=code,
            color_code=color_code, leadfields=_leadfields(montage, dipoles, head_size),
        )  # fmt: skip


def _leadfields(
    montage: str, dipoles: dict[str, sources.Dipoles], head_size: float
) -> dict[str, FloatArray]:
    """One forward solution for all sources, cut apart; the background's is scaled.

    The background is scaled against a full cap, so that a sparse montage sees the true amplitudes
    of its own electrodes; like the response, it weakens with the square of the head's radius.
    """
    joined = sources.Dipoles(
        np.concatenate([d.pos for d in dipoles.values()]),
        np.concatenate([d.ori for d in dipoles.values()]),
    )
    edges = np.cumsum([len(d) for d in dipoles.values()])[:-1]
    split = np.split(sources.compute_leadfield(montage, joined, head_size), edges, axis=1)
    fields = dict(zip(dipoles, split, strict=True))
    full = fields
    if montage != "easycap64":
        whole = sources.compute_leadfield("easycap64", joined, head_size)
        full = dict(zip(dipoles, np.split(whole, edges, axis=1), strict=True))
    for name in ("cortex", "alpha"):
        power = np.mean(np.sum(np.square(full[name]), axis=1))
        fields[name] = fields[name] / np.sqrt(power) / head_size**2
    fields["eye"] = fields["eye"] / np.abs(full["eye"]).max() / head_size**2
    return fields


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
