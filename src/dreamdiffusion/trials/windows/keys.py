"""Which shard of a store a recording has: a name made of its file as it is now and the settings."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dreamdiffusion.recordings.config import StatedConfig
from dreamdiffusion.recordings.recording import Recording
from dreamdiffusion.trials.config import PrepareConfig

_SIDECAR = re.compile(r"(.+)_(?:i?eeg|events|channels|electrodes|coordsystem)\.(?:tsv|json)")


class _Listing(NamedTuple):
    """The files of a folder: name, size and time of change of each."""

    stems: dict[str, list[list[Any]]]
    """By the name without extension."""
    sidecars: list[tuple[set[str], list[Any]]]
    """With the entities that a BIDS sidecar is about."""


def shard_keys(
    recordings: Sequence[Path | Recording], config: PrepareConfig, form: int
) -> list[str]:
    """Return the name of the shard of each recording.

    A file is known by its path, size and time of change, and by those of the files that belong to
    it: with the same name and another extension, or the sidecars that BIDS puts beside it. So
    nothing is read, and a file that was changed gets another shard. A recording in memory is known
    by its samples and what it says of them.

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
    for name in StatedConfig.model_fields:  # stores made before it could be stated stay valid
        if settings["signal"][name] is None:
            del settings["signal"][name]
    listings: dict[Path, _Listing] = {}
    keys = []
    for item in recordings:
        if isinstance(item, Recording):
            identity = _told(item)
        else:
            # A link's sidecars lie beside the link, not beside the file it points to.
            folder = item.parent.resolve()
            if folder not in listings:  # each is listed once
                listings[folder] = _list(folder)
            path = folder / item.name
            files = _inside(path) if path.is_dir() else _family(path.name, listings[folder])
            identity = [str(path), files]
        text = json.dumps([form, identity, settings], sort_keys=True)
        keys.append(hashlib.sha256(text.encode()).hexdigest()[:32])
    return keys


def _told(recording: Recording) -> list[Any]:
    raw = recording.raw
    notes = raw.annotations
    return [
        str(recording.source),
        recording.sha256,
        [recording.subject, recording.session, recording.run, recording.simulated],
        [float(raw.info["sfreq"]), float(raw.first_time)],
        [raw.ch_names, raw.get_channel_types(), list(raw.info["bads"])],
        [ch["loc"][:3].tolist() for ch in raw.info["chs"]],
        [notes.onset.tolist(), notes.duration.tolist(), [str(text) for text in notes.description]],
    ]


def _list(folder: Path) -> _Listing:
    listing = _Listing({}, [])
    if not folder.is_dir():
        return listing
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if not entry.is_file():
                continue
            stat = entry.stat()
            stamp = [entry.name, stat.st_size, stat.st_mtime_ns]
            listing.stems.setdefault(_stem(entry.name), []).append(stamp)
            sidecar = _SIDECAR.fullmatch(entry.name)
            if sidecar:
                parts = {part for part in sidecar[1].split("_") if not part.startswith("space-")}
                listing.sidecars.append((parts, stamp))
    return listing


def _family(name: str, listing: _Listing) -> list[list[Any]]:
    """Files of the same stem, and sidecars about nothing but this recording or its person."""
    stem = _stem(name)
    entities = set(re.sub(r"_i?eeg$", "", stem).split("_"))
    beside = [stamp for parts, stamp in listing.sidecars if parts <= entities]
    return listing.stems.get(stem, []) + beside


def _inside(folder: Path) -> list[list[Any]]:
    stats = [(path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [[str(p.relative_to(folder)), s.st_size, s.st_mtime_ns] for p, s in stats]


def _stem(name: str) -> str:
    return Path(name.removesuffix(".gz")).stem
