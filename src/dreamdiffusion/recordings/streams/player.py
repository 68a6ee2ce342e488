"""A recording that is played as if it were recorded now."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from dreamdiffusion.files.pictures import picture_path
from dreamdiffusion.recordings.config import Unit
from dreamdiffusion.recordings.gaps import stretches
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.recordings.recording import Recording, eeg_names
from dreamdiffusion.recordings.streams.source import POLL, Chunk, Marker, Source, StreamInfo

PAUSE = 1.0
"""s that a gap of a recording lasts when it is played; how long it was, samples do not say."""


@dataclass
class Block:
    """A piece to play: volts ``(n_chans, n)``, times and markers in s from its beginning."""

    data: np.ndarray
    times: np.ndarray
    markers: list[Marker] = field(default_factory=list)


class Player(Source):
    """Plays blocks one after the other, at the speed of the clock or faster.

    Parameters
    ----------
    info
        What the stream says of itself.
    blocks
        What is played; taken one by one, when it is due.
    speed
        Seconds of the stream in one second.
    """

    def __init__(self, info: StreamInfo, blocks: Iterator[Block], speed: float = 1.0) -> None:
        self.info, self.speed, self._blocks = info, speed, blocks
        self._block: Block | None = None
        self._began = time.monotonic()
        self._offset = self._began
        self._sent = self._marked = 0

    def clock(self) -> float:
        """Return the time now, s; it runs at the speed of the player."""
        return self._began + (time.monotonic() - self._began) * self.speed

    def read(self) -> Chunk | None:
        """Return the samples that are due."""
        if self._block is None and not self._next():
            return None
        time.sleep(POLL)
        block = self._block
        assert block is not None
        passed = self.clock() - self._offset
        stop = int(np.searchsorted(block.times, passed, side="right"))
        due = slice(self._sent, stop)
        chunk = Chunk(block.data[:, due], self._offset + block.times[due], self._markers(passed))
        self._sent = stop
        if stop == len(block.times) and self._marked == len(block.markers):
            self._block = None
            self._offset += block.times[-1] + 1 / self.info.sfreq
        return chunk

    def _next(self) -> bool:
        self._block = next(self._blocks, None)
        self._sent = self._marked = 0
        return self._block is not None

    def _markers(self, passed: float) -> list[Marker]:
        """Return the markers until now, on the clock of the stream."""
        assert self._block is not None
        known = self._block.markers
        ended = passed >= self._block.times[-1]
        found = []
        while self._marked < len(known) and (ended or known[self._marked].time <= passed):
            marker = known[self._marked]
            found.append(replace(marker, time=self._offset + marker.time))
            self._marked += 1
        return found


def open_file(
    path: Path, speed: float, unit: Unit | None = None, ch_names: Sequence[str] = ()
) -> Player:
    """Open a recording of any known format as a stream; its events become markers.

    Parameters
    ----------
    ch_names
        Names of all its EEG channels, in order; empty: the file's.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_recording`; or if not all channels are named.
    """
    recording = read_recording(path, unit=unit)
    names = eeg_names(recording.raw)
    if not names:
        raise ValueError(f"{path} has no EEG channel among {recording.raw.ch_names}")
    sfreq = float(recording.raw.info["sfreq"])
    if ch_names and len(ch_names) != len(names):
        raise ValueError(
            f"{path} has {len(names)} EEG channels ({', '.join(names)}), and --ch_names names "
            f"{len(ch_names)}"
        )
    info = StreamInfo(
        path.name, list(ch_names) or names, sfreq, recording.format, recording.simulated
    )
    block = as_block(recording, names)
    player = Player(info, iter([block]), speed)
    player.warnings = _forget_missing(block, recording.stimuli_root)
    return player


def as_block(recording: Recording, names: list[str]) -> Block:
    """Return a recording to be played; a gap takes `PAUSE` seconds."""
    sfreq = float(recording.raw.info["sfreq"])
    data = np.asarray(recording.raw.get_data(picks=np.array(names)))
    times = np.arange(data.shape[1]) / sfreq
    for first, _ in stretches(recording.raw)[1:]:
        times[first:] += PAUSE
    markers = []
    events = recording.events
    for row in [] if events is None else events.to_dict("records"):
        place = row["onset"] * sfreq
        if not 0 <= place <= len(times) - 1:  # NaN: in a gap
            continue
        name = str(row.get("stim_file") or "")
        root = recording.stimuli_root
        picture = picture_path(root, name) if root is not None and name else None
        at = float(np.interp(place, np.arange(len(times)), times))
        named = name if picture is not None else ""
        markers.append(Marker(at, str(row["category"]), picture, named))
    return Block(data, times, sorted(markers, key=lambda marker: marker.time))


def _forget_missing(block: Block, root: Path | None) -> list[str]:
    """Take pictures that do not exist from the markers, and say so."""
    named = {m.picture: m.stim_file for m in block.markers if isinstance(m.picture, Path)}
    missing = {picture: name for picture, name in named.items() if not picture.is_file()}
    if not missing:
        return []
    block.markers = [
        replace(m, picture=None, stim_file="") if m.picture in missing else m for m in block.markers
    ]
    return [
        f"{len(missing)} of {len(named)} pictures are not in {root}, such as "
        f"{next(iter(missing.values()))}: they are neither shown nor recorded"
    ]
