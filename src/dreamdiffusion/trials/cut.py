"""Recordings + events -> `Trials` (n_trials, n_chans, n_times) with metadata."""

from __future__ import annotations

import logging
import shlex
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd

from dreamdiffusion.files.keywords import with_keywords
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.recordings.recording import Cut, Recording
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.duplicates import DuplicateCheck
from dreamdiffusion.trials.preprocessing import bad_spans, preprocess, reject_reason
from dreamdiffusion.trials.stimuli import choose_events, class_folders
from dreamdiffusion.trials.trials import Trials

__all__ = ["Trials", "cut_trials", "from_epochs"]

logger = logging.getLogger(__name__)

REASONS = (
    "same_onset",
    "outside_file",
    "gap",
    "nan",
    "clipped",
    "bad_annotation",
    "flat",
    "peak_to_peak",
)


@with_keywords(PrepareConfig)
def cut_trials(recordings: Iterable[Recording], config: PrepareConfig) -> Trials:
    """Clean each recording and cut one trial per event.

    A trial holds exactly ``round((tmax - tmin) * sfreq)`` samples; its first sample is the one
    nearest to onset + tmin. A baseline interval may lie before tmin. A trial that reaches outside
    its file, crosses a gap, fails the limits of `config.signal`, or has the samples of another
    event is left out and counted.

    Parameters
    ----------
    recordings
        Any iterable; one recording is held at a time.
    config
        `events` keeps the events of the named codes (where the source has codes) or categories;
        `pair_by="category"` fills `metadata.pool` instead of `stim_file`.

    Returns
    -------
    trials
        Volts, in the order of the recordings and their events.

    Raises
    ------
    ValueError
        For a recording without events, a category that never occurs, recordings that appear
        twice or differ in channels, an event without its picture, or when no trial is left.
    FileNotFoundError
        For a missing class folder with `pair_by="category"`.

    Examples
    --------
    >>> from dreamdiffusion import cut_trials, read_recording
    >>> path = "people/sub-01/ses-01/eeg/sub-01_ses-01_task-viewing_run-01_eeg.edf"
    >>> recording = read_recording(path)
    >>> trials = cut_trials([recording], signal={"sfreq": 128.0}, tmin=0.0, tmax=0.5)
    >>> trials.data.shape  # trials, channels, samples
    (24, 4, 64)
    """
    signal = config.signal
    n_times = round((config.tmax - config.tmin) * signal.sfreq)
    if n_times < 1:
        raise ValueError(
            f"tmin {config.tmin} to tmax {config.tmax} s holds {n_times} samples at "
            f"{signal.sfreq:g} Hz; tmax must be later"
        )
    collected = _Collected()
    for recording in recordings:
        collected.add(recording, config, n_times)
    data, metadata = collected.join(config)
    root = collected.stimuli_root(config)
    if config.pair_by == "category":
        metadata["stim_file"] = ""
        metadata["pool"] = class_folders(metadata["category"].tolist(), root)
    elsewhere = collected.cut_elsewhere()
    return Trials(
        data=data,
        ch_names=collected.ch_names,
        sfreq=float(signal.sfreq),
        tmin=config.tmin,
        metadata=metadata,
        stimuli_root=root,
        picture_fit=config.picture_fit,
        rejected=dict(collected.rejected),
        simulated=collected.simulated,
        signal=signal.model_dump(mode="json") | _filter_of(elsewhere),
        source={"cut_elsewhere": True} if elsewhere else {},
    )


class _Collected:
    """The trials of the recordings so far, and what is known of these."""

    def __init__(self) -> None:
        self.rejected: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        self.ch_names: list[str] = []
        self.simulated = False
        self._duplicates = DuplicateCheck()
        self._pieces: list[np.ndarray] = []
        self._rows: list[pd.DataFrame] = []
        self._roots: set[Path] = set()
        self._names: list[str] = []
        self._cuts: list[Cut | None] = []

    def add(self, recording: Recording, config: PrepareConfig, n_times: int) -> None:
        """Clean a recording and cut its trials."""
        self._duplicates.add(recording)
        self._cuts.append(recording.cut)
        if recording.cut is not None:
            _check_inside(recording, recording.cut, config)
            self.rejected["elsewhere"] += recording.cut.n_dropped
        self._names.append(str(recording.source))
        events = choose_events(recording.events, config.events, recording.source)
        root = config.stimuli or recording.stimuli_root
        if config.pair_by == "stim_file" and root is not None and not root.is_dir():
            raise FileNotFoundError(
                f"picture folder {root} does not exist; name the one of the pictures with "
                "--stimuli, or go without: --pair_by none"
            )
        raw = preprocess(recording, config.signal)
        if self.ch_names and raw.ch_names != self.ch_names:
            raise ValueError(_other_channels(recording.source, raw.ch_names, self.ch_names))
        self.ch_names = list(raw.ch_names)
        kept, data = _cut(raw, events, config, n_times, self.rejected)
        _warn_of_onsets(recording, events["onset"].to_numpy(float))
        if len(data):
            self._pieces.append(data)
            self._rows.append(_metadata(recording, events.iloc[kept]))
        self.simulated = self.simulated or recording.simulated
        if recording.stimuli_root is not None:
            self._roots.add(recording.stimuli_root)

    def join(self, config: PrepareConfig) -> tuple[np.ndarray, pd.DataFrame]:
        """Return data ``(n_trials, n_chans, n_times)`` in volts, and metadata."""
        if not self._names:
            raise ValueError("no recording was given; pass files or folders as input")
        names = ", ".join(self._names)
        filters = {(cut.l_freq, cut.h_freq) if cut else cut for cut in self._cuts}
        if self.cut_elsewhere() and len(filters) > 1:
            raise ValueError(
                f"{names}: trials that were cut elsewhere go together with trials of the same "
                "filter only, not with recordings; prepare them apart"
            )
        counts = [f"{count} {reason}" for reason, count in self.rejected.items() if count]
        left_out = ", ".join(counts) or "none"
        if not self._pieces:
            raise ValueError(f"no trial is left of {names}; rejected: {left_out}")
        metadata = pd.concat(self._rows, ignore_index=True)
        logger.info("%d trials; rejected: %s", len(metadata), left_out)
        absent = [name for name in config.events or () if name not in set(metadata["category"])]
        if absent:
            raise ValueError(
                f"no trial of the category {', '.join(absent)} is left; rejected: {left_out}"
            )
        return np.concatenate(self._pieces), metadata

    def stimuli_root(self, config: PrepareConfig) -> Path | None:
        """Return the one folder of the pictures, if there is any."""
        if config.stimuli is None and len(self._roots) > 1:
            raise ValueError(
                "the recordings have several picture folders "
                f"({', '.join(map(str, sorted(self._roots)))}); prepare them apart, or name one "
                "with stimuli"
            )
        return config.stimuli or next(iter(self._roots), None)

    def cut_elsewhere(self) -> list[Cut]:
        """Return how other programs cut those of the trials that they did."""
        return [cut for cut in self._cuts if cut is not None]


def _other_channels(source: Path, own: list[str], before: list[str]) -> str:
    """Say in what the channels of a recording differ, and how to name those that all have."""
    lacks, more = [n for n in before if n not in own], [n for n in own if n not in before]
    parts = [f"lacks {', '.join(lacks)}"] if lacks else []
    parts += [f"has {', '.join(more)} besides"] if more else []
    said = " and ".join(parts) or "has its channels in another order"
    shared = [name for name in before if name in own]
    fix = f"--signal.picks {shlex.join(shared)}" if shared else "prepare them apart"
    return f"{source} {said}, compared with the recordings before it; to use what they share: {fix}"


def _warn_of_onsets(recording: Recording, onsets: np.ndarray) -> None:
    """Say where most events lie outside the recording: their onsets may be no seconds."""
    lasts = recording.raw.n_times / float(recording.raw.info["sfreq"])
    outside = np.flatnonzero((onsets < 0) | (onsets > lasts))
    if 2 * len(outside) > len(onsets):
        logger.warning(
            "%s: %d of %d events lie outside the recording, which lasts %g s (the first at %g s); "
            "an onset is s from the first sample, no ms and no sample",
            recording.source, len(outside), len(onsets), lasts, onsets[outside[0]],
        )  # fmt: skip


def _check_inside(recording: Recording, cut: Cut, config: PrepareConfig) -> None:
    """Raise where the trials of another program are shorter than the trials to be cut."""
    sfreq = float(recording.raw.info["sfreq"])
    stop = cut.tmin + cut.n_times / sfreq
    low, high = config.baseline or (config.tmin, config.tmax)
    low, high = min(low, config.tmin), max(high, config.tmax)
    if low < cut.tmin - 0.5 / sfreq or high > stop + 0.5 / sfreq:
        raise ValueError(
            f"{recording.source} holds trials that were cut from {cut.tmin:g} to {stop:g} s, and "
            f"{low:g} to {high:g} s are asked for (tmin, tmax, baseline); choose a part of them"
        )
    logger.warning(
        "%s: trials that were cut elsewhere; signal.l_freq, h_freq and notch are not applied (the "
        "file says: high-pass %s, low-pass %s)",
        recording.source,
        *("none" if edge is None else f"{edge:g} Hz" for edge in (cut.l_freq, cut.h_freq)),
    )


def _filter_of(elsewhere: list[Cut]) -> dict[str, Any]:
    """Return what the files say of their filter, in the words of `SignalConfig`."""
    if not elsewhere:
        return {}
    return {"l_freq": elsewhere[0].l_freq, "h_freq": elsewhere[0].h_freq, "notch": []}


def source_of(config: PrepareConfig) -> dict[str, Any]:
    """Return what trials keep of where they come from: the data set, and how they were cut."""
    cut = ("input", "subjects", "tmin", "tmax", "baseline", "events", "stimuli", "pair_by",
           "picture_fit")  # fmt: skip
    return {
        "dataset": config.dataset,
        "prepare": config.model_dump(mode="json", include=set(cut)),
    }


def _cut(
    raw: mne.io.BaseRaw,
    events: pd.DataFrame,
    config: PrepareConfig,
    n_times: int,
    rejected: Counter[str],
) -> tuple[list[int], np.ndarray]:
    signal, sfreq = config.signal, float(raw.info["sfreq"])
    data, spans = np.asarray(raw.get_data()), bad_spans(raw)
    onsets = events["onset"].to_numpy(float)
    recorded = np.isfinite(onsets)  # the others lie in a gap
    rejected["gap"] += int(np.sum(~recorded))
    onsets = np.where(recorded, onsets, 0.0)
    starts = np.round((onsets + config.tmin) * sfreq).astype(int)
    doubled = np.zeros(len(starts), dtype=bool)
    doubled[recorded] = _at_one_sample(starts[recorded], events.iloc[np.flatnonzero(recorded)])
    rejected["same_onset"] += int(doubled.sum())
    first, last = np.zeros_like(starts), np.zeros_like(starts)
    if config.baseline is not None:
        low, high = config.baseline
        length = round((high - low) * sfreq)
        if length < 1:
            raise ValueError(f"baseline {low} to {high} s holds no sample at {sfreq:g} Hz")
        first = np.round((onsets + low) * sfreq).astype(int)
        last = first + length
    kept, pieces = [], []
    for index in np.flatnonzero(recorded & ~doubled).tolist():
        start = int(starts[index])
        begin, end = start, start + n_times
        if config.baseline is not None:
            begin, end = min(begin, first[index]), max(end, last[index])
        if begin < 0 or end > data.shape[1]:
            rejected["outside_file"] += 1
            continue
        piece = data[:, start : start + n_times]
        reason = reject_reason(piece, start, spans, signal)
        if reason is not None:
            rejected[reason] += 1
            continue
        if config.baseline is not None:
            piece = piece - data[:, first[index] : last[index]].mean(axis=1, keepdims=True)
        kept.append(index)
        pieces.append(piece.astype(np.float32))
    shape = (0, data.shape[0], n_times)
    return kept, np.stack(pieces) if pieces else np.zeros(shape, np.float32)


def _at_one_sample(starts: np.ndarray, events: pd.DataFrame) -> np.ndarray:
    """Mark the events (n_events,) that are left out since others have their very samples.

    Of an event that is there twice the first stays. Of events that name different categories or
    pictures none does: which of them was seen cannot be known.
    """
    columns = [name for name in ("category", "stim_file") if name in events]
    shown = ["\n".join(map(str, row)) for row in events[columns].itertuples(index=False)]
    different: dict[int, set[str]] = {}
    for start, what in zip(starts.tolist(), shown, strict=True):
        different.setdefault(start, set()).add(what)
    first = np.zeros(len(starts), dtype=bool)
    first[np.unique(starts, return_index=True)[1]] = True
    return ~first | np.array([len(different[start]) > 1 for start in starts.tolist()], dtype=bool)


def _metadata(recording: Recording, events: pd.DataFrame) -> pd.DataFrame:
    who = {"subject": recording.subject, "session": recording.session, "run": recording.run}
    if recording.cut is not None:  # one file may hold the trials of several people
        who = {
            name: events[name].astype(str).to_numpy() if name in events else value
            for name, value in who.items()
        }
        if "recorded_onset" in events:
            events = events.assign(onset=events["recorded_onset"])
    table = events.drop(columns=[name for name in who if name in events]).reset_index(drop=True)
    table = table.drop(columns="recorded_onset", errors="ignore")
    for place, (name, value) in enumerate(who.items()):
        table.insert(place, name, value)
    if "stim_file" not in table:
        table["stim_file"] = ""
    table["stim_file"] = table["stim_file"].fillna("").astype(str)
    return table


def from_epochs(
    epochs: mne.BaseEpochs,
    subject: str = "unknown",
    session: str = "1",
    run: str = "1",
    stimuli_root: Path | None = None,
) -> Trials:
    """Take trials that MNE has cut, as they are: no filter, no rejection.

    Parameters
    ----------
    epochs
        Volts. `category` is the name of the event; columns of `epochs.metadata` are kept and win
        over it and over `subject`, `session` and `run`.
    subject, session, run, stimuli_root
        What the epochs do not say.
    """
    epochs = epochs.copy().load_data().pick("eeg", exclude=[])
    names = {code: name for name, code in epochs.event_id.items()}
    table = pd.DataFrame(
        {
            "subject": subject,
            "session": session,
            "run": run,
            "onset": epochs.events[:, 0] / epochs.info["sfreq"],
            "category": [names[code] for code in epochs.events[:, 2]],
            "stim_file": "",
        }
    )
    if epochs.metadata is not None:
        for name in epochs.metadata.columns:
            table[name] = epochs.metadata[name].to_numpy()
    signal = SignalConfig.model_validate(
        {
            "l_freq": epochs.info["highpass"] or None,
            "h_freq": epochs.info["lowpass"] or None,
            "sfreq": float(epochs.info["sfreq"]),
            "picks": list(epochs.ch_names),
        }
    )
    return Trials(
        data=epochs.get_data(copy=True).astype(np.float32),
        ch_names=list(epochs.ch_names),
        sfreq=float(epochs.info["sfreq"]),
        tmin=float(epochs.tmin),
        metadata=table,
        stimuli_root=stimuli_root,
        signal=signal.model_dump(mode="json"),
    )
