"""The log of a training, ``log.jsonl``: one line of JSON for each step that was recorded."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from dreamdiffusion.files.whole import naming, write_text


class TrainingLog:
    """Entries of a training so far, in memory and on disk.

    Parameters
    ----------
    path
        The file. What a killed run wrote after step ``until`` is dropped from it.
    until
        The last step whose entries are kept.

    Attributes
    ----------
    entries
        One mapping for each line: ``step`` and figures by name.
    """

    def __init__(self, path: Path, until: int) -> None:
        self._path = path
        self.entries: list[dict[str, Any]] = []
        if not path.exists():
            return
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError):  # a kill may cut the last line
                entry = json.loads(line)
                if entry["step"] <= until:
                    self.entries.append(entry)
        kept = "".join(json.dumps(entry) + "\n" for entry in self.entries)
        write_text(path, kept)

    def append(self, entry: dict[str, Any]) -> None:
        """Add an entry and write its line at once."""
        self.entries.append(entry)
        with naming(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
