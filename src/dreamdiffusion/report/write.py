"""Scores and images -> scores.json, gallery.png and report.html."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from dreamdiffusion.evidence.scores import Scores
from dreamdiffusion.files.whole import write_json
from dreamdiffusion.report.contact_sheet import (
    draw_gallery,
    rank_trials,
    save_gallery,
    trial_values,
    with_draws,
)
from dreamdiffusion.report.page import write_report
from dreamdiffusion.report.words import wording


def write_results(
    folder: Path,
    result: Scores,
    generated: Tensor,
    seen: Tensor | None,
    figures: Mapping[str, Figure | bytes],
    draws: Tensor | None = None,
) -> None:
    """Write ``scores.json``, ``gallery.png`` and ``report.html`` into a folder.

    Images as `report.page.write_report` takes them: ``(n, k, 3, H, W)`` and ``(n, 3, H, W)``; of
    ``draws``, further images of the same EEG, ``(n, m, 3, H, W)``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "scores.json", result.model_dump(mode="json"))
    trials = result.trials
    title = "Seen and decoded: best, median and worst trials by rank"
    if result.simulated:
        level = result.noise_level
        title += " (SIMULATED EEG" + ("" if level is None else f", noise level {level}") + ")"
    ranked = rank_trials(trial_values(result.headline.metric, trials)[1], 8)
    groups = {name: ranked[name] for name in ("best", "median", "worst")}
    picture = draw_gallery(
        *with_draws(generated, trials, draws), groups, seen, title, generated.shape[1],
        made=wording(result).gallery,
    )  # fmt: skip
    save_gallery(folder / "gallery.png", picture)
    write_report(folder / "report.html", result, generated, seen, figures, draws=draws)
