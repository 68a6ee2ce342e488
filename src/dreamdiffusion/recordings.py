"""Any EEG file -> one `Recording`: signal in volts, channel names, events, who and when.

Read here: every format MNE-Python reads, Muse csv, and BIDS folders (through mne-bids).
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from .electrodes import standard_montage, standard_names
from .muse import read_muse_csv

logger = logging.getLogger(__name__)

EXTENSIONS = (
    ".edf", ".bdf", ".gdf", ".vhdr", ".set", ".fif", ".fif.gz", ".cnt", ".mff", ".nxe", ".csv",
)  # fmt: skip
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
    simulated
        True where the data set says that it is simulated.
    """

    raw: mne.io.BaseRaw
    subject: str
    session: str
    run: str
    source: Path
    events: pd.DataFrame | None
    sha256: str
    stimuli_root: Path | None = None
    simulated: bool = False


def read_recording(path: Path | str, check_units: bool = True) -> Recording:
    """Read one recording of any known format.

    Channel names such as "EEG Fp1-Ref" or "Fc5." become their 10-05 name where that is
    unambiguous; ECG, EOG, EMG and AUX channels lose the type eeg. A file inside a BIDS folder is
    read by mne-bids, with its `events.tsv`.

    Parameters
    ----------
    path
        The file (BrainVision: the .vhdr).
    check_units
        Raise where the amplitudes cannot be EEG in volts.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        For an unknown extension, a file that cannot be read, or amplitudes that are not EEG.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"recording {path} does not exist")
    extension = _extension(path)
    if extension is None:
        raise ValueError(
            f"{path}: unknown extension {path.suffix!r}; expected one of {', '.join(EXTENSIONS)}"
        )
    root = _bids_root(path)
    if extension == ".csv":
        raw, events = read_muse_csv(path)
    else:
        raw = _read_raw(path, root)
        events = _read_events(raw, path)
    _name_channels(raw)
    if check_units:
        check_amplitude(raw, path)
    entities = _entities(path)
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
        simulated=_says_simulated(raw, root),
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

    Folders named `stimuli` and `derivatives` and hidden ones are not searched.

    Raises
    ------
    FileNotFoundError
        If an input does not exist, or a folder holds no recording.
    """
    found: list[Path] = []
    for entry in (Path(item) for item in inputs):
        if not entry.exists():
            raise FileNotFoundError(f"input {entry} does not exist")
        if entry.is_file() or _extension(entry) == ".mff":
            found.append(entry)
            continue
        inside: list[Path] = []
        in_bids = _bids_root(entry / "any") is not None
        for path in sorted(entry.rglob("*")):
            parts = path.relative_to(entry).parts
            skipped = any(p.startswith(".") or p in ("stimuli", "derivatives") for p in parts)
            in_mff = any(p.endswith(".mff") for p in parts[:-1])
            if skipped or in_mff or _extension(path) is None or _NOT_RAW.search(path.name):
                continue
            if in_bids and not re.fullmatch(r"sub-.*_i?eeg", path.name.split(".")[0]):
                continue
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
    data = data[:, :: max(1, data.shape[1] // 8192)]  # enough for a median
    with np.errstate(invalid="ignore"), mne.utils.use_log_level("ERROR"):
        usable = [row[np.isfinite(row)] for row in data]
        usable = [row for row in usable if len(row) and np.ptp(row) > 0]
    if not usable:
        return
    level = float(np.median([np.median(np.abs(row - np.median(row))) for row in usable]))
    if LOWEST_V <= level <= HIGHEST_V:
        return
    if _extension(Path(source)) == ".csv":
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
    try:
        with mne.utils.use_log_level("ERROR"):
            if root is not None and path.name.startswith("sub-"):
                import mne_bids

                raw = mne_bids.read_raw_bids(mne_bids.get_bids_path_from_fname(path))
            else:
                raw = mne.io.read_raw(path)
            raw.load_data()
    except Exception as error:
        # The readers raise whatever a broken file makes them trip over: any of it means the same.
        raise ValueError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    return raw


def _read_events(raw: mne.io.BaseRaw, path: Path) -> pd.DataFrame | None:
    """Events from `events.tsv`, else a stim channel, else annotations; None: there are none."""
    table = path.with_name(re.sub(r"_i?eeg$", "", path.name.split(".")[0]) + "_events.tsv")
    if table.is_file():
        events = pd.read_csv(table, sep="\t", na_values=["n/a"], keep_default_na=False)
        missing = [name for name in ("onset", "duration") if name not in events]
        if missing:
            raise ValueError(f"{table} lacks the column {missing[0]}; BIDS requires it")
        events = events.rename(columns={"trial_type": "category", "value": "code"})
        if "category" not in events:
            events["category"] = events["code"].astype(str) if "code" in events else ""
        for name in ("category", "stim_file"):
            if name in events:
                events[name] = events[name].fillna("").astype(str)
        return events
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


def _name_channels(raw: mne.io.BaseRaw) -> None:
    """Give channels their 10-05 names and positions, and peripheral ones their type."""
    standard = standard_names()
    new: dict[str, str] = {}
    for name in raw.ch_names:
        short = re.sub(r"^EEG[ _-]*", "", name.strip(), flags=re.IGNORECASE).rstrip(".")
        short = re.sub(r"[-_ ](ref|le|avg)$", "", short, flags=re.IGNORECASE)
        new[name] = standard.get(short.lower(), name)
    names = list(new.values())
    renames = {old: name for old, name in new.items() if old != name and names.count(name) == 1}
    raw.rename_channels(renames)
    types: dict[str, str] = {}
    for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True):
        word = re.sub(r"^EEG[ _-]*", "", name, flags=re.IGNORECASE).upper()
        if kind != "eeg" or word.lower() in standard:
            continue
        for start, other in (("ECG", "ecg"), ("EKG", "ecg"), ("EOG", "eog"), ("EMG", "emg")):
            if start in word:
                types[name] = other
        if "AUX" in word or re.fullmatch(r"[A-Z]\d?-[A-Z]\d?", word):
            types[name] = "misc"
    raw.set_channel_types(types, on_unit_change="ignore", verbose="ERROR")
    if raw.get_montage() is None:
        raw.set_montage(standard_montage(), on_missing="ignore", match_case=False, verbose="ERROR")


def _entities(path: Path) -> dict[str, str]:
    """Subject, session and run from BIDS names, else from names like `subject1/session2`."""
    text = "/".join([*path.parts[-4:-1], path.name.split("_eeg")[0]])
    stem = path.name
    for extension in sorted(EXTENSIONS, key=len, reverse=True):
        if stem.lower().endswith(extension):
            stem = stem[: -len(extension)]
            break
    found = {}
    for key, short in (("subject", "sub"), ("session", "ses"), ("run", "run")):
        bids = re.findall(rf"(?:^|[/_]){short}-([A-Za-z0-9]+)", text)
        words = re.findall(rf"(?:^|[/_]){key}[-_ ]?(\d[A-Za-z0-9]*)", text, flags=re.IGNORECASE)
        found[key] = (bids or words or [""])[-1]
    short_name = re.fullmatch(r"S(\d+)R(\d+)", stem)
    if short_name and not found["subject"]:
        found["subject"], found["run"] = short_name.groups()
    return {
        "subject": found["subject"] or "unknown",
        "session": found["session"] or "1",
        "run": found["run"] or stem,
    }
