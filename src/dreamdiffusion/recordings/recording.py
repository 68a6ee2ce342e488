"""Any EEG file -> one `Recording`: signal in volts, channel names, events, who and when.

Read here: every format MNE-Python reads, Muse csv, OpenViBE csv (also in a zip), the UCI EEG
Database, and BIDS folders (through mne-bids).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from dreamdiffusion.recordings.channels import name_channels
from dreamdiffusion.recordings.electrodes import electrode_positions
from dreamdiffusion.recordings.entities import entities_from_path
from dreamdiffusion.recordings.formats.archives import check_gzip, starts_with
from dreamdiffusion.recordings.formats.brainvision import check_brainvision
from dreamdiffusion.recordings.formats.csv_table import to_numbers
from dreamdiffusion.recordings.formats.edf import check_edf_header
from dreamdiffusion.recordings.formats.muse import read_muse_csv
from dreamdiffusion.recordings.formats.openvibe import START, read_openvibe
from dreamdiffusion.recordings.formats.uci import TRIAL, is_trial_folder, read_uci

logger = logging.getLogger(__name__)

FORMATS = {
    ".edf": "EDF", ".bdf": "BDF", ".gdf": "GDF", ".vhdr": "BrainVision", ".set": "EEGLAB",
    ".fif": "FIF", ".fif.gz": "FIF", ".cnt": "CNT", ".mff": "MFF", ".nxe": "NXE",
    ".csv": "Muse csv", ".zip": "OpenViBE csv",
}  # fmt: skip
EXTENSIONS = tuple(FORMATS)
TEXT_FORMATS = ("Muse csv", "OpenViBE csv", "UCI EEG Database")
"""Read by readers of our own; microvolts by definition."""
LOWEST_V, HIGHEST_V = 1e-7, 5e-3  # median absolute amplitude that scalp EEG in volts can have
# Derived files, and the later parts of a split file, which MNE reads with the first.
_NOT_RAW = re.compile(
    r"([-_](epo|ave|cov|fwd|inv|src|trans|ica|bem|sol|eve|proj)|-\d+|_split-0*[2-9]_\w+)\.fif(\.gz)?$"
)


@dataclass
class Recording:
    """One continuous recording.

    Attributes
    ----------
    raw
        Loaded signal, volts.
    subject, session, run
        Who and when; from the BIDS name or from the folders' names. "unknown" where none says.
    source
        The file.
    events
        Columns `onset` (s from the first sample), `duration`, `category`, `stim_file` ("" where
        unknown), `code` where a marker has one, and whatever else the source tells.
    sha256
        Of the samples rounded to 0.01 microvolt.
    stimuli_root
        The folder that `stim_file` is relative to.
    format
        Such as "EDF" or "Muse csv".
    simulated
        True where the data set says that it is simulated.
    renamed
        The file's name -> the 10-05 name, for the channels that got one.
    label_channels
        Channels found to hold labels and not EEG; their type is misc.
    """

    raw: mne.io.BaseRaw
    subject: str
    session: str
    run: str
    source: Path
    events: pd.DataFrame | None
    sha256: str
    stimuli_root: Path | None = None
    format: str = ""
    simulated: bool = False
    renamed: dict[str, str] = field(default_factory=dict)
    label_channels: list[str] = field(default_factory=list)

    @property
    def positions(self) -> np.ndarray:
        """Where the EEG channels sit: float32 (n_chans, 3), metres, MNE's head frame.

        Those that the file brings, if it brings them for every EEG channel; else those of the
        10-05 template for all of them. A ValueError lists the names that have none.
        """
        names = eeg_names(self.raw)
        places = [self.raw.info["chs"][self.raw.ch_names.index(name)]["loc"][:3] for name in names]
        own = np.array(places, np.float32).reshape(-1, 3)
        if np.isfinite(own).all() and own.any(axis=1).all():
            return own
        try:
            return electrode_positions(names)
        except ValueError as error:
            raise ValueError(f"{self.source}: {error}") from error


def read_recording(path: Path | str, check_units: bool = True) -> Recording:
    """Read one recording of any known format.

    Channel names such as "EEG Fp1-Ref", "Fc5." or "T3" become their 10-05 name where that is
    unambiguous; ECG, EOG, EMG, AUX and label channels lose the type eeg (`channels`). A file inside
    a BIDS folder is read by mne-bids, with its `events.tsv`.

    Parameters
    ----------
    path
        The file (BrainVision: the .vhdr; UCI EEG Database: a person's folder, or one trial).
    check_units
        Raise where the amplitudes cannot be EEG in volts.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        For an unknown extension, a file that is empty, cut off, damaged or too large, or
        amplitudes that are not EEG. The message names the file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"recording {path} does not exist")
    root = _bids_root(path)
    entities = entities_from_path(path, _stem(path))
    if is_trial_folder(path) or TRIAL.fullmatch(path.name):
        raw, events, subject = read_uci(path)
        form = "UCI EEG Database"
        run = "1" if path.is_dir() else path.name.split(".")[-2]
        entities |= {"subject": subject, "run": run}
    else:
        extension = _check_kind(path)
        form = FORMATS[extension]
        if extension == ".zip" or (extension == ".csv" and _is_openvibe(path)):
            raw, events = read_openvibe(path)
            form = "OpenViBE csv"
            if entities["subject"] == "unknown" and path.absolute().parent.name.isdigit():
                entities["subject"] = path.absolute().parent.name  # FEIS: feis/01/articulators.zip
        elif extension == ".csv":
            raw, events = read_muse_csv(path)
        else:
            events = _events_table(path)
            raw = _read_raw(path, root)
    with _failures_named(path):
        renamed, labels = name_channels(raw)
        events = _events_in(raw) if events is None else events
    for name in labels:
        logger.warning(
            "%s: channel %s holds a few whole numbers, each held for long: taken for labels or "
            "triggers, not for EEG",
            path,
            name,
        )
    if check_units:
        check_amplitude(raw, path)
    noise_level = _simulated_noise_level(path)
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
        simulated=_says_simulated(raw, root),
        renamed=renamed,
        label_channels=labels,
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
    if not (folder / "dataset_description.json").is_file():
        raise ValueError(f"{folder} has no dataset_description.json, so it is not a BIDS folder")
    for path in find_recordings([folder]):
        yield read_recording(path)


def find_recordings(inputs: Iterable[Path | str]) -> list[Path]:
    """List the recordings among files and folders (searched through), each once, in order.

    A folder of trials of the UCI EEG Database is one recording. Folders named `stimuli` and
    `derivatives` and hidden ones are not searched.

    Raises
    ------
    FileNotFoundError
        If an input does not exist, or a folder holds no recording.
    """
    found: list[Path] = []
    for entry in (Path(item) for item in inputs):
        if not entry.exists():
            raise FileNotFoundError(f"input {entry} does not exist")
        if entry.is_file() or _extension(entry) == ".mff" or is_trial_folder(entry):
            found.append(entry)
            continue
        inside: list[Path] = []
        in_bids = _bids_root(entry / "any") is not None
        for path in sorted(entry.rglob("*")):
            parts = path.relative_to(entry).parts
            skipped = any(p.startswith(".") or p in ("stimuli", "derivatives") for p in parts)
            if TRIAL.fullmatch(path.name) and not skipped:
                if path.parent not in inside[-1:]:  # its trials follow each other
                    inside.append(path.parent)
                continue
            in_mff = any(p.endswith(".mff") for p in parts[:-1])
            if skipped or in_mff or _extension(path) is None or _NOT_RAW.search(path.name):
                continue
            if in_bids and not re.fullmatch(r"sub-.*_i?eeg", path.name.split(".")[0]):
                continue
            if _extension(path) == ".zip" and not (path.is_file() and starts_with(path, START)):
                continue  # pictures, perhaps
            if path.is_file() or path.suffix == ".mff":
                inside.append(path)
        if not inside:
            raise FileNotFoundError(f"folder {entry} holds no recording ({', '.join(EXTENSIONS)})")
        found += inside
    unique = {path.resolve(): path for path in reversed(found)}
    return list(reversed(unique.values()))


def hash_samples(raw: mne.io.BaseRaw) -> str:
    """Return the sha256 of the samples, rounded to 0.01 microvolt, so of the signal not the file.

    Two files of one recording in different formats agree where both store it to that precision;
    `dreamdiffusion.preprocessing.DuplicateCheck` also finds those that do not.
    """
    data = np.asarray(raw.get_data(), dtype=np.float64)
    digest = hashlib.sha256(repr(data.shape).encode())
    for row in data:  # one at a time: it stays in the processor's cache
        if not np.isfinite(row).all():
            row = np.nan_to_num(row, nan=-1.0)
        digest.update(np.rint(row * 1e8).astype("<i8").data)
    return digest.hexdigest()


def check_amplitude(raw: mne.io.BaseRaw, source: Path | str) -> None:
    """Raise a ValueError where the EEG channels' amplitude cannot be EEG in volts.

    The median over channels of the median absolute deviation (an offset does not count) must lie
    within 0.1 microvolt and 5 millivolts. Constant and empty channels do not take part: they are
    another fault, which `preprocess` names.
    """
    names = eeg_names(raw)
    if not names:
        return
    data = np.asarray(raw.get_data(picks=np.array(names)))
    data = data[:, :: max(1, data.shape[1] // 2048)]  # enough for a median
    with np.errstate(invalid="ignore"), mne.utils.use_log_level("ERROR"):
        usable = [row[np.isfinite(row)] for row in data]
        usable = [row for row in usable if len(row) and np.ptp(row) > 0]
    if not usable:
        return
    level = float(np.median([np.median(np.abs(row - np.median(row))) for row in usable]))
    if LOWEST_V <= level <= HIGHEST_V:
        return
    if _extension(Path(source)) in (".csv", ".zip"):
        fix = "a csv must hold microvolts: convert its columns"
    else:
        fix = "correct the unit in the file's header (EDF: physical dimension uV), or rescale it"
    raise ValueError(
        f"{source}: the median absolute amplitude is {level * 1e6:.4g} uV, which is not EEG "
        f"(expected {LOWEST_V * 1e6:g} to {HIGHEST_V * 1e6:g} uV); {fix}"
    )


def eeg_names(raw: mne.io.BaseRaw) -> list[str]:
    """Names of the channels of type eeg, those declared bad included."""
    types = zip(raw.ch_names, raw.get_channel_types(), strict=True)
    return [name for name, kind in types if kind == "eeg"]


def _extension(path: Path) -> str | None:
    name = path.name.lower()
    return next((e for e in sorted(EXTENSIONS, key=len, reverse=True) if name.endswith(e)), None)


def _stem(path: Path) -> str:
    extension = _extension(path)
    return path.name[: -len(extension)] if extension else path.name


def _check_kind(path: Path) -> str:
    """Return the extension of a file that is there, known, of the right kind and not empty."""
    extension = _extension(path)
    if extension is None:
        raise ValueError(
            f"{path}: unknown extension {path.suffix!r}; expected one of {', '.join(EXTENSIONS)}"
        )
    if path.is_dir() != (extension == ".mff"):
        found, wanted = ("folder", "file") if path.is_dir() else ("file", "folder")
        raise ValueError(f"{path} is a {found}, expected a {wanted} with the extension {extension}")
    if path.is_file() and not path.stat().st_size:
        raise ValueError(f"{path} is empty (0 bytes); copy it again")
    return extension


def _is_openvibe(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(START)) == START


def _bids_root(path: Path) -> Path | None:
    return next((p for p in path.parents if (p / "dataset_description.json").is_file()), None)


def _says_simulated(raw: mne.io.BaseRaw, root: Path | None) -> bool:
    if "simulated" in str(raw.info["description"]).lower():
        return True
    if root is None:
        return False
    try:
        text = json.loads((root / "dataset_description.json").read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{root / 'dataset_description.json'} is not JSON: {error}") from error
    told = [text.get("Name", ""), text.get("GeneratedBy", "")]
    return bool(text.get("Simulated")) or "simulated" in json.dumps(told).lower()


def _simulated_noise_level(path: Path) -> float | None:
    """The level that `simulate` writes to a recording's BIDS sidecar; 1 is realistic."""
    sidecar = path.with_name(path.name.split(".")[0] + ".json")
    if not sidecar.is_file():
        return None
    try:
        content = json.loads(sidecar.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{sidecar} is not JSON: {error}") from error
    return content.get("SimulatedNoiseLevel") if isinstance(content, dict) else None


def _read_raw(path: Path, root: Path | None) -> mne.io.BaseRaw:
    extension = _extension(path)
    if extension in (".edf", ".bdf"):
        check_edf_header(path)
    elif extension == ".vhdr":
        check_brainvision(path)
    elif extension == ".fif.gz":
        check_gzip(path)
    with _failures_named(path), mne.utils.use_log_level("ERROR"):
        if root is not None and path.name.startswith("sub-"):
            import mne_bids

            raw = mne_bids.read_raw_bids(mne_bids.get_bids_path_from_fname(path))
        else:
            raw = mne.io.read_raw(path)
        raw.load_data()
    return raw


@contextlib.contextmanager
def _failures_named(path: Path) -> Iterator[None]:
    """Turn whatever a broken file makes MNE trip over into one error: any of it means the same."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read: {type(error).__name__}: {error} (it is cut off, damaged, or "
            "of another format than its extension says; copy or export it again)"
        ) from error


def _events_table(path: Path) -> pd.DataFrame | None:
    """Events of the `events.tsv` beside a recording; None: there is none."""
    table = path.with_name(re.sub(r"_i?eeg$", "", path.name.split(".")[0]) + "_events.tsv")
    if not table.is_file():
        return None
    try:
        events = pd.read_csv(table, sep="\t", na_values=["n/a"], keep_default_na=False)
    except ValueError as error:
        raise ValueError(f"{table} cannot be read: {error}") from error
    missing = [name for name in ("onset", "duration") if name not in events]
    if missing:
        raise ValueError(f"{table} lacks the column {missing[0]}; BIDS requires it")
    to_numbers(events, ["onset", "duration"], str(table))
    if bool(events["onset"].isna().any()):
        row = int(np.flatnonzero(events["onset"].isna())[0])
        raise ValueError(f"{table}, data row {row} has no onset; BIDS requires it")
    events = events.rename(columns={"trial_type": "category", "value": "code"})
    if "category" not in events:
        events["category"] = events["code"].astype(str) if "code" in events else ""
    for name in ("category", "stim_file"):
        if name in events:
            events[name] = events[name].fillna("").astype(str)
    return events


def _events_in(raw: mne.io.BaseRaw) -> pd.DataFrame | None:
    """Events of a stim channel, else of the annotations; None: there are none."""
    if "stim" in raw.get_channel_types():
        found = mne.find_events(raw, shortest_event=1, verbose="ERROR")
        if len(found):
            codes = found[:, 2]
            onsets = (found[:, 0] - raw.first_samp) / raw.info["sfreq"]
            return _table(onsets, np.zeros(len(found)), [str(code) for code in codes], code=codes)
    notes = [
        (note, extra or {})
        for note, extra in zip(raw.annotations, raw.annotations.extras, strict=True)
        if not str(note["description"]).lower().startswith(("bad", "edge"))
    ]
    if not notes:
        return None
    events = _table(
        np.array([note["onset"] for note, _ in notes]) - raw.first_time,
        np.array([note["duration"] for note, _ in notes]),
        [str(note["description"]) for note, _ in notes],
    )
    # MNE keeps further columns of an event, such as the picture, as extras of its annotation.
    more = pd.DataFrame([extra for _, extra in notes], index=events.index)
    return events.join(more[[name for name in more if name not in events]])


def _table(
    onset: np.ndarray, duration: np.ndarray, category: list[str], **more: np.ndarray
) -> pd.DataFrame:
    return pd.DataFrame({"onset": onset, "duration": duration, "category": category, **more})
