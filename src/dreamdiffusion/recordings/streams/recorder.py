"""A stream on the disk: BrainVision in a BIDS folder, readable at every moment.

Samples are appended to the ``.eeg`` file, which is nothing but samples, and events to
``events.tsv``, so that a process that is killed leaves a recording that opens. Its duration is
written when it ends, or by `finish_all` at the next start.
"""

from __future__ import annotations

import io
import json
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from dreamdiffusion.files.whole import naming, write_json, write_text
from dreamdiffusion.recordings.streams.shown import KeptPictures
from dreamdiffusion.recordings.streams.source import Marker, StreamInfo

TASK = "live"
EVERY = 1.0
"""s between two times that samples are put on the disk."""
_VOLTS = 1e6  # the file holds microvolts
_DURATION = "RecordingDuration"
_EVENTS = "onset\tduration\ttrial_type\tstim_file\tsample\n"


class Recorder:
    """Writes one run of a stream.

    Parameters
    ----------
    root
        The BIDS folder; made where it is missing. The run gets the next free number.
    subject
        Label of the person.
    info
        Of the stream.

    Raises
    ------
    FileExistsError
        If the folder holds something else than BIDS.
    """

    def __init__(self, root: Path, subject: str, info: StreamInfo) -> None:
        _describe(root, info.simulated)
        folder = root / f"sub-{subject}" / "ses-01" / "eeg"
        folder.mkdir(parents=True, exist_ok=True)
        start = f"sub-{subject}_ses-01_task-{TASK}_run-"
        taken = [int(path.name[len(start) :].split("_")[0]) for path in _headers(folder, start)]
        self.path = folder / f"{start}{max(taken, default=0) + 1:02d}_eeg.vhdr"
        self.n_times = 0
        self._info, self._n_marks = info, 0
        self._pictures = KeptPictures(root / "stimuli")
        self._recent: tuple[np.ndarray, int] = (np.zeros(0), 0)  # times, place of the first
        self._waiting: list[Marker] = []
        self._written = time.monotonic()
        self._begin()
        # What came since the last `flush`.
        self._samples, self._marks, self._events = io.BytesIO(), io.StringIO(), io.StringIO()
        self._closed = False

    def _begin(self) -> None:
        name, info = self.path.stem, self._info
        write_text(self.path.with_suffix(".eeg"), "")
        began = datetime.now(UTC).strftime("%Y%m%d%H%M%S%f")
        write_text(
            self.path.with_suffix(".vmrk"),
            "Brain Vision Data Exchange Marker File, Version 1.0\n\n[Common Infos]\n"
            f"Codepage=UTF-8\nDataFile={name}.eeg\n\n[Marker Infos]\n"
            f"Mk1=New Segment,,1,1,0,{began}\n",
        )
        self._n_marks = 1
        write_text(_events_of(self.path), _EVENTS)
        channels = [f"Ch{i}={_coded(ch)},,1,µV" for i, ch in enumerate(info.ch_names, start=1)]
        _write_sidecars(self.path, info)
        write_text(  # the header last: with it, it is a recording
            self.path,
            "Brain Vision Data Exchange Header File Version 1.0\n\n[Common Infos]\n"
            f"Codepage=UTF-8\nDataFile={name}.eeg\nMarkerFile={name}.vmrk\n"
            "DataFormat=BINARY\nDataOrientation=MULTIPLEXED\n"
            f"NumberOfChannels={len(channels)}\nSamplingInterval={1e6 / info.sfreq!r}\n\n"
            "[Binary Infos]\nBinaryFormat=IEEE_FLOAT_32\n\n"
            "[Channel Infos]\n" + "\n".join(channels) + "\n",
        )

    def append(
        self,
        data: np.ndarray,
        times: np.ndarray,
        gaps: list[tuple[int, float]],
        markers: list[Marker],
    ) -> None:
        """Add samples, volts ``(n_chans, n)``, their times, gaps (`Ring.append`) and markers."""
        self._samples.write(np.ascontiguousarray(data.T * _VOLTS, "<f4").data)
        for place, _ in gaps:
            self._mark("New Segment", "", self.n_times + place)
        if len(times):
            kept, first = self._recent
            if len(kept) and times[0] <= kept[-1]:  # a clock that was set back
                kept, first = kept[:0], self.n_times
            joined = np.concatenate([kept, times])
            drop = max(0, len(joined) - round(60 * self._info.sfreq))
            self._recent = (joined[drop:], first + drop)
            self.n_times += len(times)
        self._waiting += markers
        self._place_markers()
        if time.monotonic() - self._written >= EVERY:
            self.flush()

    def _place_markers(self) -> None:
        """Write the markers whose samples have come."""
        times, first = self._recent
        later = []
        for marker in self._waiting:
            if not len(times) or marker.time > times[-1] + 0.5 / self._info.sfreq:
                later.append(marker)
                continue
            place = int(np.searchsorted(times, marker.time - 0.5 / self._info.sfreq))
            if times[place] - marker.time > 1.5 / self._info.sfreq:
                self._mark("Comment", f"in a gap: {marker.value}", first + place)
            else:
                self._mark("Stimulus", marker.value, first + place, self._pictures.keep(marker))
        self._waiting = later

    def _mark(self, kind: str, text: str, place: int, stim_file: str = "") -> None:
        self._n_marks += 1
        self._marks.write(f"Mk{self._n_marks}={kind},{_coded(text)},{place + 1},1,0\n")
        name = _cell("boundary" if kind == "New Segment" else text)
        onset = place / self._info.sfreq
        self._events.write(f"{onset:.6f}\t0\t{name}\t{_cell(stim_file)}\t{place}\n")

    def flush(self) -> None:
        """Put everything on the disk, samples first: no marker lies beyond them."""
        _append(self.path.with_suffix(".eeg"), self._samples.getvalue())
        _append(self.path.with_suffix(".vmrk"), self._marks.getvalue().encode("utf-8"))
        _append(_events_of(self.path), self._events.getvalue().encode("utf-8"))
        self._samples, self._marks, self._events = io.BytesIO(), io.StringIO(), io.StringIO()
        self._written = time.monotonic()

    def close(self) -> None:
        """End the recording: what is still open is written, and the sidecars completed."""
        if self._closed:
            return
        self._closed = True
        self.flush()
        if self.n_times:
            finish(self.path)
        else:  # nothing came: no recording
            for path in self.path.parent.glob(self.path.stem.removesuffix("_eeg") + "_*"):
                path.unlink()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def finish_all(root: Path) -> list[Path]:
    """Complete the recordings of a folder that were not ended; return their headers."""
    found = []
    for path in sorted(root.glob(f"sub-*/ses-*/eeg/*_task-{TASK}_*_eeg.vhdr")):
        about = json.loads(path.with_suffix(".json").read_text("utf-8"))
        if _DURATION not in about and finish(path):
            found.append(path)
    return found


def finish(path: Path) -> bool:
    """Write the duration of a recording; cut off a sample, marker or event that is not whole.

    Returns
    -------
    bool
        False: it holds no sample, and was removed.
    """
    header = path.read_text("utf-8")
    n_chans = int(re.findall(r"^NumberOfChannels=(\d+)", header, re.MULTILINE)[0])
    sfreq = 1e6 / float(re.findall(r"^SamplingInterval=(\S+)", header, re.MULTILINE)[0])
    samples = path.with_suffix(".eeg")
    n_times = samples.stat().st_size // (4 * n_chans)
    if not n_times:
        for other in path.parent.glob(path.stem.removesuffix("_eeg") + "_*"):
            other.unlink()
        return False
    os.truncate(samples, 4 * n_chans * n_times)
    _keep_lines(path.with_suffix(".vmrk"), lambda line: _is_marker_within(line, n_times))
    _keep_lines(_events_of(path), lambda line: _is_event_within(line, n_times))
    sidecar = path.with_suffix(".json")
    about = json.loads(sidecar.read_text("utf-8"))
    write_json(sidecar, about | {_DURATION: round(n_times / sfreq, 3)})
    return True


def _append(path: Path, content: bytes) -> None:
    """Add to a file, in one go, and wait until it is on the disk."""
    with naming(path), path.open("ab", buffering=0) as file:
        file.write(content)
        os.fsync(file.fileno())


def _keep_lines(path: Path, is_kept: Callable[[str], bool]) -> None:
    """Cut lines off that a power failure, or samples that are lost, left without their meaning."""
    lines = path.read_text("utf-8").splitlines(keepends=True)
    whole = [line for line in lines if is_kept(line)]
    if whole != lines:
        write_text(path, "".join(whole))


def _is_marker_within(line: str, n_times: int) -> bool:
    """Whether a line is no marker, or one that is written whole and whose sample is there."""
    match = re.fullmatch(r"Mk\d+=[^,]*,[^,]*,(\d+),1,0(,\d*)?\n", line)
    return not line.startswith("Mk") or (match is not None and int(match[1]) <= n_times)


def _is_event_within(line: str, n_times: int) -> bool:
    """Whether a line is the header, or an event that is written whole and whose sample is there."""
    match = re.fullmatch(r"[^\t]+\t0\t[^\t]+\t[^\t]+\t(\d+)\n", line)
    return line == _EVENTS or (match is not None and int(match[1]) < n_times)


def _events_of(path: Path) -> Path:
    return path.with_name(path.stem.removesuffix("_eeg") + "_events.tsv")


def _headers(folder: Path, start: str) -> list[Path]:
    return [
        path
        for path in folder.glob(f"{start}*_eeg.vhdr")
        if path.name[len(start) :].split("_")[0].isdigit()
    ]


def _describe(root: Path, simulated: bool) -> None:
    description = root / "dataset_description.json"
    if root.exists() and any(root.iterdir()) and not description.is_file():
        raise FileExistsError(f"{root} holds something else than a BIDS folder; name another one")
    if not description.is_file():
        root.mkdir(parents=True, exist_ok=True)
        name = "SIMULATED EEG, live" if simulated else "EEG, recorded live"
        about: dict[str, Any] = {"Name": name, "BIDSVersion": "1.10.0", "DatasetType": "raw"}
        write_json(description, about | ({"Simulated": True} if simulated else {}))


def _write_sidecars(path: Path, info: StreamInfo) -> None:
    rows = [f"{_cell(name)}\tEEG\tµV\t{info.sfreq:g}" for name in info.ch_names]
    table = path.with_name(path.stem.removesuffix("_eeg") + "_channels.tsv")
    write_text(table, "\n".join(["name\ttype\tunits\tsampling_frequency", *rows]) + "\n")
    write_json(
        path.with_suffix(".json"),
        {
            "TaskName": TASK,
            "Manufacturer": info.device or "n/a",
            "SamplingFrequency": info.sfreq,
            "PowerLineFrequency": "n/a",
            "EEGReference": "n/a",
            "SoftwareFilters": "n/a",
            "EEGChannelCount": len(info.ch_names),
            "RecordingType": "continuous",
            "Stream": info.name,
        },
    )


def _coded(text: str) -> str:
    """Return a text as a field of BrainVision: one line, its commas coded."""
    return " ".join(text.split()).replace(",", "\\1")


def _cell(text: str) -> str:
    """Return a text as a cell of a BIDS table."""
    return " ".join(text.replace('"', "'").split()) or "n/a"
