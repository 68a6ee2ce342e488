"""Recordings in the formats of single makers, byte by byte: the samples of `recording_files`."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from recording_files import CODES, EEG, N_TIMES, ONSETS, SFREQ, microvolts

NAMES = ["Fp1", "FP2", "T3", "cz", "O2"]


def write_neuroscan(folder: Path) -> Path:
    n = len(EEG)
    head = bytearray(900 + 75 * n)
    head[:12] = b"Version 3.0\0"
    head[225:245] = b"03/02/20  10:11:12  "
    struct.pack_into("<H", head, 370, n)
    struct.pack_into("<H", head, 376, SFREQ)
    struct.pack_into("<i", head, 864, N_TIMES)
    struct.pack_into("<i", head, 886, len(head) + 2 * n * N_TIMES)
    for i, name in enumerate(NAMES):
        at = 900 + 75 * i
        head[at : at + 10] = name.encode().ljust(10, b"\0")
        struct.pack_into("<f", head, at + 59, 20.48)  # with 1.0: 0.1 microvolt a step
        struct.pack_into("<f", head, at + 71, 1.0)
    samples = np.round(microvolts(0) * 10).astype("<i2").T.tobytes()
    places = [len(head) + 2 * n * (round(onset * SFREQ) + 1) for onset in ONSETS]
    events = [
        struct.pack("<HBcl", code, 0, b"\0", at) for code, at in zip(CODES, places, strict=True)
    ]
    table = struct.pack("<Bii", 1, 8 * len(events), 0) + b"".join(events)
    (folder / "a.cnt").write_bytes(head + samples + table)
    return folder / "a.cnt"


def write_persyst(folder: Path) -> Path:
    np.round(microvolts(0) * 10).astype("<i2").T.tofile(folder / "a.dat")
    channels = "\n".join(
        f"{name}-Ref={i + 1}" for i, name in enumerate(["Fp1", "Fp2", "T3", "Cz", "O2"])
    )
    comments = "\n".join(f"{on},0,0,0,class {c}" for on, c in zip(ONSETS, CODES, strict=True))
    (folder / "a.lay").write_text(
        f"[FileInfo]\nFile=a.dat\nFileType=Interleaved\nSamplingRate={SFREQ}\nHeaderLength=0\n"
        f"Calibration=0.1\nWaveformCount=5\nDataType=0\n[ChannelMap]\n{channels}\n[Patient]\n"
        "BirthDate=01/01/70\nSex=f\nHand=r\nTestDate=02/03/2020\nTestTime=10:11:12\n"
        f"[Comments]\n{comments}\n"
    )
    return folder / "a.lay"


def write_eximia(folder: Path) -> Path:
    """Four seconds of 64 channels at 1450 Hz; the first four are three triggers and an EOG."""
    steps = np.zeros((1450 * 4, 64), "<i2")
    steps[:, 3:] = np.random.default_rng(0).normal(0, 300, (1450 * 4, 61))
    steps.tofile(folder / "a.nxe")
    return folder / "a.nxe"
