"""What every source of live EEG gives: chunks of samples with time stamps, and markers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

POLL = 0.03
"""s that `Source.read` waits at most for new samples."""


class StreamLost(OSError):
    """The stream is gone, and does not come back by itself."""


@dataclass(frozen=True)
class StreamInfo:
    """What a stream says of itself.

    Attributes
    ----------
    name
        As a person knows it.
    ch_names
        EEG channels, by their 10-05 names where they mean one.
    sfreq
        Nominal sampling rate, Hz.
    device
        Manufacturer or board, where it is known.
    simulated
        True where no person is recorded.
    """

    name: str
    ch_names: list[str]
    sfreq: float
    device: str = ""
    simulated: bool = False


@dataclass(frozen=True)
class Marker:
    """Something that happened: its time (s, the clock of the stream) and what it says.

    ``picture`` is what was shown, where the source knows it, and ``stim_file`` its name, with
    slashes, in the folder of the pictures.
    """

    time: float
    value: str
    picture: Path | Image.Image | None = field(default=None, repr=False)
    stim_file: str = ""


@dataclass(frozen=True)
class Chunk:
    """Samples that came at once.

    Attributes
    ----------
    data
        Volts ``(n_chans, n)``; n may be 0.
    times
        When they were taken, s by the clock of the source, ``(n,)``, rising.
    markers
        Markers that came meanwhile, each perhaps earlier or later than the samples.
    lost
        Places before which samples are missing, where the device counts them.
    """

    data: np.ndarray
    times: np.ndarray
    markers: list[Marker] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)

    @classmethod
    def empty(cls, n_chans: int, markers: list[Marker] | None = None) -> Chunk:
        """Return a chunk without samples."""
        return cls(np.zeros((n_chans, 0)), np.zeros(0), markers or [])


class Source(ABC):
    """A stream that is being read."""

    info: StreamInfo
    speed: float = 1.0
    """Seconds of the stream in one second; more than 1 where a recording is played fast."""
    warnings: Sequence[str] = ()
    """What may go wrong with this stream, in words."""

    @abstractmethod
    def clock(self) -> float:
        """Return the time now, s, by the clock of the time stamps."""

    @abstractmethod
    def read(self) -> Chunk | None:
        """Return what is new after at most `POLL` seconds; None: the stream has ended.

        Raises
        ------
        StreamLost
            If the stream is gone; `reopen` looks for it.
        """

    def reopen(self) -> bool:
        """Look for a stream that is lost or silent; return whether it was opened anew."""
        return False

    def close(self) -> None:
        """Let go of the stream."""
        return
