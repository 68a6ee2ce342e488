"""Outlines of the 24 drawn objects, as polygons in unit coordinates.

An object is a sequence of groups, drawn in order; a group is a sequence of parts. Within a group
every outlined part is stroked before any part is filled, so that overlapping parts merge into one
silhouette. x points right and y points down; `OBJECTS` holds each object centred on its bounding
box and scaled so that the longer side of that box runs from -1 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]

# Coordinates read better in rows of points than one number a line.
# fmt: off


@dataclass(frozen=True)
class ShapePart:
    """One filled polygon of an object.

    Attributes
    ----------
    points : ndarray, shape (n_points, 2)
        Corners in unit coordinates.
    role : str
        What it is painted with: the object's own colour (`body`), the same darker (`shade`) or
        lighter (`tint`), a fixed paint (`dark`, `light`, `wood`, `leaf`, `flame`, `cone`), or
        `hole`, through which the background shows.
    outlined : bool
        Whether a thin dark line is drawn around it.
    """

    points: Points
    role: str
    outlined: bool


Object = tuple[tuple[ShapePart, ...], ...]


def part(points: ArrayLike, role: str = "body", outlined: bool | None = None) -> ShapePart:
    """Make a part; without `outlined`, only the parts in the object's own colour get a line."""
    if outlined is None:
        outlined = role == "body"
    return ShapePart(np.asarray(points, dtype=float), role, outlined)


def ellipse(
    cx: float, cy: float, rx: float, ry: float | None = None, turn: float = 0.0, n: int = 32
) -> Points:
    """Points of an ellipse around (cx, cy), turned by `turn` degrees."""
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    xy = np.stack([rx * np.cos(t), (rx if ry is None else ry) * np.sin(t)], axis=1)
    return rotate(xy, turn) + np.array([cx, cy])


def arc(cx: float, cy: float, rx: float, ry: float, start: float, stop: float, n: int = 20
        ) -> Points:
    """Points of an open elliptic arc; degrees, clockwise on the picture because y points down."""
    t = np.radians(np.linspace(start, stop, n))
    return np.stack([cx + rx * np.cos(t), cy + ry * np.sin(t)], axis=1)


def spline(points: ArrayLike, n: int = 6) -> Points:
    """Closed Catmull-Rom curve through `points`, `n` samples for each."""
    p = np.asarray(points, dtype=float)
    a, b, c, d = np.roll(p, 1, 0), p, np.roll(p, -1, 0), np.roll(p, -2, 0)
    t = (np.arange(n) / n)[None, :, None]
    a, b, c, d = (q[:, None, :] for q in (a, b, c, d))
    curve = 2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (
        3 * b - a - 3 * c + d) * t**3
    return (curve / 2).reshape(-1, 2)


def ribbon(points: ArrayLike, width: float) -> Points:
    """An open line of the given width, as a polygon."""
    p = np.asarray(points, dtype=float)
    along = np.gradient(p, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    normal *= width / 2 / np.linalg.norm(normal, axis=1, keepdims=True)
    return np.concatenate([p + normal, (p - normal)[::-1]])


def box(x0: float, y0: float, x1: float, y1: float, r: float = 0.0) -> Points:
    """A rectangle from (x0, y0) to (x1, y1) with corners of radius `r`."""
    if r == 0:
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    corners = [(x1 - r, y1 - r, 0), (x0 + r, y1 - r, 90), (x0 + r, y0 + r, 180),
               (x1 - r, y0 + r, 270)]
    return np.concatenate([arc(x, y, r, r, s, s + 90, 7) for x, y, s in corners])


def rotate(points: Points, degrees: float) -> Points:
    """Turn around the origin, clockwise on the picture."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return points @ np.array([[c, s], [-s, c]])


def turned(groups: Sequence[Sequence[ShapePart]], degrees: float) -> list[list[ShapePart]]:
    """Turn a whole object."""
    return [[ShapePart(rotate(p.points, degrees), p.role, p.outlined) for p in g] for g in groups]


def mirror(points: Points) -> Points:
    """Mirror left and right."""
    return points * [-1, 1]


def _sailboat() -> list[list[ShapePart]]:
    return [
        [part(box(-0.05, -1.0, 0.05, 0.5), "wood", True)],
        [part([(-0.13, -0.75), (-0.13, 0.36), (-0.75, 0.36)], "light", True),
         part([(0.1, -0.98), (0.55, -0.35), (0.88, 0.36), (0.1, 0.36)]),
         part([(-1, 0.5), (1, 0.5), (0.82, 0.78), (0.6, 0.98), (-0.6, 0.98), (-0.82, 0.78)])],
        [part([(-0.93, 0.6), (0.93, 0.6), (0.87, 0.7), (-0.87, 0.7)], "light")],
    ]


def _house() -> list[list[ShapePart]]:
    return [
        [part(box(0.42, -0.85, 0.66, -0.2), "shade", True)],
        [part(box(-0.78, -0.15, 0.78, 0.95))],
        [part([(0, -0.95), (1.0, -0.02), (0.86, 0.1), (-0.86, 0.1), (-1.0, -0.02)], "shade", True)],
        [part(box(-0.2, 0.38, 0.2, 0.95), "dark"),
         part(box(-0.62, 0.3, -0.32, 0.62), "light", True),
         part(box(0.32, 0.3, 0.62, 0.62), "light", True),
         part(ellipse(0, -0.3, 0.16), "light", True)],
    ]


def _tree() -> list[list[ShapePart]]:
    blobs = [(-0.45, -0.1, 0.42), (0.45, -0.1, 0.42), (-0.32, -0.5, 0.4), (0.32, -0.5, 0.4),
             (0, -0.62, 0.38), (0, 0.05, 0.45), (0, -0.25, 0.5)]
    return [
        [part([(-0.13, 0.2), (0.13, 0.2), (0.16, 0.85), (0.3, 1.0), (-0.3, 1.0), (-0.16, 0.85)],
              "wood", True)],
        [part(ellipse(*b)) for b in blobs],
        [part(ellipse(-0.22, -0.62, 0.16, 0.1, -25), "tint"),
         part(ellipse(-0.5, -0.25, 0.12, 0.08, -40), "tint"),
         part(ellipse(0.36, 0.08, 0.24, 0.1, -25), "shade"),
         part(ellipse(0.42, -0.38, 0.15, 0.07, -25), "shade")],
    ]


def _fish() -> list[list[ShapePart]]:
    return [
        [part(spline([(-0.3, -0.42), (0.0, -0.78), (0.32, -0.72), (0.36, -0.4)]), "shade", True),
         part(spline([(-0.2, 0.4), (0.08, 0.72), (0.3, 0.62), (0.25, 0.38)]), "shade", True)],
        [part(spline([(-1, 0.02), (-0.72, -0.34), (-0.2, -0.52), (0.3, -0.36), (0.62, -0.08),
                      (0.62, 0.08), (0.3, 0.38), (-0.2, 0.52), (-0.72, 0.36)])),
         part(spline([(0.5, 0), (0.78, -0.36), (1.04, -0.52), (0.92, 0), (1.04, 0.52),
                      (0.78, 0.36)]))],
        [part(ellipse(-0.62, -0.12, 0.16), "light", True),
         part(ellipse(-0.64, -0.11, 0.08), "dark"),
         part(ribbon(arc(-0.5, 0, 0.22, 0.34, -60, 60), 0.07), "shade"),
         part(ribbon(arc(-0.14, 0, 0.2, 0.26, -55, 55), 0.07), "light"),
         part(ribbon(arc(0.14, 0, 0.18, 0.2, -55, 55), 0.07), "light")],
    ]


def _mushroom() -> list[list[ShapePart]]:
    cap = np.concatenate([arc(0, 0.1, 1.0, 1.05, 180, 360, 28), arc(0, 0.1, 1.0, 0.2, 0, 180, 16)])
    return [
        [part(spline([(-0.3, 0.1), (0.3, 0.1), (0.3, 0.5), (0.42, 0.9), (0.0, 1.02),
                      (-0.42, 0.9), (-0.3, 0.5)]), "light", True)],
        [part(cap)],
        [part(ellipse(-0.06, -0.52, 0.24, 0.2), "light"),
         part(ellipse(-0.58, -0.12, 0.17, 0.17), "light"),
         part(ellipse(0.52, -0.26, 0.2, 0.19), "light"),
         part(ellipse(0.02, -0.02, 0.14, 0.1), "light")],
    ]


def _cup() -> list[list[ShapePart]]:
    steam = [ribbon([(x + 0.07 * np.sin(t * 6), -0.62 - 0.4 * t) for t in np.linspace(0, 1, 12)],
                    0.08) for x in (-0.45, -0.15, 0.15)]
    return [
        [part(spline([(0.35, -0.22), (0.8, -0.26), (1.0, 0.08), (0.8, 0.46), (0.35, 0.6)]))],
        [part(spline([(0.4, 0.02), (0.66, -0.04), (0.76, 0.1), (0.64, 0.28), (0.4, 0.36)]),
              "hole", True)],
        [part(np.concatenate([arc(-0.15, -0.38, 0.72, 0.16, 180, 360), [(0.52, 0.3)],
                              arc(0.28, 0.72, 0.2, 0.2, 10, 90, 8),
                              arc(-0.58, 0.72, 0.2, 0.2, 90, 170, 8), [(-0.82, 0.3)]]))],
        [part(ellipse(-0.15, -0.38, 0.64, 0.13), "wood", True)],
        [part(s, "light") for s in steam] + [part(ribbon(
            [(-0.66, -0.08), (-0.62, 0.3), (-0.54, 0.55)], 0.1), "tint")],
    ]


def _car() -> list[list[ShapePart]]:
    return [
        [part(spline([(-0.62, -0.1), (-0.42, -0.5), (0.0, -0.58), (0.3, -0.5), (0.58, -0.08),
                      (0.4, 0.1), (-0.5, 0.1)])),
         part(spline([(-1, 0.2), (-0.95, -0.06), (-0.6, -0.16), (0.5, -0.14), (0.9, -0.02),
                      (1.0, 0.2), (0.95, 0.4), (0.5, 0.44), (-0.5, 0.44), (-0.95, 0.4)]))],
        [part([(-0.5, -0.1), (-0.36, -0.4), (-0.08, -0.46), (-0.08, -0.1)], "light", True),
         part([(0.04, -0.1), (0.04, -0.46), (0.24, -0.4), (0.44, -0.1)], "light", True),
         part(ellipse(0.9, 0.08, 0.09, 0.08), "light"),
         part(ribbon([(-0.08, 0.08), (0.06, 0.08)], 0.06), "dark")],
        [part(ellipse(-0.52, 0.42, 0.25), "dark"), part(ellipse(0.54, 0.42, 0.25), "dark"),
         part(ellipse(-0.52, 0.42, 0.11), "light"), part(ellipse(0.54, 0.42, 0.11), "light")],
    ]


def _star() -> list[list[ShapePart]]:
    t = np.radians(np.arange(10) * 36 - 90)
    r = np.where(np.arange(10) % 2 == 0, 1.0, 0.45)
    p = np.stack([r * np.cos(t), r * np.sin(t)], axis=1)
    facets = [part([(0, 0), p[k], p[(k + 1) % 10]], "shade") for k in range(0, 10, 2)]
    return [[part(p)], facets]


def _heart() -> list[list[ShapePart]]:
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return [[part(np.stack([x, y], axis=1) / 16)],
            [part(ribbon(arc(-0.46, -0.26, 0.32, 0.32, 170, 275, 14), 0.13), "light")]]


def _flower() -> list[list[ShapePart]]:
    angles = np.radians(np.arange(6) * 60 - 90)
    petals = [part(ellipse(0.4 * np.cos(a), -0.32 + 0.4 * np.sin(a), 0.33, 0.24,
                           float(np.degrees(a)))) for a in angles]
    creases = [part(ribbon([(0.2 * np.cos(a), -0.32 + 0.2 * np.sin(a)),
                            (0.5 * np.cos(a), -0.32 + 0.5 * np.sin(a))], 0.06), "shade")
               for a in angles]
    return [
        [part(ribbon([(0, 0.0), (0.03, 0.5), (0, 1.0)], 0.1), "leaf", True),
         part(spline([(0.02, 0.86), (0.2, 0.58), (0.5, 0.5), (0.36, 0.78)]), "leaf", True),
         part(spline([(0.0, 0.92), (-0.18, 0.66), (-0.46, 0.6), (-0.34, 0.86)]), "leaf", True)],
        petals, creases,
        [part(ellipse(0, -0.32, 0.2), "light", True), part(ellipse(0, -0.32, 0.08), "dark")],
    ]


def _cat() -> list[list[ShapePart]]:
    ear = np.array([(-0.86, -0.12), (-0.82, -0.98), (-0.22, -0.56)])
    inner = np.array([(-0.72, -0.4), (-0.71, -0.76), (-0.44, -0.56)])
    face: list[ShapePart] = []
    for flip in (lambda p: p, mirror):
        face += [part(flip(ellipse(-0.38, -0.02, 0.19, 0.2)), "light", True),
                 part(flip(ellipse(-0.37, 0.0, 0.08, 0.15)), "dark"),
                 part(flip(ribbon([(-0.5, 0.36), (-0.98, 0.28)], 0.05)), "dark"),
                 part(flip(ribbon([(-0.5, 0.46), (-0.96, 0.54)], 0.05)), "dark"),
                 part(flip(ribbon(arc(-0.13, 0.44, 0.13, 0.13, 0, 170, 12), 0.06)), "dark")]
    return [
        [part(ear), part(mirror(ear)), part(ellipse(0, 0.1, 0.9, 0.76))],
        [part(inner, "shade"), part(mirror(inner), "shade"),
         part(ellipse(0, 0.46, 0.36, 0.24), "tint")],
        [*face, part([(-0.12, 0.28), (0.12, 0.28), (0, 0.42)], "dark")],
    ]


def _butterfly() -> list[list[ShapePart]]:
    upper = spline([(0.06, 0.0), (0.3, -0.55), (0.78, -0.82), (1.0, -0.6), (0.86, -0.1),
                    (0.5, 0.12)])
    lower = spline([(0.06, 0.02), (0.5, 0.06), (0.76, 0.32), (0.66, 0.72), (0.4, 0.78),
                    (0.16, 0.46)])
    groups: list[list[ShapePart]] = [[], [], [], []]
    for flip in (lambda p: p, mirror):
        groups[0].append(part(flip(ribbon([(0.02, -0.4), (0.12, -0.68), (0.3, -0.86)], 0.06)),
                              "dark"))
        groups[1].append(part(flip(lower), "shade", True))
        groups[2].append(part(flip(upper)))
        groups[3] += [part(flip(ellipse(0.7, -0.46, 0.16)), "light"),
                      part(flip(ellipse(0.42, -0.18, 0.1)), "light"),
                      part(flip(ellipse(0.5, 0.42, 0.11)), "light")]
    groups[3].append(part(ellipse(0, 0.05, 0.1, 0.52), "dark"))
    return groups


def _umbrella() -> list[list[ShapePart]]:
    scallops = [arc(x, 0.1, 0.25, 0.16, 0, -180, 8) for x in (0.75, 0.25, -0.25, -0.75)]
    dome = np.concatenate([arc(0, 0.1, 1.0, 0.95, 180, 360, 28), *scallops])
    left = np.concatenate([arc(0, 0.1, 0.5, 0.95, 180, 270, 12), [(0, 0)], scallops[2]])
    right = np.concatenate([arc(0, 0.1, 1.0, 0.95, 270, 360, 12), scallops[0],
                            arc(0, 0.1, 0.5, 0.95, 360, 270, 12)])
    handle = np.concatenate([[(0, -0.95), (0, 0.3), (0, 0.8)], arc(-0.17, 0.8, 0.17, 0.2, 0, 190)])
    return [[part(ribbon(handle, 0.1), "wood", True)], [part(dome)],
            [part(left, "shade"), part(right, "shade")]]


def _balloon() -> list[list[ShapePart]]:
    def envelope(w: float) -> Points:
        half = [(0, -1.0), (0.5, -0.88), (0.78, -0.48), (0.7, -0.02), (0.4, 0.34), (0.2, 0.5)]
        right = [(x * w, y) for x, y in half]
        return spline(right + [(-x, y) for x, y in right[:0:-1]])

    return [
        [part(ribbon([(-0.16, 0.45), (-0.14, 0.8)], 0.05), "dark"),
         part(ribbon([(0.16, 0.45), (0.14, 0.8)], 0.05), "dark"),
         part(box(-0.2, 0.7, 0.2, 1.0, 0.06), "wood", True)],
        [part(envelope(1.0))],
        [part(envelope(0.68), "light"), part(envelope(0.34))],
    ]


def _rocket() -> list[list[ShapePart]]:
    fin = np.array([(-0.32, 0.1), (-0.74, 0.5), (-0.74, 0.86), (-0.28, 0.62)])
    hull = spline([(0, -1.0), (0.3, -0.66), (0.42, -0.2), (0.4, 0.25), (0.28, 0.66),
                   (-0.28, 0.66), (-0.4, 0.25), (-0.42, -0.2), (-0.3, -0.66)])
    return [
        [part(spline([(-0.2, 0.6), (0.2, 0.6), (0.14, 0.86), (0, 1.08), (-0.14, 0.86)]), "flame",
              True)],
        [part(fin, "shade", True), part(mirror(fin), "shade", True)],
        [part(hull)],
        [part(ellipse(0, -0.26, 0.2), "dark"), part(ellipse(0, -0.26, 0.14), "light"),
         part(ribbon([(-0.36, 0.3), (0, 0.36), (0.36, 0.3)], 0.09), "light"),
         part(box(-0.045, 0.42, 0.045, 0.9, 0.04), "shade")],
    ]


def _apple() -> list[list[ShapePart]]:
    half = [(0.2, -0.56), (0.56, -0.66), (0.86, -0.36), (0.84, 0.18), (0.58, 0.74), (0.24, 0.92)]
    flesh = spline([(0, -0.46), *half, (0, 0.84), *[(-x, y) for x, y in half[::-1]]])
    return [
        [part(ribbon([(0.0, -0.4), (0.0, -0.7), (0.1, -0.95)], 0.11), "wood", True),
         part(spline([(0.1, -0.66), (0.26, -0.92), (0.62, -0.98), (0.44, -0.72)]), "leaf", True)],
        [part(flesh)],
        [part(ribbon(arc(-0.36, 0.04, 0.3, 0.42, 170, 265, 12), 0.12), "light"),
         part(spline([(-0.2, -0.5), (0, -0.38), (0.2, -0.5), (0, -0.44)]), "shade")],
    ]


def _moon() -> list[list[ShapePart]]:
    crescent = np.concatenate([arc(0, 0, 1, 1, 52, 308, 40), arc(0.4, 0, 0.82, 0.82, 285, 75, 32)])
    return [[part(crescent)],
            [part(ellipse(-0.68, -0.14, 0.13), "shade"), part(ellipse(-0.52, 0.42, 0.11), "shade"),
             part(ellipse(-0.36, -0.68, 0.1), "shade")]]


def _key() -> list[list[ShapePart]]:
    return turned([
        [part(ellipse(-0.58, 0, 0.46)), part(box(-0.3, -0.14, 1.05, 0.14, 0.06)),
         part(box(0.78, 0.0, 1.0, 0.46, 0.04)), part(box(0.42, 0.0, 0.62, 0.36, 0.04))],
        [part(ellipse(-0.62, 0, 0.2), "hole", True)],
        [part(ribbon([(-0.1, -0.03), (0.9, -0.03)], 0.06), "tint")],
    ], -35)


def _cactus() -> list[list[ShapePart]]:
    stem = box(-0.24, -1.0, 0.24, 0.8, 0.23)
    left = box(-0.82, -0.5, -0.5, 0.3, 0.15)
    right = box(0.5, -0.68, 0.82, 0.12, 0.15)
    spines = [ribbon([(x, y), (x, y + 0.16)], 0.055) for x, y in
              [(-0.1, -0.75), (0.1, -0.5), (-0.1, -0.25), (0.1, 0.0), (-0.1, 0.25), (-0.66, -0.3),
               (0.66, -0.48), (-0.66, 0.0), (0.66, -0.2)]]
    return [
        [part(left), part(box(-0.8, 0.06, 0.0, 0.34, 0.13)), part(right),
         part(box(0.0, -0.12, 0.8, 0.16, 0.13)), part(stem)],
        [part(s, "light") for s in spines],
        [part([(-0.42, 0.58), (0.42, 0.58), (0.32, 1.05), (-0.32, 1.05)], "wood", True),
         part(box(-0.5, 0.46, 0.5, 0.64, 0.05), "wood", True)],
    ]


def _snowman() -> list[list[ShapePart]]:
    return [
        [part(ribbon([(-0.4, 0.15), (-0.85, -0.2)], 0.07), "wood"),
         part(ribbon([(0.4, 0.15), (0.85, -0.2)], 0.07), "wood")],
        [part(ellipse(0, 0.5, 0.58, 0.54)), part(ellipse(0, -0.28, 0.42))],
        [part(box(-0.44, -0.68, 0.44, -0.56, 0.05), "dark"),
         part(box(-0.28, -1.05, 0.28, -0.6, 0.05), "dark"),
         part(ribbon([(-0.36, -0.02), (0, 0.06), (0.36, -0.02)], 0.14), "shade", True)],
        [part(ellipse(-0.15, -0.38, 0.065), "dark"), part(ellipse(0.15, -0.38, 0.065), "dark"),
         part([(-0.03, -0.3), (0.32, -0.18), (-0.03, -0.16)], "flame", True),
         part(ellipse(0, 0.32, 0.07), "dark"), part(ellipse(0, 0.58, 0.07), "dark")],
    ]


def _icecream() -> list[list[ShapePart]]:
    cone = np.array([(-0.46, 0.06), (0.46, 0.06), (0, 1.05)])
    lines = [ribbon(line, 0.05) for line in
             ([(-0.3, 0.1), (0.16, 0.66)], [(0.02, 0.1), (0.28, 0.42)],
              [(0.3, 0.1), (-0.16, 0.66)], [(-0.02, 0.1), (-0.28, 0.42)])]
    return [
        [part(cone, "cone", True)], [part(p, "wood") for p in lines],
        [part(ellipse(-0.3, -0.18, 0.4)), part(ellipse(0.3, -0.18, 0.4)),
         part(ellipse(0, -0.56, 0.42))],
        [part(ellipse(-0.16, -0.7, 0.12, 0.08, -35), "light"),
         part(ribbon(arc(0, -0.56, 0.42, 0.42, 40, 140, 12), 0.06), "shade"),
         part(ellipse(0.06, -0.98, 0.11), "dark")],
    ]


def _airplane() -> list[list[ShapePart]]:
    wing = np.array([(0.1, -0.25), (1.0, 0.3), (1.0, 0.5), (0.1, 0.24)])
    tail = np.array([(0.06, 0.62), (0.42, 0.86), (0.42, 1.0), (0.04, 0.9)])
    hull = spline([(0, -1.05), (0.13, -0.82), (0.17, -0.4), (0.15, 0.4), (0.05, 1.0),
                   (-0.05, 1.0), (-0.15, 0.4), (-0.17, -0.4), (-0.13, -0.82)])
    return turned([
        [part(wing), part(mirror(wing)), part(tail), part(mirror(tail))],
        [part([(0.55, 0.1), (0.7, 0.19), (0.7, 0.38), (0.55, 0.33)], "light"),
         part([(-0.55, 0.1), (-0.7, 0.19), (-0.7, 0.38), (-0.55, 0.33)], "light")],
        [part(hull)],
        [part(spline([(-0.1, -0.72), (0, -0.84), (0.1, -0.72), (0, -0.64)]), "dark"),
         part(ribbon([(0, -0.45), (0, 0.5)], 0.07), "light")],
    ], 45)


def _crown() -> list[list[ShapePart]]:
    rim = [(-0.88, 0.4), (-1.0, -0.42), (-0.5, 0.0), (0, -0.72), (0.5, 0.0), (1.0, -0.42),
           (0.88, 0.4)]
    return [
        [part([*rim, (0.84, 0.74), (-0.84, 0.74)]),
         *(part(ellipse(x, y, 0.14)) for x, y in [(-0.98, -0.44), (0, -0.74), (0.98, -0.44)])],
        [part(box(-0.86, 0.42, 0.86, 0.74, 0.05), "shade", True)],
        [part(ellipse(0, 0.58, 0.1), "light"), part(ellipse(-0.5, 0.58, 0.1), "light"),
         part(ellipse(0.5, 0.58, 0.1), "light"),
         part([(0, -0.3), (0.15, 0.0), (0, 0.26), (-0.15, 0.0)], "dark")],
    ]


def _guitar() -> list[list[ShapePart]]:
    half = [(0.34, -0.22), (0.5, 0.04), (0.4, 0.28), (0.66, 0.58), (0.56, 0.94), (0.24, 1.06)]
    hull = spline([*half, *[(-x, y) for x, y in half[::-1]]])
    return turned([
        [part(box(-0.1, -1.0, 0.1, 0.3), "wood", True),
         part(box(-0.18, -1.15, 0.18, -0.84, 0.06), "dark")],
        [part(hull)],
        [part(ellipse(0, 0.3, 0.17), "dark"), part(box(-0.22, 0.7, 0.22, 0.8), "dark"),
         part(box(-0.08, -0.9, 0.08, 0.2), "wood"),
         part(ribbon([(0, -1.0), (0, 0.74)], 0.05), "light")],
    ], 30)


def _normalised(groups: Sequence[Sequence[ShapePart]]) -> Object:
    """Centre an object and scale the longer side of its bounding box to 2."""
    points = np.concatenate([p.points for g in groups for p in g])
    low, high = points.min(axis=0), points.max(axis=0)
    scale = 2 / (high - low).max()
    centre = (low + high) / 2
    return tuple(tuple(ShapePart((p.points - centre) * scale, p.role, p.outlined) for p in g)
                 for g in groups)


_DRAWN: dict[str, Callable[[], list[list[ShapePart]]]] = {
    "sailboat": _sailboat, "house": _house, "tree": _tree, "fish": _fish, "mushroom": _mushroom,
    "cup": _cup, "car": _car, "star": _star, "heart": _heart, "flower": _flower, "cat": _cat,
    "butterfly": _butterfly, "umbrella": _umbrella, "balloon": _balloon, "rocket": _rocket,
    "apple": _apple, "moon": _moon, "key": _key, "cactus": _cactus, "snowman": _snowman,
    "icecream": _icecream, "airplane": _airplane, "crown": _crown, "guitar": _guitar,
}

OBJECTS: dict[str, Object] = {name: _normalised(drawn()) for name, drawn in _DRAWN.items()}
"""Every object by category, centred and scaled."""
