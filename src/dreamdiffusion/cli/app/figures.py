"""Figures of a recording for the page, each with its words for those who do not see it."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.interpolate import griddata

from dreamdiffusion.cli.app.pages import png_uri
from dreamdiffusion.recordings.electrodes import electrode_positions, unknown_electrodes
from dreamdiffusion.trials.trials import Trials

INK, PALE, LINE = "#1a1a1a", "#c9c9c9", "#1a4f8a"
MOST_TRACES = 12
TRACES_S = 5.0
LEAST_ON_MAP = 8
"""Electrodes below which a map between them says more than was measured."""


@dataclass(frozen=True)
class Plot:
    """A figure as an address that holds it, what it shows, and what is read off it."""

    uri: str
    caption: str
    alt: str


def draw_traces(
    data: np.ndarray, ch_names: list[str], sfreq: float, first_s: float, onsets: np.ndarray
) -> Plot:
    """Draw raw channels, volts ``(n_chans, n_times)``, from `first_s` on, and onsets (s)."""
    names, shown = ch_names[:MOST_TRACES], 1e6 * np.nan_to_num(data[:MOST_TRACES])
    shown = shown - np.median(shown, axis=1, keepdims=True)
    step = 2.5 * max(1.0, float(np.median(np.percentile(np.abs(shown), 95, axis=1))))
    times = first_s + np.arange(shown.shape[1]) / sfreq
    figure, axis = _figure(3.6)
    for row, trace in enumerate(shown):
        axis.plot(times, trace - row * step, color=INK, lw=0.6)
    for onset in onsets[(onsets >= times[0]) & (onsets <= times[-1])]:
        axis.axvline(onset, color=LINE, lw=1, alpha=0.6)
    axis.set_yticks([-row * step for row in range(len(names))], [_plain(n) for n in names])
    axis.set_xlabel("seconds in the recording; lines: a picture came on")
    of = f"{len(names)} of {len(ch_names)} channels"
    n_onsets = int(((onsets >= times[0]) & (onsets <= times[-1])).sum())
    return Plot(
        _uri(figure),
        f"{of}, as recorded. From one trace to the next: {step:.0f} µV.",
        f"Traces of {of} over {times[-1] - times[0]:.0f} seconds, in which {n_onsets} pictures "
        "came on.",
    )


def draw_evoked(trials: Trials) -> list[Plot]:
    """Draw the mean response to the pictures, and its map at its largest moment."""
    mean = 1e6 * np.asarray(trials.data).mean(axis=0)  # (n_chans, n_times)
    power = mean.std(axis=0) if len(mean) > 1 else np.abs(mean[0])
    after = trials.times >= 0.05
    place = int(np.argmax(np.where(after, power, -1.0) if after.any() else power))
    peak_ms, n = 1000 * trials.times[place], len(trials)
    strongest = int(np.abs(mean[:, place]).argmax())
    words = (
        f"largest at {peak_ms:.0f} ms, {mean[strongest, place]:+.1f} µV at "
        f"{trials.ch_names[strongest]}"
    )
    figure, axis = _figure(2.6)
    axis.plot(1000 * trials.times, mean.T, color=PALE, lw=0.6)
    axis.plot(1000 * trials.times, mean[strongest], color=LINE, lw=1.4)
    axis.axvline(peak_ms, color=INK, lw=0.8, ls=":")
    axis.set_xlabel("ms after the picture came on")
    axis.set_ylabel("µV")
    plots = [
        Plot(
            _uri(figure),
            f"Mean response to {n} pictures, filtered as the model wants it: {words} (blue).",
            f"Mean response of {len(mean)} channels to {n} pictures; {words}.",
        )
    ]
    if (on_map := _map(mean[:, place], trials.ch_names)) is not None:
        caption = f"The same at {peak_ms:.0f} ms, seen from above, the nose up (µV)."
        plots.append(Plot(_uri(on_map), caption, f"Map of the response over the head; {words}."))
    return plots


def _map(values: np.ndarray, ch_names: list[str]) -> Figure | None:
    """Draw values, µV ``(n_chans,)``, over the head; None: too few electrodes are known."""
    unknown = set(unknown_electrodes(ch_names))
    kept = [i for i, name in enumerate(ch_names) if name not in unknown]
    if len(kept) < LEAST_ON_MAP:
        return None
    # Angle from the vertex becomes distance from the middle.
    x, y, z = (electrode_positions([ch_names[i] for i in kept]) - [0, 0, 0.04]).T
    distance, angle = np.arctan2(np.hypot(x, y), z) / (np.pi / 2), np.arctan2(y, x)
    across, up = distance * np.cos(angle), distance * np.sin(angle)
    grid = np.linspace(-1, 1, 80)
    wide, high = np.meshgrid(grid, grid)
    places = np.stack([across, up], axis=1)
    level = griddata(places, values[kept], (wide, high), "cubic")
    level[np.hypot(wide, high) > 1] = np.nan
    most = float(np.abs(values[kept]).max()) or 1.0
    figure, axis = _figure(3.2, width=4.2)
    axis.set_aspect("equal")
    axis.set_axis_off()
    axis.set(xlim=(-1.35, 1.35), ylim=(-1.35, 1.35))
    drawn = axis.contourf(
        wide, high, level, np.linspace(-most, most, 13), cmap="RdBu_r", extend="both"
    )
    axis.scatter(across, up, s=5, color=INK)
    turn = np.linspace(0, 2 * np.pi, 100)
    axis.plot(np.cos(turn), np.sin(turn), color=INK, lw=1)
    axis.plot([-0.12, 0, 0.12], [0.99, 1.13, 0.99], color=INK, lw=1)
    figure.colorbar(drawn, ax=axis, shrink=0.7, label="µV", format="%.1f")
    return figure


def _figure(height: float, width: float = 7.0) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.add_subplot()
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    return figure, axis


def _plain(name: str) -> str:
    """Return a channel's name short, and without what matplotlib takes for mathematics."""
    return name[:16].replace("$", r"\$")


def _uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return png_uri(buffer.getvalue())
