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
    _check_inside(raw, path)
    return raw.load_data()


def _check_inside(raw: mne.io.BaseRaw, path: Path) -> None:
    """Raise where a file names another, such as EEGLAB's `.fdt`, that does not lie beside it."""
    folders = {path.absolute().parent, path.resolve().parent}
    for file in filter(None, raw.filenames):
        if Path(file).absolute().parent not in folders and not Path(file).is_relative_to(path):
            raise ValueError(
                f"{path} cannot be read: it names {file}, expected a file beside it; put both into "
                "one folder and correct the name"
            )


@contextlib.contextmanager
def failures_named(path: Path) -> Iterator[None]:
    """Turn whatever MNE trips over into one error that names the file and says what was found."""
    try:
        yield
    except Exception as error:
        if str(error).startswith(f"{path} cannot be read: "):
            raise
        raise ValueError(
            f"{path} cannot be read: MNE-Python ends with {type(error).__name__}: {error}; if "
            "other programs do not open it either, copy or export it again"
        ) from error
