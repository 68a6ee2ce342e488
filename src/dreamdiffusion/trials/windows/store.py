"""Unlabelled windows on disk: one shard per recording, read at random as if they were one array.

A store is a folder:

``shards/<key>.npy``
    float16 (n_windows, n_chans, n_times), the windows of one recording, scaled.
``shards/<key>.json``
    Who, which channels, which windows. Written last: a shard without it does not exist.
``info.json``
    The index of all shards, and the settings; replaced in one step.

Every file is written under another name, flushed to the disk and renamed, so that whatever stops
the writer, no reader sees part of one.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dreamdiffusion.files.whole import (
    DiskError,
    open_array,
    read_info,
    replacing,
    write_json,
)

logger = logging.getLogger(__name__)

FORMAT = 2
"""Of the folder; 1 was one array of one montage."""
DTYPE = np.dtype("<f2")
LARGEST = float(np.finfo(DTYPE).max)
TEXTS = ("dataset", "subject", "session", "run", "recording")
OPEN_SHARDS = 4096
"""Shards at most whose memory map is kept; the kernel allows a process about 65,000 maps."""
_OURS = re.compile(r"[0-9a-f]{32}\.(npy|json)(\.(\d+-)?[0-9a-f]{8}\.unfinished)?")
"""Names of files in `shards`; nothing else there is ever deleted."""


class WindowBatch(NamedTuple):
    """Windows of any montages, side by side."""

    eeg: np.ndarray
    """float32 (B, C, T), scaled; C = most channels in the batch, zeros where a window has fewer."""
    positions: np.ndarray
    """float32 (B, C, 3), metres, head coordinates; zeros where there is no channel."""
    present: np.ndarray
    """bool (B, C); the channels of a window come first."""


class WindowStore:
    """Pieces of scaled EEG of many recordings, people and montages; open one with `load`.

    Attributes
    ----------
    sfreq
        Hz, of all windows.
    n_times
        Time points of a window.
    montages
        Distinct lists of channel names.
    metadata
        One row per window: `dataset`, `subject`, `session`, `run`, `recording` (file name; all
        categorical), `start` (s), `shard` (number of the recording in this store).
    info
        What else `info.json` holds: `scale`, `signal`, `datasets`, `rejected`, `skipped`, ...
    """

    def __init__(self, folder: Path, info: dict[str, Any]) -> None:
        shards, layouts = info.pop("shards"), info.pop("layouts")
        self.info = info
        self.sfreq, self.n_times = float(info["sfreq"]), int(info["n_times"])
        self._names: list[list[str]] = [list(layout["ch_names"]) for layout in layouts]
        self.montages = [list(names) for names in dict.fromkeys(map(tuple, self._names))]
        self._positions = [np.array(x["positions"], np.float32) for x in layouts]
        self._layout = np.array([shard["layout"] for shard in shards], np.int32)
        self._paths = [folder / "shards" / f"{shard['key']}.npy" for shard in shards]
        counts = np.array([shard["n_windows"] for shard in shards], np.int64)
        self._first = np.concatenate([[0], np.cumsum(counts)])
        self._map = functools.lru_cache(OPEN_SHARDS)(self._open)
        row_shard = np.repeat(np.arange(len(shards), dtype=np.int32), counts)
        self.metadata = pd.DataFrame(
            {name: _categorical([s[name] for s in shards], row_shard) for name in TEXTS}
            | {
                "start": np.concatenate([read_ranges(s["kept"]) for s in shards])
                * (info["n_stride"] / self.sfreq),
                "shard": row_shard,
            }
        )

    @classmethod
    def load(cls, folder: Path | str) -> WindowStore:
        """Open a folder that `prepare` wrote; samples are read when they are asked for.

        Raises
        ------
        FileNotFoundError
            If the folder, its index or a shard is missing.
        ValueError
            If the folder holds something else, windows of an older version, or a shard that does
            not fit the index.
        """
        folder = Path(folder)
        try:
            info = read_info(folder, "windows")
        except FileNotFoundError as error:
            if (folder / "shards").is_dir():
                raise FileNotFoundError(
                    f"{folder} has no index yet: prepare was stopped; run the same prepare again, "
                    "it goes on from the recordings that are done"
                ) from error
            raise
        if info.get("format") != FORMAT:
            raise ValueError(
                f"{folder} holds windows of format {info.get('format', 1)}, expected {FORMAT}; "
                "run prepare again with the same settings"
            )
        if not info["complete"]:
            logger.warning(
                "%s is not complete: prepare was stopped; run it again for the other recordings",
                folder,
            )
        _check_sizes(folder, info)
        return cls(folder, info)

    def __len__(self) -> int:
        return int(self._first[-1])

    @property
    def digest(self) -> str:
        """Twelve letters that are others where the windows are: of recordings or settings."""
        keys = "".join(sorted(path.stem for path in self._paths))
        return hashlib.sha256(keys.encode("utf-8")).hexdigest()[:12]

    @property
    def n_chans(self) -> int:
        """Channels of the largest montage."""
        return max(len(names) for names in self.montages)

    def read(self, indices: np.ndarray) -> WindowBatch:
        """Return the windows of these rows of `metadata`, int (B,), in that order.

        Raises
        ------
        IndexError
            For a row that does not exist.
        """
        import torch  # here, so that the processes that fill a store need not load it

        rows = np.asarray(indices, dtype=np.int64)
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {len(self)} windows")
        shards = np.searchsorted(self._first, rows, side="right") - 1
        layouts = self._layout[shards]
        n_chans = max((len(self._positions[k]) for k in np.unique(layouts)), default=0)
        half = np.zeros((len(rows), n_chans, self.n_times), DTYPE)
        positions = np.zeros((len(rows), n_chans, 3), np.float32)
        present = np.zeros((len(rows), n_chans), bool)
        for place in np.argsort(rows, kind="stable").tolist():  # the disk is read forwards
            shard = int(shards[place])
            window = self._map(shard)[rows[place] - self._first[shard]]
            half[place, : len(window)] = window
        for layout in np.unique(layouts):
            own = self._positions[layout]
            of_layout = layouts == layout
            positions[of_layout, : len(own)] = own
            present[of_layout, : len(own)] = True
        # NumPy would convert half precision number by number, ten times as slowly.
        return WindowBatch(torch.from_numpy(half).float().numpy(), positions, present)

    def channels_of(self, row: int) -> list[str]:
        """Return the channel names of one window."""
        shard = int(self.metadata["shard"].iloc[row])
        return list(self._names[self._layout[shard]])

    def _open(self, shard: int) -> np.ndarray:
        return np.asarray(open_array(self._paths[shard]))  # a memmap's own indexing is slow


def write_shard(folder: Path, key: str, data: np.ndarray, header: dict[str, Any]) -> dict[str, Any]:
    """Put the windows of one recording, (n_windows, n_chans, n_times), into a store.

    Returns
    -------
    header
        As given, with what `read_header` adds.

    Raises
    ------
    OSError
        If the disk is full or fails; what was written of the shard is removed.
    """
    data = np.ascontiguousarray(data, dtype=DTYPE)
    path = folder / "shards" / f"{key}.npy"
    try:
        with replacing(path) as file:
            layout = {"descr": DTYPE.str, "fortran_order": False, "shape": data.shape}
            np.lib.format.write_array_header_1_0(file, layout)
            file.write(data.data.cast("B"))
            n_bytes = file.tell()
        header = header | {"format": FORMAT, "n_bytes": n_bytes}
        write_json(path.with_suffix(".json"), header, indent=None)
        return header
    except OSError as error:
        path.unlink(missing_ok=True)  # without its json it is only in the way
        raise DiskError(
            error.errno,
            f"{error.strerror or error}, while writing the windows of {header['path']}; the "
            f"recordings in {folder} that are done stay, the same command goes on from them",
            str(path),
        ) from error


def read_header(folder: Path, key: str) -> dict[str, Any] | None:
    """Return what the json file of a shard says, or None: there is no such shard, or no whole one.

    `write_shard` leaves no such thing behind; a copy that was broken off can.
    """
    try:
        header = json.loads((folder / "shards" / f"{key}.json").read_text("utf-8"))
        size = (folder / "shards" / f"{key}.npy").stat().st_size
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        return None
    return header if header.get("n_bytes") == size else None


def write_index(folder: Path, info: dict[str, Any]) -> None:
    """Replace `info.json`."""
    with replacing(folder / "info.json") as file:
        # The table of shards is for programs: one line each.
        shards = ",\n".join(json.dumps(shard) for shard in info["shards"])
        head = json.dumps(info | {"format": FORMAT, "shards": []}, indent=1)
        file.write(head.replace('"shards": []', f'"shards": [\n{shards}\n]').encode())


def stranger(folder: Path) -> Path | None:
    """Return a file in `shards` that no store has, or None; such a folder is not ours to clean."""
    with contextlib.suppress(FileNotFoundError):
        for path in (folder / "shards").iterdir():
            if not _OURS.fullmatch(path.name):
                return path
    return None


def remove_others(folder: Path, keys: set[str]) -> int:
    """Delete shards but those named, what a killed writer left, and files of format 1.

    Returns
    -------
    n_shards
        Shards deleted.
    """
    count = 0
    for path in (folder / "shards").iterdir():
        kept = path.name.split(".")[0] in keys and path.suffix in (".npy", ".json")
        if _OURS.fullmatch(path.name) and not kept:
            path.unlink(missing_ok=True)
            count += path.suffix == ".json"
    unfinished = folder.glob("info.json.*.unfinished")
    for path in (*unfinished, folder / "windows.npy", folder / "windows.csv"):
        path.unlink(missing_ok=True)
    return count


def write_ranges(numbers: np.ndarray) -> str:
    """Write rising whole numbers ``(n,)`` as ranges: 0, 1, 2, 5 is "0-2,5"."""
    ends = np.flatnonzero(np.diff(numbers) != 1)
    first = numbers[np.concatenate([[0], ends + 1])]
    last = numbers[np.concatenate([ends, [len(numbers) - 1]])]
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in zip(first, last, strict=True))


def read_ranges(text: str) -> np.ndarray:
    """Undo `write_ranges`; int64 ``(n,)``."""
    pairs = [part.partition("-") for part in text.split(",")]
    return np.concatenate([np.arange(int(a), int(b or a) + 1) for a, _, b in pairs])


def _check_sizes(folder: Path, info: dict[str, Any]) -> None:
    with os.scandir(folder / "shards") as entries:
        sizes = {entry.name: entry.stat().st_size for entry in entries}
    for shard in info["shards"]:
        name = f"{shard['key']}.npy"
        if name not in sizes:
            raise FileNotFoundError(
                f"{folder / 'shards' / name} ({shard['recording']}) is missing; run prepare again"
            )
        if sizes[name] != shard["n_bytes"]:
            raise ValueError(
                f"{folder / 'shards' / name} ({shard['recording']}) has {sizes[name]} bytes, "
                f"expected {shard['n_bytes']}; run prepare again"
            )


def _categorical(of_shards: list[str], row_shard: np.ndarray) -> pd.Categorical:
    names, codes = np.unique(np.array(of_shards, dtype=str), return_inverse=True)
    return pd.Categorical.from_codes(codes[row_shard], categories=names.tolist())
