"""Where the simulated EEG comes from: electrodes, dipoles and the leadfield between them.

The head is MNE's three-layer spherical model (:func:`mne.make_sphere_model`, Berg and Scherg 1994),
so everything works offline and takes a fraction of a second. Places are given as *azimuth* (degrees
from the back of the head, positive to the right), *elevation* (degrees above the plane through
Fpz, T7, Oz and T8) and *depth* (fraction of the head's radius).

Everything made here is SIMULATED.
"""

from __future__ import annotations

from dataclasses import dataclass

import mne
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]

HEAD_RADIUS = 0.095
"""Radius in metres of the idealised head of MNE's template montages."""

GRID = 4
"""Rows and columns of the retinotopic grid of early visual cortex."""

_BRAIN = 0.88
"""Largest depth of a dipole: the brain of MNE's spherical model ends at 0.90."""

N_COLOR_SOURCES = 6
N_HIGHER_SOURCES = 14
N_CORTEX_SOURCES = 150

_EASYCAP32 = (
    "Fp1 Fz F3 F7 FT9 FC5 FC1 C3 T7 TP9 CP5 CP1 Pz P3 P7 O1 Oz O2 P4 P8 TP10 CP6 CP2 Cz C4 T8 "
    "FT10 FC6 FC2 F4 F8 Fp2"
)
_EASYCAP64_MORE = (
    "AF7 AF3 AFz F1 F5 FT7 FC3 C1 C5 TP7 CP3 P1 P5 PO7 PO3 POz PO4 PO8 P6 P2 CPz CP4 TP8 C6 C2 "
    "FC4 FT8 F6 AF8 AF4 F2 Iz"
)


@dataclass(frozen=True)
class Cap:
    """The electrodes of one device: names, the template that places them, the reference."""

    template: str
    ch_names: tuple[str, ...]
    reference: str | None  # None: average of all electrodes


CAPS: dict[str, Cap] = {
    "muse4": Cap("easycap-M1", ("TP9", "AF7", "AF8", "TP10"), "Fpz"),
    "emotiv14": Cap(
        "easycap-M1",
        ("AF3", "F7", "F3", "FC5", "T7", "P7", "O1", "O2", "P8", "T8", "FC6", "F4", "F8", "AF4"),
        "P3",
    ),
    "easycap32": Cap("easycap-M1", tuple(_EASYCAP32.split()), "FCz"),
    "easycap64": Cap("easycap-M1", tuple(f"{_EASYCAP32} {_EASYCAP64_MORE}".split()), "FCz"),
    "biosemi128": Cap("biosemi128", tuple(f"{b}{i}" for b in "ABCD" for i in range(1, 33)), None),
}
"""The montages that can be simulated, with the reference electrode of the real device."""


def get_cap(montage: str) -> Cap:
    """Look a montage up.

    Raises
    ------
    ValueError
        If the montage is not one of :data:`CAPS`.
    """
    if montage not in CAPS:
        raise ValueError(f"montage is {montage!r}, expected one of {', '.join(CAPS)}")
    return CAPS[montage]


@dataclass(frozen=True)
class Dipoles:
    """Current dipoles in a head of radius 1 centred on the origin (x right, y front, z up).

    Attributes
    ----------
    pos : array, shape (n_sources, 3)
        Positions, fractions of the head's radius.
    ori : array, shape (n_sources, 3)
        Unit vectors of the current.
    """

    pos: FloatArray
    ori: FloatArray

    def __len__(self) -> int:
        return len(self.pos)

    def jitter(self, rng: np.random.Generator, pos_sd: float, ori_sd: float) -> Dipoles:
        """Displace every dipole by ``pos_sd`` (fraction of the radius) and turn it by ``ori_sd``.

        ``ori_sd`` is in radians per axis. Depth is kept inside the brain (at most 0.86).
        """
        pos = self.pos + pos_sd * rng.standard_normal(self.pos.shape)
        radius = np.linalg.norm(pos, axis=1, keepdims=True)
        pos *= np.minimum(1.0, 0.86 / radius)
        return Dipoles(pos, _unit(self.ori + ori_sd * rng.standard_normal(self.ori.shape)))


def _unit(vectors: FloatArray) -> FloatArray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _direction(azimuth: FloatArray, elevation: FloatArray) -> FloatArray:
    """Unit vectors from azimuth (from the back, positive right) and elevation, in degrees."""
    az, el = np.deg2rad(azimuth), np.deg2rad(elevation)
    return np.stack([np.sin(az) * np.cos(el), -np.cos(az) * np.cos(el), np.sin(el)], axis=-1)


def early_visual() -> Dipoles:
    """One dipole per cell of the visual field, rows from top, columns from left.

    The map is crossed in both directions, as V1's: the left half of the field lies in the right
    hemisphere, the upper half on the lower bank of the calcarine sulcus (the cruciform model of
    Jeffreys and Axford 1972; Clark, Fan and Hillyard 1995).

    Returns
    -------
    Dipoles
        ``GRID * GRID`` dipoles.
    """
    centre = (np.arange(GRID) + 0.5) / GRID * 2 - 1
    row, column = np.meshgrid(-centre, centre, indexing="ij")
    upward, rightward = row.ravel(), column.ravel()
    radial = _direction(-(28.0 * rightward + 10.0 * np.sign(rightward)), 6.0 - 24.0 * upward)
    tangential = np.sign(upward)[:, None] * np.array([0.0, 0.0, 1.0])
    return Dipoles(0.80 * radial, _unit(radial + 0.5 * tangential))


def color_visual() -> Dipoles:
    """Three dipoles per hemisphere in ventral occipital cortex (the site of V4)."""
    azimuth = np.array([-44.0, -34.0, -24.0, 24.0, 34.0, 44.0])
    elevation = np.array([-24.0, -14.0, -22.0, -22.0, -14.0, -24.0])
    radial = _direction(azimuth, elevation)
    tilt = np.array([[0.6, 0.0, 0.5], [-0.5, 0.2, 0.6], [0.3, 0.5, -0.5]])
    mirrored = tilt[::-1] * np.array([-1.0, 1.0, 1.0])
    return Dipoles(0.76 * radial, _unit(radial + np.concatenate([tilt, mirrored])))


def higher_visual() -> Dipoles:
    """Seven dipoles per hemisphere in occipito-temporal cortex.

    They point inward, so their activity is negative over the side of the head and positive at the
    vertex, as the N170 (Bentin et al. 1996; Rossion and Jacques 2008).
    """
    azimuth = np.array([34.0, 44.0, 52.0, 60.0, 66.0, 74.0, 82.0])
    elevation = np.array([-4.0, -22.0, 2.0, -14.0, -28.0, -6.0, -22.0])
    depth = np.array([0.80, 0.76, 0.80, 0.74, 0.76, 0.78, 0.76])
    tilt = np.array([[0, 0.4, 0.6], [0.3, -0.6, 0.2], [-0.2, 0.5, -0.6], [0.5, 0.3, 0.5],
                     [-0.5, 0.1, 0.7], [0.2, -0.7, 0.4], [0.1, 0.6, -0.5]])  # fmt: skip
    right = _direction(azimuth, elevation)
    right_ori = _unit(-right + tilt)
    mirror = np.array([-1.0, 1.0, 1.0])
    pos = np.concatenate([depth[:, None] * right * mirror, depth[:, None] * right])
    return Dipoles(pos, np.concatenate([right_ori * mirror, right_ori]))


def cortex(rng: np.random.Generator) -> Dipoles:
    """Background generators spread evenly over the cortex, with random orientations."""
    n = 2 * N_CORTEX_SOURCES
    height = 1 - 2 * (np.arange(n) + 0.5) / n
    angle = np.pi * (1 + 5**0.5) * np.arange(n)  # a Fibonacci sphere is even without a mesh
    ring = np.sqrt(1 - height**2)
    sphere = np.stack([ring * np.cos(angle), ring * np.sin(angle), height], axis=-1)
    # The cortex covers the sphere down to the base of the skull.
    upper = sphere[np.argsort(-sphere[:, 2])][: int(n * 0.68)]
    chosen = upper[np.sort(rng.choice(len(upper), N_CORTEX_SOURCES, replace=False))]
    depth = rng.uniform(0.62, 0.82, (N_CORTEX_SOURCES, 1))
    return Dipoles(depth * chosen, _unit(chosen + rng.standard_normal(chosen.shape)))


def alpha_generators() -> Dipoles:
    """Posterior alpha: two parietal-occipital dipoles and one at the midline."""
    radial = _direction(np.array([-26.0, 26.0, 0.0]), np.array([28.0, 28.0, 12.0]))
    turn = np.array([[0.4, 0.3, 0.2], [-0.4, 0.3, 0.2], [0.0, 0.2, 0.8]])
    return Dipoles(0.74 * radial, _unit(radial + turn))


def eye_dipole() -> Dipoles:
    """One dipole behind the forehead whose field resembles that of a blink."""
    radial = _direction(np.array([180.0]), np.array([-22.0]))
    return Dipoles(0.84 * radial, radial)


def cap_positions(cap: Cap) -> tuple[list[str], FloatArray]:
    """Electrodes of the cap's whole template, in metres, in head coordinates.

    Returns
    -------
    ch_names : list of str
    pos : array, shape (n_electrodes, 3)
        Relative to the centre of the head.
    """
    template = mne.channels.make_standard_montage(cap.template)
    info = mne.create_info(template.ch_names, 256.0, "eeg", verbose="error")
    info.set_montage(template, verbose="error")
    pos = np.array([ch["loc"][:3] for ch in info["chs"]])
    radius, centre, _ = mne.bem.fit_sphere_to_headshape(info, ("eeg",), "m", verbose="error")  # pyright: ignore[reportArgumentType]
    return list(template.ch_names), (pos - centre) / radius * HEAD_RADIUS


def compute_leadfield(montage: str, dipoles: Dipoles, head_size: float = 1.0) -> FloatArray:
    """Potential at each electrode of a montage for one ampere-metre in each dipole.

    Parameters
    ----------
    montage : str
        A key of :data:`CAPS`.
    dipoles : Dipoles
        Sources in a head of radius 1.
    head_size : float
        Radius of this head over :data:`HEAD_RADIUS`.

    Returns
    -------
    array, shape (n_chans, n_sources)
        Volts per ampere-metre, against the cap's reference.

    Raises
    ------
    ValueError
        If a dipole lies outside the brain of the spherical model.
    """
    cap = get_cap(montage)
    outside = np.linalg.norm(dipoles.pos, axis=1) > _BRAIN
    if outside.any():
        raise ValueError(
            f"{outside.sum()} of {len(dipoles)} dipoles lie outside the brain; expected a depth of "
            f"at most {_BRAIN}"
        )
    names, pos = cap_positions(cap)
    radius = HEAD_RADIUS * head_size
    locations = dict(zip(names, pos * head_size, strict=True))
    info = mne.create_info(names, 256.0, "eeg", verbose="error")
    info.set_montage(mne.channels.make_dig_montage(locations, coord_frame="head"), verbose="error")
    sphere = mne.make_sphere_model((0.0, 0.0, 0.0), radius, verbose="error")
    where = {"rr": dipoles.pos * radius, "nn": dipoles.ori}
    space = mne.setup_volume_source_space(pos=where, bem=sphere, mindist=0.0, verbose="error")  # pyright: ignore[reportArgumentType]
    forward = mne.make_forward_solution(
        info, trans=None, src=space, bem=sphere, meg=False, eeg=True, mindist=0.0, verbose="error"
    )
    assert forward is not None
    free = forward["sol"]["data"].reshape(len(names), len(dipoles), 3)
    gain = np.einsum("csk,sk->cs", free, dipoles.ori)
    picked = gain[[names.index(name) for name in cap.ch_names]]
    if cap.reference is None:
        return picked - picked.mean(axis=0)
    return picked - gain[names.index(cap.reference)]
