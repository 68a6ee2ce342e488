"""Any EEG file -> one `Recording`: signal in volts, channel names, events, who and when.

Read here: every format MNE-Python reads, files of consumer headsets (csv, txt), XDF, OpenViBE csv
(also in a zip), the UCI EEG Database, and BIDS folders (through mne-bids).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mne
import pandas as pd

from dreamdiffusion.recordings.amplitude import check_amplitude
from dreamdiffusion.recordings.channels import name_channels
from dreamdiffusion.recordings.config import StatedConfig, Unit
from dreamdiffusion.recordings.entities import entities_from_path
from dreamdiffusion.recordings.events import events_in, read_events_table, take_boundaries
from dreamdiffusion.recordings.find import bids_root, find_recordings
from dreamdiffusion.recordings.formats.epochs import read_epochs
from dreamdiffusion.recordings.formats.extensions import (
    FORMATS,
    TEXT_EXTENSIONS,
    check_kind,
    stem_of,
)
from dreamdiffusion.recordings.formats.headsets import read_headset
from dreamdiffusion.recordings.formats.openvibe import read_openvibe
from dreamdiffusion.recordings.formats.sidecar import read_json
from dreamdiffusion.recordings.formats.uci import TRIAL, is_trial_folder, read_uci
from dreamdiffusion.recordings.formats.with_mne import HoldsEpochs, failures_named, read_with_mne
from dreamdiffusion.recordings.formats.xdf import read_xdf
from dreamdiffusion.recordings.recording import Cut, Recording, eeg_names, hash_samples
from dreamdiffusion.recordings.units import (
    UnitFound,
    electrodes_without_unit,
    settle_unit,
    table_units,
)

logger = logging.getLogger(__name__)

DESCRIPTION = "dataset_description.json"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def read_recording(
    path: Path | str,
    check_units: bool = True,
    unit: Unit | None = None,
    board: str | None = None,
    file_sfreq: float | None = None,
    file_channels: list[str] | None = None,
    stream: str | None = None,
) -> Recording:
    """Read one recording of any known format.

    Channel names such as "EEG Fp1-Ref", "Fc5." or "T3" become their 10-05 name where that is
    unambiguous; ECG, EOG, EMG, AUX and label channels lose the type eeg (`channels`). A file inside
    a BIDS folder is read by mne-bids, with its `events.tsv`. Trials that were cut elsewhere
    (`-epo.fif`, EEGLAB's `.set` with epochs) are read too: `Recording.cut`.

    Parameters
    ----------
    path
        The file (BrainVision: the .vhdr; UCI EEG Database: a person's folder, or one trial).
    check_units
        Raise where the amplitudes cannot be EEG in volts.
    unit
        What the EEG's numbers in the file are in, where the file says it wrongly or not at all;
        it comes before the header and before BIDS' `channels.tsv`.
    board
        Name or number of the board that wrote a BrainFlow csv.
    file_sfreq
        Hz, of a file that has no clock.
    file_channels
        Names of the file's EEG channels, in its order, where it numbers them.
    stream
        Name of the EEG stream to read from an XDF with several.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        For an unknown extension, a file that is empty, cut off, too large or not of its format,
        units that contradict each other, or amplitudes that are not EEG. The message names the
        file and what was found.

    Examples
    --------
    >>> from dreamdiffusion import read_recording
    >>> path = "people/sub-01/ses-01/eeg/sub-01_ses-01_task-viewing_run-01_eeg.edf"
    >>> recording = read_recording(path)
    >>> recording.raw.ch_names
    ['TP9', 'AF7', 'AF8', 'TP10']
    >>> recording.events["category"].nunique()
    24
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"recording {path} does not exist")
    root = bids_root(path)
    stated = StatedConfig(
        unit=unit, board=board, file_sfreq=file_sfreq, file_channels=file_channels, stream=stream
    )
    try:
        return _read(path, root, check_units, stated)
    except (ValueError, OSError) as error:
        stem = stem_of(path)
        beside = [stem.removesuffix("_eeg") + end for end in ("_events.tsv", "_channels.tsv")]
        if any(name in str(error) for name in (path.name, f"{stem}.json", DESCRIPTION, *beside)):
            raise
        raise ValueError(f"{path} cannot be read: {error}") from error
    except Exception as error:  # a file that nobody has thought of
        raise ValueError(
            f"{path} cannot be read: {type(error).__name__}: {error}; copy or export it again"
        ) from error


def _read(path: Path, root: Path | None, check_units: bool, stated: StatedConfig) -> Recording:
    # These files first: mne-bids reads them too, and does not say which one is wrong.
    description = read_json(root / DESCRIPTION) if root is not None else {}
    noise_level = _simulated_noise_level(path)
    entities = entities_from_path(path, stem_of(path))
    raw, events, form, cut = _read_file(path, root, stated, entities)
    _take_stated(raw, stated, path)
    _check_names(raw, path)
    renamed, labels, found = _name_and_scale(raw, form, path, root, stated.unit)
    for name in labels:
        logger.warning(
            "%s: channel %s holds a few whole numbers, each held for long: taken for labels or "
            "triggers, not for EEG",
            path,
            name,
        )
    if check_units:
        if found.problem:
            raise ValueError(f"{path}: {found.problem}")
        check_amplitude(raw, path)
    if events is not None:
        known = events["stim_file"].fillna("") if "stim_file" in events else ""
        events["stim_file"] = known
        if noise_level is not None:
            events["noise_level"] = noise_level
    return Recording(
        raw=raw,
        subject=entities["subject"],
        session=entities["session"],
        run=entities["run"],
        source=path,
        events=events,
        sha256=hash_samples(raw),
        stimuli_root=root / "stimuli" if root and (root / "stimuli").is_dir() else None,
        format=form,
        simulated=_says_simulated(raw, description),
        renamed=renamed,
        label_channels=labels,
        cut=cut,
        unit=stated.unit,
        unit_from=found.source,
        unit_problem=found.problem,
    )


def _read_file(
    path: Path, root: Path | None, stated: StatedConfig, entities: dict[str, str]
) -> tuple[mne.io.BaseRaw, pd.DataFrame | None, str, Cut | None]:
    """Return signal, events, format and cut; complete `entities` by what the format says."""
    if is_trial_folder(path) or TRIAL.fullmatch(path.name):
        raw, events, subject = read_uci(path)
        run = "1" if path.is_dir() else path.name.split(".")[-2]
        entities |= {"subject": subject, "run": run}
        return raw, events, "UCI EEG Database", None
    extension, cut = check_kind(path), None
    form = FORMATS[extension]
    if extension in TEXT_EXTENSIONS:
        raw, events, form = read_headset(path, stated.stated())
    elif form == "XDF":
        raw, events = read_xdf(path, stated.stream)
    elif extension == ".zip":
        raw, events = read_openvibe(path)
    else:
        raw, events, cut = _read_mne_format(path, root)
    if form == "OpenViBE csv" and entities["subject"] == "unknown":
        folder = path.absolute().parent.name  # FEIS: feis/01/articulators.zip
        entities["subject"] = folder if folder.isdigit() else "unknown"
    return raw, events, form, cut


def _take_stated(raw: mne.io.BaseRaw, stated: StatedConfig, path: Path) -> None:
    """Name the EEG channels as their owner states; raise where the file says another rate."""
    sfreq = float(raw.info["sfreq"])
    if stated.file_sfreq is not None and abs(sfreq / stated.file_sfreq - 1) > 0.005:
        raise ValueError(
            f"{path} has {sfreq:g} Hz by its own clock or header, and file_sfreq states "
            f"{stated.file_sfreq:g} Hz; leave it out"
        )
    if stated.file_channels is None:
        return
    old, new = eeg_names(raw), list(stated.file_channels)
    if len(old) != len(new) or len(set(new)) < len(new):
        raise ValueError(
            f"file_channels states {len(new)} names ({', '.join(new)}), expected one of its own "
            f"for each of the {len(old)} EEG channels of {path}: {', '.join(old)}"
        )
    raw.rename_channels(dict(zip(old, new, strict=True)))


def _check_names(raw: mne.io.BaseRaw, path: Path) -> None:
    wrong = [name for name in raw.ch_names if _CONTROL.search(name)]
    if wrong:
        raise ValueError(
            f"{path} has the channel name {wrong[0]!r}, expected one without control characters; "
            "correct it in the file's header"
        )


def read_bids(folder: Path | str) -> Iterator[Recording]:
    """Read every EEG recording of a BIDS folder, one at a time, in the order of their names.

    Raises
    ------
    ValueError
        If the folder has no `dataset_description.json`.
    FileNotFoundError
        If it holds no EEG recording.
    """
    folder = Path(folder)
    if not (folder / DESCRIPTION).is_file():
        raise ValueError(f"{folder} has no {DESCRIPTION}, so it is not a BIDS folder")
    for path in find_recordings([folder]):
        yield read_recording(path)


def _read_mne_format(
    path: Path, root: Path | None
) -> tuple[mne.io.BaseRaw, pd.DataFrame | None, Cut | None]:
    table = read_events_table(path)
    try:
        raw, notes, clock = read_with_mne(path, root)
    except HoldsEpochs:
        with failures_named(path), mne.utils.use_log_level("ERROR"):
            return read_epochs(path)
    with failures_named(path):
        notes = take_boundaries(raw, notes)
        if table is None:
            return raw, events_in(raw, notes, path), None
    if clock is not None:
        table["onset"] = clock.place(table["onset"].to_numpy(float))
    return raw, take_boundaries(raw, table), None


def _name_and_scale(
    raw: mne.io.BaseRaw, form: str, path: Path, root: Path | None, unit: Unit | None
) -> tuple[dict[str, str], list[str], UnitFound]:
    """Give channels their names and types, and the EEG its unit; in place."""
    of_table = table_units(path, root)
    with failures_named(path):
        if unit is not None:
            types = dict.fromkeys(electrodes_without_unit(raw), "eeg")
            raw.set_channel_types(types, on_unit_change="ignore", verbose="ERROR")
        renamed, labels = name_channels(raw)
    of_table = {renamed.get(name, name): symbol for name, symbol in of_table.items()}
    found = settle_unit(raw, form, path, unit, of_table)
    return renamed, labels, found


def _says_simulated(raw: mne.io.BaseRaw, description: dict[str, Any]) -> bool:
    stated = [description.get("Name", ""), description.get("GeneratedBy", "")]
    stated.append(str(raw.info["description"]))
    return bool(description.get("Simulated")) or "simulated" in json.dumps(stated).lower()


def _simulated_noise_level(path: Path) -> float | None:
    """The level that `simulate` writes to a recording's BIDS sidecar; 1 is realistic."""
    sidecar = path.with_name(path.name.split(".")[0] + ".json")
    return read_json(sidecar).get("SimulatedNoiseLevel") if sidecar.is_file() else None
