"""Templates of HTML, in which every value is escaped."""

from __future__ import annotations

from pathlib import Path

import jinja2


def open_templates(folder: Path) -> jinja2.Environment:
    """Return the templates of a folder; a name that a template is not given is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
