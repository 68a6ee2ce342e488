"""The templates of the page: every value is escaped."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from dreamdiffusion.files.templates import open_templates

TEMPLATES = open_templates(Path(__file__).parent / "templates")


@dataclass(frozen=True)
class Dial:
    """The one setting of how a model draws: its name in the schema, its words, its range."""

    field: str
    label: str
    low: str
    high: str
    least: float
    most: float
    own: float


@dataclass(frozen=True)
class About:
    """A sample recording or a model that can be chosen: its name, and what the page says of it."""

    name: str
    title: str
    text: str
    dial: Dial | None = None


@dataclass(frozen=True)
class Row:
    """Images of one kind at a moment."""

    caption: str
    alt: str
    images: list[str]


@dataclass(frozen=True)
class Moment:
    """One picture that came on, and what was drawn of it."""

    onset: float
    seen: str
    rows: list[Row]
    confidence: str


def fill(part: str, **values: Any) -> str:
    """Fill the template of the page, or of a part of it."""
    return TEMPLATES.get_template(f"{part}.html.jinja").render(**values)


def png_uri(picture: Image.Image | bytes) -> str:
    """Return a picture, or the bytes of a PNG, as an address that holds it."""
    if isinstance(picture, Image.Image):
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        picture = buffer.getvalue()
    return "data:image/png;base64," + base64.b64encode(picture).decode()
