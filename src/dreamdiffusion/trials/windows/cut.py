"""Recordings -> a store of unlabelled windows, for masked signal modelling.

Each recording is scaled on its own, with figures from its own windows: nothing is fitted across
people, so windows of one person tell nothing about another's. Each becomes one shard of the store,
made in one process from its file alone, so memory does not grow with the number of recordings and
any number of them can be worked on at once.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import joblib
import numpy as np

from dreamdiffusion.files.progress import progress
from dreamdiffusion.files.whole import is_unused, read_info
from dreamdiffusion.recordings.electrodes import electrode_positions
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.recordings.recording import Recording, eeg_names
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.duplicates import DuplicateCheck, signature
from dreamdiffusion.trials.preprocessing import bad_spans, preprocess, reject_reasons
from dreamdiffusion.trials.scaling import scale_matrix
from dreamdiffusion.trials.windows.keys import shard_keys
from dreamdiffusion.trials.windows.store import (
    FORMAT,
    LARGEST,
    read_header,
    remove_others,
    stranger,
    write_index,
    write_ranges,
    write_shard,
)
from dreamdiffusion.trials.windows.summary import format_summary, summarise

logger = logging.getLogger(__name__)

REASONS = ("gap", "nan", "clipped", "bad_annotation", "flat", "peak_to_peak", "range")
INDEXED = (
    "key", "dataset", "subject", "session", "run", "recording", "layout", "n_windows", "kept",
    "n_bytes",
)  # fmt: skip
"""What the index repeats of a shard's header."""
Header = dict[str, Any]


def build_windows(recordings: Sequence[Path | Recording], config: PrepareConfig) -> Path:
    """Cut every recording into windows, scale them, and add them to the store `config.output`.

    Afterwards the store holds the windows of these recordings and no others. Recordings that it
    holds already, cut with the same settings and unchanged since, are not read again; so a run
    that was stopped in any way, or one with more recordings, does only what is not done yet.

    A recording that cannot be used (unreadable, wrong unit, missing channel, duplicated, nothing
    left) is left out with a warning and named under `skipped` in `info.json`; with
    `config.strict` it ends the run. `config.jobs` recordings are worked on at a time, or as many
    as the cluster at `config.scheduler` takes.

    Parameters
    ----------
    recordings
        Files, or recordings already read.
    config
        `window_s`, `window_stride_s`, `signal`, `scale`, `strict`, `jobs`, `scheduler`, `input`
        (names the data sets) and `output` are used.

    Returns
    -------
    folder
        Open it with `WindowStore.load`.

    Raises
    ------
    ValueError
        If no recording is usable, or with `strict` for the first that is not.
    FileExistsError
        If the folder holds something else.
    OSError
        If the disk is full; the message names the file. If the system killed one of several
        processes. What is done stays.
    """
    if not len(recordings):
        raise ValueError("no recording was given; pass files or folders as input")
    if min(_samples(config)) < 1:
        raise ValueError(
            f"window_s is {config.window_s:g} and window_stride_s {config.window_stride_s:g}, "
            f"expected at least one sample ({1 / config.signal.sfreq:.3g} s) each"
        )
    folder = Path(config.output)
    _claim(folder)
    keys = shard_keys(recordings, config, FORMAT)
    results: dict[str, Header | str] = {}
    for key in keys:
        header = read_header(folder, key)
        if header is not None:
            results[key] = header
    todo = {k: item for k, item in zip(keys, recordings, strict=True) if k not in results}
    if results:
        logger.info("%d of %d recordings are in %s already", len(results), len(keys), folder)
    work = _work(todo, folder, config)
    try:
        bar = progress(work, "windows", total=len(todo), unit="recording")
        for key, result in zip(todo, bar, strict=True):
            if isinstance(result, str):
                if config.strict:
                    raise ValueError(result)
                logger.warning("left out: %s", result)
            results[key] = result
    except (OSError, KeyboardInterrupt, BrokenProcessPool) as stop:
        if not (folder / "info.json").exists():
            with contextlib.suppress(OSError, ValueError):  # the first error is the one to tell
                _finish(folder, recordings, keys, results, config)
        if isinstance(stop, BrokenProcessPool):
            raise ChildProcessError(
                "a process was killed, perhaps for want of memory: lower jobs (now "
                f"{config.jobs}); the recordings in {folder} that are done stay, the same command "
                "goes on from them"
            ) from stop
        raise
    info = _finish(folder, recordings, keys, results, config)
    removed = remove_others(folder, set(keys))
    if removed:
        logger.info("%d recordings of other input or settings left the store", removed)
    logger.info("%s", format_summary(info))
    return folder


def make_shard(item: Path | Recording, key: str, folder: Path, config: PrepareConfig) -> Any:
    """Read and cut one recording and write its shard.

    Returns
    -------
    header, or problem
        What the shard's json file says; or, in words, why the recording cannot be used.

    Raises
    ------
    OSError
        If the shard cannot be written: the next one could not be either.
    """
    name = str(item.source if isinstance(item, Recording) else item)
    try:
        stated = config.signal.stated()
        recording = item if isinstance(item, Recording) else read_recording(item, **stated)
        data, header = _cut(recording, config)
    except Exception as error:
        # Whatever one file of thousands makes a reader or a filter trip over, the rest goes on.
        known = isinstance(error, ValueError | FileNotFoundError)
        text = str(error) if known else f"{type(error).__name__}: {error}"
        return text if name in text else f"{name}: {text}"
    return write_shard(folder, key, data, header | {"path": name})


def scale_windows(data: np.ndarray, scale: str) -> np.ndarray:
    """Scale the windows of one recording, (n_windows, n_chans, n_times), by `scale_matrix` of them.

    Returns
    -------
    scaled
        float32, same shape, no unit.
    """
    matrix = scale_matrix(data, scale)
    scaled = np.empty(data.shape, np.float32)
    if scale == "robust":  # the matrix is diagonal
        return np.multiply(data, np.diag(matrix)[:, None], out=scaled, casting="same_kind")
    return np.matmul(matrix, data, out=scaled, casting="same_kind")


def _samples(config: PrepareConfig) -> tuple[int, int]:
    """Length and stride of the windows in samples."""
    sfreq = config.signal.sfreq
    return round(config.window_s * sfreq), round(config.window_stride_s * sfreq)


def _claim(folder: Path) -> None:
    """Make the folder, or see that it is a store (perhaps one without an index yet)."""
    other = stranger(folder)
    if other is not None:
        raise FileExistsError(f"{other} is no part of a store of windows; choose another output")
    if not is_unused(folder) and not (folder / "shards").is_dir():
        try:
            read_info(folder, "windows")
        except (FileNotFoundError, ValueError) as error:
            raise FileExistsError(
                f"{folder} exists and does not hold windows; choose another output"
            ) from error
    (folder / "shards").mkdir(parents=True, exist_ok=True)


def _work(
    todo: dict[str, Path | Recording], folder: Path, config: PrepareConfig
) -> Iterator[Header | str]:
    """Make the shards, here or on a cluster, and give what `make_shard` returns, in order."""
    if not todo:
        return
    if config.scheduler is not None:
        # The workers' working directory is another; they see the same disk.
        folder = folder.absolute()
        todo = {k: x if isinstance(x, Recording) else x.absolute() for k, x in todo.items()}
    calls = (joblib.delayed(make_shard)(x, key, folder, config) for key, x in todo.items())
    with _workers(config) as parallel:
        yield from cast(Iterator[Header | str], parallel(calls))


@contextlib.contextmanager
def _workers(config: PrepareConfig) -> Iterator[joblib.Parallel]:
    if config.scheduler is None:
        yield joblib.Parallel(n_jobs=config.jobs, return_as="generator")
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError(
            "scheduler needs dask and distributed: pip install 'dreamdiffusion[cluster]'"
        ) from error
    with Client(config.scheduler), joblib.parallel_config("dask"):
        yield joblib.Parallel(return_as="generator")


def _cut(recording: Recording, config: PrepareConfig) -> tuple[np.ndarray, Header]:
    """Return float32 windows (n_windows, n_chans, n_times), scaled, and what is known of them."""
    signal = config.signal
    names, positions, dropped = _placed_channels(recording, signal.picks)
    raw = preprocess(recording, signal.model_copy(update={"picks": names}))
    n_times, n_stride = _samples(config)
    data = np.asarray(raw.get_data())
    if data.shape[1] < n_times:
        raise ValueError(f"the recording is shorter than a window of {config.window_s} s")
    pieces = np.lib.stride_tricks.sliding_window_view(data, n_times, axis=1)[:, ::n_stride]
    pieces = pieces.transpose(1, 0, 2)
    starts = np.arange(len(pieces)) * n_stride
    reasons = reject_reasons(pieces, starts, bad_spans(raw), signal)
    kept = np.array([reason is None for reason in reasons])
    if kept.any():
        scaled = scale_windows(pieces[kept], config.scale)
        too_large = np.abs(scaled).max(axis=(1, 2)) > LARGEST
        reasons[np.flatnonzero(kept)[too_large]] = "range"
        kept[kept] = ~too_large
        scaled = scaled[~too_large]
    rejected = Counter(reason for reason in reasons if reason is not None)
    if not kept.any():
        raise ValueError(f"no window of {config.window_s} s is left; rejected: {dict(rejected)}")
    duration, _, course = signature(recording)
    header = {
        "subject": recording.subject,
        "session": recording.session,
        "run": recording.run,
        "recording": recording.source.name,
        "ch_names": list(raw.ch_names),
        "positions": np.round(positions.astype(float), 5).tolist(),
        "n_windows": len(scaled),
        "kept": write_ranges(np.flatnonzero(kept)),
        "duration_s": duration,
        "rejected": dict(rejected),
        "dropped": dropped,
        "simulated": recording.simulated,
        "sha256": recording.sha256,
        "sketch": sketch(course).round(4).tolist(),
    }
    return scaled, header


def _placed_channels(
    recording: Recording, picks: list[str] | None
) -> tuple[list[str], np.ndarray, list[str]]:
    """Return the channels to keep, their positions (n_chans, 3) in metres, and those left out.

    The positions are the file's own where it brings them for every channel, else the template's.
    A channel without one is left out; one that `picks` asks for is an error.
    """
    raw = recording.raw
    names = [name for name in picks or eeg_names(raw) if name in raw.ch_names]
    own = np.array([raw.info["chs"][raw.ch_names.index(n)]["loc"][:3] for n in names], np.float32)
    if len(own) and np.isfinite(own).all() and own.any(axis=1).all():
        return picks or names, own, []
    if picks:
        return picks, electrode_positions(picks), []
    placed, dropped = [], []
    for name in names:
        try:
            electrode_positions([name])
            placed.append(name)
        except ValueError:
            dropped.append(name)
    if not placed:
        electrode_positions(names)  # says what is wrong, where there are names
        raise ValueError(f"{recording.source} has no EEG channel among {raw.ch_names}")
    return placed, electrode_positions(placed), dropped


def sketch(course: np.ndarray, n_buckets: int = 256) -> np.ndarray:
    """Shrink the course of a `signature` to a unit vector (n_buckets,); empty stays empty.

    Each element goes into a random bucket with a random sign, the same for all courses of one
    length, which keeps the correlation of two of them to within 1 / sqrt(n_buckets) or better
    (count sketch, Charikar et al. 2002, doi 10.1016/S0304-3975(03)00400-6).
    """
    if not len(course):
        return course
    rng = np.random.default_rng(0)
    buckets, signs = rng.integers(n_buckets, size=len(course)), rng.choice([-1, 1], len(course))
    sums = np.bincount(buckets, course * signs, n_buckets)
    return (sums / np.linalg.norm(sums)).astype(np.float32)


def _finish(
    folder: Path,
    recordings: Sequence[Path | Recording],
    keys: Sequence[str],
    results: dict[str, Header | str],
    config: PrepareConfig,
) -> dict[str, Any]:
    """Write the index of what is done and return it."""
    used = _choose_shards(recordings, keys, results, config)
    if not used.shards:
        reasons = "; ".join(list(used.skipped.values())[:3])
        raise ValueError(f"none of {len(recordings)} recordings is usable: {reasons}")
    rejected, dropped = Counter(dict.fromkeys(REASONS, 0)), Counter[str]()
    for shard in used.shards:
        rejected.update(shard["rejected"])
        dropped.update(shard["dropped"])
    if dropped:
        names = ", ".join(f"{name} ({count})" for name, count in dropped.items())
        logger.warning("left out channels whose position is not known (recordings): %s", names)
    n_times, n_stride = _samples(config)
    layouts = [
        dict(zip(("ch_names", "positions"), json.loads(x), strict=True)) for x in used.layouts
    ]
    info = {
        "kind": "windows",
        "complete": len(results) == len(set(keys)),
        "n_windows": sum(shard["n_windows"] for shard in used.shards),
        "n_recordings": len(used.shards),
        "n_montages": len({tuple(shard["ch_names"]) for shard in used.shards}),
        "sfreq": config.signal.sfreq,
        "n_times": n_times,
        "n_stride": n_stride,
        "window_s": config.window_s,
        "window_stride_s": config.window_stride_s,
        "scale": config.scale,
        "unit": "none (scaled per recording)",
        "datasets": summarise(used.shards, used.skipped_of),
        "rejected": dict(rejected),
        "dropped_channels": dict(dropped),
        "skipped": used.skipped,
        "simulated": any(shard["simulated"] for shard in used.shards),
        "signal": config.signal.model_dump(mode="json"),
        "layouts": layouts,
        "shards": [{name: shard[name] for name in INDEXED} for shard in used.shards],
    }
    write_index(folder, info)
    return info


@dataclass
class _Used:
    """What of the recordings goes into the index.

    Attributes
    ----------
    shards
        Headers, with `key`, `dataset` and `layout`.
    layouts
        Channels and positions as JSON -> their number.
    skipped
        Path of a recording -> why it is left out.
    skipped_of
        Data set -> how many of its recordings are.
    """

    shards: list[Header] = field(default_factory=list)
    layouts: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    skipped_of: Counter[str] = field(default_factory=Counter)


def _choose_shards(
    recordings: Sequence[Path | Recording],
    keys: Sequence[str],
    results: dict[str, Header | str],
    config: PrepareConfig,
) -> _Used:
    """Leave out recordings that failed, and those that are there twice."""
    duplicates, used = DuplicateCheck(), _Used()
    for key, item in zip(keys, recordings, strict=True):
        header = results.get(key)
        if header is None:  # the run was stopped before it
            continue
        path = item.source if isinstance(item, Recording) else item
        dataset, problem = _dataset(path, config.input), header if isinstance(header, str) else None
        if not isinstance(header, str):
            course = np.array(header["sketch"], np.float32)
            signed = header["sha256"], header["duration_s"], header["ch_names"], course
            try:
                duplicates.add_signature(str(path), *signed)
            except ValueError as error:
                problem = str(error)
                if config.strict:
                    raise
                logger.warning("left out: %s", problem)
            else:
                layout = json.dumps([header["ch_names"], header["positions"]])
                number = used.layouts.setdefault(layout, len(used.layouts))
                used.shards.append({"key": key, "dataset": dataset, "layout": number} | header)
        if problem is not None:
            used.skipped[str(path)] = problem
            used.skipped_of[dataset] += 1
    return used


def _dataset(path: Path, inputs: Sequence[Path]) -> str:
    """Name the data set of a recording: the folder of `inputs` that it was found in."""
    for entry in inputs:
        if entry in path.parents:
            return entry.resolve().name
    return path.resolve().parent.name
