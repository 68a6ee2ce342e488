"""Which shard of a store a recording has: a name made of its file as it is now and the settings."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .config import PrepareConfig
from .recordings import Recording

_SIDECAR = re.compile(r"_(i?eeg|events|channels|electrodes|coordsystem)$")


def shard_keys(
    recordings: Sequence[Path | Recording], config: PrepareConfig, form: int
) -> list[str]:
    """Return the name of the shard of each recording.

    A file is known by its path, size and time of change, and by those of the files that belong to
    it: with the same name and another extension, or the sidecars that BIDS puts beside it. So
    nothing is read, and a file that was changed gets another shard.

    Parameters
    ----------
    config
        Settings that change the windows: `window_s`, `window_stride_s`, `scale`, `signal`.
    form
        Number of the store's format.
    """
    settings = config.model_dump(
        mode="json", include={"window_s", "window_stride_s", "scale", "signal"}
    )
    families: dict[Path, dict[str, list[list[Any]]]] = {}
    keys = []
    for item in recordings:
        if isinstance(item, Recording):
            identity: list[Any] = [str(item.source), item.sha256]
        else:
            path = item.resolve()
            if path.parent not in families:  # each folder is listed once
                families[path.parent] = _families(path.parent)
            files = _inside(path) if path.is_dir() else families[path.parent][_stem(path.name)]
            identity = [str(path), files]
        text = json.dumps([form, identity, settings], sort_keys=True)
        keys.append(hashlib.sha256(text.encode()).hexdigest()[:32])
    return keys


def _families(folder: Path) -> dict[str, list[list[Any]]]:
    """Stem -> name, size and time of change of the files that share it."""
    found: dict[str, list[list[Any]]] = {}
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_file():
                stat = entry.stat()
                stamp = [entry.name, stat.st_size, stat.st_mtime_ns]
                found.setdefault(_stem(entry.name), []).append(stamp)
    return found


def _inside(folder: Path) -> list[list[Any]]:
    stats = [(path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [[str(p.relative_to(folder)), s.st_size, s.st_mtime_ns] for p, s in stats]


def _stem(name: str) -> str:
    return _SIDECAR.sub("", name.split(".")[0])
