"""The table of an ablation for people to read: Markdown, and one figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dreamdiffusion.files.whole import write_picture
from dreamdiffusion.studies.table import Difference, Table, TableRow

PAPER = "the paper (people, 50-way)"


def to_markdown(table: Table) -> str:
    """Return the table, the claims and the comparison with the paper as Markdown."""
    what = "SIMULATED EEG" if table.simulated else "EEG"
    n = max((row.n for row in table.rows), default=0)
    lines = [
        f"{what}; {table.metric}; {n} trials ({table.split}); seeds "
        f"{', '.join(map(str, table.seeds))}. Intervals: bootstrap over seeds and trials, 95 %.",
        "",
        *_rows(table),
    ]
    if table.claims:
        lines += [
            "",
            "| expected | holds | differences, with their paired 95 % intervals |",
            "|---|---|---|",
        ]
    for claim in table.claims:
        lines.append(
            f"| {claim.text} | {claim.holds} | {'; '.join(map(_difference, claim.differences))} |"
        )
    paper = table.against_paper
    if paper.n_pairs:
        lines += [
            "",
            f"Of {paper.n_pairs} pairs of rows {paper.same_in_the_mean} stand in the paper's "
            f"order, {paper.same_beyond_the_interval} of them beyond the interval. The other way "
            f"round beyond the interval: {len(paper.reversed_beyond_the_interval) or 'none'}.",
            *(f"- {_difference(pair)}" for pair in paper.reversed_beyond_the_interval),
        ]
    if table.missing:
        lines += ["", "Without a score:", ""]
        lines += [f"- {name}: {why}" for name, why in table.missing.items()]
    return "\n".join(lines) + "\n"


def draw_table(table: Table, path: Path) -> None:
    """Draw every row as a point with its interval, its seeds, its control and the paper's figure.

    Rows without a score keep their place and say so.
    """
    n = len(table.rows)
    figure = Figure(figsize=(7.5, 1.6 + 0.36 * n), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(table.rows):
        if row.value is not None and row.ci95 is not None:
            axes.plot(row.of_seed, [place] * len(row.of_seed), "o", color="0.6", ms=4, zorder=1)
            axes.plot(row.ci95, [place, place], "-", color="tab:blue", lw=2)
            axes.plot(row.value, place, "o", color="tab:blue", ms=7)
            if row.shuffled_eeg is not None:
                axes.plot(row.shuffled_eeg, place, "x", color="black", ms=6)
        else:
            axes.text(0.01, place, "no score", color="0.5", va="center", fontsize=9)
        if row.paper is not None:
            axes.plot(row.paper / 100, place, "D", color="tab:orange", ms=6, mfc="none")
    chance = [row.chance for row in table.rows if row.chance is not None]
    if chance:
        axes.axvline(float(np.mean(chance)), color="tab:red", ls="--", lw=1, zorder=0)
    for style, label in (
        ({"marker": "o", "color": "tab:blue", "lw": 2, "ms": 7}, "mean, 95 % interval"),
        ({"marker": "o", "color": "0.6", "ls": "", "ms": 4}, "each seed"),
        ({"marker": "x", "color": "black", "ls": "", "ms": 6}, "shuffled EEG"),
        ({"color": "tab:red", "ls": "--", "lw": 1}, "chance"),
        ({"marker": "D", "color": "tab:orange", "ls": "", "ms": 6, "mfc": "none"}, PAPER),
    ):
        if label != PAPER or any(row.paper is not None for row in table.rows):
            axes.plot([], [], label=label, **style)
    axes.set_yticks(range(n), [row.row for row in table.rows])
    axes.set_ylim(n - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel(f"{table.metric}, higher is better")
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    what = "SIMULATED EEG" if table.simulated else "EEG"
    n_trials = max((row.n for row in table.rows), default=0)
    n_seeds = max((len(row.seeds) for row in table.rows), default=0)
    seeds = f"{n_seeds} seed{'s' * (n_seeds != 1)}"
    axes.set_title(f"{what}, {n_trials} held-out trials, {seeds}", loc="left")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    write_picture(path, figure, dpi=120)


def _rows(table: Table) -> list[str]:
    """Return the head and one line for each row; columns that no row fills are left out."""
    first = {pair.better: pair for pair in table.against_first}
    head = [
        "row", "parameters", "score", "95 % interval", "each seed", "chance", "shuffled EEG",
        "best short cut", f"minus {table.rows[0].row}", PAPER,
    ]  # fmt: skip
    cells = [_cells(row, first.get(row.row)) for row in table.rows]
    kept = [n for n, name in enumerate(head) if n < 7 or any(of_row[n] for of_row in cells)]
    lines = [head, ["---"] * len(head), *cells]
    return ["| " + " | ".join(line[n] for n in kept) + " |" for line in lines]


def _cells(row: TableRow, difference: Difference | None) -> list[str]:
    size = "" if row.encoder_parameters is None else f"{row.encoder_parameters / 1e3:,.0f} k"
    paper = "" if row.paper is None else f"{row.paper:g} %"
    if row.value is None or row.ci95 is None:
        return [row.row, size, "none", "", "", "", "", "", "", paper]
    minus = ""
    if difference is not None:
        minus = f"{_percent(difference.value)} ({_interval(difference.ci95)})"
    best = max(row.short_cuts, key=lambda name: row.short_cuts[name], default="")
    return [
        row.row,
        size,
        f"**{_percent(row.value)} %**",
        _interval(row.ci95),
        ", ".join(map(_percent, row.of_seed)),
        f"{_percent(row.chance or 0)} %",
        f"{_percent(row.shuffled_eeg or 0)} %",
        f"{_percent(row.short_cuts[best])} % {best}" if best else "",
        minus,
        paper,
    ]


def _interval(ci95: tuple[float, float]) -> str:
    return " to ".join(map(_percent, ci95))


def _difference(pair: Difference) -> str:
    return f"{pair.better} - {pair.worse}: {_percent(pair.value)} ({_interval(pair.ci95)})"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
