"""The report: one HTML file that opens offline, on a phone as on a desk."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from dreamdiffusion.evidence.scores import Scores
from dreamdiffusion.report.gallery import gallery_part
from dreamdiffusion.report.headline import banner, headline
from dreamdiffusion.report.parts import (
    audit_part,
    confidence_part,
    confusion_part,
    curves_part,
    limits_part,
    looks_part,
    made_part,
    occlusion_part,
    severe_banner,
)
from dreamdiffusion.report.scores import controls_part, scores_part
from dreamdiffusion.report.style import STYLE

FIGURES = {
    "occlusion": "Loss where channels (topography) or times (course) are covered, beside the "
    "evoked response.",
    "reliability": "Reliability: share of right trials among those of like confidence.",
    "risk_coverage": "Risk and coverage: share of wrong trials among those kept.",
    "n_trial": "Score against the number of trials averaged.",
}
"""Figures that can be given to the report, with their captions."""

_NAV = {
    "controls": "Controls",
    "scores": "Scores",
    "gallery": "Pictures",
    "confusion": "Confusions",
    "curves": "Averaging",
    "confidence": "Confidence",
    "occlusion": "What it used",
    "looks": "Protocol",
    "audit": "Audit",
    "made": "How it was made",
    "limits": "Limits",
}


def write_report(
    path: Path,
    scores: Scores,
    generated: Tensor,
    seen: Tensor | None = None,
    figures: Mapping[str, Figure | bytes] | None = None,
    n_each: int = 3,
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
        Drawn elsewhere, as matplotlib figures or PNG: names of `FIGURES`. Those of curves and
        confidence replace what is drawn here from the scores.
    n_each : int
        Best, median and worst trials in the gallery, of each.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    ValueError
        If the headline's metric is not among the scores, the trials of ``scores`` and ``generated``
        differ in number, or a figure has an unknown name or is no PNG.
    """
    drawn = {name: _figure(name, figure) for name, figure in (figures or {}).items()}
    sections = [
        controls_part(scores),
        scores_part(scores),
        gallery_part(scores, generated, seen, n_each),
        confusion_part(scores),
        curves_part(scores, drawn),
        confidence_part(scores, drawn),
        occlusion_part(scores, drawn),
        looks_part(scores),
        audit_part(scores.audit),
        made_part(scores),
        limits_part(scores),
    ]
    present = "".join(sections)
    links = [
        f'<a href="#{name}">{title}</a>'
        for name, title in _NAV.items()
        if f'<h2 id="{name}">' in present
    ]
    told = {reason.name for reason in scores.headline.reasons}
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src data:; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Images decoded from EEG: scores</title><style>{STYLE}</style></head><body><main>"
        "<h1>dreamdiffusion &middot; images decoded from EEG</h1>"
        f"{banner(scores)}{severe_banner(scores.audit, told)}{headline(scores)}"
        f"<nav>{''.join(links)}</nav>{present}</main></body></html>\n"
    )
    path.write_text(page, encoding="utf-8")
    return path


def _figure(name: str, figure: Figure | bytes) -> str:
    """Put a figure that was drawn elsewhere into the page."""
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
    told = escape(FIGURES[name])
    return (
        f'<figure class="wide"><img alt="{told}" src="data:image/png;base64,'
        f'{base64.b64encode(data).decode("ascii")}"><figcaption>{told}</figcaption></figure>'
    )
