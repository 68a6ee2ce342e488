"""Formats of single makers, each through MNE-Python's own reader for it.

`mne.io.read_raw` chooses by the extension, which several makers share, and tries one after the
other. Here the first bytes decide, and where a package of the extra `formats` is missing, it is
named.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import mne
import numpy as np

EXTENSIONS = (".cnt", ".mff", ".nxe", ".eeg", ".lay", ".dap", ".cdt")


def is_nihon_kohden(path: Path) -> bool:
    """Whether an `.eeg` is of Nihon Kohden; the samples' file of BrainVision has that name too."""
    with path.open("rb") as file:
        return file.read(4) in (b"EEG-", b"QI-4", b"DAE-")


def read_vendor(path: Path, extension: str) -> mne.io.BaseRaw:
    """Open a file of one of `EXTENSIONS`; its samples may still be on the disk.

    Raises
    ------
    ValueError
        For a file of another maker, or where the package that reads it is not installed.
    """
    if extension == ".cnt":
        with path.open("rb") as file:
            head = file.read(7)
        if head[:4] in (b"RIFF", b"RF64"):
            _need("antio", "ANT", path)
            return mne.io.read_raw_ant(path)
        if head != b"Version":
            raise ValueError(
                f"{path} cannot be read: it begins with {head!r}; expected `Version` (Neuroscan) "
                "or `RIFF` (ANT)"
            )
        return mne.io.read_raw_cnt(path)
    if extension == ".mff":
        _need("mffpy", "EGI", path)
        return mne.io.read_raw_egi(path)
    if extension in (".dap", ".cdt"):
        _need("curryreader", "Curry", path)
        return mne.io.read_raw_curry(path)
    if extension == ".lay":
        return _read_persyst(path)
    if extension == ".nxe":
        return _read_eximia(path)
    if not is_nihon_kohden(path):
        raise ValueError(
            f"{path} cannot be read: it is no file of Nihon Kohden; of a BrainVision recording "
            "give the .vhdr"
        )
    return mne.io.read_raw_nihon(path)


def _read_eximia(path: Path) -> mne.io.BaseRaw:
    """MNE-Python 1.13 gives microvolts for volts: 0.0763 a step, over +-2500 microvolts."""
    if path.stat().st_size % 128:
        raise ValueError(
            f"{path} cannot be read: it has {path.stat().st_size} bytes, expected whole samples of "
            "64 channels (128 bytes each); it is cut off: copy it again"
        )
    raw = mne.io.read_raw_eximia(path).load_data()
    if raw.info["chs"][raw.ch_names.index("Cz")]["cal"] > 1e-3:  # a step is no millivolt
        kinds = np.array(["eeg", "eog"])
        raw.apply_function(lambda samples: np.multiply(samples, 1e-6), picks=kinds)
    return raw


def _read_persyst(path: Path) -> mne.io.BaseRaw:
    """MNE-Python reads a file of samples that is cut off as a shorter recording."""
    raw = mne.io.read_raw_persyst(path)
    words = re.search(r"^DataType=(\d+)", path.read_text("latin-1"), re.M | re.I)
    sample = len(raw.ch_names) * (4 if words and words[1] == "7" else 2)
    size = sum(Path(file).stat().st_size for file in raw.filenames if file is not None)
    if size % sample:
        raise ValueError(
            f"{path} cannot be read: the file of its samples has {size} bytes, expected whole "
            f"samples of {len(raw.ch_names)} channels ({sample} bytes each); it is cut off: copy "
            "it again"
        )
    return raw


def _need(package: str, maker: str, path: Path) -> None:
    if find_spec(package) is None:
        raise ValueError(
            f"{path} is of {maker} and needs the package {package}: pip install "
            "'dreamdiffusion[formats]'"
        )
