"""The picture of a recording: traces, spectrum, sensors, the whole course, events."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from scipy.signal import detrend

from dreamdiffusion.recordings.bad_channels import Spectrum
from dreamdiffusion.recordings.electrodes import electrode_positions, unknown_electrodes
from dreamdiffusion.recordings.gaps import stretches
from dreamdiffusion.recordings.recording import Recording, eeg_names

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

INK, PALE, FAINT = "#23272e", "#9aa1ab", "#e6e8eb"
BAD, LINE = "#c8502f", "#3b6ea8"
EVENTS = ("#3b6ea8", "#c8912f", "#4d8f6b", "#8a5fa8", "#b0546f", "#5a8fa0", "#7a6a55", "#6b7c3f")
SHOWN_S = 10.0
MAX_CATEGORIES = len(EVENTS)
_STYLE: dict[RcKeyType, Any] = {
    "font.size": 9, "axes.edgecolor": PALE, "text.color": INK, "axes.labelcolor": INK,
    "xtick.color": PALE, "ytick.color": PALE, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left",
    "axes.titlesize": 10,
}  # fmt: skip


def draw_inspection(recording: Recording, power: Spectrum, found: dict[str, Any]) -> Figure:
    """Draw a recording.

    Parameters
    ----------
    recording
        Volts.
    power
        `bad_channels.spectrum` of it.
    found
        `inspection.describe` of it.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(13, 8.6), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(
            4, 2, width_ratios=(2.1, 1), height_ratios=(1, 1, 0.42, 0.62), hspace=0.04
        )
        bad = set(found["bad_channels"])
        names = eeg_names(recording.raw)
        colours = _event_colours(found.get("events", {}))
        _draw_traces(figure.add_subplot(grid[:2, 0]), recording, names, bad, colours)
        _draw_spectrum(figure.add_subplot(grid[0, 1]), power, bad, found["line_noise_hz"])
        _draw_sensors(figure.add_subplot(grid[1, 1]), recording, names, bad, found["positions"])
        course = figure.add_subplot(grid[3, 0])
        events = figure.add_subplot(grid[2, 0], sharex=course)
        _draw_events(events, recording, colours)
        _draw_course(figure, course, recording, names, bad)
        _write_findings(figure.add_subplot(grid[2:, 1]), found)
        who = f"subject {found['subject']}, session {found['session']}, run {found['run']}"
        simulated = "   SIMULATED" if recording.simulated else ""
        figure.suptitle(
            f"{recording.source.name}{simulated}\n{who}   {found['n_chans']} EEG channels   "
            f"{found['sfreq']:g} Hz   {_duration(found['duration_s'])}",
            x=0.008, ha="left", fontsize=12,
        )  # fmt: skip
    return figure


def _draw_traces(
    axis: Axes, recording: Recording, names: list[str], bad: set[str], colours: dict[str, str]
) -> None:
    """Ten seconds from the middle; every stretch without its line, for offsets are thousands."""
    raw = recording.raw
    sfreq = float(raw.info["sfreq"])
    n_shown = min(raw.n_times, round(SHOWN_S * sfreq))
    first = (raw.n_times - n_shown) // 2
    if not names:
        axis.set_axis_off()
        axis.set_title("no channel is EEG")
        return
    picks = np.array([raw.ch_names.index(name) for name in names])
    data = np.asarray(raw.get_data(picks=picks, start=first, stop=first + n_shown)) * 1e6
    data[~np.isfinite(data)] = np.nan
    cuts = []
    for start, stop in stretches(raw):
        piece = slice(max(start - first, 0), max(min(stop - first, n_shown), 0))
        whole = np.isfinite(data[:, piece]).all(axis=1) if piece.start < piece.stop else []
        if np.any(whole):
            data[whole, piece] = detrend(data[whole, piece], axis=1)
        if 0 < start - first < n_shown:
            cuts.append(start / sfreq)
    data -= np.nanmedian(np.nan_to_num(data), axis=1, keepdims=True)
    spread = np.nanmedian(np.nanpercentile(np.abs(np.nan_to_num(data)), 95, axis=1))
    step = 2.2 * float(max(spread, 1.0))
    time = (first + np.arange(n_shown)) / sfreq
    thin = max(1, n_shown // 4000)
    for row, name in enumerate(names):
        colour = BAD if name in bad else INK
        samples = np.clip(data[row, ::thin], -1.6 * step, 1.6 * step)
        axis.plot(time[::thin], samples - row * step, color=colour, lw=0.6)
    for cut in cuts:
        axis.axvline(cut, color=PALE, lw=0.6, ls=(0, (4, 3)), zorder=0)
    if recording.events is not None:
        table = recording.events
        inside = (table["onset"] >= time[0]) & (table["onset"] <= time[-1])
        for onset, category in zip(
            table["onset"][inside], table["category"][inside].astype(str), strict=True
        ):
            axis.axvline(onset, color=colours.get(category, PALE), lw=1.1, alpha=0.7, zorder=0)
    every = 1 + len(names) // 80  # more names than that would cover each other
    axis.set_yticks(-step * np.arange(0, len(names), every), names[::every])
    axis.tick_params(axis="y", length=0, labelsize=8 if len(names) <= 32 else 5)
    for label, name in zip(axis.get_yticklabels(), names[::every], strict=True):
        label.set_color(BAD if name in bad else INK)
    axis.set_xlim(time[0], time[-1])
    axis.set_ylim(-step * (len(names) - 0.2), step * 0.9)
    axis.spines["left"].set_visible(False)
    bar = _round(step)
    axis.plot([1.008] * 2, [-step * 0.5, -step * 0.5 + bar], color=INK, lw=2, clip_on=False,
              transform=axis.get_yaxis_transform())  # fmt: skip
    axis.text(1.014, -step * 0.5 + bar / 2, f"{bar:g} µV", rotation=90, va="center", fontsize=8,
              transform=axis.get_yaxis_transform())  # fmt: skip
    cut_note = "; dashed: recording interrupted" if cuts else ""
    axis.set_title(f"{n_shown / sfreq:.3g} s from the middle, drifts removed{cut_note}")
    axis.set_xlabel("time (s)", labelpad=1)


def _draw_spectrum(axis: Axes, power: Spectrum, bad: set[str], line: float | None) -> None:
    if not power.ch_names:
        axis.set_axis_off()
        return
    freqs, keep = power.freqs, (power.freqs >= 1) & (power.freqs <= 100)
    level = np.where(power.power > 0, power.power * 1e12, np.nan)
    for name, row in zip(power.ch_names, level, strict=True):
        is_bad = name in bad
        axis.plot(freqs[keep], row[keep], color=BAD if is_bad else PALE, lw=0.9 if is_bad else 0.5,
                  alpha=0.9 if is_bad else 0.6, zorder=2 if is_bad else 1)  # fmt: skip
    good = [i for i, name in enumerate(power.ch_names) if name not in bad]
    usable = [i for i in good if np.isfinite(level[i, keep]).all()]
    if usable and keep.any():
        axis.plot(freqs[keep], np.median(level[usable][:, keep], axis=0), color=INK, lw=1.5)
    if keep.any() and np.isfinite(level[:, keep]).any():
        axis.set_yscale("log")
        axis.set_xlim(1, freqs[keep][-1])
        shown = level[usable][:, keep] if usable else level[:, keep]
        axis.set_ylim(np.nanmin(shown) / 2, np.nanmax(level[:, keep]) * 2)
    if line is not None:
        axis.axvline(line, color=LINE, lw=0.9, ls=(0, (4, 3)), zorder=0)
        axis.annotate(f" {line:g} Hz mains", (line, 0.99), xycoords=("data", "axes fraction"),
                      va="top", color=LINE, fontsize=8)  # fmt: skip
    axis.set_title("spectrum (black: median channel)")
    axis.set_xlabel("frequency (Hz)", labelpad=1)
    axis.set_ylabel("µV²/Hz")


def _draw_sensors(
    axis: Axes, recording: Recording, names: list[str], bad: set[str], known: str
) -> None:
    """From above, the nose up; angle from the vertex becomes distance from the middle."""
    axis.set_axis_off()
    try:
        positions = recording.positions
    except ValueError:
        axis.text(0.5, 0, _wrap(f"positions {known}", 56), ha="center", va="top", fontsize=7,
                  color=BAD, transform=axis.transAxes)  # fmt: skip
        unknown = set(unknown_electrodes(names))
        names = [name for name in names if name not in unknown]
        positions = electrode_positions(names)
    if not names:
        return
    axis.set_title("sensors")
    axis.set_aspect("equal")
    x, y, z = (positions - [0, 0, 0.04]).T  # the origin lies between the ears, below the middle
    distance = np.arctan2(np.hypot(x, y), z) / (np.pi / 2)
    angle = np.arctan2(y, x)
    across, up = distance * np.cos(angle), distance * np.sin(angle)
    axis.add_patch(Circle((0, 0), 1, fill=False, color=PALE, lw=1.2))
    axis.plot([-0.12, 0, 0.12], [0.99, 1.13, 0.99], color=PALE, lw=1.2)
    for side in (-1, 1):
        ear_angle = np.linspace(-np.pi / 2, np.pi / 2, 20)
        axis.plot(side * (0.995 + 0.09 * np.cos(ear_angle)), 0.17 * np.sin(ear_angle),
                  color=PALE, lw=1.2)  # fmt: skip
    colours = [BAD if name in bad else INK for name in names]
    axis.scatter(across, up, s=14 if len(names) <= 32 else 7, c=colours, zorder=3)
    size = 8 if len(names) <= 32 else 5.5 if len(names) <= 80 else 0
    for name, a, b, colour in zip(names, across, up, colours, strict=True):
        if size or name in bad:
            axis.annotate(name, (a, b), xytext=(0, 3), textcoords="offset points", ha="center",
                          fontsize=size or 5, color=colour)  # fmt: skip
    reach = max(1.2, 1.1 * float(distance.max()))
    axis.set_xlim(-reach, reach)
    axis.set_ylim(-reach, reach)


def _draw_events(axis: Axes, recording: Recording, colours: dict[str, str]) -> None:
    axis.tick_params(axis="x", labelbottom=False, length=0)
    axis.tick_params(axis="y", length=0)
    axis.spines[["left", "bottom"]].set_visible(False)
    axis.set_title("events")
    if recording.events is None or not len(recording.events):
        axis.set_yticks([])
        axis.text(0, 0.5, "none", transform=axis.transAxes, va="center", color=PALE)
        return
    table = recording.events
    category = table["category"].astype(str)
    rows = [*colours, "others"] if not bool(category.isin(list(colours)).all()) else list(colours)
    labels = []
    for row, name in enumerate(rows):
        chosen = ~category.isin(list(colours)) if name == "others" else category == name
        onsets = table["onset"][chosen]
        axis.plot(onsets, np.full(len(onsets), -row), "|", ms=min(12, 70 / len(rows)), mew=0.8,
                  color=colours.get(name, PALE))  # fmt: skip
        short = name if len(name) <= 14 else name[:13] + "…"
        labels.append(f"{short or '(no name)'}  {len(onsets)}")
    axis.set_yticks(-np.arange(len(rows)), labels)
    axis.tick_params(axis="y", labelsize=8 if len(rows) <= 5 else 6.5)
    axis.set_ylim(-len(rows) + 0.4, 0.6)


def _draw_course(
    figure: Figure, axis: Axes, recording: Recording, names: list[str], bad: set[str]
) -> None:
    """Amplitude of every channel over the whole recording, against the median of all."""
    if not names:
        axis.set_axis_off()
        return
    raw = recording.raw
    sfreq = float(raw.info["sfreq"])
    n_blocks = int(np.clip(raw.n_times / sfreq, 1, 300))
    edges = np.linspace(0, raw.n_times, n_blocks + 1).astype(int)
    amplitude = np.full((len(names), n_blocks), np.nan)
    for row, name in enumerate(names):
        samples = raw.get_data(picks=np.array([raw.ch_names.index(name)]))[0]
        # Differences, so that offsets and drifts, which all EEG has, do not hide the rest.
        steps = np.abs(np.diff(samples, append=samples[-1:]))
        for block, (start, stop) in enumerate(pairwise(edges)):
            part = steps[start:stop]
            part = part[np.isfinite(part)]
            amplitude[row, block] = np.median(part) if len(part) else np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log10(amplitude / np.nanmedian(amplitude))
    ratio[np.isneginf(ratio)] = -9
    colours = mpl.colormaps["RdBu_r"].with_extremes(bad=FAINT)
    image = axis.imshow(
        ratio, aspect="auto", cmap=colours, vmin=-1, vmax=1, interpolation="nearest",
        extent=(0, raw.n_times / sfreq, len(names) - 0.5, -0.5),
    )  # fmt: skip
    every = max(1, len(names) // 16)
    shown = [i for i in range(len(names)) if i % every == 0]
    axis.set_yticks(shown, [names[i] for i in shown])
    axis.tick_params(axis="y", length=0, labelsize=7 if len(shown) <= 8 else 5)
    for label, i in zip(axis.get_yticklabels(), shown, strict=True):
        label.set_color(BAD if names[i] in bad else INK)
    axis.set_title("fast activity over the whole recording, times the median")
    axis.set_xlabel("time (s)", labelpad=1)
    bar = figure.colorbar(image, ax=axis, ticks=[-1, 0, 1], pad=0.01, aspect=12)
    bar.set_ticklabels(["1/10", "1", "10"])
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]


def _write_findings(axis: Axes, found: dict[str, Any]) -> None:
    """The figures that no panel shows, as text."""
    axis.set_axis_off()
    level = found["amplitude_uv"]
    lines = [f"amplitude  {level['lowest']:g} / {level['median']:g} / {level['highest']:g} µV "
             "(lowest, median, highest channel)"] if level else []  # fmt: skip
    if found["offset_uv"] is not None:
        lines.append(f"offset  {found['offset_uv']:g} µV")
    if found["file_units"]:
        lines.append(f"unit in the file  {', '.join(found['file_units'])}")
    if found["spectrum_peaks_hz"]:
        shown = ", ".join(f"{freq:g}" for freq in found["spectrum_peaks_hz"])
        lines.append(f"peaks of the spectrum  {shown} Hz")
    lines.append(f"positions  {found['positions']}")
    if found["device"]:
        lines.append(f"device  {found['device']}")
    if found["n_stretches"] > 1:
        lines.append(f"recorded in {found['n_stretches']} stretches")
    if found["renamed"]:
        old, new = next(iter(found["renamed"].items()))
        lines.append(f"{len(found['renamed'])} channels renamed, such as {old} to {new}")
    if found["other_channels"]:
        shown = [f"{name} ({kind})" for name, kind in found["other_channels"].items()]
        lines.append("not EEG  " + ", ".join(shown[:8]) + (", ..." if len(shown) > 8 else ""))
    if found["label_channels"]:
        lines.append("labels, not EEG  " + ", ".join(found["label_channels"]))
    bad = [f"{name}: {reason}" for name, reason in found["bad_channels"].items()]
    shown = [_wrap(line) for line in lines]
    marked = [_wrap(line) for line in bad[:8] + found["problems"]]
    if len(bad) > 8:
        marked.append(f"and {len(bad) - 8} more bad channels")
    axis.text(0, 1, "\n".join(shown), va="top", fontsize=8, transform=axis.transAxes)
    head = "no bad channel" if not bad else f"{len(bad)} bad channels"
    below = sum(text.count("\n") + 1 for text in shown) + 0.7
    axis.annotate("\n".join([head, *marked]), (0, 1), xycoords="axes fraction", va="top",
                  xytext=(0, -11.2 * below), textcoords="offset points", fontsize=8,
                  color=BAD if bad or found["problems"] else INK)  # fmt: skip


def _event_colours(events: dict[str, int]) -> dict[str, str]:
    """The most frequent categories, in the order of their names, each with its colour."""
    frequent = sorted(sorted(events, key=lambda name: -events[name])[:MAX_CATEGORIES])
    return dict(zip(frequent, EVENTS, strict=False))


def _wrap(text: str, width: int = 66) -> str:
    words, lines = text.split(" "), [""]
    for word in words:
        if len(lines[-1]) + len(word) > width:
            lines.append("   ")
        lines[-1] += (" " if lines[-1].strip() else "") + word
    return "\n".join(lines)


def _round(value: float) -> float:
    """The largest 1, 2 or 5 times a power of ten that is not above a positive value."""
    power = 10 ** np.floor(np.log10(value))
    return float(max(m * power for m in (1, 2, 5) if m * power <= value * (1 + 1e-9)))


def _duration(seconds: float) -> str:
    return f"{seconds:.4g} s" if seconds < 120 else f"{seconds / 60:.3g} min"
