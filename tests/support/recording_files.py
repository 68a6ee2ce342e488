"""One recording, written in every format that the readers know, by hand and byte by byte.

Five EEG channels of 8 s at 256 Hz, rounded to 0.1 microvolt, an ECG, and a channel of labels left
in among them; two events. Names are as devices write them. `factor` 1000 writes a wrong unit.
"""

from __future__ import annotations

import gzip
import json
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import mne
import numpy as np
import pandas as pd
from scipy.io import savemat

SFREQ, N_TIMES = 256, 2048
EEG = ("EEG Fp1-Ref", "FP2.", "T3", "cz", "EEG O2-Ref")
PLACES = ["Fp1", "Fp2", "T7", "Cz", "O2"]
OTHERS = ("EEG ECG", "Class")
ONSETS, CODES = (2.0, 5.5), (1, 2)


class Format(NamedTuple):
    """How a format is written, and what a reader makes of it."""

    write: Callable[..., Path]
    """``write(folder, names=EEG, factor=1)`` returns the file to read."""
    categories: list[str]
    others: dict[str, str]
    """Type of the channels that are not EEG."""
    onsets: Sequence[float] = ONSETS
    payload: str = ""
    """Extension of the file that holds the samples, where it is not the one to read."""


def microvolts(n_others: int = 2) -> np.ndarray:
    """(5 + n_others, n_times), multiples of 0.1 microvolt."""
    rng = np.random.default_rng(7)
    eeg = np.round(rng.normal(0, 20, (len(EEG), N_TIMES)), 1)
    ecg = np.round(300 * np.sin(np.arange(N_TIMES) / 40) ** 9, 1)
    labels = np.repeat(np.arange(N_TIMES // 128) % 4, 128).astype(float)
    return np.vstack([eeg, ecg, labels])[: len(EEG) + n_others]


def edf(
    path: Path,
    names: Sequence[str],
    unit: str = "uV",
    annotations: bool = True,
    starts: Sequence[float] = range(N_TIMES // SFREQ),
    notes: Sequence[tuple[float, str]] = [
        (o, f"class {c}") for o, c in zip(ONSETS, CODES, strict=True)
    ],
    samples: np.ndarray | None = None,
) -> Path:
    """Write EDF+ or BDF+ with records of one second; channels and annotations as bytes.

    `samples`: microvolts (n_chans, n_times), else `microvolts()`.

    Records that do not follow each other (`starts`, s) make the file discontinuous.
    """
    bdf = path.suffix == ".bdf"
    width, top = (3, 8388600) if bdf else (2, 32767)
    tenths = 10 * (microvolts() if samples is None else samples)
    data = np.round(tenths).astype("<i4").reshape(len(names), -1, SFREQ)
    n_records, n_tal = data.shape[1], 30 * width
    n_chans = len(names) + annotations
    labels = [*names, *["BDF Annotations" if bdf else "EDF Annotations"] * annotations]
    kind = b"\xffBIOSEMI" if bdf else b"0       "
    head = kind + _text("X X X X", 80) + _text("Startdate 02-MAR-2020 X X Amp_7", 80)
    head += b"02.03.2010.11.12" + _text(256 * (n_chans + 1), 8)
    plus = "C" if list(starts) == list(range(n_records)) else "D"
    head += _text(("BDF+" if bdf else "EDF+") + plus if annotations else "", 44)
    head += _text(n_records, 8) + _text(1, 8) + _text(n_chans, 4)
    tal = [""] * annotations
    for texts, length in (
        (labels, 16), ([""] * n_chans, 80), ([unit] * len(names) + tal, 8),
        ([f"{-top / 10:.8g}"] * len(names) + ["-1"] * annotations, 8),
        ([f"{top / 10:.8g}"] * len(names) + ["1"] * annotations, 8),
        ([-top] * len(names) + [-top - 1] * annotations, 8), ([top] * n_chans, 8),
        ([""] * n_chans, 80), ([SFREQ] * len(names) + [n_tal // width] * annotations, 8),
        ([""] * n_chans, 32),
    ):  # fmt: skip
        head += b"".join(_text(text, length) for text in texts)
    body = b""
    for record in range(n_records):
        samples = np.ascontiguousarray(data[:, record]).view("<u1").reshape(-1, 4)[:, :width]
        body += samples.tobytes()
        if annotations:
            text = f"+{starts[record]}\x14\x14\0"
            later = [*starts[record + 1 :], float("inf")][0]
            later = later if isinstance(later, int | float) else 9e9
            for onset, note in notes:
                text += f"+{onset}\x14{note}\x14\0" if starts[record] <= onset < later else ""
            body += text.encode().ljust(n_tal, b"\0")
    path.write_bytes(head + body)
    return path


def _text(value: object, width: int) -> bytes:
    return str(value).encode("latin-1").ljust(width)[:width]


def write_edf(folder: Path, names: Sequence[str] = EEG, factor: int = 1) -> Path:
    return edf(folder / "a.edf", [*names, *OTHERS], "uV" if factor == 1 else "mV")


def write_bdf(folder: Path, names: Sequence[str] = EEG, factor: int = 1) -> Path:
    return edf(folder / "a.bdf", [*names, *OTHERS], "uV" if factor == 1 else "mV")


def write_gdf(
    folder: Path,
    names: Sequence[str] = EEG,
    factor: int = 1,
    onsets: Sequence[float] = ONSETS,
    codes: Sequence[int] = CODES,
) -> Path:
    names = [*names, *OTHERS]
    n, top = len(names), 32767
    head = b"GDF 1.25" + _text("X X", 80) + _text("", 80) + b"2020030210111200"
    head += struct.pack("<q", 256 * (n + 1)) + bytes(24 + 20)
    head += struct.pack("<qIII", N_TIMES // SFREQ, 1, 1, n)
    head += b"".join(_text(name, 16) for name in names) + bytes(80 * n)
    head += _text("uV" if factor == 1 else "??", 8) * n
    head += struct.pack("<d", -top / 10) * n + struct.pack("<d", top / 10) * n
    head += struct.pack("<q", -top) * n + struct.pack("<q", top) * n + bytes(80 * n)
    head += struct.pack("<i", SFREQ) * n + struct.pack("<i", 3) * n + bytes(32 * n)
    data = np.round(microvolts() * 10).astype("<i2").reshape(n, -1, SFREQ)
    table = struct.pack("<B", 1) + SFREQ.to_bytes(3, "little") + struct.pack("<I", len(onsets))
    table += b"".join(struct.pack("<I", round(onset * SFREQ) + 1) for onset in onsets)
    table += b"".join(struct.pack("<H", code) for code in codes)
    path = folder / "a.gdf"
    path.write_bytes(head + data.swapaxes(0, 1).tobytes() + table)
    return path


def write_brainvision(folder: Path, names: Sequence[str] = EEG, factor: int = 1) -> Path:
    names, unit = [*names, *OTHERS], "µV" if factor == 1 else "mV"
    np.round(microvolts() * 10).astype("<i2").T.tofile(folder / "a.eeg")
    marks = [
        f"Mk{i + 1}=Stimulus,S{code:3d},{round(onset * SFREQ) + 1},1,0"
        for i, (onset, code) in enumerate(zip(ONSETS, CODES, strict=True))
    ]
    (folder / "a.vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n[Common Infos]\nCodepage=UTF-8\n"
        "DataFile=a.eeg\n[Marker Infos]\n" + "\n".join(marks) + "\n"
    )
    channels = [f"Ch{i + 1}={name},,0.1,{unit}" for i, name in enumerate(names)]
    (folder / "a.vhdr").write_text(
        "Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\nCodepage=UTF-8\n"
        "DataFile=a.eeg\nMarkerFile=a.vmrk\nDataFormat=BINARY\nDataOrientation=MULTIPLEXED\n"
        f"NumberOfChannels={len(names)}\nSamplingInterval={1e6 / SFREQ}\n[Binary Infos]\n"
        "BinaryFormat=INT_16\n[Channel Infos]\n" + "\n".join(channels) + "\n",
        encoding="utf-8",
    )
    return folder / "a.vhdr"


def write_eeglab(
    folder: Path, names: Sequence[str] = EEG, factor: int = 1, more: Sequence[dict] = ()
) -> Path:
    """`more`: events beside the two; their latency counts samples from 1."""
    names = [*names, *OTHERS]
    events = [
        {"type": f"class {code}", "latency": onset * SFREQ + 1, "duration": 0.0}
        for onset, code in zip(ONSETS, CODES, strict=True)
    ]
    events += more
    content = {
        "setname": "a", "nbchan": len(names), "trials": 1, "pnts": N_TIMES, "srate": SFREQ,
        "xmin": 0.0, "xmax": (N_TIMES - 1) / SFREQ, "data": (microvolts() * factor),
        "chanlocs": structs([{"labels": name, "type": "EEG"} for name in names]),
        "event": structs(events), "ref": "common", "icawinv": [], "icasphere": [],
        "icaweights": [], "epoch": [],
    }  # fmt: skip
    savemat(folder / "a.set", {"EEG": content}, appendmat=False)
    return folder / "a.set"


def structs(rows: list[dict]) -> np.ndarray:
    """A structure array of MATLAB."""
    array = np.zeros(len(rows), [(key, object) for key in rows[0]])
    for place, row in enumerate(rows):
        for key, value in row.items():
            array[key][place] = value
    return array


def write_fif(
    folder: Path, names: Sequence[str] = EEG, factor: int = 1, name: str = "a_raw.fif"
) -> Path:
    names = [*names, *OTHERS]
    data = microvolts() * factor * (1.0 if factor > 1 else 1e-6)
    raw = mne.io.RawArray(data, mne.create_info(names, SFREQ, "eeg"), verbose="error")
    raw.set_annotations(mne.Annotations(ONSETS, 0, [f"class {code}" for code in CODES]))
    raw.save(folder / name, verbose="error")
    return folder / name


def write_fif_gz(folder: Path, names: Sequence[str] = EEG, factor: int = 1) -> Path:
    return write_fif(folder, names, factor, "a_raw.fif.gz")


def write_muse(folder: Path, names: Sequence[str] = EEG, factor: int = 1) -> Path:
    table = pd.DataFrame((microvolts(0) * factor).round(1).T, columns=list(names))
    table.insert(0, "timestamps", np.round(1.6e9 + np.arange(N_TIMES) / SFREQ, 3))
    table["Right AUX"] = microvolts(1)[-1]
    marker = np.zeros(N_TIMES, int)
    marker[np.round(np.array(ONSETS) * SFREQ).astype(int)] = CODES
    table["Marker0"] = marker
    table.to_csv(folder / "a.csv", index=False)
    return folder / "a.csv"


def openvibe_text(names: Sequence[str] = EEG, factor: int = 1) -> str:
    """Two trials of a second that each has a label, the rest without."""
    table = pd.DataFrame((microvolts(0) * factor).round(1).T, columns=list(names))
    table.insert(0, "Epoch", np.arange(N_TIMES) // 128)
    table.insert(0, f"Time:{SFREQ}Hz", np.arange(N_TIMES) / SFREQ)
    table["Label"] = ""
    for onset, code in zip(ONSETS, CODES, strict=True):
        first = round(onset * SFREQ)
        table.loc[first : first + 127, "Label"] = f"class {code}"
    return table.to_csv(index=False)


def write_openvibe(folder: Path, names: Sequence[str] = EEG, factor: int = 1) -> Path:
    (folder / "a.csv").write_text(openvibe_text(names, factor))
    return folder / "a.csv"


def write_zip(folder: Path, names: Sequence[str] = EEG, factor: int = 1) -> Path:
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside/a.csv", openvibe_text(names, factor))
    return folder / "a.zip"


def write_uci(folder: Path, names: Sequence[str] = EEG, factor: int = 1) -> Path:
    """A person's folder of trials of one second each; X is an eye."""
    person = folder / "co2a0000364"
    person.mkdir()
    plain = ["FP1" if name == EEG[0] else "O2" if name == EEG[4] else name for name in names]
    data = (microvolts(1) * factor).round(1)
    for trial in range(N_TIMES // 256):
        lines = ["# co2a0000364.rd", "# 120 trials, 64 chans, 416 samples 368 post_stim samples",
                 "# 3.906000 msecs uV", f"# S{1 + trial % 2} obj , trial {trial}"]  # fmt: skip
        for number, name in enumerate([*plain, "X"]):
            lines.append(f"# {name} chan {number}")
            for place, value in enumerate(data[number, trial * 256 : trial * 256 + 256]):
                lines.append(f"{trial} {name} {place} {value:.3f}")
        with gzip.open(person / f"co2a0000364.rd.{trial:03d}.gz", "wt", 1) as file:
            file.write("\n".join(lines) + "\n")
    return person


def write_bids(folder: Path, names: Sequence[str] = EEG, factor: int = 1) -> Path:
    told = {"Name": "test", "BIDSVersion": "1.9.0"}
    (folder / "dataset_description.json").write_text(json.dumps(told))
    inside = folder / "sub-01" / "ses-1" / "eeg"
    inside.mkdir(parents=True)
    stem, every = "sub-01_ses-1_task-see_run-1_", [*names, *OTHERS]
    unit = "uV" if factor == 1 else "mV"
    path = edf(inside / f"{stem}eeg.edf", every, unit, annotations=False)
    rows = [f"{name}\t{'ECG' if name == OTHERS[0] else 'EEG'}\t{unit}" for name in every]
    (inside / f"{stem}channels.tsv").write_text("name\ttype\tunits\n" + "\n".join(rows) + "\n")
    told = {"TaskName": "see", "SamplingFrequency": SFREQ, "PowerLineFrequency": 50,
            "EEGReference": "n/a", "SoftwareFilters": "n/a"}  # fmt: skip
    (inside / f"{stem}eeg.json").write_text(json.dumps(told))
    events = [f"{onset}\t0\tclass {code}" for onset, code in zip(ONSETS, CODES, strict=True)]
    text = "onset\tduration\ttrial_type\n" + "\n".join(events) + "\n"
    (inside / f"{stem}events.tsv").write_text(text)
    return path


def _headset(name: str) -> Callable[..., Path]:
    def write(*arguments: object, **named: object) -> Path:
        import headset_files  # which takes the samples from here

        return getattr(headset_files, name)(*arguments, **named)

    return write


_NAMED = ["class 1", "class 2"]
_OTHERS = {"EEG ECG": "ecg", "Class": "misc"}
FORMATS = {
    "edf": Format(write_edf, _NAMED, _OTHERS),
    "bdf": Format(write_bdf, _NAMED, _OTHERS),
    "gdf": Format(write_gdf, ["1", "2"], _OTHERS),
    "brainvision": Format(
        write_brainvision, ["Stimulus/S  1", "Stimulus/S  2"], _OTHERS, payload=".eeg"
    ),
    "eeglab": Format(write_eeglab, _NAMED, _OTHERS),
    "fif": Format(write_fif, _NAMED, _OTHERS),
    "fif.gz": Format(write_fif_gz, _NAMED, _OTHERS),
    "muse": Format(write_muse, ["1", "2"], {"Right AUX": "misc"}),
    "openvibe": Format(write_openvibe, _NAMED, {}),
    "zip": Format(write_zip, _NAMED, {}),
    "uci": Format(write_uci, ["S1 obj", "S2 obj"] * 4, {"X": "eog"}, range(8)),
    "bids": Format(write_bids, _NAMED, _OTHERS),
    "mind monitor": Format(_headset("write_mind_monitor"), ["1", "2"], {"AUX_RIGHT": "misc"}),
    "emotivpro": Format(_headset("write_emotivpro"), ["1", "2"], {}),
    "xdf": Format(_headset("write_xdf"), _NAMED, {}),
}
