"""Which files of a folder are recordings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from dreamdiffusion.recordings.formats.archives import starts_with
from dreamdiffusion.recordings.formats.epochs import EPOCHS_NAME
from dreamdiffusion.recordings.formats.extensions import (
    EXTENSIONS,
    TEXT_EXTENSIONS,
    extension_of,
)
from dreamdiffusion.recordings.formats.headsets import headset_format, names_no_channel
from dreamdiffusion.recordings.formats.openvibe import START
from dreamdiffusion.recordings.formats.uci import TRIAL, is_trial_folder
from dreamdiffusion.recordings.formats.vendors import is_nihon_kohden

# Derived files, and the later parts of a split file, which MNE reads with the first.
_NOT_RAW = re.compile(
    r"([-_](ave|cov|fwd|inv|src|trans|ica|bem|sol|eve|proj)|-\d+|_split-0*[2-9]_\w+)\.fif(\.gz)?$"
)


def find_recordings(inputs: Iterable[Path | str]) -> list[Path]:
    """List the recordings among files and folders (searched through), each once, in order.

    A folder of trials of the UCI EEG Database is one recording. Folders named `stimuli` and
    `derivatives` and hidden ones are not searched. Trials that MNE-Python cut (`-epo.fif`) are
    listed where a folder holds nothing else: beside recordings they are cut from these.

    Raises
    ------
    FileNotFoundError
        If an input does not exist, or a folder holds no recording.
    """
    found: list[Path] = []
    for entry in (Path(item) for item in inputs):
        if not entry.exists():
            raise FileNotFoundError(f"input {entry} does not exist")
        if entry.is_file() or extension_of(entry) == ".mff" or is_trial_folder(entry):
            found.append(entry)
            continue
        inside: list[Path] = []
        epochs: list[Path] = []
        in_bids = bids_root(entry / "any") is not None
        for path in sorted(entry.rglob("*")):
            parts = path.relative_to(entry).parts
            skipped = any(p.startswith(".") or p in ("stimuli", "derivatives") for p in parts)
            if TRIAL.fullmatch(path.name) and not skipped:
                if path.parent not in inside[-1:]:  # its trials follow each other
                    inside.append(path.parent)
                continue
            in_mff = any(p.endswith(".mff") for p in parts[:-1])
            if skipped or in_mff or extension_of(path) is None or _NOT_RAW.search(path.name):
                continue
            if in_bids and not re.fullmatch(r"sub-.*_i?eeg", path.name.split(".")[0]):
                continue
            if extension_of(path) == ".zip" and not (path.is_file() and starts_with(path, START)):
                continue  # pictures, perhaps
            if not _is_table(path):
                continue
            if path.suffix.lower() == ".eeg" and not (path.is_file() and is_nihon_kohden(path)):
                continue  # the samples of a BrainVision recording
            if path.is_file() or path.suffix == ".mff":
                (epochs if EPOCHS_NAME.fullmatch(path.name) else inside).append(path)
        inside = inside or epochs
        if not inside:
            raise FileNotFoundError(f"folder {entry} holds no recording ({', '.join(EXTENSIONS)})")
        found += inside
    unique = {path.resolve(): path for path in reversed(found)}
    return list(reversed(unique.values()))


def _is_table(path: Path) -> bool:
    """Whether a text file is a recording: not a list of events, and a .txt of a known format.

    A csv that names its columns and none that could be a channel is a list of something.
    """
    extension = path.suffix.lower()
    if extension not in TEXT_EXTENSIONS:
        return True
    if path.stem.lower().endswith("events") or not path.is_file():
        return False
    return headset_format(path) is not None or (extension == ".csv" and not names_no_channel(path))


def bids_root(path: Path) -> Path | None:
    """Return the BIDS folder that a file lies in, None where it lies in none."""
    return next((p for p in path.parents if (p / "dataset_description.json").is_file()), None)
