"""What a live session leaves on the disk beside the recording: newest images, a log."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from PIL import Image

from dreamdiffusion.cli.live.decoding import Decoded
from dreamdiffusion.files.pictures import open_picture
from dreamdiffusion.files.whole import naming, write_json, write_picture

KEPT = 64
"""Windows whose images stay; older ones are written over."""
_BORDER = 2


class Outputs:
    """Writes ``latest.png``, ``latest.json``, ``images/`` and ``log.jsonl`` of a session.

    Parameters
    ----------
    folder
        Of the session.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "images").mkdir(parents=True, exist_ok=True)
        self._path = folder / "log.jsonl"
        with naming(self._path):
            self._log = self._path.open("a", encoding="utf-8")

    def note(self, event: str, **about: Any) -> None:
        """Add a line to the log, with the time of day."""
        with naming(self._path):
            self._log.write(json.dumps({"time": round(time.time(), 3), "event": event} | about))
            self._log.write("\n")
            self._log.flush()

    def show(self, done: Decoded, latency_ms: dict[str, float]) -> None:
        """Write the images of a window, and what is known of it; a page may watch the files."""
        window, named = done.window, done.named
        about: dict[str, Any] = {
            "window": window.number,
            "marker": window.marker.value if window.marker else None,
            "label": named.label or None,
            "probability": round(named.probability, 4) if named.label else None,
            "shows": named.shows or None,
            "rejected": done.reason,
            "latency_ms": {name: round(value, 1) for name, value in latency_ms.items()},
        }
        self.note("window", **about)
        if done.reason is not None:
            return
        files = []
        for place, image in enumerate(named.images):
            files.append(f"images/{window.number % KEPT:03d}-{place}.png")
            write_picture(self._folder / files[-1], image)
        picture = window.marker.picture if window.marker else None
        seen = open_picture(picture) if isinstance(picture, Path) else picture
        if named.images:
            write_picture(self._folder / "latest.png", side_by_side(seen, named.images))
        about |= {"time": round(time.time(), 3), "images": files, "seen": seen is not None}
        write_json(self._folder / "latest.json", about)

    def close(self) -> None:
        """Close the log."""
        self._log.close()


def side_by_side(seen: Image.Image | None, images: list[Image.Image]) -> Image.Image:
    """Return the picture that was shown, where it is known, and right of a gap the images."""
    size = images[0].size
    first = [] if seen is None else [seen.convert("RGB").resize(size)]
    width, height = size
    gap = 4 * _BORDER if first else 0
    total = (len(first) + len(images)) * (width + _BORDER) - _BORDER + gap
    canvas = Image.new("RGB", (total, height), "white")
    for place, image in enumerate(first + images):
        canvas.paste(image, (place * (width + _BORDER) + (gap if place >= len(first) else 0), 0))
    return canvas
