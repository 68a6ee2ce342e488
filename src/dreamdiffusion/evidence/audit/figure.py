"""One figure of an audit: the order of the classes, the intervals between them, the tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dreamdiffusion.evidence.audit.blocks import timings
from dreamdiffusion.evidence.audit.findings import ALPHA, Finding
from dreamdiffusion.evidence.audit.trial_order import TrialOrder
from dreamdiffusion.files.whole import write_picture
from dreamdiffusion.trials.trials import Trials

SEVERITY_COLORS = {
    "severe": "#c42a2a",
    "warning": "#d98b00",
    "note": "#5d6470",
    "passed": "#167a3e",
}
MOST_RUNS, MOST_NAMED = 24, 8


def save_figure(path: Path, trials: Trials, findings: Sequence[Finding]) -> None:
    """Draw class over time in each recording, intervals by class, and the p of every test."""
    design = TrialOrder.of(trials.metadata)
    shown = min(design.n_runs, MOST_RUNS)
    figure = Figure(figsize=(11, 4.6 + 0.22 * shown), layout="constrained")
    heights = [1.6 + 0.22 * shown, 3]
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
    _draw_order(above.subplots(), design, shown)
    left, right = below.subplots(1, 2)
    _draw_intervals(left, trials, design)
    _draw_tests(right, findings)
    simulated = " (SIMULATED)" if trials.simulated else ""
    what = "what predicts the class without the response"
    figure.suptitle(f"{len(trials)} trials{simulated}: {what}")
    write_picture(path, figure, dpi=110)


def _palette(design: TrialOrder) -> list[tuple[float, ...]]:
    n = len(design.names)
    if n <= 10:
        return [colormaps["tab10"](i) for i in range(n)]
    return [colormaps["turbo"](x) for x in np.linspace(0.05, 0.95, n)]


def _draw_order(axes: Axes, design: TrialOrder, shown: int) -> None:
    palette = _palette(design)
    for run in range(shown):
        own = design.runs == run
        axes.scatter(
            design.onsets[own], np.full(own.sum(), run), c=[palette[i] for i in design.labels[own]],
            marker="|", s=90, linewidths=2,
        )  # fmt: skip
    axes.set_yticks(range(shown), [name[-28:] for name in design.run_names[:shown]], fontsize=7)
    axes.invert_yaxis()
    axes.margins(x=0.01)
    axes.set_xlabel("seconds from the start of the recording")
    rest = design.n_runs - shown
    more = f" (the first {shown} of {design.n_runs} recordings)" if rest else ""
    axes.set_title(f"class of each trial over time{more}", fontsize=10)
    if len(design.names) <= MOST_NAMED:
        for name, color in zip(design.names, palette, strict=True):
            axes.plot([], [], color=color, linewidth=4, label=name)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False)


def _draw_intervals(axes: Axes, trials: Trials, design: TrialOrder) -> None:
    axes.set_title("time to the trial before", fontsize=10)
    axes.set_xlabel("seconds")
    axes.set_ylabel("share of the class")
    before = timings(design, trials.metadata).get("interval_before")
    if before is None:
        axes.text(0.5, 0.5, "one trial in each recording", ha="center", transform=axes.transAxes)
        return
    known = np.isfinite(before)
    low, high = np.quantile(before[known], [0.0, 0.98])
    edges = np.linspace(low, max(high, low + 1e-3), 31)
    palette = _palette(design)
    commonest = np.argsort(-np.bincount(design.labels), kind="stable")[:MOST_NAMED]
    for label in sorted(commonest.tolist()):
        values = np.clip(before[known & (design.labels == label)], edges[0], edges[-1])
        if len(values):
            axes.hist(
                values, edges, weights=np.full(len(values), 1 / len(values)), histtype="step",
                color=palette[label], label=design.names[label],
            )  # fmt: skip
    axes.legend(fontsize=7, frameon=False)


def _draw_tests(axes: Axes, findings: Sequence[Finding]) -> None:
    tested = [finding for finding in findings if "p" in finding.evidence][::-1]
    values = [-np.log10(finding.evidence["p"]) for finding in tested]
    axes.barh(
        range(len(tested)), values, color=[SEVERITY_COLORS[f.severity] for f in tested], height=0.6
    )
    axes.set_yticks(range(len(tested)), [f"{f.name} ({f.severity})" for f in tested], fontsize=8)
    axes.axvline(-np.log10(ALPHA), color="black", linewidth=1, linestyle="--")
    ticks = [1, 0.1, 0.01, ALPHA, 0.002]
    axes.set_xticks([-np.log10(p) for p in ticks], [f"{p:g}" for p in ticks], fontsize=7)
    axes.set_xlim(0, 2.9)
    axes.set_xlabel(f"p by permutation; dashed: {ALPHA:g}, the limit of one test")
    axes.set_title("does it predict the class?", fontsize=10)
