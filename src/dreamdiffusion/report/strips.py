"""A score beside its controls, as inline SVG: on one line, and difference by difference."""

from __future__ import annotations

from markupsafe import Markup

from dreamdiffusion.evidence.controls import CONTROLS, controls_of_kind
from dreamdiffusion.evidence.scores import Score
from dreamdiffusion.report.charts import (
    DIGIT,
    EDGE,
    LETTER,
    WIDTH,
    Axis,
    circle,
    element,
    line,
    nice_limits,
    svg,
    text,
    tick,
)
from dreamdiffusion.report.words import (
    control_name,
    difference,
    low_to_high,
    metric_name,
    number,
)


def strip(score: Score) -> Markup:
    """Draw a score with its interval on a line, chance as a bar, every control as a named mark."""
    metric = score.metric
    controls = sorted(score.controls.items(), key=lambda item: item[1].value)
    values = [score.value, score.chance, *score.ci95, *(c.value for _, c in controls)]
    low, high = nice_limits(values)
    x = Axis(low, high, EDGE, WIDTH - EDGE)
    y = 30.0
    parts = [
        line(x(low), y, x(high), y, "var(--line)", 2),
        line(x(score.chance), y - 11, x(score.chance), y + 11, "var(--soft)", 1.6, "3 2.5"),
        element(
            "line",
            x1=f"{x(score.ci95[0]):.1f}",
            x2=f"{x(score.ci95[1]):.1f}",
            y1=f"{y:g}",
            y2=f"{y:g}",
            stroke="var(--accent)",
            stroke_width=8,
            stroke_linecap="round",
            opacity=".35",
        ),
    ]
    # The score and chance stand above the line, each where it does not cover the other.
    value = number(metric, score.value)
    at = _inside(x(score.value), DIGIT * len(value))
    parts.append(text(at, y - 13, value, "strong", "middle"))
    chance_at = _inside(x(score.chance), 34)
    if abs(chance_at - at) > DIGIT * len(value) / 2 + 20:
        parts.append(text(chance_at, y - 13, "chance", "", "middle"))
    bottom, names = y + 6, []
    taken: list[float] = []  # right end of what stands in each row of names
    for name, control in controls:
        label = control_name(name, short=True)
        width = LETTER * len(label) + 6
        middle = _inside(x(control.value), width)
        row = next((i for i, end in enumerate(taken) if end <= middle - width / 2), len(taken))
        taken[row : row + 1] = [middle + width / 2]
        text_y = y + 22 + 12 * row
        parts.append(line(x(control.value), y + 5, x(control.value), text_y - 9, "var(--line)", 1))
        parts.append(_mark(name, x(control.value), y))
        names.append(
            text(middle, text_y, label, "ink" if name == score.strongest else "", "middle")
        )
        bottom = max(bottom, text_y)
    parts.append(circle(x(score.value), y, 6))
    parts += names  # over the lines that lead to them
    bottom += 15
    parts.append(text(EDGE, bottom, tick(metric, low), "", "start"))
    parts.append(text(WIDTH - EDGE, bottom, tick(metric, high), "", "end"))
    spoken = (
        f"{metric_name(metric)} {value}, interval {low_to_high(metric, score.ci95)}, "
        f"chance {number(metric, score.chance)}; "
        + "; ".join(f"{control_name(n)} {number(metric, c.value)}" for n, c in controls)
    )
    return svg(bottom + 4, spoken, parts)


def forest(score: Score) -> Markup:
    """Draw the difference of a score to each of its controls, with interval, against zero."""
    metric, controls = score.metric, score.controls
    ends = [v for c in controls.values() for v in (*c.difference_ci95, c.difference)]
    low, high = nice_limits(ends)
    x = Axis(low, high, 14, WIDTH - 14)
    row, top = 40, 4
    height = top + row * len(controls) + 20
    parts = []
    without_brain = controls_of_kind("without_brain")
    order = [*without_brain, *(name for name in controls if name not in without_brain)]
    names = [name for name in order if name in controls]
    for i, name in enumerate(names):
        control, y = controls[name], top + row * i + 29.0
        label = control_name(name) + (" (strongest)" if name == score.strongest else "")
        parts.append(
            text(0, y - 15, label, "strong" if name == score.strongest else "ink", "start")
        )
        parts.append(text(WIDTH, y - 15, difference(metric, control.difference), "ink", "end"))
        parts.append(line(x(0), y - 9, x(0), y + 9, "var(--soft)", 1.4))  # not through the names
        a, b = (x(end) for end in control.difference_ci95)
        parts.append(line(a, y, b, y, "var(--accent)", 2))
        parts += [line(end, y - 4, end, y + 4, "var(--accent)", 2) for end in (a, b)]
        parts.append(circle(x(control.difference), y, 5))
    zero = "no difference" if 60 < x(0) < WIDTH - 60 else "0"
    parts.append(text(x(0), height - 4, zero, "", "middle"))
    if high > 0 and x(high) - x(0) > 190:  # or the two texts would meet
        parts.append(text(WIDTH, height - 4, f"EEG adds {difference(metric, high)}", "", "end"))
    spoken = "score minus control: " + "; ".join(
        f"{control_name(n)} {difference(metric, controls[n].difference)}, interval "
        f"{low_to_high(metric, controls[n].difference_ci95, of_difference=True)}"
        for n in names
    )
    return svg(height, spoken, parts)


def _mark(control: str, x: float, y: float) -> Markup:
    """A circle for controls without the brain, a square without the image, else a diamond."""
    kind = CONTROLS[control].kind if control in CONTROLS else None
    ink = "var(--bad)" if kind == "without_brain" else "var(--soft)"
    drawn = {"fill": "var(--paper)", "stroke": ink, "stroke_width": 2}
    if kind == "without_image":
        at = {"x": f"{x - 4.2:.1f}", "y": f"{y - 4.2:.1f}"}
        return element("rect", **at, width="8.4", height="8.4", **drawn)
    if kind == "without_brain":
        return circle(x, y, 4.6, **drawn)
    return element("path", d=f"M{x:.1f} {y - 6:g}l6 6l-6 6l-6 -6z", **drawn)


def _inside(x: float, width: float) -> float:
    return min(max(x, width / 2), WIDTH - width / 2)
