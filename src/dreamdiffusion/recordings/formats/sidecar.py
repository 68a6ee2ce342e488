"""JSON files beside recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file that holds one object, as those of BIDS do.

    Raises
    ------
    ValueError
        If it is no JSON, or holds something else; the message names the file.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected an object: {{...}}")
    return content
