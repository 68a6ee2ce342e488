"""The formats that MNE-Python reads: checks before, one kind of error after."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import mne
import pandas as pd

from dreamdiffusion.recordings.events import notes_in
from dreamdiffusion.recordings.formats import vendors
from dreamdiffusion.recordings.formats.archives import MAX_RATIO, check_gzip
from dreamdiffusion.recordings.formats.brainvision import checked_brainvision
from dreamdiffusion.recordings.formats.edf import check_edf_header
from dreamdiffusion.recordings.formats.edf_records import EdfRecords, read_edf_records
from dreamdiffusion.recordings.formats.extensions import extension_of
from dreamdiffusion.recordings.formats.fif import check_fif_tags
from dreamdiffusion.recordings.formats.gdf import check_gdf_header
from dreamdiffusion.recordings.formats.matlab import check_matlab
from dreamdiffusion.recordings.gaps import Clock, mark_boundaries

logger = logging.getLogger(__name__)

_GDF_NEW_SEGMENT = "32766"  # 0x7ffe in GDF's table of events: a new segment, after a break
_MOVED = re.compile(r"(Omitted|Limited) (\d+) annotation")  # MNE, of what lies outside the samples


class HoldsEpochs(ValueError):
    """The file holds trials that were cut elsewhere, and no continuous recording."""


class OpenedFile(NamedTuple):
    """A file as MNE-Python reads it, and what MNE leaves out."""

    raw: mne.io.BaseRaw
    """Loaded, volts."""
    notes: pd.DataFrame
    """Every annotation, also of moments at which nothing was recorded; as `events.notes_in`."""
    clock: Clock | None
    """Where the file says when its samples were recorded."""


def read_with_mne(path: Path, root: Path | None) -> OpenedFile:
    """Read and load a file that MNE-Python knows; `root`: the BIDS folder it lies in.

    Raises
    ------
    HoldsEpochs
        For a file of epochs, which `epochs.read_epochs` reads.
    ValueError
        For a file that contradicts itself, or at which MNE gives up. The message names the file.
    """
    extension = extension_of(path)
    records: EdfRecords | None = None
    options: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        if extension in (".edf", ".bdf"):
            records = read_edf_records(path, check_edf_header(path))
            options = {"encoding": records.encoding} if records else {}
        elif extension == ".vhdr":
            options["overrides"] = stack.enter_context(checked_brainvision(path))
        elif extension == ".set":
            check_matlab(path)
        elif extension == ".gdf":
            check_gdf_header(path)
        elif extension in (".fif", ".fif.gz"):
            if extension == ".fif.gz":
                check_gzip(path)
            check_fif_tags(path)
        stack.enter_context(failures_named(path))
        with _mne_warnings() as said:
            raw = _load(path, root, options)
        if records is not None:
            return _with_records(raw, records)
        n_moved = sum(int(match[2]) for text in said if (match := _MOVED.search(text)))
        if root is None:  # of a BIDS file, events.tsv has every event
            notes = _every_annotation(path, raw, n_moved)
        else:
            notes = notes_in(raw.annotations, raw.first_time)
    if extension == ".gdf":
        notes["category"] = notes["category"].replace(_GDF_NEW_SEGMENT, "boundary")
        known = {_GDF_NEW_SEGMENT} & set(map(str, raw.annotations.description))
        raw.annotations.rename(dict.fromkeys(known, "boundary"))
    return OpenedFile(raw, notes, None)


@contextlib.contextmanager
def _mne_warnings() -> Iterator[list[str]]:
    """Collect what MNE warns of; nothing of it is shown."""
    said: list[str] = []
    log = logging.getLogger("mne")

    def silent(_: logging.LogRecord) -> bool:
        return False

    log.addFilter(silent)
    try:
        with mne.utils.use_log_level("WARNING"), warnings.catch_warnings(record=True) as entries:
            warnings.simplefilter("always")
            yield said
            said += [str(entry.message) for entry in entries]
    finally:
        log.removeFilter(silent)


def _load(path: Path, root: Path | None, options: dict[str, Any]) -> mne.io.BaseRaw:
    try:
        if root is not None and path.name.startswith("sub-"):
            import mne_bids

            place = mne_bids.get_bids_path_from_fname(path)
            raw = mne_bids.read_raw_bids(place, extra_params=options)
        elif (extension := extension_of(path)) in vendors.EXTENSIONS:
            raw = vendors.read_vendor(path, extension)
        else:
            raw = mne.io.read_raw(path, **options)
    except (TypeError, ValueError) as error:
        if "No raw data in" in str(error) or "must be 1 for raw files" in str(error):
            raise HoldsEpochs(f"{path} holds no continuous recording") from error
        raise
    _check_inside(raw, path)
    n_bytes = sum(_size(Path(file)) for file in {path, *filter(None, raw.filenames)})
    if len(raw.ch_names) * raw.n_times > MAX_RATIO * n_bytes:
        raise ValueError(
            f"{path} cannot be read: it declares {raw.n_times} samples of {len(raw.ch_names)} "
            f"channels, and has {n_bytes} bytes; copy or export it again"
        )
    return raw.load_data()


def _size(path: Path) -> int:
    """Bytes of a file, or of a folder's files."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def _check_inside(raw: mne.io.BaseRaw, path: Path) -> None:
    """Raise where a file names another, such as EEGLAB's `.fdt`, that does not lie beside it."""
    folders = {path.absolute().parent, path.resolve().parent}
    for file in filter(None, raw.filenames):
        if Path(file).absolute().parent not in folders and not Path(file).is_relative_to(path):
            raise ValueError(
                f"{path} cannot be read: it names {file}, expected a file beside it; put both into "
                "one folder and correct the name"
            )


def _with_records(raw: mne.io.BaseRaw, records: EdfRecords) -> OpenedFile:
    """Put annotations, which MNE places by the clock, to the samples; mark the gaps."""
    notes, clock = records.notes, records.clock
    notes["onset"] = clock.place(notes["onset"].to_numpy(float))
    if len(clock.starts) > 1:
        inside = notes[notes["onset"].between(0, raw.n_times / clock.sfreq)]
        raw.set_annotations(
            mne.Annotations(inside["onset"], inside["duration"], inside["category"])
        )
        mark_boundaries(raw, clock.samples[1:] / clock.sfreq)
    return OpenedFile(raw, notes, clock)


def _every_annotation(path: Path, raw: mne.io.BaseRaw, n_moved: int) -> pd.DataFrame:
    """Return the annotations of a file with those that MNE drops, or moves to the first sample."""
    extension = extension_of(path)
    if extension in (".fif", ".fif.gz") and len(raw.annotations) + n_moved:  # it does so in silence
        found = mne.read_annotations(path)
        date = raw.info["meas_date"]
        if date is None:  # such annotations count from where the acquisition began
            return notes_in(found, raw.first_time)
        began = found.orig_time or date + timedelta(seconds=raw.first_time)
        return notes_in(found, (date - began).total_seconds() + raw.first_time)
    if extension == ".set" and n_moved:
        return notes_in(mne.read_annotations(path), 0.0)
    if extension == ".gdf" and n_moved:
        _, first, codes, _, lasts = raw._raw_extras[0]["events"]  # samples
        sfreq = float(raw.info["sfreq"])
        table = {"onset": first / sfreq, "duration": lasts / sfreq, "category": codes.astype(str)}
        return pd.DataFrame(table)
    if n_moved:
        logger.warning("%s: %d events lie outside the recording", path, n_moved)
    return notes_in(raw.annotations, raw.first_time)


@contextlib.contextmanager
def failures_named(path: Path) -> Iterator[None]:
    """Turn whatever MNE trips over into one error that names the file and says what was found."""
    try:
        yield
    except HoldsEpochs:
        raise
    except Exception as error:
        if isinstance(error, ValueError) and str(error).startswith(str(path)):
            raise
        raise ValueError(
            f"{path} cannot be read: MNE-Python ends with {type(error).__name__}: {error}; if "
            "other programs do not open it either, copy or export it again"
        ) from error
