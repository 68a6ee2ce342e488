"""The unit of a file's numbers: by its header, by `channels.tsv`, or as its owner states it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import mne
import numpy as np
import pandas as pd

from dreamdiffusion.recordings.amplitude import STATE_UNIT
from dreamdiffusion.recordings.channels import standard_name
from dreamdiffusion.recordings.config import Unit
from dreamdiffusion.recordings.formats.extensions import TEXT_FORMATS
from dreamdiffusion.recordings.formats.text import decode_text

VOLTS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "nV": 1e-9}
_SCALED = ("eeg", "eog", "ecg", "emg")


def unit_symbol(text: object) -> str | None:
    """Return V, mV, uV or nV for what a file or table writes, None for anything else."""
    symbol = str(text).strip().replace("\u03bc", "u").replace("\u00b5", "u")
    return symbol if symbol in VOLTS else None


def units_in_file(raw: mne.io.BaseRaw) -> dict[str, str]:
    """Return channel -> unit for the channels whose unit the file's header names."""
    # MNE keeps what EDF, BDF and BrainVision say only here.
    named: Mapping[str, str] = getattr(raw, "_orig_units", {})
    found = {name: unit_symbol(named.get(name, "")) for name in raw.ch_names}
    return {name: unit for name, unit in found.items() if unit is not None}


class UnitFound(NamedTuple):
    """Who named the unit of the EEG, and what is wrong with it."""

    source: str
    """`file` (its header, or its format), `channels.tsv` or `stated`."""
    problem: str
    """Empty where there is none."""


def settle_unit(
    raw: mne.io.BaseRaw, form: str, path: Path, stated: Unit | None, of_table: Mapping[str, str]
) -> UnitFound:
    """Scale a signal by the unit that its owner states, else by that of `channels.tsv`; in place.

    `channels.tsv` is believed for EEG channels of which the file's header names no unit of voltage.
    Where both name one, they must agree.

    Parameters
    ----------
    raw
        Loaded; its channels have their types (`channels.name_channels`).
    form
        The recording's format.
    path
        For the error messages.
    stated
        What the EEG's numbers are in; None: as the file says.
    of_table
        Channel -> unit, from `table_units`.
    """
    if stated is not None:
        set_unit(raw, form, stated, path)
        return UnitFound("stated", "")
    of_file = units_in_file(raw)
    kinds = zip(raw.ch_names, raw.get_channel_types(), strict=True)
    eeg = {name: of_table[name] for name, kind in kinds if kind == "eeg" and name in of_table}
    other = [name for name in eeg if of_file.get(name, eeg[name]) != eeg[name]]
    if other:
        name = other[0]
        return UnitFound(
            "file",
            f"{name} is in {of_file[name]} by the file's header and in {eeg[name]} by channels.tsv "
            f"({len(other)} such channels); correct one of them, or {STATE_UNIT}",
        )
    silent = {name: unit for name, unit in eeg.items() if name not in of_file}
    if silent and getattr(raw, "_orig_units", {}):  # else the format defines its unit
        set_unit(raw, form, silent, path)
        return UnitFound("channels.tsv", "")
    if lost := electrodes_without_unit(raw):
        return UnitFound(
            "file",
            f"the unit of {', '.join(lost[:8])} is {raw._orig_units[lost[0]]!r} in the file, which "
            f"is none of voltage; {STATE_UNIT}",
        )
    return UnitFound("file", "")


def electrodes_without_unit(raw: mne.io.BaseRaw) -> list[str]:
    """Return the electrodes that MNE takes for no EEG, because their unit is none of voltage."""
    named: Mapping[str, str] = getattr(raw, "_orig_units", {})
    kinds = zip(raw.ch_names, raw.get_channel_types(), strict=True)
    return [
        name for name, kind in kinds
        if kind == "misc" and name in named and not unit_symbol(named[name]) and standard_name(name)
    ]  # fmt: skip


def set_unit(raw: mne.io.BaseRaw, form: str, unit: str | Mapping[str, str], path: Path) -> None:
    """Take the file's numbers for this unit, whatever its header says; in place.

    Parameters
    ----------
    raw
        Loaded; its channels have their types (`channels.name_channels`).
    form
        The recording's format.
    unit
        Of the EEG, and of the EOG, ECG and EMG channels that the file has in the same unit as EEG;
        or channel -> unit, for those channels alone.
    path
        For the error message.

    Raises
    ------
    ValueError
        For a format of which it is not known how MNE-Python scales it.
    """
    scales = _volts_per_number(raw, form)
    if scales is None:
        raise ValueError(
            f"{path}: the unit of {form} cannot be stated, because the file brings its own scale; "
            "leave it out, and export the recording in another format if its volts are wrong"
        )
    kinds = dict(zip(raw.ch_names, raw.get_channel_types(), strict=True))
    if isinstance(unit, str):
        of_eeg = {scales[name] for name, kind in kinds.items() if kind == "eeg"}
        unit = {
            name: unit for name, kind in kinds.items() if kind in _SCALED and scales[name] in of_eeg
        }
    for name, symbol in unit.items():
        factor = VOLTS[symbol] / scales[name]
        if not np.isclose(factor, 1.0, rtol=1e-9):
            raw.apply_function(lambda row, by=factor: row * by, picks=np.array([name]))


def table_units(path: Path, root: Path | None) -> dict[str, str]:
    """Return channel -> unit from the `channels.tsv` of a file in the BIDS folder `root`."""
    if root is None or not path.name.startswith("sub-"):
        return {}
    import mne_bids

    place = mne_bids.get_bids_path_from_fname(path)
    table = place.find_matching_sidecar(suffix="channels", extension=".tsv", on_error="ignore")
    if table is None:
        return {}
    text = io.StringIO(decode_text(Path(table).read_bytes()))
    rows = pd.read_csv(text, sep="\t", dtype=str, keep_default_na=False)
    if not {"name", "units"} <= set(rows.columns):
        return {}
    symbols = [unit_symbol(unit) for unit in rows["units"]]
    return {str(name): unit for name, unit in zip(rows["name"], symbols, strict=True) if unit}


def _volts_per_number(raw: mne.io.BaseRaw, form: str) -> dict[str, float] | None:
    """Return channel -> volts that the reader made of the file's number 1; None: not known."""
    if form in ("EDF", "BDF", "GDF"):
        return dict(zip(raw.ch_names, map(float, raw._raw_extras[0]["units"]), strict=True))
    if form in ("BrainVision", "XDF"):
        known = units_in_file(raw)
        return {name: VOLTS[known.get(name, "V")] for name in raw.ch_names}
    defined = {"FIF": 1.0, "EEGLAB": 1e-6} | dict.fromkeys(TEXT_FORMATS, 1e-6)
    return dict.fromkeys(raw.ch_names, defined[form]) if form in defined else None
