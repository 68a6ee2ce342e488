"""The templates of the report: HTML with every value escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from dreamdiffusion.evidence.controls import CONTROLS
from dreamdiffusion.report import charts, strips, words

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.globals |= {
    "CONTROLS": CONTROLS,
    "NBSP": words.NBSP,
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
