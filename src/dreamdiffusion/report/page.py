"""The report: one HTML file that opens offline, on a phone as on a desk."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from dreamdiffusion.evidence.controls import CONTROLS, controls_of_kind
from dreamdiffusion.evidence.scores import Occlusion, Scores
from dreamdiffusion.files.whole import write_text
from dreamdiffusion.report.gallery import data_url, gallery
from dreamdiffusion.report.headline import (
    all_controls,
    checks,
    headline_score,
    noise_in_words,
    remedies,
)
from dreamdiffusion.report.render import fill_template
from dreamdiffusion.report.words import MINUS, NBSP, is_share, wording

FIGURES = {
    "occlusion": "Loss where channels (topography) or times (course) are covered, beside the "
    "evoked response.",
}
"""Figures that can be given to the report, with their captions."""


def write_report(
    path: Path,
    scores: Scores,
    generated: Tensor,
    seen: Tensor | None = None,
    figures: Mapping[str, Figure | bytes] | None = None,
    n_each: int = 3,
    draws: Tensor | None = None,
) -> Path:
    """Write the report of one evaluation.

    Parameters
    ----------
    path : Path
        The HTML file. It loads nothing: style, figures and pictures are inside, and a policy in
        its head forbids scripts and connections.
    scores : Scores
        The content of ``scores.json``. What it does not hold has no section.
    generated : Tensor, (n, k, 3, H, W)
        In [0, 1].
    seen : Tensor, (n, 3, H, W), optional
        In [0, 1].
    figures : mapping of str to Figure or bytes, optional
        Drawn elsewhere, as matplotlib figures or PNG: names of `FIGURES`.
    n_each : int
        Best, median and worst trials in the gallery, of each.
    draws : Tensor, (n, m, 3, H, W), optional
        Further images of the same EEG, drawn by their probability.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    ValueError
        If the headline's metric is not among the scores, the trials of ``scores`` and ``generated``
        differ in number, or a figure has an unknown name or is no PNG.

    Examples
    --------
    >>> import torch
    >>> from pathlib import Path
    >>> from dreamdiffusion import Scores, write_report
    >>> scores = Scores.model_validate_json(Path("scores.json").read_text("utf-8"))
    >>> images = torch.rand(len(scores.trials["category"]), 4, 3, 64, 64)
    >>> write_report(Path("report.html"), scores, images)
    PosixPath('report.html')
    """
    given = {name: _figure(name, figure) for name, figure in (figures or {}).items()}
    page = fill_template(
        "page",
        scores=scores,
        head=scores.headline,
        score=headline_score(scores),
        audit=scores.audit,
        parts=_parts(scores),
        noise=noise_in_words(scores.noise_level),
        all_controls=all_controls(headline_score(scores)),
        remedies=remedies(scores.audit),
        checks=checks(scores),
        control_groups=_control_groups(scores),
        gallery=gallery(scores, generated, seen, n_each, draws),
        costly=_costly(scores.occlusion),
        made=_made(scores),
        words=wording(scores),
        known_what=_known(scores),
        FIGURES=FIGURES,
        figures_given=given,
    )
    write_text(path, page)
    return path


def _known(scores: Scores) -> str:
    """Return what a claim of known pictures is about: these, or their classes alone."""
    nothing_drawn = "images" in scores.not_scored
    by_class = nothing_drawn and scores.headline.metric.startswith("category")
    return "classes" if by_class else "pictures"


def _parts(scores: Scores) -> dict[str, str]:
    """Return the parts of the page that have something to show, with their names in its menu."""
    parts = {
        "controls": ("Controls", True),
        "scores": ("Scores", True),
        "gallery": ("Pictures", True),
        "confusion": ("Confusions", bool(scores.confusion.get("names"))),
        "curves": ("Averaging", bool(scores.curves)),
        "confidence": ("Confidence", scores.confidence is not None),
        "occlusion": ("What it used", scores.occlusion is not None),
        "looks": ("Protocol", True),
        "audit": ("Audit", True),
        "made": ("How it was made", True),
        "limits": ("Limits", True),
    }
    return {name: title for name, (title, there) in parts.items() if there}


def _control_groups(scores: Scores) -> list[dict[str, Any]]:
    """Return the controls that are present, by what they go without, with the mark of `strip`."""
    present = {name for record in scores.scores for name in record.controls}
    groups = [
        (
            "Without a brain",
            "The claim is the difference to the strongest.",
            "\u25cb",
            controls_of_kind("without_brain"),
        ),
        (
            "Without reconstruction",
            "What does not beat these shows a class that was named, or a picture looked up.",
            "\u25a1",
            controls_of_kind("without_image"),
        ),
        (
            "Without drift",
            "What is lost here came from drift.",
            "\u25c7",
            controls_of_kind("without_time"),
        ),
        (
            "The same EEG, drawn otherwise",
            "No controls: what is higher here says what this way of drawing costs.",
            "\u25c7",
            controls_of_kind("other_drawing"),
        ),
        ("Others", "", "\u25c7", sorted(present - set(CONTROLS))),
    ]
    shown = [
        {"title": title, "use": use, "mark": mark, "names": [n for n in names if n in present]}
        for title, use, mark, names in groups
    ]
    return [group for group in shown if group["names"]]


def _costly(occlusion: Occlusion | None) -> dict[str, list[str]]:
    """Return the channels and times whose covering costs most, in words."""
    if occlusion is None:
        return {}
    o = occlusion

    def loss(value: float) -> str:
        return f"{100 * value:.1f}{NBSP}points" if is_share(o.metric) else f"{value:.3f}"

    channels = sorted(zip(o.channel_drop, o.ch_names, strict=True), reverse=True)[:3]
    times = sorted(zip(o.time_drop, o.times, strict=True), reverse=True)[:3]
    return {
        "channels": [f"{name} ({loss(drop)})" for drop, name in channels if drop > 0],
        "times": [
            f"{1000 * (t - o.width / 2):.0f} to {1000 * (t + o.width / 2):.0f}{NBSP}ms "
            f"({loss(drop)})".replace("-", MINUS)
            for drop, t in times
            if drop > 0
        ],
    }


def _made(scores: Scores) -> dict[str, Any]:
    """Return everything that is needed to make this again."""
    made = dict(scores.made)
    command, config = made.pop("command", None), made.pop("config", None)
    rows = {"judge": str(scores.judge.get("trained_on") or "")}
    for key, value in scores.judge.items():
        if key.endswith("_accuracy_on_seen"):
            what = key.removesuffix("_accuracy_on_seen")
            rows[f"judge, {what}"] = f"{100 * value:.1f} % right on the pictures that were seen"
        elif key != "trained_on":
            rows[f"judge, {key}"] = str(value)
    for key, value in made.items():
        entries = value.items() if isinstance(value, Mapping) else [("", value)]
        rows |= {f"{key} {name}".strip(): str(entry) for name, entry in entries}
    text = None if config is None else json.dumps(config, indent=2)
    return {"command": command, "rows": rows, "config": text}


def _figure(name: str, figure: Figure | bytes) -> str:
    """Return a figure that was drawn elsewhere as a URL that holds it."""
    if name not in FIGURES:
        raise ValueError(f"figure {name!r} has no place in the report; known: {', '.join(FIGURES)}")
    if isinstance(figure, bytes):
        data = figure
    else:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=144, bbox_inches="tight", facecolor="white")
        data = buffer.getvalue()
    if not data.startswith(b"\x89PNG\r\n"):
        raise ValueError(f"figure {name!r} is not PNG: it begins with {data[:8]!r}")
    return data_url(data, "png")
