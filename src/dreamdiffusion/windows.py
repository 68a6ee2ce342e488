"""Recordings -> unlabelled windows on disk, for masked signal modelling.

Each recording is scaled on its own, with figures from its own windows: nothing is fitted across
people, so windows of one person tell nothing about another's.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import joblib
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from .config import PrepareConfig
from .preprocessing import (
    DuplicateCheck,
    bad_spans,
    preprocess,
    reject_reason,
    signature,
)
from .recordings import Recording, read_recording
from .scaling import scale_matrix
from .trials import new_folder, open_array, read_info

logger = logging.getLogger(__name__)

REASONS = ("gap", "nan", "bad_annotation", "flat", "peak_to_peak")


@dataclass
class Windows:
    """Unlabelled pieces of scaled EEG.

    Attributes
    ----------
    data
        float32 (n_windows, n_chans, n_times), memory-mapped; no unit (scaled per recording).
    ch_names
        n_chans names.
    sfreq
        Hz.
    metadata
        One row per window: `subject`, `session`, `run`, `recording` (file name), `start` (s).
    info
        What else `info.json` holds: `scale`, `signal`, `rejected`, `skipped`, `simulated`.
    """

    data: np.ndarray
    ch_names: list[str]
    sfreq: float
    metadata: pd.DataFrame
    info: dict[str, Any]

    def __len__(self) -> int:
        return len(self.data)

    @property
    def n_chans(self) -> int:
        """Number of channels."""
        return self.data.shape[1]

    @property
    def n_times(self) -> int:
        """Number of time points of a window."""
        return self.data.shape[2]

    @classmethod
    def load(cls, folder: Path | str) -> Windows:
        """Open a folder that `build_windows` wrote.

        Raises
        ------
        FileNotFoundError, ValueError
            If a file is missing, or the folder holds something else than windows.
        """
        folder = Path(folder)
        info = read_info(folder, "windows")
        metadata = pd.read_csv(
            folder / "windows.csv",
            dtype={"subject": str, "session": str, "run": str, "recording": str},
            keep_default_na=False,
        )
        data = open_array(folder / "windows.npy")
        if len(metadata) != len(data):
            raise ValueError(f"{folder} has {len(data)} windows and {len(metadata)} rows")
        return cls(data, list(info["ch_names"]), float(info["sfreq"]), metadata, info)


@dataclass
class _Piece:
    """What one recording gives; small enough to come back from another process."""

    name: str
    data: np.ndarray
    ch_names: list[str]
    metadata: pd.DataFrame
    rejected: Counter[str]
    simulated: bool
    sha256: str
    signature: tuple[float, list[str], np.ndarray]


def build_windows(recordings: Sequence[Path | Recording], config: PrepareConfig) -> Path:
    """Cut every recording into windows, scale them, and write them to `config.output`.

    A recording that cannot be used (unreadable, wrong unit, missing channel, duplicated, nothing
    left) is left out with a warning and named under `skipped` in `info.json`; with
    `config.strict` it ends the run. `config.jobs` recordings are worked on at a time.

    Parameters
    ----------
    recordings
        Files, or recordings already read.
    config
        `window_s`, `window_stride_s`, `signal`, `scale`, `strict`, `jobs` and `output` are used.

    Returns
    -------
    folder
        Holds `windows.npy` float32 (n, n_chans, n_times), `windows.csv` and `info.json`.

    Raises
    ------
    ValueError
        If no recording is usable, or with `strict` for the first that is not.
    """
    if not len(recordings):
        raise ValueError("no recording was given; pass files or folders as input")
    n_times = round(config.window_s * config.signal.sfreq)
    if n_times < 1 or round(config.window_stride_s * config.signal.sfreq) < 1:
        raise ValueError(f"a window of {config.window_s} s holds no sample; raise window_s")
    duplicates = DuplicateCheck()
    rejected: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
    skipped: dict[str, str] = {}
    tables: list[pd.DataFrame] = []
    ch_names: list[str] = []
    n_windows, simulated = 0, False
    parallel = joblib.Parallel(n_jobs=config.jobs, return_as="generator")
    work = cast(
        "Iterable[_Piece | _Problem]",
        parallel(joblib.delayed(_piece)(item, config, n_times) for item in recordings),
    )
    with new_folder(Path(config.output), "windows") as folder:
        with (folder / "samples").open("wb") as samples:
            for result in tqdm(work, total=len(recordings), desc="windows", unit="recording"):
                if isinstance(result, _Piece):
                    result = _join(result, ch_names, duplicates)
                if isinstance(result, _Problem):
                    if config.strict:
                        raise ValueError(result.text)
                    logger.warning("left out: %s", result.text)
                    skipped[result.name] = result.text
                    continue
                ch_names = result.ch_names
                samples.write(np.ascontiguousarray(result.data, dtype="<f4").tobytes())
                tables.append(result.metadata)
                rejected.update(result.rejected)
                simulated = simulated or result.simulated
                n_windows += len(result.data)
        if not n_windows:
            reasons = "; ".join(list(skipped.values())[:3])
            raise ValueError(f"none of {len(recordings)} recordings is usable: {reasons}")
        shape = (n_windows, len(ch_names), n_times)
        _add_header(folder / "samples", folder / "windows.npy", shape)
        pd.concat(tables, ignore_index=True).to_csv(folder / "windows.csv", index=False)
        info = {
            "kind": "windows",
            "n_windows": n_windows,
            "n_recordings": len(tables),
            "ch_names": ch_names,
            "sfreq": config.signal.sfreq,
            "window_s": config.window_s,
            "window_stride_s": config.window_stride_s,
            "scale": config.scale,
            "unit": "none (scaled per recording)",
            "rejected": dict(rejected),
            "skipped": skipped,
            "simulated": simulated,
            "signal": config.signal.model_dump(mode="json"),
        }
        (folder / "info.json").write_text(json.dumps(info, indent=2), "utf-8")
    logger.info(
        "%d windows of %d recordings; %d recordings left out", n_windows, len(tables), len(skipped)
    )
    return Path(config.output)


def scale_windows(data: np.ndarray, scale: str) -> np.ndarray:
    """Scale the windows of one recording, (n_windows, n_chans, n_times), by `scale_matrix` of them.

    Returns
    -------
    scaled
        float32, same shape, no unit.
    """
    return np.einsum("cd,ndt->nct", scale_matrix(data, scale), data).astype(np.float32)


@dataclass
class _Problem:
    name: str
    text: str


def _piece(item: Path | Recording, config: PrepareConfig, n_times: int) -> _Piece | _Problem:
    name = str(item.source if isinstance(item, Recording) else item)
    try:
        recording = item if isinstance(item, Recording) else read_recording(item)
        return _cut(recording, config, n_times)
    except (ValueError, FileNotFoundError) as error:
        text = str(error)
        return _Problem(name, text if name in text else f"{name}: {text}")


def _cut(recording: Recording, config: PrepareConfig, n_times: int) -> _Piece:
    signal = config.signal
    raw = preprocess(recording, signal)
    data, spans = np.asarray(raw.get_data()), bad_spans(raw)
    rejected: Counter[str] = Counter()
    starts, pieces = [], []
    stride = round(config.window_stride_s * signal.sfreq)
    for start in range(0, data.shape[1] - n_times + 1, stride):
        piece = data[:, start : start + n_times]
        reason = reject_reason(piece, start, spans, signal)
        if reason is not None:
            rejected[reason] += 1
            continue
        starts.append(start / signal.sfreq)
        pieces.append(piece)
    if not pieces:
        raise ValueError(f"no window of {config.window_s} s is left; rejected: {dict(rejected)}")
    metadata = pd.DataFrame(
        {
            "subject": recording.subject,
            "session": recording.session,
            "run": recording.run,
            "recording": recording.source.name,
            "start": starts,
        }
    )
    return _Piece(
        str(recording.source),
        scale_windows(np.stack(pieces), config.scale),
        list(raw.ch_names),
        metadata,
        rejected,
        recording.simulated,
        recording.sha256,
        signature(recording),
    )


def _join(piece: _Piece, ch_names: list[str], duplicates: DuplicateCheck) -> _Piece | _Problem:
    """Check a recording's windows against those before it; give them back if they fit."""
    if ch_names and piece.ch_names != ch_names:
        return _Problem(
            piece.name,
            f"{piece.name} has the channels {piece.ch_names}, the recordings before it "
            f"{ch_names}; name those they share in signal.picks",
        )
    try:
        duplicates.add_signature(piece.name, piece.sha256, *piece.signature)
    except ValueError as error:
        return _Problem(piece.name, str(error))
    return piece


def _add_header(samples: Path, target: Path, shape: Iterable[int]) -> None:
    """Turn a file of float32 samples, too large for memory perhaps, into an npy file."""
    with target.open("wb") as out, samples.open("rb") as source:
        header = {"descr": "<f4", "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(out, header)
        shutil.copyfileobj(source, out, 1 << 24)
    samples.unlink()
