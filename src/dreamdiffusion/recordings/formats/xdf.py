"""XDF of LabRecorder (Lab Streaming Layer), through pyxdf -> Raw: one EEG stream, all markers.

The streams' clocks are brought together by pyxdf, clock resets included. Its removal of jitter is
not used: it would spread a short loss of samples over its surroundings. Before pyxdf reads a file,
its chunks are walked (github sccn/xdf, wiki "Specifications"): pyxdf passes over what it cannot
read, and a recording would be shorter without a word.
"""

from __future__ import annotations

import io
import logging
import struct
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import mne
import numpy as np
import pandas as pd
import pyxdf

from dreamdiffusion.recordings.formats.archives import MAX_BYTES, read_gzip
from dreamdiffusion.recordings.formats.csv_table import events_of
from dreamdiffusion.recordings.gaps import annotate_boundaries, arrival_rate, sample_clock

logger = logging.getLogger(__name__)

_UNITS = {
    "microvolts": "uV", "microvolt": "uV", "uv": "uV", "\u00b5v": "uV", "\u03bcv": "uV",
    "millivolts": "mV", "mv": "mV", "volts": "V", "volt": "V", "v": "V", "nanovolts": "nV",
    "nv": "nV",
}  # fmt: skip
_VOLTS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "nV": 1e-9}
_BYTES = {"int8": 1, "int16": 2, "int32": 4, "int64": 8, "float32": 4, "double64": 8, "string": 1}
_HEADER, _STREAM, _SAMPLES, _OFFSET, _FOOTER = 1, 2, 3, 4, 6


def read_xdf(path: Path, stream: str | None = None) -> tuple[mne.io.RawArray, pd.DataFrame]:
    """Read the EEG stream of an XDF and the events of its marker streams.

    Parameters
    ----------
    path
        `.xdf`, or `.xdfz` (gzip).
    stream
        Name of the EEG stream, where the file holds several.

    Returns
    -------
    raw
        Volts, by the units that the stream states (microvolts where it states none); its channels'
        labels; its nominal rate, or that of its timestamps where it has none. Channels that it
        calls neither EEG nor leaves without a type are misc.
    events
        Of every stream of irregular rate with text or whole numbers: `onset` (by its timestamps),
        `category` (its first channel), `code` where all are whole numbers, `stream` where several
        streams have events.

    Raises
    ------
    ValueError
        For a file that is cut off or contradicts itself, no or several EEG streams, a rate that
        the timestamps contradict.
    """
    packed = path.name.lower().endswith(".xdfz")
    content = read_gzip(path, MAX_BYTES) if packed else path.read_bytes()
    _walk(content, path)
    streams = _load(content, path)
    eeg = _eeg_stream(streams, stream, path)
    stamps = np.asarray(eeg["time_stamps"], float)
    if len(stamps) < 2:
        raise ValueError(f"{path}: the stream {_said(eeg, 'name')} holds {len(stamps)} samples")
    nominal = float(_said(eeg, "nominal_srate") or 0)
    sfreq, gaps = arrival_rate(stamps, f"{path}: the stream {_said(eeg, 'name')}", nominal or None)
    types, units = _channels(eeg, path)
    scales = [_VOLTS.get(unit, 1.0) for unit in units.values()]
    data = np.asarray(eeg["time_series"], float).T * np.array(scales)[:, None]
    info = mne.create_info(list(units), sfreq, types)  # pyright: ignore[reportArgumentType]
    raw = mne.io.RawArray(data, info, verbose="ERROR")
    raw._orig_units = units
    annotate_boundaries(raw, gaps)
    clock, begin = sample_clock(stamps, sfreq, gaps)
    tables = []
    for other in streams:
        if other is not eeg and _is_markers(other) and len(other["time_stamps"]):
            onsets = clock.place(np.asarray(other["time_stamps"], float) - begin)
            table = events_of(onsets, [row[0] for row in other["time_series"]])
            tables.append(table.assign(stream=_said(other, "name")))
    if not tables:
        return raw, events_of([], [])
    events = pd.concat(tables).sort_values("onset", kind="stable", ignore_index=True)
    if not events["onset"].between(-1, raw.n_times / sfreq + 1).any():
        logger.warning(
            "%s: all %d markers lie outside the EEG: its clock is another one (BlueMuse: set its "
            "timestamps to LSL's local clock)",
            path, len(events),
        )  # fmt: skip
    if len(tables) == 1:
        events = events.drop(columns="stream")
    elif "code" in events and bool(events["code"].isna().any()):  # of some streams alone
        events = events.drop(columns="code")
    return raw, events


def _walk(content: bytes, path: Path) -> None:
    """Raise where the chunks do not fill the file, or lie about what they hold."""
    if not content.startswith(b"XDF:"):
        raise ValueError(f"{path} begins with {content[:4]!r}, expected XDF:")
    at, least, n_samples = 4, {}, {}
    while at < len(content):
        start, width = at, content[at]
        length = int.from_bytes(content[at + 1 : at + 1 + width], "little")
        at += 1 + width
        if width not in (1, 4, 8) or length < 2 or at + length > len(content):
            raise ValueError(
                f"{path} cannot be read: the chunk at byte {start} declares {length} bytes, and "
                f"{max(len(content) - at, 0)} are left; the file is cut off there or broken: copy "
                "it again"
            )
        tag, body = int.from_bytes(content[at : at + 2], "little"), content[at + 2 : at + length]
        at += length
        if tag in (_HEADER, _STREAM, _FOOTER) and b"<!DOCTYPE" in body:
            raise ValueError(f"{path}: the chunk at byte {start} defines XML entities; refused")
        if tag == _STREAM:
            form = body.split(b"<channel_format>")[-1].split(b"<")[0].decode("latin-1").strip()
            n_chans = body.split(b"<channel_count>")[-1].split(b"<")[0].strip()
            if form not in _BYTES or not n_chans.isdigit() or not 0 < int(n_chans) < 10_000:
                raise ValueError(
                    f"{path}: the stream at byte {start} has {n_chans!r} channels of {form!r}, "
                    f"expected a number of one of {', '.join(_BYTES)}"
                )
            least[body[:4]] = 1 + int(n_chans) * _BYTES[form]
        if tag in (_SAMPLES, _OFFSET, _FOOTER) and body[:4] not in least:
            raise ValueError(f"{path}: the chunk at byte {start} is of a stream without a header")
        if tag == _SAMPLES:
            wide = body[4] if len(body) > 4 else 0
            n = int.from_bytes(body[5 : 5 + wide], "little")
            if wide not in (1, 4, 8) or n * least[body[:4]] > len(body) - 5 - wide:
                raise ValueError(
                    f"{path}: the chunk at byte {start} declares {n} samples in {length} bytes"
                )
            n_samples[body[:4]] = n_samples.get(body[:4], 0) + n
        if tag == _FOOTER and b"<sample_count>" in body:
            said = body.split(b"<sample_count>")[-1].split(b"<")[0].decode("latin-1")
            if said.isdigit() and int(said) != n_samples.get(body[:4], 0):
                raise ValueError(
                    f"{path}: a stream ends with {said} samples by its footer, and "
                    f"{n_samples.get(body[:4], 0)} are there"
                )


class _Complaints(logging.Handler):
    """What pyxdf says of parts that it passes over."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message."""
        self.texts.append(record.getMessage())


def _load(content: bytes, path: Path) -> list[dict[str, Any]]:
    said, heard = logging.getLogger("pyxdf"), _Complaints()
    said.addHandler(heard)
    before, said.propagate = said.propagate, False
    try:
        streams, _ = pyxdf.load_xdf(io.BytesIO(content), dejitter_timestamps=False)
    except (ParseError, KeyError, IndexError, TypeError, struct.error, OSError) as error:
        raise ValueError(f"{path} cannot be read as XDF: {type(error).__name__} {error}") from error
    finally:
        said.removeHandler(heard)
        said.propagate = before
    if heard.texts:
        raise ValueError(f"{path} cannot be read as XDF: {heard.texts[0]}; copy it again")
    return streams


def _said(stream: dict[str, Any], key: str) -> str:
    return str((stream["info"].get(key) or [""])[0] or "").strip()


def _is_markers(stream: dict[str, Any]) -> bool:
    form = _said(stream, "channel_format")
    return float(_said(stream, "nominal_srate") or 0) == 0 and (
        form == "string" or form.startswith("int") or _said(stream, "type").lower() == "markers"
    )


def _eeg_stream(streams: list[dict[str, Any]], wanted: str | None, path: Path) -> dict[str, Any]:
    numbers = [one for one in streams if _said(one, "channel_format") != "string"]
    eeg = [one for one in numbers if _said(one, "type").lower() in ("eeg", "exg")]
    shown = ", ".join(
        f"{_said(one, 'name')} ({_said(one, 'type')}, {_said(one, 'nominal_srate')} Hz)"
        for one in streams
    )
    if wanted is not None:
        eeg = [one for one in numbers if _said(one, "name") == wanted]
    if len(eeg) != 1:
        raise ValueError(
            f"{path} holds {len(eeg)} streams "
            + (f"of the name {wanted!r}" if wanted is not None else "of the type EEG")
            + f", expected one; it holds {shown or 'none'}; state the stream by its name "
            "(prepare: --signal.stream; inspect and bids: --stream)"
        )
    return eeg[0]


def _channels(eeg: dict[str, Any], path: Path) -> tuple[list[str], dict[str, str]]:
    """Return the type of each channel, and label -> unit, as the stream's description says."""
    n_chans = int(_said(eeg, "channel_count"))
    try:
        described = eeg["info"]["desc"][0]["channels"][0]["channel"]
    except (TypeError, KeyError, IndexError):
        described = [{}] * n_chans
    if len(described) != n_chans:
        raise ValueError(
            f"{path}: the stream {_said(eeg, 'name')} describes {len(described)} channels and has "
            f"{n_chans}"
        )
    names, types, units = [], [], []
    for number, channel in enumerate(described):
        text = {key: str((channel.get(key) or [""])[0] or "").strip() for key in ("label", "type")}
        unit = str((channel.get("unit") or ["microvolts"])[0] or "microvolts").strip().lower()
        is_eeg = text["type"].lower() in ("", "eeg", "exg")
        if is_eeg and unit not in _UNITS:
            raise ValueError(
                f"{path}: the unit of {text['label'] or number} is {unit!r}, expected one of "
                f"{', '.join(_UNITS)}"
            )
        names.append(text["label"] or f"EEG {number + 1}")
        types.append("eeg" if is_eeg else "misc")
        units.append(_UNITS.get(unit, unit))
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: the stream {_said(eeg, 'name')} has two channels of one name")
    return types, dict(zip(names, units, strict=True))
