"""The figure of what the model used: channels, times, the evoked response.

Narrow enough to be read on a phone. Nothing is computed here that is not in the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import mne
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.patches import Circle

from dreamdiffusion.evidence.scores import Occlusion
from dreamdiffusion.recordings.electrodes import (
    electrode_positions,
    template_montage,
    unknown_electrodes,
)

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

INK, PALE, FAINT = "#23272e", "#9aa1ab", "#e6e8eb"
BLUE, RED = "#2557c7", "#c8502f"
TRACES = ("#c8502f", "#4d8f6b", "#8a5fa8")
MIN_TOPOGRAPHY = 8
"""Electrodes for a topography: between fewer the colours would be made up."""
MAX_BARS = 16

_STYLE: dict[RcKeyType, Any] = {
    "font.size": 11, "axes.edgecolor": PALE, "text.color": INK, "axes.labelcolor": INK,
    "xtick.color": PALE, "ytick.color": PALE, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left",
    "axes.titlesize": 11, "legend.frameon": False, "legend.fontsize": 10,
}  # fmt: skip


def draw_occlusion(record: Occlusion) -> Figure:
    """Draw what covering each channel and each window costs, above the evoked response.

    From `MIN_TOPOGRAPHY` electrodes of the 10-05 system on, channels are a topography (MNE), and
    bars beside their places on the head else.
    """
    with mpl.rc_context(_STYLE):
        figure = _figure(5.2, 8.2)
        grid = figure.add_gridspec(3, 1, height_ratios=(1.3, 0.85, 1))
        names = record.ch_names
        if len(names) >= MIN_TOPOGRAPHY and _lie_apart(names):
            _topography(figure, grid[0], record)
        else:
            _bars(figure, grid[0], record)
        what = f"{100 * record.radius:g} cm around each" if record.radius else "one electrode"
        figure.suptitle(
            f"{record.metric}: {record.value:.3f}\nloss with {what} covered",
            x=0.02, ha="left", fontsize=11,
        )  # fmt: skip
        limits = 1e3 * record.evoked_times[0], 1e3 * record.evoked_times[-1]
        axis = figure.add_subplot(grid[1])
        times, values = 1e3 * np.array(record.times), np.array(record.time_drop)
        spread = 1.96 * np.array(record.time_se)
        axis.axhline(0, color=PALE, lw=0.8)
        axis.fill_between(times, values - spread, values + spread, color=BLUE, alpha=0.15, lw=0)
        axis.plot(times, values, "o-", color=BLUE, ms=4)
        axis.set(xlim=limits, ylabel="loss", xlabel="middle of the window, ms")
        axis.set_title(f"loss with {1e3 * record.width:.0f} ms covered (band: 95 %)")
        _draw_evoked(figure.add_subplot(grid[2]), record, limits)
    return figure


def _draw_evoked(axis: Axes, record: Occlusion, limits: tuple[float, float]) -> None:
    data, times = 1e6 * np.array(record.evoked), 1e3 * np.array(record.evoked_times)
    if len(data) > 1:
        power = data.std(axis=0)
        axis.fill_between(times, power, color=FAINT, lw=0, label="global field power")
    for i, colour in zip(np.argsort(record.channel_drop)[::-1], TRACES, strict=False):
        axis.plot(times, data[i], color=colour, lw=1.3, label=record.ch_names[i])
    axis.axhline(0, color=PALE, lw=0.8)
    axis.set(xlim=limits, xlabel="ms from onset", ylabel="µV")
    axis.set_title(f"mean of the {record.n} trials: the electrodes that matter most")
    axis.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.24), columnspacing=1)


def _lie_apart(names: Sequence[str]) -> bool:
    """Whether every channel has a place of its own; `T7-P7` and `P7-T7` share theirs."""
    if unknown_electrodes(names):
        return False
    return len(np.unique(electrode_positions(names), axis=0)) == len(names)


def _topography(figure: Figure, place: SubplotSpec, record: Occlusion) -> None:
    info = mne.create_info(list(record.ch_names), 1.0, "eeg")
    info.set_montage(template_montage(record.ch_names), match_case=False)
    axis = figure.add_subplot(place)
    drop = np.array(record.channel_drop)
    limit = float(np.abs(drop).max()) or 1.0
    image, _ = mne.viz.plot_topomap(
        drop, info, axes=axis, show=False, vlim=(-limit, limit), cmap="RdBu_r", sensors=True,
        contours=0,
    )  # fmt: skip
    # Inside the topography's place, or it would narrow the courses below it.
    bar: Any = figure.colorbar(image, cax=axis.inset_axes((1.14, 0.12, 0.045, 0.76)))
    bar.outline.set_visible(False)
    bar.set_label("loss")


def _bars(figure: Figure, place: SubplotSpec, record: Occlusion) -> None:
    unknown = set(unknown_electrodes(record.ch_names))
    placed = [name for name in record.ch_names if name not in unknown]
    drop = np.array(record.channel_drop)
    order = np.argsort(drop)[::-1][:MAX_BARS]
    if placed:
        grid = place.subgridspec(1, 2, width_ratios=(1.25, 1))
        axis = figure.add_subplot(grid[0])
        _head(figure.add_subplot(grid[1]), placed)
    else:
        axis = figure.add_subplot(place)
    rows = np.arange(len(order))
    axis.barh(
        rows, drop[order], xerr=1.96 * np.array(record.channel_se)[order], color=BLUE, height=0.6,
        error_kw={"ecolor": INK, "lw": 1},
    )  # fmt: skip
    size = 11 if len(order) <= 10 else 8
    axis.set_yticks(rows, [record.ch_names[i] for i in order], fontsize=size)
    axis.invert_yaxis()
    axis.axvline(0, color=PALE, lw=0.8)
    axis.set_xlabel(
        "loss (line: 95 %)" if len(order) == len(drop) else f"loss, {len(order)} of {len(drop)}"
    )


def _head(axis: Axes, names: Sequence[str]) -> None:
    """From above, the nose up; angle from the vertex becomes distance from the middle."""
    x, y, z = (electrode_positions(names) - [0, 0, 0.04]).T
    distance, angle = np.arctan2(np.hypot(x, y), z) / (np.pi / 2), np.arctan2(y, x)
    across, up = distance * np.cos(angle), distance * np.sin(angle)
    axis.add_patch(Circle((0, 0), 1, fill=False, color=PALE, lw=1.2))
    axis.plot([-0.12, 0, 0.12], [0.99, 1.13, 0.99], color=PALE, lw=1.2)
    axis.scatter(across, up, s=16, color=INK, zorder=3)
    for name, a, b in zip(names, across, up, strict=True):
        axis.annotate(
            name, (a, b), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=9
        )
    reach = max(1.2, 1.15 * float(distance.max()))
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach))
    axis.set_aspect("equal")
    axis.set_axis_off()


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    return figure
