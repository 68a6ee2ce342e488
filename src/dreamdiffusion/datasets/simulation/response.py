"""The response of simulated visual cortex to a picture. Everything made here is SIMULATED.

Early visual cortex responds to local contrast at about 100 ms, ventral occipital cortex to colour
at 110 to 140 ms, occipito-temporal cortex to the category at 170 ms (N170) and later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dreamdiffusion.datasets.simulation import vision
from dreamdiffusion.datasets.simulation.scenes import CATEGORIES
from dreamdiffusion.datasets.simulation.sources import FloatArray

if TYPE_CHECKING:
    from dreamdiffusion.datasets.simulation.person import Viewer

RESPONSE = 0.65
"""Seconds after onset at which the response to a picture is over."""


@dataclass(frozen=True)
class Component:
    """A wave of the evoked response: peak (s), width as a Gaussian's sd (s), moment (nAm)."""

    peak: float
    width: float
    moment: float


P1 = Component(0.100, 0.014, 5.0)
COLOR = (
    Component(0.110, 0.015, 6.0),
    Component(0.125, 0.016, 6.0),
    Component(0.140, 0.017, 6.0),
)
N170 = Component(0.170, 0.022, 8.0)
LATE = Component(0.280, 0.060, 6.0)

# What higher visual cortex does for any object, and how far categories depart from it.
_COMMON = {N170: 1.0, LATE: -0.5}
_CODE_DEPTH = 0.38

# Mean and spread of the colour features: the figure's as measured on 2,000 drawn scenes; the whole
# picture's spread is set higher than measured (0.08), so that backgrounds drive less than figures.
_FIGURE = np.array([[0.61, 0.09, -0.09], [0.19, 0.21, 0.26]])
_PICTURE = np.array([[0.60, 0.02, -0.02], [0.19, 0.10, 0.12]])
_TYPICAL_CONTRAST = 0.25


def evoked_response(
    viewer: Viewer,
    pictures: NDArray[np.uint8],
    categories: Sequence[str],
    sfreq: float,
    attention: FloatArray | None = None,
) -> FloatArray:
    """The response to each picture, free of background.

    Parameters
    ----------
    viewer : Viewer
    pictures : array of uint8, shape (n_trials, height, width, 3)
        What was shown.
    categories : sequence of str, length n_trials
        What it was.
    sfreq : float
        Hz.
    attention : array, shape (n_trials,), optional
        Factor of each trial's response; 1 where not given.

    Returns
    -------
    array, shape (n_trials, n_chans, n_times)
        Volts, from onset to :data:`RESPONSE`.

    Raises
    ------
    ValueError
        If a category is unknown or the number of pictures differs from that of categories.
    """
    if len(pictures) != len(categories):
        raise ValueError(f"{len(pictures)} pictures but {len(categories)} categories")
    for category in categories:
        if category not in CATEGORIES:
            raise ValueError(f"category is {category!r}, expected one of {', '.join(CATEGORIES)}")
    time = np.arange(round(RESPONSE * sfreq)) / sfreq
    lead = viewer.leadfields

    contrast = vision.local_contrast(pictures) / _TYPICAL_CONTRAST
    maps = [(P1, contrast @ lead["early"].T)]

    figure = (vision.figure_color(pictures) - _FIGURE[0]) / _FIGURE[1]
    whole = vision.opponent_axes(pictures.mean(axis=(1, 2)) / 255)
    features = np.concatenate([figure, (whole - _PICTURE[0]) / _PICTURE[1]], axis=1)
    for axis, component in enumerate(COLOR):
        both = [axis, axis + len(COLOR)]
        drive = features[:, both] @ viewer.color_code[:, both].T
        maps.append((component, drive @ lead["color"].T))

    code = viewer.category_code[[CATEGORIES.index(category) for category in categories]]
    for wave, (component, common) in enumerate(_COMMON.items()):
        drive = common + _CODE_DEPTH * code[:, :, wave]
        maps.append((component, drive @ lead["higher"].T))

    response = np.zeros((len(pictures), len(lead["early"]), len(time)))
    for component, topography in maps:
        late = (time - component.peak - viewer.latency_shift) / component.width
        wave = component.moment * 1e-9 * np.exp(-0.5 * late**2)
        response += topography[:, :, None] * wave
    factor = viewer.gain * (1.0 if attention is None else attention[:, None, None])
    return factor * response
