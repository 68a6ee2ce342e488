"""Recordings as programs of consumer headsets write them: the samples of `recording_files`."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from recording_files import CODES, EEG, N_TIMES, ONSETS, SFREQ, microvolts

from dreamdiffusion.recordings.formats.brainflow_boards import Board

JUMP = 1024
ROWS = [round(onset * SFREQ) for onset in ONSETS]
MARKED = dict(zip(ROWS, CODES, strict=True))


class Session(NamedTuple):
    """What is written: microvolts (n_chans, n_times), and the markers by their samples."""

    data: np.ndarray
    marked: dict[int, int] | dict[int, str]


def short() -> Session:
    """Return the samples of `recording_files`."""
    return Session(microvolts(0), MARKED)


def stamps(
    hole: float = 0.0, sfreq: float = SFREQ, begin: float = 1.6e9, n_times: int = N_TIMES
) -> np.ndarray:
    """When the samples were recorded, s; `hole` s are missing before sample `JUMP`."""
    return begin + np.arange(n_times) / sfreq + hole * (np.arange(n_times) >= JUMP)


def write_mind_monitor(
    folder: Path,
    names: Sequence[str] = EEG,
    factor: int = 1,
    hole: float = 0.0,
    session: Session | None = None,
) -> Path:
    """Rows of samples lack the last field, as published ones do; markers have their own rows."""
    session = session or short()
    bands = [f"{band}_{name}" for band in ("Delta", "Theta") for name in ("TP9", "AF7")]
    head = ["TimeStamp", *bands, *[f"RAW_{name}" for name in names], "AUX_RIGHT", "Gyro_X"]
    head += ["HeadBandOn", "Battery", "Elements"]
    data = (session.data * factor).round(1)
    times = stamps(hole, n_times=data.shape[1])
    lines = [",".join(head)]
    for row in range(len(times)):
        clock = datetime(2020, 1, 31, 10) + timedelta(seconds=float(times[row] - times[0]))
        text = clock.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        if row in session.marked:
            lines.append(f"{text}{',' * (len(head) - 1)}/Marker/{session.marked[row]}")
        if row == 300:
            lines.append(f"{text}{',' * (len(head) - 1)}/muse/elements/blink")
        values = ",".join(f"{value:.1f}" for value in data[:, row])
        lines.append(f"{text},0.1,0.2,0.3,0.4,{values},850.5,1.5,1,97.5")
    (folder / "a.csv").write_text("\n".join(lines) + "\n")
    return folder / "a.csv"


def write_mind_monitor_stream(folder: Path) -> Path:
    """What MindMonitorPython writes of the app's stream: 12 samples arrive at one time."""
    data, times = microvolts(0), stamps(0.0)
    arrived = times[np.minimum(np.arange(N_TIMES) // 12 * 12 + 11, N_TIMES - 1)] - times[0]
    lines = [",".join(["TimeStamp", *[f"RAW_{name}" for name in EEG], "AUX1", "Marker"])]
    for row in range(N_TIMES):
        text = str(datetime(2020, 1, 31, 10) + timedelta(microseconds=round(1e6 * arrived[row])))
        text += "" if "." in text else ".000000"
        if row in MARKED:
            lines.append(f"{text}{',' * (len(EEG) + 2)}/Marker/{MARKED[row]}")
        lines.append(",".join([text, *[f"{value:.1f}" for value in data[:, row]], "850.5"]))
    (folder / "a.csv").write_text("\n".join(lines) + "\n")
    return folder / "a.csv"


def write_emotivpro(
    folder: Path, names: Sequence[str] = EEG, factor: int = 1, hole: float = 0.0
) -> Path:
    """With rows of motion, which hold no EEG."""
    data = (microvolts(0) * factor).round(1)
    head = ["Timestamp", "EEG.Counter", "EEG.Interpolated", *[f"EEG.{name}" for name in names]]
    head += ["EEG.RawCq", "MarkerIndex", "MarkerType", "MarkerValueInt", "EEG.MarkerHardware"]
    head += ["CQ.AF3", "MOT.AccX"]
    lines = [
        "title:rec, start timestamp:1.6, stop timestamp:2.6, headset type:EPOCX, channels:5, "
        f"sampling rate:eeg_{SFREQ};mot_64, samples:{N_TIMES}, version:2.3",
        ",".join(head),
    ]
    for row, time in enumerate(stamps(hole)):
        values = ",".join(f"{value:.1f}" for value in data[:, row])
        marker = f"1,1,{MARKED[row]}" if row in MARKED else ",,"
        lines.append(f"{time:.6f},{row % 128},0,{values},0,{marker},0,4,")
        if row % 4 == 0:
            lines.append(f"{time + 0.001:.6f},,,{',' * (len(names) - 1)},,,,,,,0.5")
    (folder / "a.csv").write_text("\n".join(lines) + "\n")
    return folder / "a.csv"


def write_testbench(folder: Path, lost_rows: int = 0) -> Path:
    """The Emotiv program before EmotivPRO: one line names rate and columns.

    `lost_rows` were never received, before sample `JUMP`: the counter alone says so.
    """
    labels = "COUNTER INTERPOLATED Fp1 FP2 T3 cz O2 GYROX MARKER SYNC CQ_O2"
    lines = [
        "title:rec, recorded:05.04.12 14.11.34, timestamp started:2012-04-05, "
        f"sampling:{SFREQ}, subject:x, labels:{labels}, chan:11, units:emotiv"
    ]
    data = (4200 + microvolts(0)).round(1)
    for row in range(N_TIMES):
        values = ",".join(f"{value:.1f}" for value in data[:, row])
        lost = int(600 <= row < 660)
        count = (row + lost_rows * (row >= JUMP)) % 129
        lines.append(f"{count},{lost},{values},3,{MARKED.get(row, 0)},0,1")
    (folder / "a.csv").write_text("\n".join(lines) + "\n")
    return folder / "a.csv"


def write_openbci(folder: Path, hole: float = 0.0, session: Session | None = None) -> Path:
    """OpenBCI GUI, version 5; four samples arrive at one time."""
    session = session or short()
    n_chans, n_times = session.data.shape
    head = ["Sample Index", *[f"EXG Channel {n}" for n in range(n_chans)]]
    head += ["Accel Channel 0", "Other"]
    head += ["Other", "Analog Channel 0", "Timestamp", "Other", "Timestamp (Formatted)"]
    times = stamps(hole, n_times=n_times).reshape(-1, 4).max(axis=1).repeat(4)
    lines = [
        "%OpenBCI Raw EXG Data",
        f"%Number of channels = {n_chans}",
        f"%Sample Rate = {SFREQ} Hz",
    ]
    lines += ["%Board = OpenBCI_GUI$BoardCytonSerial", ", ".join(head)]
    for row in range(n_times):
        values = ", ".join(f"{value:.1f}" for value in session.data[:, row])
        lines.append(
            f"{row % 256}, {values}, 0.1, 0.0, 0.0, 0.0, {times[row]:.4f}, "
            f"{float(session.marked.get(row, 0))}, 2020-09-13 12:26:40.000"
        )
    (folder / "a.txt").write_text("\n".join(lines) + "\n")
    return folder / "a.txt"


OPENBCI_BOARDS = {
    "BoardCytonSerial": (8, 250, ["Other"] * 7 + [f"Analog Channel {n}" for n in range(3)]),
    "BoardCytonSerialDaisy": (16, 125, ["Other"] * 7 + [f"Analog Channel {n}" for n in range(3)]),
    "BoardGanglionNative": (4, 200, ["Other"] * 5),
}
"""Board of the OpenBCI GUI -> channels, Hz, columns between motion and clock."""


def write_openbci_board(
    folder: Path, board: str, marker: str = "Marker Channel"
) -> tuple[Path, np.ndarray, int]:
    """Return the file, its microvolts (n_chans, 1000) and its rate; markers 3 and 4."""
    n_chans, sfreq, between = OPENBCI_BOARDS[board]
    data = np.random.default_rng(6).normal(0, 20, (n_chans, 1000)).round(2)
    data += 100.0 * np.arange(n_chans)[:, None]
    head = ["Sample Index", *[f"EXG Channel {n}" for n in range(n_chans)]]
    head += [*[f"Accel Channel {n}" for n in range(3)], *between]
    head += ["Timestamp", marker, "Timestamp (Formatted)"]
    lines = ["%OpenBCI Raw EXG Data", f"%Number of channels = {n_chans}"]
    lines += [f"%Sample Rate = {sfreq} Hz", f"%Board = OpenBCI_GUI${board}", ", ".join(head)]
    for row in range(1000):
        values = [row % 256, *data[:, row], 0.1, 0.0, 0.9, *[0.0] * len(between)]
        values += [1.6e9 + (row // 8 * 8 + 7) / sfreq, {200: 3, 900: 4}.get(row, 0)]
        cells = [f"{value:.6f}" for value in map(float, values)]
        lines.append(", ".join([*cells, "2020-09-13 12:26:40.123"]))
    path = folder / f"OpenBCI-RAW-{board}.txt"
    path.write_text("\n".join(lines) + "\n")
    return path, data, sfreq


def write_old_openbci(folder: Path, clock: bool = True) -> Path:
    """OpenBCI GUI before version 5: no names of columns; 40 samples are lost before `JUMP`."""
    lines = ["%OpenBCI Raw EEG Data", "%Number of channels = 5", "%Sample Rate = 250.0 Hz"]
    lines += ["%First Column = SampleIndex", "%Last Column = Timestamp ", "%Other Columns = EEG"]
    for row in range(N_TIMES):
        values = ", ".join(f"{value:.2f}" for value in microvolts(0)[:, row])
        tail = ", 18:51:16.059" if clock else ""
        lines.append(f"{(row + 40 * (row >= JUMP)) % 256}, {values}, 0.000, 0.000, 0.000{tail}")
    (folder / "a.txt").write_text("\n".join(lines) + "\n")
    return folder / "a.txt"


def write_sd_card(folder: Path, n_chans: int = 8) -> tuple[Path, np.ndarray]:
    """Return the file and its steps (n_chans, 1000); stopped and started again before 400."""
    steps = np.random.default_rng(3).integers(-3000, 3000, (n_chans, 1000)) + 20_000
    steps[1] -= 400_000
    lines = ["%START AT", "00001C70"]
    for row, values in enumerate(steps.T):
        if row == 400:
            lines += ["%STOP AT", "000025BD", "%START AT", "0000315A"]
        motion = ",0010,FFF0,0400" if row % 10 == 0 else ""
        numbers = ",".join(f"{value & 0xFFFFFF:06X}" for value in values)
        lines.append(f"{(row + 60 * (row >= 700)) % 256:02X},{numbers}{motion}")
    lines += ["%Total time mS:", "00005F53", "%min Write time uS:", "0000012B", "%block, uS"]
    (folder / "OBCI_00.TXT").write_bytes("\r\n".join(lines).encode() + b"\r\n" + b"\0" * 512)
    return folder / "OBCI_00.TXT", steps


def write_brainflow(folder: Path, hole: float = 0.0, session: Session | None = None) -> Path:
    """A Muse 2: 8 columns, parted by tabs; 12 samples arrive at one time."""
    session = session or short()
    data = session.data[:4]
    n_times = data.shape[1]
    times = stamps(hole, n_times=n_times)
    times = times[np.minimum(np.arange(n_times) // 4 * 4 + 3, n_times - 1)]
    lines = []
    for row in range(n_times):
        values = [row % 256, *data[:, row], 0.0, times[row], session.marked.get(row, 0)]
        lines.append("\t".join(f"{value:.6f}" for value in values))
    (folder / "brainflow.csv").write_text("\n".join(lines) + "\n")
    return folder / "brainflow.csv"


def write_brainflow_board(folder: Path, board: Board) -> tuple[Path, np.ndarray]:
    """Return the file and its microvolts (n_eeg, 1000); every column has its own level."""
    table = np.random.default_rng(8).normal(0, 20, (1000, board.n_columns)).round(3)
    table += 10.0 * np.arange(board.n_columns)
    table[:, board.timestamp] = 1.6e9 + np.arange(1000) / board.sfreq
    table[:, board.marker] = 0.0
    table[[200, 900], board.marker] = 3.0, 4.0
    np.savetxt(folder / "brainflow.csv", table, fmt="%.6f", delimiter="\t")
    return folder / "brainflow.csv", table.T[board.first_eeg : board.first_eeg + board.n_eeg]


def write_eegid(folder: Path) -> Path:
    """NeuroSky through the app eegID: 512 Hz, a clock of milliseconds."""
    lines = ["timestampMs,poorSignal,eegRawValue,eegRawValueVolts,attention,tagEvent,location"]
    for row in range(N_TIMES):
        tag = "face" if 500 <= row < 900 else "house" if row >= 1500 else ""
        raw = round(100 * np.sin(row / 10)) + row % 7
        lines.append(f"{1_600_000_000_000 + round(row * 1000 / 512)},0,{raw},0.0001,50,{tag},")
    (folder / "a.csv").write_text("\n".join(lines) + "\n")
    return folder / "a.csv"


# --- XDF --------------------------------------------------------------------------------------


def _chunk(tag: int, body: bytes) -> bytes:
    return b"\x04" + struct.pack("<I", len(body) + 2) + struct.pack("<H", tag) + body


def _stream(number: int, name: str, kind: str, form: str, rate: float, channels: str) -> bytes:
    n_chans = channels.count("<channel>") or 1
    text = (
        f'<?xml version="1.0"?><info><name>{name}</name><type>{kind}</type>'
        f"<channel_count>{n_chans}</channel_count><channel_format>{form}</channel_format>"
        f"<nominal_srate>{rate}</nominal_srate><desc><channels>{channels}</channels></desc></info>"
    )
    return _chunk(2, struct.pack("<I", number) + text.encode())


def _footer(number: int, count: int) -> bytes:
    text = f'<?xml version="1.0"?><info><sample_count>{count}</sample_count></info>'
    return _chunk(6, struct.pack("<I", number) + text.encode())


def xdf_numbers(number: int, times: np.ndarray, data: np.ndarray) -> bytes:
    """Samples in chunks of 32, each with its time."""
    body = b""
    for first in range(0, len(times), 32):
        part = [
            b"\x08" + struct.pack("<d", time) + row.tobytes()
            for time, row in zip(times[first : first + 32], data[first : first + 32], strict=True)
        ]
        count = b"\x04" + struct.pack("<I", len(part))
        body += _chunk(3, struct.pack("<I", number) + count + b"".join(part))
    return body


def xdf_texts(number: int, rows: Sequence[tuple[float, str]]) -> bytes:
    """Markers of text."""
    body = struct.pack("<I", number) + b"\x01" + bytes([len(rows)])
    for time, text in rows:
        body += b"\x08" + struct.pack("<d", time) + b"\x01" + bytes([len(text)]) + text.encode()
    return _chunk(3, body)


def xdf_offset(number: int, time: float, value: float) -> bytes:
    """A measurement of a stream's clock against the recorder's."""
    return _chunk(4, struct.pack("<Idd", number, time, value))


def xdf_channels(names: Sequence[str], unit: str = "microvolts", last: str = "EEG") -> str:
    """The description of channels; `last` is the type of the last."""
    kinds = ["EEG"] * (len(names) - 1) + [last]
    return "".join(
        f"<channel><label>{name}</label><unit>{unit}</unit><type>{kind}</type></channel>"
        for name, kind in zip(names, kinds, strict=True)
    )


def write_xdf(
    folder: Path,
    names: Sequence[str] = EEG,
    factor: int = 1,
    hole: float = 0.0,
    shift: float = 0.0,
    unit: str = "microvolts",
    rate: float = SFREQ,
    more: bytes = b"",
    session: Session | None = None,
) -> Path:
    """EEG, motion and text markers; the EEG's clock runs `shift` s behind the recorder's."""
    session = session or short()
    data = (session.data * factor).round(1).astype("<f8").T.copy()
    times = stamps(hole, begin=1000.0, n_times=len(data))
    content = b"XDF:" + _chunk(1, b'<?xml version="1.0"?><info><version>1.0</version></info>')
    content += _stream(1, "Headset", "EEG", "double64", rate, xdf_channels(names, unit))
    content += _stream(2, "Motion", "ACC", "float32", 50, "")
    content += _stream(3, "Pictures", "Markers", "string", 0, "")
    for time in np.arange(times[0], times[-1], 1.0):
        content += xdf_offset(1, time - shift, shift) + xdf_offset(3, time, 0.0)
    content += xdf_numbers(1, times - shift, data)
    motion = np.arange(400, dtype="<f4")[:, None]
    content += xdf_numbers(2, 1000 + np.arange(400) / 50, motion)
    for row, code in session.marked.items():
        content += xdf_texts(3, [(times[row], code if isinstance(code, str) else f"class {code}")])
    content += more + _footer(1, len(times)) + _footer(2, 400) + _footer(3, len(session.marked))
    (folder / "a.xdf").write_bytes(content)
    return folder / "a.xdf"


def write_xdf_reset(folder: Path) -> Path:
    """After 20 s without a sample the EEG's clock has begun anew; the markers' has not."""
    data = microvolts(0).round(1).astype("<f8").T.copy()
    times = stamps(20.0, begin=1000.0)
    content = b"XDF:" + _chunk(1, b'<?xml version="1.0"?><info><version>1.0</version></info>')
    content += _stream(1, "Headset", "EEG", "double64", SFREQ, xdf_channels(EEG))
    content += _stream(3, "Pictures", "Markers", "string", 0, "")
    for part, ahead in ((slice(None, JUMP), 0.0), (slice(JUMP, None), times[JUMP] - 3.0)):
        for time in np.arange(times[part][0], times[part][-1], 0.25):
            content += xdf_offset(1, time - ahead, ahead) + xdf_offset(3, time, 0.0)
        content += xdf_numbers(1, times[part] - ahead, data[part])
    content += xdf_texts(3, [(times[row], f"class {code}") for row, code in MARKED.items()])
    content += _footer(1, N_TIMES) + _footer(3, 2)
    (folder / "a.xdf").write_bytes(content)
    return folder / "a.xdf"
