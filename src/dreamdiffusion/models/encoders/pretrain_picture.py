"""A picture of what masked signal modelling does: original, masked and reconstructed signals."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dreamdiffusion.files.whole import write_picture

HIDDEN, INK, PALE = "#ece7df", "#23272e", "#9aa1ab"
PREDICTED = "#c8502f"


def draw_reconstruction(
    signal: np.ndarray,
    guess: np.ndarray,
    hidden: np.ndarray,
    ch_names: list[str],
    sfreq: float,
    title: str,
    path: Path,
    n_rows: int = 4,
) -> None:
    """Draw original, masked and reconstructed signals of one window as a PNG.

    Parameters
    ----------
    signal, guess
        ``(C, T)``, scaled EEG and what the model says of it; the channels named come first.
    hidden
        bool ``(T,)``, the time points that the model did not see.
    sfreq
        Hz.
    n_rows
        Channels at most, evenly picked.
    """
    places = np.linspace(0, len(ch_names) - 1, min(n_rows, len(ch_names))).round().astype(int)
    with mpl.rc_context({"font.size": 9, "axes.edgecolor": PALE, "text.color": INK}):
        shown = {int(place): ch_names[place] for place in places}
        figure = _figure(signal, guess, hidden, shown, sfreq)
        figure.suptitle(title)
        write_picture(path, figure, dpi=150)


def _figure(
    signal: np.ndarray,
    guess: np.ndarray,
    hidden: np.ndarray,
    channels: dict[int, str],
    sfreq: float,
) -> Figure:
    time = np.arange(signal.shape[1]) / sfreq * 1000
    figure = Figure(figsize=(11, 0.9 + 1.15 * len(channels)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(channels), 3, sharex=True, sharey=True, squeeze=False)
    shown = np.where(hidden, np.nan, signal)
    for row, channel in zip(axes, channels, strict=True):
        original, masked, reconstructed = row
        original.plot(time, signal[channel], color=INK, lw=1.1)
        for axis in (masked, reconstructed):
            _shade(axis, hidden, sfreq)
        masked.plot(time, shown[channel], color=INK, lw=1.1)
        reconstructed.plot(time, signal[channel], color=PALE, lw=1.1, label="original")
        joined = np.where(hidden, guess[channel], signal[channel])
        reconstructed.plot(time, joined, color=PREDICTED, lw=1.2, label="reconstructed")
        original.set_ylabel(channels[channel], rotation=0, ha="right", va="center")
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(color=PALE, labelsize=8)
        axis.margins(x=0)
    rows = list(channels)
    limit = 1.15 * max(np.abs(signal[rows]).max(), np.abs(guess[rows]).max(), 1e-6)
    axes[0, 0].set_ylim(-limit, limit)
    for axis, title in zip(
        axes[0], ("original", "what the encoder sees", "reconstructed"), strict=True
    ):
        axis.set_title(title, fontsize=10, loc="left")
    axes[0, 2].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("time (ms)")
    return figure


def _shade(axis: Axes, hidden: np.ndarray, sfreq: float) -> None:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], hidden.astype(int), [0]])))
    for first, last in edges.reshape(-1, 2):
        left, right = (first - 0.5) / sfreq * 1000, (last - 0.5) / sfreq * 1000
        axis.axvspan(left, right, color=HIDDEN, lw=0, zorder=0)
