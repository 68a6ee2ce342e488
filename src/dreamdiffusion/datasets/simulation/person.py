"""A SIMULATED person: a head, its electrodes, and how it codes what it sees."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dreamdiffusion.datasets.simulation import sources, vision
from dreamdiffusion.datasets.simulation.scenes import CATEGORIES
from dreamdiffusion.datasets.simulation.sources import FloatArray

PERSONAL_CODE = 0.35
"""Size of the personal part of the category code relative to the part that all people share."""


@dataclass(frozen=True, eq=False)
class Viewer:
    """A simulated person under a cap. Make one with :meth:`create`.

    Attributes
    ----------
    subject, seed : int
        Who this is; the same pair is the same person under any montage.
    montage : str
        A key of :data:`dreamdiffusion.datasets.simulation.sources.CAPS`.
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
        ``eye`` scaled as :func:`dreamdiffusion.datasets.simulation.noise.background` wants them.
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


CODE_SEED = 20230629
"""Seed of the category code, which all simulated people share. Not a setting: pre-training on some
people helps with others only because their cortex codes categories alike."""


def shared_code() -> FloatArray:
    """Category code that everyone shares, ``(n_categories, n_higher_sources, 2)``.

    All categories depart equally far from the mean."""
    rng = np.random.default_rng([CODE_SEED, 1])
    code = rng.standard_normal((len(CATEGORIES), sources.N_HIGHER_SOURCES, 2))
    code -= code.mean(axis=0)
    return code / np.sqrt(np.mean(np.square(code), axis=(1, 2), keepdims=True))
