"""Figures of the report as inline SVG: they take the page's colours, light or dark.

A figure is 360 units wide, about as wide as a phone, so that its letters keep their size there.
Text given to these functions is HTML already (see `report_words`) unless said otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from dreamdiffusion.evidence.scores import Confidence, Curve
from dreamdiffusion.report.words import is_share, metric_name, number

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


def curve_figure(curve: Curve) -> str:
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
    parts.append(
        f'<polygon points="{" ".join(up + down[::-1])}" fill="var(--accent)" opacity=".2"/>'
    )
    chance = list(zip(map(x, steps), map(y, curve.chance), strict=True))
    parts.append(_path(chance, "var(--soft)", "3 2.5"))
    points = list(zip(map(x, steps), map(y, curve.value), strict=True))
    parts.append(_path(points, "var(--accent)"))
    told_to = -math.inf
    for (cx, cy), count in zip(points, curve.n_averaged, strict=True):
        parts.append(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="4" fill="var(--accent)"/>')
        if cx >= told_to:  # numbers that would touch are left out
            parts.append(text(cx, 196, str(count), "", "middle"))
            told_to = cx + 9 + DIGIT * len(str(count))
    parts.append(text((48 + WIDTH - 14) / 2, 213, "trials averaged", "", "middle"))
    spoken = f"{metric_name(metric)} against trials averaged: " + ", ".join(
        f"{count}: {number(metric, v)}"
        for count, v in zip(curve.n_averaged, curve.value, strict=True)
    )
    return svg(218, spoken, parts)


def reliability_figure(confidence: Confidence) -> str:
    """Draw how often trials of like confidence are right; on the diagonal it is calibrated."""
    x, y = Axis(0, 1, 48, WIDTH - 14), Axis(0, 1, 210, 14)
    parts = _grid(y, [(f"{100 * v:.0f}&nbsp;%", v) for v in (0, 0.5, 1)])
    parts.append(line(x(0), y(0), x(1), y(1), "var(--soft)", 1.4, "3 2.5"))
    most = max((b.n for b in confidence.bins), default=1)
    for b in confidence.bins:
        told = f"confidence {b.confidence:.2f}, right {b.accuracy:.2f}, {b.n} trials"
        parts.append(
            f'<circle cx="{x(b.confidence):.1f}" cy="{y(b.accuracy):.1f}" '
            f'r="{3 + 7 * math.sqrt(b.n / most):.1f}" fill="var(--accent)" opacity=".75">'
            f"<title>{told}</title></circle>"
        )
    parts += _percent_axis(x, 226, "confidence")
    return svg(246, "share of right trials against their confidence", parts)


def risk_figure(confidence: Confidence) -> str:
    """Draw the share of wrong trials among those kept, the most confident first."""
    high = nice_limits([*confidence.risk, confidence.risk_limit])[1]
    x, y = Axis(0, 1, 48, WIDTH - 14), Axis(0, high, 210, 14)
    parts = _grid(y, [(f"{100 * v:g}&nbsp;%", v) for v in (0, high / 2, high)])
    limit = y(confidence.risk_limit)
    parts.append(line(x(0), limit, x(1), limit, "var(--bad)", 1.4, "3 2.5"))
    parts.append(text(x(1), limit - 4, "risk asked for", "", "end"))
    points = zip(map(x, confidence.coverage), map(y, confidence.risk), strict=True)
    parts.append(_path(list(points), "var(--accent)"))
    if confidence.risk_kept is not None:
        parts.append(
            f'<circle cx="{x(confidence.kept):.1f}" cy="{y(confidence.risk_kept):.1f}" r="5" '
            'fill="var(--accent)"/>'
        )
    parts += _percent_axis(x, 226, "share of trials kept")
    return svg(246, "share of wrong trials against share of trials kept", parts)


def confusion_svg(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
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
        parts.append(text(left - 7, y + 15, escape(names[i]), "", "end"))
        total = sum(counts[i])
        for c, j in enumerate(columns):
            share = counts[i][j] / total
            edge = ' stroke="var(--accent)" stroke-width="1.2"' if i == j else ""
            told = f"shown {names[i]}, named {names[j]}: {counts[i][j]} of {total}"
            parts.append(
                f'<rect x="{left + c * cell + 1}" y="{y + 1}" width="{cell - 2}" '
                f'height="{cell - 2}" rx="3" fill="rgb(var(--cell) / {0.06 + 0.94 * share:.3f})"'
                f"{edge}><title>{escape(told)}</title></rect>"
            )
    for c, j in enumerate(columns):
        x = left + c * cell + 15
        parts.append(
            f'<text transform="translate({x} {top - 7}) rotate(-60)">{escape(names[j])}</text>'
        )
    return svg(
        height,
        "confusion matrix",
        parts,
        width,
        f"min-width:{0.8 * width:.0f}px;max-width:{1.35 * width:.0f}px",
    )


def svg(height: float, spoken: str, parts: list[str], width: float = WIDTH, style: str = "") -> str:
    styled = f' style="{style}"' if style else ""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{spoken}"{styled}>'
        + "".join(parts)
        + "</svg>"
    )


def line(x1: float, y1: float, x2: float, y2: float, ink: str, width: float, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}" stroke="{ink}" '
        f'stroke-width="{width:g}"{dashed}/>'
    )


def text(x: float, y: float, text: str, style: str, anchor: str) -> str:
    styled = f' class="{style}"' if style else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{styled}>{text}</text>'


def _path(points: list[tuple[float, float]], ink: str, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    listed = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{listed}" fill="none" stroke="{ink}" stroke-width="2"{dashed}/>'


def _grid(y: Axis, ticks: list[tuple[str, float]]) -> list[str]:
    parts = []
    for told, value in ticks:
        parts.append(line(48, y(value), WIDTH - 14, y(value), "var(--line)", 1))
        parts.append(text(42, y(value) + 4, told, "", "end"))
    return parts


def _percent_axis(x: Axis, y: float, told: str) -> list[str]:
    ticks = [text(x(v), y, f"{100 * v:.0f}&nbsp;%", "", "middle") for v in (0, 0.5, 1)]
    return [*ticks, text((x.start + x.end) / 2, y + 15, told, "", "middle")]


def tick(metric: str, value: float) -> str:
    """Write the end of an axis, with no more digits than it has."""
    told = f"{100 * value:.4g}&nbsp;%" if is_share(metric) else f"{value:.4g}"
    return told.replace("-", "&minus;")
