"""Boards that BrainFlow drives: OpenBCI, Muse over Bluetooth, and many more.

BrainFlow stamps samples as they arrive, all of a packet at once. Here time goes by the board's own
counter of samples, and follows the stamps slowly (`SampleClock`).
"""

from __future__ import annotations

import contextlib
import importlib.resources
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from dreamdiffusion.recordings.channels import standard_renames
from dreamdiffusion.recordings.streams.clock import SampleClock
from dreamdiffusion.recordings.streams.lsl import LSLMarkers
from dreamdiffusion.recordings.streams.source import (
    POLL,
    Chunk,
    Marker,
    Source,
    StreamInfo,
    StreamLost,
)

TURNS = (256, 65536)
"""Numbers after which counters of samples begin anew."""
_LEARNED = 100
"""Samples after which it is known whether a board counts each of them."""


class Counter:
    """Finds lost samples by a board's counter; boards that count packets only say nothing."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._n_seen, self._counts_each, self._most = 0, True, 0.0

    def lost(self, numbers: np.ndarray) -> list[tuple[int, int]]:
        """Return places, and how many samples are missing before each; `numbers`: ``(n,)``."""
        if not len(numbers):
            return []
        before = numbers[0] - 1 if self._last is None else self._last
        steps = np.diff(numbers, prepend=before)
        self._most = max(self._most, float(numbers.max()))
        turn = next((turn for turn in TURNS if self._most < turn), np.inf)
        steps = np.where(steps < 0, steps + turn, steps)
        self._last = float(numbers[-1])
        if self._n_seen < _LEARNED:
            self._counts_each &= bool(np.mean(steps == 1) > 0.9)
        self._n_seen += len(numbers)
        if not self._counts_each or not np.isfinite(turn):
            return []
        return [(int(place), int(steps[place]) - 1) for place in np.flatnonzero(steps > 1)]

    def begin_anew(self) -> None:
        """Forget the last number: the board was opened again."""
        self._last = None


class BoardStream(Source):
    """A board, opened and streaming.

    Parameters
    ----------
    board
        Its name or number in BrainFlow, and what it needs: ``synthetic``, ``cyton,/dev/ttyUSB0``,
        ``muse_s,mac_address=...``, ``playback_file,file=x.csv,master_board=cyton``.
    ch_names
        Names of its EEG channels in order; empty: BrainFlow's.
    marker_streams
        As `lsl.LSLMarkers`.

    Raises
    ------
    ValueError
        If brainflow is missing, there is no such board, or its channels have no names.
    OSError
        If the board does not answer.
    """

    def __init__(self, board: str, ch_names: list[str], marker_streams: Sequence[str] = ()) -> None:
        self._flow = import_brainflow()
        name, *rest = board.split(",")
        self._id = board_id(self._flow, name)
        self._params = read_params(self._flow, rest)
        shim = self._flow.BoardShim
        described = self._id
        if int(self._params.master_board) >= 0 or name.lower().startswith("playback"):
            described = int(self._params.master_board)
        self._rows = list(shim.get_eeg_channels(described))
        self._counter_row = int(shim.get_package_num_channel(described))
        self._stamp_row = int(shim.get_timestamp_channel(described))
        self._marker_row = int(shim.get_marker_channel(described))
        sfreq = float(shim.get_sampling_rate(described))
        device = str(shim.get_device_name(described))
        names = ch_names or _own_names(self._flow, described, len(self._rows))
        if len(names) != len(self._rows):
            raise ValueError(
                f"{device} has {len(self._rows)} EEG channels, and {len(names)} are named; give "
                "all in its order: --ch_names Fp1 Fp2 C3 C4"
            )
        new = standard_renames(names)
        synthetic = described == int(self._flow.BoardIds.SYNTHETIC_BOARD)
        self.info = StreamInfo(
            device, [new.get(n, n) for n in names], sfreq, f"{device}, BrainFlow", synthetic
        )
        self._markers: LSLMarkers | None = None
        with contextlib.suppress(ValueError):  # without pylsl: the board's own markers only
            self._markers = LSLMarkers(marker_streams)
        self._offset = self.clock() - time.time()
        self._clock, self._counter = SampleClock(sfreq), Counter()
        self._shim = shim(self._id, self._params)
        self._start()

    def _start(self) -> None:
        try:
            self._shim.prepare_session()
            self._shim.start_stream()
        except self._flow.BrainFlowError as error:
            self.close()
            raise OSError(
                f"the board {self.info.name} does not answer ({error}); see that it is on, that "
                "its port or address is right, and that no other program uses it"
            ) from error

    def clock(self) -> float:
        """Return the time now, s: LSL's clock where pylsl is there, so that markers fit."""
        if self._markers is not None:
            return self._markers.clock()
        return time.monotonic()

    def read(self) -> Chunk | None:
        """Return the samples that came, with markers of the board and of LSL."""
        time.sleep(POLL)
        try:
            found = self._shim.get_board_data()
        except self._flow.BrainFlowError as error:
            raise StreamLost(f"{self.info.name}: {error}") from error
        markers = self._markers.read() if self._markers is not None else []
        lost = self._counter.lost(found[self._counter_row])
        times, done = [], 0
        stamps = found[self._stamp_row] + self._offset
        for place, n_missing in [*lost, (found.shape[1], 0)]:
            times.append(self._clock.times(stamps[done:place]))
            self._clock.skip(n_missing)
            done = place
        at = np.concatenate(times)
        for place in np.flatnonzero(found[self._marker_row]):
            markers.append(Marker(float(at[place]), f"{found[self._marker_row, place]:g}"))
        data = found[self._rows] * 1e-6  # BrainFlow's EEG is in microvolts
        return Chunk(data, at, markers, [place for place, _ in lost])

    def reopen(self) -> bool:
        """Open the board again."""
        self.close()
        try:
            self._start()
        except OSError:
            return False
        self._counter.begin_anew()
        return True

    def close(self) -> None:
        """Let go of the board."""
        with contextlib.suppress(self._flow.BrainFlowError):
            self._shim.release_session()


def import_brainflow() -> Any:
    """Import brainflow, its own log lines off.

    Raises
    ------
    ValueError
        If it is not installed.
    """
    try:
        from brainflow import board_shim
    except ImportError as error:
        raise ValueError(
            f"boards need brainflow ({error}): pip install 'dreamdiffusion[brainflow]'"
        ) from error
    # Before Python 3.12 brainflow asks for the files of a module, which only packages have, and
    # falls back on pkg_resources, which setuptools no longer brings.
    board_shim.files = lambda _: importlib.resources.files("brainflow")  # type: ignore[attr-defined]
    board_shim.BoardShim.disable_board_logger()
    return board_shim


def board_id(flow: Any, name: str) -> int:
    """Return the number of a board by its name, ``cyton`` for ``CYTON_BOARD``, or its number.

    Raises
    ------
    ValueError
        If there is none; the message lists all.
    """
    known = {item.name.lower().removesuffix("_board"): int(item.value) for item in flow.BoardIds}
    wanted = name.strip().lower().removesuffix("_board")
    if wanted in known:
        return known[wanted]
    if wanted.lstrip("-").isdigit() and int(wanted) in known.values():
        return int(wanted)
    raise ValueError(f"BrainFlow knows no board {name!r}; it knows {', '.join(sorted(known))}")


def read_params(flow: Any, given: list[str]) -> Any:
    """Return BrainFlow's parameters from ``key=value`` pairs; a value alone is the serial port.

    Raises
    ------
    ValueError
        For a key that BrainFlow has not.
    """
    params = flow.BrainFlowInputParams()
    for item in given:
        key, is_pair, value = item.partition("=")
        if not is_pair:
            key, value = "serial_port", item
        if not hasattr(params, key):
            raise ValueError(
                f"BrainFlow has no parameter {key!r}; it has {', '.join(sorted(vars(params)))}"
            )
        if key == "master_board":
            setattr(params, key, board_id(flow, value))
        else:
            before = getattr(params, key)
            setattr(params, key, int(value) if isinstance(before, int) else value)
    return params


def _own_names(flow: Any, board: int, n_chans: int) -> list[str]:
    try:
        return list(flow.BoardShim.get_eeg_names(board))
    except flow.BrainFlowError:
        raise ValueError(
            f"BrainFlow names no electrodes for this board; give its {n_chans} EEG channels in "
            "order: --ch_names Fp1 Fp2 C3 C4"
        ) from None
