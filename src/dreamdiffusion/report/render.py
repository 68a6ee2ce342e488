"""The templates of the report: HTML with every value escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dreamdiffusion.evidence.controls import CONTROLS
from dreamdiffusion.files.templates import open_templates
from dreamdiffusion.report import charts, strips, words

TEMPLATES = open_templates(Path(__file__).parent / "templates")
TEMPLATES.globals |= {
    "CONTROLS": CONTROLS,
    "NBSP": words.NBSP,
    "control_description": words.control_description,
    "confusion_svg": charts.confusion_svg,
    "control_name": words.control_name,
    "curve_figure": charts.curve_figure,
    "difference": words.difference,
    "forest": strips.forest,
    "low_to_high": words.low_to_high,
    "metric_name": words.metric_name,
    "number": words.number,
    "plural": words.plural,
    "reliability_figure": charts.reliability_figure,
    "risk_figure": charts.risk_figure,
    "strip": strips.strip,
}


def fill_template(part: str, **values: Any) -> str:
    """Fill the template of a page or of one part of it, such as ``audit``."""
    return TEMPLATES.get_template(f"{part}.html.jinja").render(**values)
