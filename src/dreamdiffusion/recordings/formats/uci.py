"""The UCI "EEG Database" (Begleiter): a folder of gzipped text trials -> one Raw per person.

Each file `co2a0000364.rd.000.gz` holds one trial of one second: 64 channels of 256 samples in
microvolts, a header line before each channel. 61 are electrodes of the scalp; `X` and `Y` are the
eyes (EOG), and `nd` is no place on the scalp.

A person's folder is one recording: what is fitted per recording (a scale, a duplicate's signature)
then rests on a minute and not on a second, and the 122 people of the full set are 122 recordings
and not 11,000. A boundary stands between neighbouring trials, so no window or filter crosses it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Hashable
from pathlib import Path
from typing import NamedTuple

import mne
import numpy as np
import pandas as pd

from dreamdiffusion.recordings.formats.archives import read_gzip
from dreamdiffusion.recordings.gaps import annotate_boundaries, nominal_rate

TRIAL = re.compile(r"(?P<subject>[^.]+)\.rd\.(?P<trial>\d+)\.gz", re.IGNORECASE)
"""Name of a trial's file."""
MAX_TRIAL_BYTES = 16 << 20
"""A trial of the data set unpacks to 0.26 MB."""
_TYPES = {"X": "eog", "Y": "eog", "nd": "misc"}


class _Trial(NamedTuple):
    data: np.ndarray  # (n_chans, n_times), volts
    ch_names: list[str]
    sfreq: float
    condition: str
    number: int


def is_trial_folder(path: Path) -> bool:
    """Whether a folder holds trials of this data set."""
    return path.is_dir() and any(TRIAL.fullmatch(entry.name) for entry in path.iterdir())


def read_uci(path: Path) -> tuple[mne.io.RawArray, pd.DataFrame, str]:
    """Read the trials in a person's folder, or a single trial.

    Parameters
    ----------
    path
        The folder, or a file `<person>.rd.<trial>.gz`.

    Returns
    -------
    raw
        Volts, (n_chans, n_times), trials in the order of their numbers, with a boundary between
        neighbours.
    events
        One per trial: `onset` (s; the trial's first sample: the files do not say when in it the
        picture came), `duration`, `category` (the condition, such as `S1 obj`), `trial` (number).
    subject
        The person's id, such as `co2a0000364`.

    Raises
    ------
    ValueError
        If a file is broken or too large, or the trials are of several people, channels or rates.
    """
    files = [path] if path.is_file() else [p for p in path.iterdir() if TRIAL.fullmatch(p.name)]
    matches = {file: TRIAL.fullmatch(file.name) for file in files}
    people = sorted({match["subject"] for match in matches.values() if match})
    if len(people) != 1:
        raise ValueError(
            f"{path} holds trials of {len(people)} people ({', '.join(people[:5])}); expected a "
            "folder per person"
        )
    files.sort(key=lambda file: int(m["trial"]) if (m := matches[file]) else 0)
    trials = [_read_trial(file) for file in files]
    first = trials[0]
    for file, trial in zip(files, trials, strict=True):
        if (trial.ch_names, trial.sfreq) != (first.ch_names, first.sfreq):
            raise ValueError(
                f"{file} has {len(trial.ch_names)} channels at {trial.sfreq:g} Hz that are not "
                f"those of {files[0].name} ({len(first.ch_names)} at {first.sfreq:g} Hz)"
            )
    lengths = np.array([trial.data.shape[1] for trial in trials])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    types = [_TYPES.get(name, "eeg") for name in first.ch_names]
    info = mne.create_info(first.ch_names, first.sfreq, types)  # pyright: ignore[reportArgumentType]
    data = np.concatenate([trial.data for trial in trials], axis=1)
    raw = mne.io.RawArray(data, info, verbose="ERROR")
    annotate_boundaries(raw, starts[1:])
    events = pd.DataFrame(
        {
            "onset": starts / first.sfreq,
            "duration": lengths / first.sfreq,
            "category": [trial.condition for trial in trials],
            "trial": [trial.number for trial in trials],
        }
    )
    return raw, events, people[0]


def _read_trial(path: Path) -> _Trial:
    content = read_gzip(path, MAX_TRIAL_BYTES)
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text: {error}") from error
    header = [line.strip() for line in re.findall(r"^#(.*)$", text, re.MULTILINE)]
    clock = re.search(r"^([\d.]+) msecs (\S+)$", "\n".join(header), re.MULTILINE)
    condition = re.search(r"^(S\d .*?)\s*, trial (\d+)$", "\n".join(header), re.MULTILINE)
    if clock is None or condition is None:
        raise ValueError(
            f"{path} lacks the header lines `# 3.906 msecs uV` and `# S1 obj , trial 0`; is it a "
            "trial of the UCI EEG Database?"
        )
    if clock[2] != "uV":
        raise ValueError(f"{path} is in {clock[2]}, expected uV")
    try:
        period = float(clock[1])
    except ValueError:
        period = 0.0
    if not 0.05 <= period <= 20:
        raise ValueError(f"{path} has {clock[1]} ms between samples, expected 0.05 to 20")
    named = [match[1] for line in header if (match := re.fullmatch(r"(\S+) chan \d+", line))]
    data = _samples(text, named, path)
    return _Trial(data * 1e-6, named, nominal_rate(1000 / period), condition[1], int(condition[2]))


def _samples(text: str, ch_names: list[str], path: Path) -> np.ndarray:
    """Return (n_chans, n_times) microvolts from the lines `trial channel sample value`."""
    columns = ["trial", "channel", "sample", "value"]
    kinds: dict[Hashable, type] = {
        "trial": np.int64,
        "channel": str,
        "sample": np.int64,
        "value": np.float64,
    }
    try:
        rows = pd.read_csv(
            io.StringIO(text), sep=" ", comment="#", header=None, names=columns, dtype=kinds,
            index_col=False, keep_default_na=False,
        )  # fmt: skip
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{path} has a line that is not `trial channel sample value`: {error}"
        ) from error
    if not ch_names or len(set(ch_names)) != len(ch_names):
        raise ValueError(f"{path} names {len(ch_names)} channels, some twice: {ch_names[:8]}")
    n_times, rest = divmod(len(rows), len(ch_names))
    values = rows["value"].to_numpy(float)
    expected = np.tile(np.arange(n_times), len(ch_names))
    whole = (
        n_times > 0
        and not rest
        and np.array_equal(rows["sample"].to_numpy(), expected)
        and rows["channel"].tolist() == np.repeat(ch_names, n_times).tolist()
    )
    if not whole or not np.isfinite(values).all():
        raise ValueError(
            f"{path} has {len(rows)} samples of {len(ch_names)} channels that are incomplete or "
            "out of order; expected the samples 0, 1, 2, ... of each channel in turn"
        )
    return values.reshape(len(ch_names), n_times)
