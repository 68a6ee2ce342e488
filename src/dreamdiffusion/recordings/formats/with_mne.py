"""The formats that MNE-Python reads: checks before, one kind of error after."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import mne

from dreamdiffusion.recordings.formats.archives import check_gzip
from dreamdiffusion.recordings.formats.brainvision import check_brainvision
from dreamdiffusion.recordings.formats.edf import check_edf_header
from dreamdiffusion.recordings.formats.extensions import extension_of


def read_with_mne(path: Path, root: Path | None) -> mne.io.BaseRaw:
    """Read and load a file that MNE-Python knows; `root`: the BIDS folder it lies in.

    Raises
    ------
    ValueError
        For a file that contradicts itself, or at which MNE gives up. The message names the file.
    """
    extension = extension_of(path)
    if extension in (".edf", ".bdf"):
        check_edf_header(path)
    elif extension == ".vhdr":
        check_brainvision(path)
    elif extension == ".fif.gz":
        check_gzip(path)
    with failures_named(path), mne.utils.use_log_level("ERROR"):
        if root is not None and path.name.startswith("sub-"):
            import mne_bids

            raw = mne_bids.read_raw_bids(mne_bids.get_bids_path_from_fname(path))
        else:
            raw = mne.io.read_raw(path)
        raw.load_data()
    return raw


@contextlib.contextmanager
def failures_named(path: Path) -> Iterator[None]:
    """Turn whatever a broken file makes MNE trip over into one error: any of it means the same."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read: {type(error).__name__}: {error} (it is cut off, damaged, or "
            "of another format than its extension says; copy or export it again)"
        ) from error
