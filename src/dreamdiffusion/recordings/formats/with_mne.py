"""The formats that MNE-Python reads: checks before, one kind of error after."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mne

from dreamdiffusion.recordings.formats.archives import check_gzip
from dreamdiffusion.recordings.formats.brainvision import checked_brainvision
from dreamdiffusion.recordings.formats.edf import check_edf_header
from dreamdiffusion.recordings.formats.extensions import extension_of


def read_with_mne(path: Path, root: Path | None) -> mne.io.BaseRaw:
    """Read and load a file that MNE-Python knows; `root`: the BIDS folder it lies in.

    Raises
    ------
    ValueError
        For a file that contradicts itself, or at which MNE gives up. The message names the file.
    """
    extension, options = extension_of(path), {}
    with contextlib.ExitStack() as stack:
        if extension in (".edf", ".bdf"):
            check_edf_header(path)
        elif extension == ".vhdr":
            options["overrides"] = stack.enter_context(checked_brainvision(path))
        elif extension == ".fif.gz":
            check_gzip(path)
        stack.enter_context(failures_named(path))
        stack.enter_context(mne.utils.use_log_level("ERROR"))
        try:
            return _read(path, root, options)
        except Exception as error:
            if extension not in (".edf", ".bdf") or "encoding='latin1'" not in str(error):
                raise
            return _read(path, root, {"encoding": "latin1"})  # annotations that are not UTF-8


def _read(path: Path, root: Path | None, options: dict[str, Any]) -> mne.io.BaseRaw:
    if root is not None and path.name.startswith("sub-"):
        import mne_bids

        place = mne_bids.get_bids_path_from_fname(path)
        raw = mne_bids.read_raw_bids(place, extra_params=options)
    else:
        raw = mne.io.read_raw(path, **options)
    return raw.load_data()


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
