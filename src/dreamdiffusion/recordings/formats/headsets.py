"""Which text file of a headset it is, by its first lines, and its reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mne
import pandas as pd

from dreamdiffusion.recordings.channels import standard_name
from dreamdiffusion.recordings.formats.brainflow import is_numbers, read_brainflow
from dreamdiffusion.recordings.formats.csv_table import separator_of
from dreamdiffusion.recordings.formats.emotiv import is_emotiv, read_emotiv
from dreamdiffusion.recordings.formats.mind_monitor import is_mind_monitor, read_mind_monitor
from dreamdiffusion.recordings.formats.muse import read_muse_csv
from dreamdiffusion.recordings.formats.neurosky import is_neurosky, read_neurosky
from dreamdiffusion.recordings.formats.openbci import is_gui, is_sd_card, read_gui, read_sd_card
from dreamdiffusion.recordings.formats.openvibe import START, read_openvibe
from dreamdiffusion.recordings.formats.text import decode_text

_KNOWN = (
    ("OpenViBE csv", lambda head: head.startswith(START.decode())),
    ("Mind Monitor csv", is_mind_monitor),
    ("Emotiv csv", is_emotiv),
    ("OpenBCI txt", is_gui),
    ("OpenBCI SD card", is_sd_card),
    ("NeuroSky csv", is_neurosky),
    ("BrainFlow csv", is_numbers),
)


def headset_format(path: Path) -> str | None:
    """Return the format of a text file by its content; None: none of these.

    A csv that none of them is may still be a table of channels (`muse.read_muse_csv`).
    """
    with path.open("rb") as file:
        head = decode_text(file.read(4096).replace(b"\r\n", b"\n"))
    return next((form for form, is_one in _KNOWN if is_one(head)), None)


def names_no_channel(path: Path) -> bool:
    """Whether a csv has a line of column names of which none is that of an electrode."""
    with path.open("rb") as file:
        line = decode_text(file.read(4096)).split("\n", 1)[0].strip()
    names = [name.strip(' "') for name in line.split(separator_of(line))] if line else []
    return bool(names) and not any(map(standard_name, names)) and not any(map(_is_number, names))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_headset(path: Path, stated: dict[str, Any]) -> tuple[mne.io.RawArray, pd.DataFrame, str]:
    """Read a text file in whichever format its content shows.

    Parameters
    ----------
    path
        `.csv`, `.tsv` or `.txt`.
    stated
        What its owner states: `board`, `file_sfreq` (`config.StatedConfig`).

    Returns
    -------
    raw, events, form
        As the reader of that format, and the format's name.
    """
    form = headset_format(path)
    if form is None and path.suffix.lower() == ".txt":
        raise ValueError(
            f"{path} cannot be read: a .txt is a recording of the OpenBCI GUI (it begins with "
            "`%OpenBCI Raw EXG Data`) or of its SD card (rows of hexadecimal numbers)"
        )
    if form == "OpenViBE csv":
        return *read_openvibe(path), form
    if form == "Mind Monitor csv":
        return *read_mind_monitor(path), form
    if form == "Emotiv csv":
        return *read_emotiv(path), form
    if form == "OpenBCI txt":
        return *read_gui(path), form
    if form == "OpenBCI SD card":
        return *read_sd_card(path, stated.get("file_sfreq")), form
    if form == "NeuroSky csv":
        return *read_neurosky(path), form
    if form == "BrainFlow csv":
        return *read_brainflow(path, stated.get("board")), form
    return *read_muse_csv(path, stated.get("file_sfreq")), "Muse csv"
