"""The folder that `dreamdiffusion live` writes, as the page shows it."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOG = "log.jsonl"
OLD_S = 10.0
"""Seconds without a new line in the log after which the session counts as silent."""
_TAIL = 1 << 16
_LARGEST = 1 << 24


@dataclass(frozen=True)
class LiveState:
    """What is known of a live session.

    Attributes
    ----------
    running
        Whether its log has grown in the last seconds.
    words
        One sentence.
    rows
        Names and values of the newest window.
    picture
        Number of the newest picture, by its time; 0: there is none.
    alt
        What that picture shows, in words.
    """

    running: bool
    words: str
    rows: dict[str, str]
    picture: int
    alt: str


class LiveFolder:
    """Reads the newest picture and the end of the log; nothing in the folder is changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def picture(self) -> bytes | None:
        """Return the newest picture, PNG; None: there is none."""
        path = self.folder / "latest.png"
        try:
            content = path.read_bytes() if path.stat().st_size <= _LARGEST else b""
        except OSError:
            return None
        return content if content.startswith(b"\x89PNG") else None

    def state(self) -> LiveState:
        """Return what is known now."""
        lines = self._tail()
        if not lines:
            words = "No live session has written here yet. Start one: dreamdiffusion live."
            return LiveState(False, words, {}, 0, "")
        age = time.time() - float(lines[-1].get("time", 0))
        running = age <= OLD_S and lines[-1].get("event") != "end"
        words = "The session runs." if running else f"The session is silent for {age:.0f} s."
        if lines[-1].get("event") == "end":
            words = "The session has ended."
        newest = next((line for line in lines[::-1] if line.get("event") == "window"), {})
        picture = self.folder / "latest.png"
        number = int(1000 * picture.stat().st_mtime) if picture.is_file() else 0
        return LiveState(running, words, _rows(newest), number, _alt(newest))

    def _tail(self) -> list[dict[str, Any]]:
        """Return the last whole lines of the log."""
        try:
            with (self.folder / LOG).open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL))
                texts = file.read().split(b"\n")
        except OSError:
            return []
        lines = []
        for text in texts[1 if size > _TAIL else 0 :]:
            try:
                line = json.loads(text)
            except ValueError:  # a line that is being written
                continue
            if isinstance(line, dict):
                lines.append(line)
        return lines


def _rows(window: dict[str, Any]) -> dict[str, str]:
    rows = {}
    if window.get("shows"):
        rows["The images show"] = str(window["shows"])
    if window.get("label"):
        chance = window.get("probability")
        sure = f" ({100 * chance:.0f} % sure)" if isinstance(chance, int | float) else ""
        rows["The EEG says"] = f"{window['label']}{sure}"
    if window.get("marker") is not None:
        rows["What was shown"] = str(window["marker"])
    latency = window.get("latency_ms")
    if isinstance(latency, dict) and isinstance(latency.get("total"), int | float):
        rows["From window to images"] = f"{latency['total']:.0f} ms"
    if window.get("rejected"):
        rows["Not decoded"] = str(window["rejected"])
    return rows


def _alt(window: dict[str, Any]) -> str:
    shows = window.get("shows") or window.get("label")
    return f"Images of the newest window{f', which show: {shows}' if shows else ''}"
