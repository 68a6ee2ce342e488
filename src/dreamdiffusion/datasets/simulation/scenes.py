"""Drawn pictures with captions: the simulated stimuli.

A picture is a pure function of a `Scene` and a size in pixels: one object in one of eight colours,
on a soft background. Everything is drawn here (Pillow); nothing is loaded. Positions and widths are
fractions of the picture, so that a scene looks the same at every size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from dreamdiffusion.datasets.simulation.shapes import OBJECTS

CATEGORIES: tuple[str, ...] = tuple(OBJECTS)
COLORS: dict[str, tuple[int, int, int]] = {
    "red": (214, 38, 40),
    "orange": (247, 128, 24),
    "yellow": (250, 212, 44),
    "green": (54, 166, 72),
    "blue": (38, 102, 218),
    "purple": (132, 62, 178),
    "pink": (252, 142, 192),
    "white": (246, 246, 246),
}
PLACES: tuple[str, ...] = ("left", "center", "right")
BACKGROUNDS: tuple[str, ...] = ("sea", "meadow", "desert", "snow", "night sky", "sunset")
SIZE_RANGE = (0.58, 0.7)
ANGLE_RANGE = (-8.0, 8.0)

_WORDS = {"icecream": "ice cream"}
_WHERE = {"left": "on the left", "center": "in the center", "right": "on the right"}
_PAINTS = {
    "dark": (44, 40, 56),
    "light": (255, 255, 255),
    "wood": (122, 82, 58),
    "leaf": (74, 118, 70),
    "flame": (255, 176, 66),
    "cone": (222, 176, 118),
}
# White details would vanish on a white object.
_LIGHT_ON_WHITE = (172, 188, 212)
_SUPERSAMPLING = 4
_OUTLINE = 0.022  # width of the dark line on either side of an edge, as a fraction of the picture

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """Everything that determines a picture.

    Parameters
    ----------
    category, color, place, background : str
        One of `CATEGORIES`, `COLORS`, `PLACES`, `BACKGROUNDS`.
    size : float
        Longer side of the turned object's bounding box as a fraction of the picture, 0.58 to 0.7.
    angle : float
        Turn of the object in degrees, -8 to 8.
    flip : bool
        Whether the object is mirrored.
    seed : int
        Seed of the small jitters: position, shade of the colours, details of the background.

    Raises
    ------
    ValueError
        If a field is unknown or out of range; the message names it.
    """

    category: str
    color: str
    place: str = "center"
    background: str = "sea"
    size: float = 0.6
    angle: float = 0.0
    flip: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        known = {
            "category": CATEGORIES,
            "color": tuple(COLORS),
            "place": PLACES,
            "background": BACKGROUNDS,
        }
        for field, allowed in known.items():
            if getattr(self, field) not in allowed:
                raise ValueError(
                    f"{field} is {getattr(self, field)!r}, expected one of {', '.join(allowed)}"
                )
        for field, (low, high) in {"size": SIZE_RANGE, "angle": ANGLE_RANGE}.items():
            if not low <= getattr(self, field) <= high:
                raise ValueError(
                    f"{field} is {getattr(self, field)!r}, expected a number from {low} to {high}"
                )
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed!r}, expected an integer of 0 or more")

    @property
    def caption(self) -> str:
        """The words for the picture, such as "a red sailboat on the left, sea background"."""
        article = "an" if self.color[0] in "aeiou" else "a"
        word = _WORDS.get(self.category, self.category)
        return f"{article} {self.color} {word} {_WHERE[self.place]}, {self.background} background"

    @property
    def short_captions(self) -> tuple[str, str]:
        """Fewer words for the picture: "a red sailboat" and "a sailboat"."""
        word = _WORDS.get(self.category, self.category)
        articles = ["an" if text[0] in "aeiou" else "a" for text in (self.color, word)]
        return f"{articles[0]} {self.color} {word}", f"{articles[1]} {word}"


def random_scene(
    rng: np.random.Generator, *, category: str | None = None, color: str | None = None
) -> Scene:
    """Draw a scene at random, every field uniform over its range.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all randomness.
    category, color : str, optional
        Fixed instead of drawn.
    """
    drawn = {
        "category": CATEGORIES[rng.integers(len(CATEGORIES))],
        "color": tuple(COLORS)[rng.integers(len(COLORS))],
    }
    return Scene(
        category=drawn["category"] if category is None else category,
        color=drawn["color"] if color is None else color,
        place=PLACES[rng.integers(len(PLACES))],
        background=BACKGROUNDS[rng.integers(len(BACKGROUNDS))],
        size=float(rng.uniform(*SIZE_RANGE)),
        angle=float(rng.uniform(*ANGLE_RANGE)),
        flip=bool(rng.integers(2)),
        seed=int(rng.integers(2**31)),
    )


def render(scene: Scene, size: int = 64) -> Image.Image:
    """Draw a scene.

    Parameters
    ----------
    scene : Scene
        What to draw.
    size : int
        Width and height in pixels, 16 or more.

    Returns
    -------
    PIL.Image.Image
        RGB, anti-aliased; the same bytes for the same scene and size.

    Raises
    ------
    ValueError
        If `size` is below 16.
    """
    if size < 16:
        raise ValueError(f"size is {size!r} pixels, expected 16 or more")
    rng = np.random.default_rng(scene.seed)
    jitter = rng.uniform(-1, 1, 6).astype(np.float32)
    grid = ((np.arange(size) + 0.5) / size).astype(np.float32)
    picture = _BACKDROPS[scene.background](grid, rng)
    picture += 5 * jitter[3:6]

    body = np.clip(np.array(COLORS[scene.color]) * (1 + 0.04 * jitter[2]), 0, 255)
    flat, mask, centre = _draw_object(scene, size, jitter, _paints(scene.color, body))
    shadow = mask.filter(ImageFilter.GaussianBlur(0.022 * size))
    down = max(1, round(0.03 * size))
    dim = np.zeros((size, size, 1), np.float32)
    dim[down:, :, 0] = np.asarray(shadow, np.float32)[:-down] * (0.32 / 255)
    picture *= 1 - dim

    # `flat` was drawn on black, so after the reduction it is already multiplied by its coverage.
    alpha = np.asarray(mask, np.float32)[..., None] / 255
    colour = np.asarray(flat, np.float32)
    lit = -(0.5 * (grid - centre[0])[None, :] + 0.8 * (grid - centre[1])[:, None]) / scene.size
    lit = (0.33 * lit)[..., None]
    colour = colour + np.maximum(lit, 0) * (255 * alpha - colour) - np.maximum(-lit, 0) * colour
    picture = picture * (1 - alpha) + colour
    return Image.fromarray(np.clip(picture + 0.5, 0, 255).astype(np.uint8))


def _paints(name: str, body: NDArray[np.float64]) -> dict[str, tuple[int, int, int]]:
    """Colour of every role of `shapes.Part` for an object of the colour `name`."""

    def rgb(c: NDArray[np.float64]) -> tuple[int, int, int]:
        return (round(c[0]), round(c[1]), round(c[2]))

    paints = {
        **_PAINTS,
        "body": rgb(body),
        "shade": rgb(body * (0.9, 0.83, 0.86)),
        "tint": rgb(body + (255 - body) * 0.5),
    }
    if name == "white":
        paints.update(light=_LIGHT_ON_WHITE, tint=(228, 234, 244), shade=(208, 212, 222))
    return paints


def _draw_object(
    scene: Scene, size: int, jitter: Floats, paints: dict[str, tuple[int, int, int]]
) -> tuple[Image.Image, Image.Image, tuple[float, float]]:
    """Object on black (RGB), its coverage (L), and its centre as fractions of the picture."""
    groups = OBJECTS[scene.category]
    points = np.concatenate([p.points for g in groups for p in g])
    if scene.flip:
        points = points * [-1, 1]
    c, s = math.cos(math.radians(scene.angle)), math.sin(math.radians(scene.angle))
    points = points @ np.array([[c, s], [-s, c]])
    points *= scene.size / np.ptp(points, axis=0).max()
    low, high = points.min(axis=0), points.max(axis=0)
    # Left and right go as far as the object stays inside: 0.12 for the widest, 0.24 at most.
    slack = (1 - (high - low)) / 2 - 0.025
    side = {"left": -1, "center": 0, "right": 1}[scene.place]
    offset = side * float(np.clip(slack[0], 0.12, 0.24))
    centre = (
        0.5 + offset + 0.012 * float(jitter[0]),
        0.5 + float(np.clip(slack[1], 0.0, 0.08)) * float(jitter[1]),
    )
    canvas = size * _SUPERSAMPLING
    points = (points - (low + high) / 2 + centre) * canvas - 0.5

    flat, mask = Image.new("RGB", (canvas, canvas)), Image.new("L", (canvas, canvas))
    paint, cover = ImageDraw.Draw(flat), ImageDraw.Draw(mask)
    width = max(1, round(_OUTLINE * canvas))
    start = 0
    for group in groups:
        placed = []
        for p in group:
            stop = start + len(p.points)
            corners = points[start:stop]
            placed.append((p, corners.ravel().tolist()))
            start = stop
            if p.outlined:
                closed = np.concatenate([corners, corners[:2]]).ravel().tolist()
                paint.line(closed, fill=paints["dark"], width=width, joint="curve")
                cover.line(closed, fill=255, width=width, joint="curve")
        for p, corners in placed:
            hole = p.role == "hole"
            paint.polygon(corners, fill=(0, 0, 0) if hole else paints[p.role])
            cover.polygon(corners, fill=0 if hole else 255)
    return flat.reduce(_SUPERSAMPLING), mask.reduce(_SUPERSAMPLING), centre


def _mix(a: Floats, b: tuple[int, int, int], amount: Floats) -> Floats:
    mixed = a + (np.array(b, np.float32) - a) * amount[..., None]
    return mixed.astype(np.float32, copy=False)


def _gradient(grid: Floats, stops: list[tuple[float, tuple[int, int, int]]]) -> Floats:
    """Vertical gradient through (height, colour) stops; shape (size, size, 3)."""
    at = [h for h, _ in stops]
    column = np.stack([np.interp(grid, at, [c[k] for _, c in stops]) for k in range(3)], axis=1)
    return np.repeat(column[:, None, :].astype(np.float32), len(grid), axis=1)


def _below(grid: Floats, ridge: Floats, soft: float = 0.012) -> Floats:
    """1 below the line `ridge` (a height for every column), 0 above it, softly."""
    t = np.clip((grid[:, None] - ridge[None, :]) / (2 * soft) + 0.5, 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def _ridge(
    grid: Floats, rng: np.random.Generator, base: float, height: float, waves: float
) -> Floats:
    a, b = rng.uniform(0, 2 * np.pi, 2)
    rolling = np.sin(2 * np.pi * waves * grid + a) + 0.5 * np.sin(4.6 * np.pi * waves * grid + b)
    return (base + height * rolling).astype(np.float32)


def _dots(
    grid: Floats, x: NDArray[np.float64], y: NDArray[np.float64], rx: float, ry: float
) -> Floats:
    """Soft dots around the points (x, y); peak 1."""
    across = np.exp(-0.5 * ((grid[None, :] - x[:, None]) / rx) ** 2)
    down = np.exp(-0.5 * ((grid[:, None] - y[None, :]) / ry) ** 2)
    return np.clip(down @ across, 0, 1).astype(np.float32)


def _sea(grid: Floats, rng: np.random.Generator) -> Floats:
    picture = _gradient(grid, [(0, (176, 208, 222)), (0.5, (222, 233, 232))])
    water = _gradient(grid, [(0.5, (120, 172, 182)), (1, (72, 126, 142))])
    amount = _below(grid, np.full_like(grid, 0.55 + 0.05 * rng.uniform(-1, 1)))
    picture += (water - picture) * amount[..., None]
    waves = _dots(grid, rng.uniform(0, 1, 9), rng.uniform(0.66, 0.98, 9), 0.06, 0.009)
    return _mix(picture, (214, 232, 232), 0.6 * waves)


def _meadow(grid: Floats, rng: np.random.Generator) -> Floats:
    picture = _gradient(grid, [(0, (182, 210, 226)), (0.6, (230, 236, 226))])
    picture = _mix(picture, (178, 198, 160), _below(grid, _ridge(grid, rng, 0.56, 0.035, 0.9)))
    picture = _mix(picture, (156, 182, 130), _below(grid, _ridge(grid, rng, 0.70, 0.025, 0.7)))
    daisies = _dots(grid, rng.uniform(0, 1, 10), rng.uniform(0.8, 0.98, 10), 0.009, 0.009)
    return _mix(picture, (246, 244, 224), 0.8 * daisies)


def _desert(grid: Floats, rng: np.random.Generator) -> Floats:
    picture = _gradient(grid, [(0, (186, 206, 210)), (0.6, (238, 228, 208))])
    picture = _mix(picture, (222, 198, 160), _below(grid, _ridge(grid, rng, 0.60, 0.03, 0.8)))
    return _mix(picture, (206, 178, 138), _below(grid, _ridge(grid, rng, 0.77, 0.035, 0.6)))


def _snow(grid: Floats, rng: np.random.Generator) -> Floats:
    picture = _gradient(grid, [(0, (140, 160, 182)), (0.6, (188, 200, 214))])
    picture = _mix(picture, (206, 216, 228), _below(grid, _ridge(grid, rng, 0.62, 0.03, 0.7)))
    picture = _mix(picture, (222, 229, 238), _below(grid, _ridge(grid, rng, 0.78, 0.025, 0.6)))
    flakes = _dots(grid, rng.uniform(0, 1, 18), rng.uniform(0, 0.7, 18), 0.01, 0.01)
    return _mix(picture, (244, 248, 252), 0.85 * flakes)


def _night_sky(grid: Floats, rng: np.random.Generator) -> Floats:
    picture = _gradient(grid, [(0, (16, 20, 44)), (1, (58, 62, 98))])
    stars = _dots(grid, rng.uniform(0, 1, 22), rng.uniform(0, 0.78, 22), 0.008, 0.008)
    picture = _mix(picture, (244, 240, 216), 0.95 * stars)
    return _mix(picture, (22, 26, 44), _below(grid, _ridge(grid, rng, 0.87, 0.02, 0.8)))


def _sunset(grid: Floats, rng: np.random.Generator) -> Floats:
    picture = _gradient(grid, [(0, (92, 84, 122)), (0.4, (178, 126, 136)), (0.7, (236, 184, 148))])
    x = np.array([rng.uniform(0.2, 0.8)])
    picture = _mix(picture, (252, 222, 178), 0.7 * _dots(grid, x, np.array([0.66]), 0.2, 0.14))
    return _mix(picture, (86, 66, 86), _below(grid, _ridge(grid, rng, 0.74, 0.018, 0.7)))


_BACKDROPS: dict[str, Callable[[Floats, np.random.Generator], Floats]] = {
    "sea": _sea,
    "meadow": _meadow,
    "desert": _desert,
    "snow": _snow,
    "night sky": _night_sky,
    "sunset": _sunset,
}
