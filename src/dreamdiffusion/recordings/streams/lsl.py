"""Streams of the Lab Streaming Layer: EEG from one, markers from all that there are.

Nothing of liblsl's processing of stamps is used; `SampleClock` and `_Inlet` say why. Silence is
never an error of liblsl, and whether a stream that went away comes back by itself depends on its
``source_id``; `LSLStream.reopen` looks for one with the same name, type and number of channels.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dreamdiffusion.recordings.channels import standard_renames
from dreamdiffusion.recordings.config import Unit
from dreamdiffusion.recordings.streams.clock import SampleClock
from dreamdiffusion.recordings.streams.source import (
    POLL,
    Chunk,
    Marker,
    Source,
    StreamInfo,
    StreamLost,
)

FIND_S = 5.0
"""s for which a stream is looked for."""
ANSWER_S = 3.0
"""s for which samples wait until the offset between the clocks is known."""
OWN_RECOVERY = 5
"""Times that a lost stream is left to liblsl, which finds one with a ``source_id`` by itself."""
_AT_ONCE = 2048
_VOLTS = {
    "V": 1.0, "volt": 1.0, "volts": 1.0,
    "mV": 1e-3, "millivolt": 1e-3, "millivolts": 1e-3,
    "uV": 1e-6, "µV": 1e-6, "μV": 1e-6, "microvolt": 1e-6, "microvolts": 1e-6,
    "nV": 1e-9, "nanovolt": 1e-9, "nanovolts": 1e-9,
}  # fmt: skip
_MARKERS = "starts-with(type,'Marker') or starts-with(type,'marker') or starts-with(type,'Event')"
_CONFIGS = ("lsl_api.cfg", "~/lsl_api/lsl_api.cfg", "/etc/lsl_api/lsl_api.cfg")


def import_pylsl() -> Any:
    """Import pylsl, and keep liblsl's own lines from the screen where nobody configured it.

    Raises
    ------
    ValueError
        If it is not installed, or liblsl does not load.
    """
    try:
        import pylsl
    except (ImportError, RuntimeError, OSError) as error:
        raise ValueError(
            f"streams of LSL need pylsl ({error}): pip install 'dreamdiffusion[live]'"
        ) from error
    own = "LSLAPICFG" in os.environ or any(Path(name).expanduser().exists() for name in _CONFIGS)
    if not own:
        pylsl.set_config_content("[log]\nlevel = -3\n")
    return pylsl


class LSLStream(Source):
    """The EEG stream of a name, or the only one there is, and all streams of markers.

    Parameters
    ----------
    name
        Of the stream; empty: the only stream of type EEG.
    ch_names
        Names of all its channels in order; empty: as it says.
    unit
        Of its numbers; None: as it says.
    marker_streams
        As `LSLMarkers`.

    Attributes
    ----------
    warnings
        What may go wrong with this stream, in words.

    Raises
    ------
    FileNotFoundError
        If there is no such stream; the message lists those that there are.
    ValueError
        If pylsl is missing, there are several such streams, or the stream does not say its rate,
        its channels or their unit.
    """

    def __init__(
        self,
        name: str,
        ch_names: list[str],
        unit: Unit | None = None,
        marker_streams: Sequence[str] = (),
    ) -> None:
        self._lsl = import_pylsl()
        self._gone = self._lsl.util.LostError
        self._not_opened = (self._lsl.util.TimeoutError, self._gone)
        self._inlet = _Inlet(self._lsl, _find(self._lsl, name), recover=True)
        about = self._inlet.info
        self.info, self._rows, self._factors = describe(about, ch_names, unit)
        self._clock = SampleClock(self.info.sfreq)
        self._same = (
            f"name={_quoted(about.name())} and type={_quoted(about.type())} and "
            f"channel_count='{about.channel_count()}'"
        )
        self._uid, self._has_id = about.uid(), bool(about.source_id())
        self._lost = False
        self._n_tried = 0
        self.warnings = []
        if not self._has_id:
            self.warnings.append(
                f"{self.info.name} has no source_id: a stream that comes back is known by name, "
                "type and number of channels only"
            )
        self._markers = LSLMarkers(marker_streams)

    def clock(self) -> float:
        """Return the time now by LSL's clock, s."""
        return self._markers.clock()

    def read(self) -> Chunk | None:
        """Return samples and markers that came."""
        time.sleep(POLL)
        markers = self._markers.read()
        n_chans = len(self.info.ch_names)
        if self._lost:
            return Chunk.empty(n_chans, markers)
        try:
            parts = self._inlet.pull()
        except self._gone as error:
            self._lost = True
            raise StreamLost(f"{self.info.name} is gone") from error
        if not parts:
            return Chunk.empty(n_chans, markers)
        self._n_tried = 0
        times = self._clock.times(np.concatenate([stamps for _, stamps in parts]))
        samples = np.concatenate([values for values, _ in parts])[:, self._rows].T
        return Chunk(samples * self._factors[:, None], times, markers)

    def reopen(self) -> bool:
        """Look for the stream by name, type and number of channels."""
        self._n_tried += 1
        if not self._lost and self._has_id and self._n_tried <= OWN_RECOVERY:
            return False
        found = self._lsl.resolve_bypred(self._same, 1, 0.5)
        if not self._lost:  # silent: only another one is of use
            found = [item for item in found if item.uid() != self._uid]
        if not found:
            return False
        try:
            inlet = _Inlet(self._lsl, found[0], recover=True)
        except self._not_opened:
            return False
        self._inlet.close()
        self._inlet, self._uid = inlet, found[0].uid()
        self._lost, self._n_tried = False, 0
        return True

    def close(self) -> None:
        """Close all streams."""
        self._markers.close()
        self._inlet.close()


class LSLMarkers:
    """All streams of markers that there are, also those that begin later.

    Parameters
    ----------
    names
        Of the streams; empty: all of type Markers.

    Raises
    ------
    ValueError
        If pylsl is missing.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._lsl = import_pylsl()
        self._names = set(names)
        self._resolver = self._lsl.ContinuousResolver(pred=_MARKERS)
        self._inlets: dict[str, _Inlet] = {}
        self._looked = 0.0

    def clock(self) -> float:
        """Return the time now by LSL's clock, s."""
        return float(self._lsl.local_clock())

    def read(self) -> list[Marker]:
        """Return the markers that came, by LSL's clock; text before numbers of the same time."""
        self._look()
        found: list[tuple[bool, Marker]] = []
        for uid, inlet in list(self._inlets.items()):
            try:
                parts = inlet.pull()
            except self._lsl.util.LostError:
                self._inlets.pop(uid).close()
                continue
            rows = (row for part in parts for row in zip(*part, strict=True))
            for value, at in rows:
                words = [item if isinstance(item, str) else f"{item:g}" for item in value]
                is_number = not isinstance(value[0], str)
                found.append((is_number, Marker(float(at), " ".join(words))))
        found.sort(key=lambda pair: (pair[1].time, pair[0]))
        return [marker for _, marker in found]

    def _look(self) -> None:
        """Open the streams that are new, once a second."""
        if time.monotonic() - self._looked < 1.0:
            return
        self._looked = time.monotonic()
        for found in self._resolver.results():
            if found.uid() in self._inlets or (self._names and found.name() not in self._names):
                continue
            # The resolver finds it again, so liblsl must not: its markers would come twice.
            with contextlib.suppress(self._lsl.util.TimeoutError, self._lsl.util.LostError):
                self._inlets[found.uid()] = _Inlet(self._lsl, found, recover=False)

    def close(self) -> None:
        """Close them."""
        for inlet in self._inlets.values():
            inlet.close()


class _Inlet:
    """An inlet whose stamps are put on this machine's clock.

    liblsl can do so while samples are pulled (`proc_clocksync`). It then waits for an answer of the
    sender amid the pulling, and the sample at hand is lost if that does not come (measured: a
    sender that is killed right after it came back). Here a thread asks, and samples wait for the
    first answer, for at most `ANSWER_S`.
    """

    def __init__(self, lsl: Any, found: Any, recover: bool) -> None:
        self._lsl = lsl
        self._inlet = lsl.StreamInlet(found, recover=recover)
        self._inlet.open_stream(timeout=FIND_S)
        self.info = self._inlet.info(timeout=FIND_S)
        self._offset: float | None = None
        self._kept: list[tuple[Any, np.ndarray]] = []
        self._opened = time.monotonic()
        self._closed = threading.Event()
        threading.Thread(target=self._ask, name="LSL clock", daemon=True).start()

    def _ask(self) -> None:
        while not self._closed.is_set():
            try:
                self._offset = float(self._inlet.time_correction(timeout=ANSWER_S))
            except self._lsl.util.TimeoutError:
                pass
            except self._lsl.util.LostError:
                return
            self._closed.wait(1.0)

    def pull(self) -> list[tuple[Any, np.ndarray]]:
        """Return what came, in parts: values, and their stamps on this machine's clock.

        Raises
        ------
        pylsl.util.LostError
            If the stream is gone, and everything was returned.
        """
        numeric = self.info.channel_format() != self._lsl.cf_string
        lost = None
        while True:
            try:
                values, stamps = self._inlet.pull_chunk(0.0, _AT_ONCE, as_numpy=numeric)
            except self._lsl.util.LostError as error:
                lost = error
                break
            if len(stamps):
                self._kept.append((values, np.asarray(stamps)))
            if len(stamps) < _AT_ONCE:
                break
        if lost is not None and not self._kept:
            raise lost
        waited = time.monotonic() - self._opened > ANSWER_S
        if self._offset is None and not waited and lost is None:
            return []
        kept, self._kept = self._kept, []
        return [(values, stamps + (self._offset or 0.0)) for values, stamps in kept]

    def close(self) -> None:
        """Close the stream."""
        self._closed.set()
        self._inlet.close_stream()


def _find(lsl: Any, name: str) -> Any:
    """Return the stream of a name, or the only one of type EEG."""
    ends = time.monotonic() + FIND_S
    there: list[Any] = []
    while time.monotonic() < ends:
        there = lsl.resolve_streams(0.5)
        fits = [item for item in there if (item.name() == name if name else item.type() == "EEG")]
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise ValueError(
                f"there are {len(fits)} such streams ({_listed(fits)}); stop all but one, or name "
                "one: --source lsl:NAME"
            )
    wanted = f"LSL stream {name!r}" if name else "LSL stream of type EEG"
    raise FileNotFoundError(
        f"no {wanted} was found within {FIND_S:g} s; there are: {_listed(there)}. Start streaming "
        "in the headset's program, on this machine or in the same network"
    )


def _listed(streams: list[Any]) -> str:
    return ", ".join(
        f"{item.name()} ({item.type()}, {item.channel_count()} channels, "
        f"{item.nominal_srate():g} Hz, on {item.hostname()})"
        for item in streams
    ) or "none"  # fmt: skip


def describe(
    about: Any, ch_names: list[str], unit: Unit | None
) -> tuple[StreamInfo, list[int], np.ndarray]:
    """Read what a stream says of its channels.

    Returns
    -------
    info, rows, factors
        The EEG channels; which channels of the stream these are; what makes their numbers volts,
        ``(n_chans,)``.
    """
    name, n_chans = about.name(), about.channel_count()
    sfreq = float(about.nominal_srate())
    if sfreq <= 0:
        raise ValueError(
            f"{name} has no regular rate, so it is no EEG; it is of type {about.type()}"
        )
    labels = ch_names or about.get_channel_labels() or []
    if ch_names and len(ch_names) != n_chans:
        raise ValueError(f"{name} has {n_chans} channels, and --ch_names names {len(ch_names)}")
    if len(labels) != n_chans or not all(labels):
        raise ValueError(
            f"{name} does not say the names of its {n_chans} channels; give them in its order: "
            "--ch_names TP9 AF7 AF8 TP10"
        )
    types = about.get_channel_types() or []
    types = types if len(types) == n_chans else [""] * n_chans
    rows = [i for i, kind in enumerate(types) if (kind or "EEG").upper() == "EEG"]
    units = about.get_channel_units() or []
    units = [unit] * n_chans if unit else units if len(units) == n_chans else [""] * n_chans
    wrong = [f"{labels[i]}: {units[i] or 'none'}" for i in rows if units[i] not in _VOLTS]
    if wrong:
        raise ValueError(
            f"{name} does not say in which unit its numbers are ({', '.join(wrong[:3])}); state it "
            "with --unit, such as --unit uV"
        )
    chosen = [str(labels[i]) for i in rows]
    new = standard_renames(chosen)
    device = about.desc().child_value("manufacturer")
    info = StreamInfo(name, [new.get(label, label) for label in chosen], sfreq, device)
    return info, rows, np.array([_VOLTS[str(units[i])] for i in rows])


def _quoted(text: str) -> str:
    return f"'{text}'" if "'" not in text else f'"{text}"'
