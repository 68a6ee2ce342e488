"""Folders of small pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image


def write_pictures(folder: Path, names: Sequence[str]) -> Path:
    """Write one plain picture by each name below a folder."""
    for place, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 16), (30 * place % 256, 90, 10)).save(path)
    return folder
