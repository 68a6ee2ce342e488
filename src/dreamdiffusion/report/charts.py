"""Figures of the report as inline SVG: they take the page's colours, light or dark.

A figure is 360 units wide, about as wide as a phone, so that its letters keep their size there.
Text given to these functions is plain: what is put into an element is escaped there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from dreamdiffusion.evidence.scores import Confidence, Curve
from dreamdiffusion.report.words import MINUS, NBSP, is_share, metric_name, number

WIDTH = 360
EDGE = 8
LETTER = 5.4  # average width of a letter at 10.5 units
DIGIT = 6.0


class Axis:
    """A linear axis from ``low`` to ``high`` over the units ``start`` to ``end``."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def nice_limits(values: Sequence[float]) -> tuple[float, float]:
    """Return round limits around values; zero is always inside, so that lengths can be compared."""
    low, high = min(0.0, *values), max(0.0, *values)
    if low == high:
        return 0.0, 1.0
    step = 10.0 ** math.floor(math.log10(high - low))
    step *= next(part for part in (0.1, 0.2, 0.25, 0.5, 1.0) if (high - low) <= 10 * part * step)
    # Sums like 0.1 + 0.2 must not open another step.
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def curve_figure(curve: Curve) -> Markup:
    """Draw a metric against the number of trials that were averaged."""
    metric = curve.metric
    low, high = nice_limits(
        [*curve.value, *curve.chance, *(v for ends in curve.ci95 for v in ends)]
    )
    steps = [math.log2(count) for count in curve.n_averaged]
    x = Axis(steps[0], steps[-1] if len(steps) > 1 else steps[0] + 1, 48, WIDTH - 14)
    y = Axis(low, high, 180, 14)
    parts = _grid(y, [(tick(metric, v), v) for v in (low, (low + high) / 2, high)])
    up = [f"{x(s):.1f},{y(ends[1]):.1f}" for s, ends in zip(steps, curve.ci95, strict=True)]
    down = [f"{x(s):.1f},{y(ends[0]):.1f}" for s, ends in zip(steps, curve.ci95, strict=True)]
    around = " ".join(up + down[::-1])
    parts.append(element("polygon", points=around, fill="var(--accent)", opacity=".2"))
    chance = list(zip(map(x, steps), map(y, curve.chance), strict=True))
    parts.append(_path(chance, "var(--soft)", "3 2.5"))
    points = list(zip(map(x, steps), map(y, curve.value), strict=True))
    parts.append(_path(points, "var(--accent)"))
    labelled_to = -math.inf
    for (cx, cy), count in zip(points, curve.n_averaged, strict=True):
        parts.append(circle(cx, cy, 4))
        if cx >= labelled_to:  # numbers that would touch are left out
            parts.append(text(cx, 196, str(count), "", "middle"))
            labelled_to = cx + 9 + DIGIT * len(str(count))
    parts.append(text((48 + WIDTH - 14) / 2, 213, "trials averaged", "", "middle"))
    spoken = f"{metric_name(metric)} against trials averaged: " + ", ".join(
        f"{count}: {number(metric, v)}"
        for count, v in zip(curve.n_averaged, curve.value, strict=True)
    )
    return svg(218, spoken, parts)


def reliability_figure(confidence: Confidence) -> Markup:
    """Draw how often trials of like confidence are right; on the diagonal it is calibrated."""
    x, y = Axis(0, 1, 48, WIDTH - 14), Axis(0, 1, 210, 14)
    parts = _grid(y, [(f"{100 * v:.0f}{NBSP}%", v) for v in (0, 0.5, 1)])
    parts.append(line(x(0), y(0), x(1), y(1), "var(--soft)", 1.4, "3 2.5"))
    most = max((b.n for b in confidence.bins), default=1)
    for b in confidence.bins:
        spoken = f"confidence {b.confidence:.2f}, right {b.accuracy:.2f}, {b.n} trials"
        radius = round(3 + 7 * math.sqrt(b.n / most), 1)
        at = x(b.confidence), y(b.accuracy)
        parts.append(circle(*at, radius, _title(spoken), opacity=".75"))
    parts += _percent_axis(x, 226, "confidence")
    return svg(246, "share of right trials against their confidence", parts)


def risk_figure(confidence: Confidence) -> Markup:
    """Draw the share of wrong trials among those kept, the most confident first."""
    high = nice_limits([*confidence.risk, confidence.risk_limit])[1]
    x, y = Axis(0, 1, 48, WIDTH - 14), Axis(0, high, 210, 14)
    parts = _grid(y, [(f"{100 * v:g}{NBSP}%", v) for v in (0, high / 2, high)])
    limit = y(confidence.risk_limit)
    parts.append(line(x(0), limit, x(1), limit, "var(--bad)", 1.4, "3 2.5"))
    parts.append(text(x(1), limit - 4, "risk asked for", "", "end"))
    points = zip(map(x, confidence.coverage), map(y, confidence.risk), strict=True)
    parts.append(_path(list(points), "var(--accent)"))
    if confidence.risk_kept is not None:
        parts.append(circle(x(confidence.kept), y(confidence.risk_kept), 5))
    parts += _percent_axis(x, 226, "share of trials kept")
    return svg(246, "share of wrong trials against share of trials kept", parts)


def confusion_svg(names: Sequence[str], counts: Sequence[Sequence[int]]) -> Markup:
    """Draw which category was shown (rows) and which the judge named (columns).

    Rows that were never shown are left out, columns that are neither shown nor named too. Shades
    are fractions of the row. Names are plain text.
    """
    rows = [i for i, row in enumerate(counts) if sum(row)]
    columns = [
        j for j in range(len(names)) if j in rows or any(row[j] for row in counts)
    ]  # fmt: skip
    # Names of rows lie left of the cells; those of columns lean to the right over them.
    cell, longest = 22, LETTER * max(len(names[j]) for j in columns)
    left, top = 12 + longest, 16 + 0.87 * longest
    width = left + cell * len(columns) + 0.5 * longest
    height = top + cell * len(rows) + 4
    parts = []
    for r, i in enumerate(rows):
        y = top + r * cell
        parts.append(text(left - 7, y + 15, names[i], "", "end"))
        total = sum(counts[i])
        for c, j in enumerate(columns):
            share = counts[i][j] / total
            edge = {"stroke": "var(--accent)", "stroke_width": "1.2"} if i == j else {}
            spoken = f"shown {names[i]}, named {names[j]}: {counts[i][j]} of {total}"
            shade = f"rgb(var(--cell) / {0.06 + 0.94 * share:.3f})"
            parts.append(
                element(
                    "rect", _title(spoken), x=left + c * cell + 1, y=y + 1, width=cell - 2,
                    height=cell - 2, rx=3, fill=shade, **edge,
                )
            )  # fmt: skip
    for c, j in enumerate(columns):
        x = left + c * cell + 15
        place = f"translate({x} {top - 7}) rotate(-60)"
        parts.append(element("text", names[j], transform=place))
    return svg(
        height,
        "confusion matrix",
        parts,
        width,
        f"min-width:{0.8 * width:.0f}px;max-width:{1.35 * width:.0f}px",
    )


def element(name: str, content: Markup | str = "", **attributes: object) -> Markup:
    """Return one element of SVG; underscores in names of attributes stand for hyphens."""
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), value)
        for key, value in attributes.items()
        if value not in ("", None)
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, content)


def svg(
    height: float, spoken: str, parts: Sequence[Markup], width: float = WIDTH, style: str = ""
) -> Markup:
    return element(
        "svg", Markup("").join(parts),
        viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=spoken, style=style,
    )  # fmt: skip


def line(
    x1: float, y1: float, x2: float, y2: float, ink: str, width: float, dash: str = ""
) -> Markup:
    return element(
        "line", x1=f"{x1:.1f}", x2=f"{x2:.1f}", y1=f"{y1:.1f}", y2=f"{y2:.1f}", stroke=ink,
        stroke_width=f"{width:g}", stroke_dasharray=dash,
    )  # fmt: skip


def circle(
    x: float, y: float, radius: float, content: Markup | str = "", **attributes: object
) -> Markup:
    given = {"fill": "var(--accent)"} | attributes
    return element(
        "circle", content, cx=f"{x:.1f}", cy=f"{round(y, 1):g}", r=f"{radius:g}", **given
    )


def text(x: float, y: float, text: str, style: str, anchor: str) -> Markup:
    return element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_=style)


def _path(points: list[tuple[float, float]], ink: str, dash: str = "") -> Markup:
    listed = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return element(
        "polyline", points=listed, fill="none", stroke=ink, stroke_width="2", stroke_dasharray=dash
    )


def _title(spoken: str) -> Markup:
    return element("title", spoken)


def _grid(y: Axis, ticks: list[tuple[str, float]]) -> list[Markup]:
    parts = []
    for label, value in ticks:
        parts.append(line(48, y(value), WIDTH - 14, y(value), "var(--line)", 1))
        parts.append(text(42, y(value) + 4, label, "", "end"))
    return parts


def _percent_axis(x: Axis, y: float, label: str) -> list[Markup]:
    ticks = [text(x(v), y, f"{100 * v:.0f}{NBSP}%", "", "middle") for v in (0, 0.5, 1)]
    return [*ticks, text((x.start + x.end) / 2, y + 15, label, "", "middle")]


def tick(metric: str, value: float) -> str:
    """Write the end of an axis, with no more digits than it has."""
    shown = f"{100 * value:.4g}{NBSP}%" if is_share(metric) else f"{value:.4g}"
    return shown.replace("-", MINUS)
