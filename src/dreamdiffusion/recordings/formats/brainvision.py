"""BrainVision files, checked before a reader believes them.

MNE reads a file that is cut off as a shorter recording, drops the markers beyond its end, goes on
without markers where their file is missing, and opens that file in the computer's own code page.
Keys of the header: BrainVision Core Data Format 1.0, Brain Products GmbH.
"""

from __future__ import annotations

import codecs
import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dreamdiffusion.recordings.formats.text import decode_text

_BYTES = {"INT_16": 2, "UINT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4}
_PAGES = re.compile(
    r"utf-?8|(cp|windows-?)125\d|iso-?8859-\d{1,2}|latin-?1|us-ascii", re.IGNORECASE
)
_SUFFIXES = {"DataFile": (".eeg", ".dat", ".seg", ".avg"), "MarkerFile": (".vmrk",)}


@contextlib.contextmanager
def checked_brainvision(path: Path) -> Iterator[dict[str, Path | bool]]:
    """Check a recording's three files, and lend MNE its markers as UTF-8.

    Parameters
    ----------
    path
        The `.vhdr`.

    Yields
    ------
    overrides
        For `mne.io.read_raw_brainvision`: the file of the samples, and a copy of that of the
        markers (False: there is none), which lasts as long as the context.

    Raises
    ------
    ValueError
        Where a file that the header names is not beside it, is no whole recording, or where a file
        states an unknown code page. Its size must hold whole samples of all channels, as many as
        the header declares where it does, and reach the last marker. What the header leaves open
        is left to the reader.
    """
    header = _text(path)
    data, markers = _beside(path, header, "DataFile"), _beside(path, header, "MarkerFile")
    text = _text(markers) if markers is not None else ""
    _check_size(path, header, data, markers, text)
    with tempfile.TemporaryDirectory() as folder:
        overrides: dict[str, Path | bool] = {"marker_fname": False}
        if data is not None:
            overrides["data_fname"] = data.absolute()
        if markers is not None:
            copy = Path(folder) / "markers.vmrk"
            copy.write_text(re.sub(r"(?im)^Codepage=.*$", "Codepage=UTF-8", text), encoding="utf-8")
            overrides["marker_fname"] = copy
        yield overrides


def _check_size(
    path: Path, header: str, data: Path | None, markers: Path | None, marker_text: str
) -> None:
    width, n_chans = _BYTES.get(_value(header, "BinaryFormat")), _value(header, "NumberOfChannels")
    if width is None or data is None or not re.fullmatch(r"[1-9]\d{0,5}", n_chans):
        return
    n_times, rest = divmod(data.stat().st_size, width * int(n_chans))
    declared = _value(header, "DataPoints")
    if rest or n_times == 0 or (declared.isdigit() and int(declared) not in (0, n_times)):
        wanted = f"{declared} samples" if declared else "whole samples"
        raise ValueError(
            f"{path} cannot be read: {data.name} holds {n_times} samples of {n_chans} channels and "
            f"{rest} bytes more, and the header says {wanted}; copy or export the recording again"
        )
    places = [int(p) for p in re.findall(r"^Mk\d+=[^,]*,[^,]*,(\d{1,18}),", marker_text, re.M)]
    if markers is not None and places and max(places) > n_times + 1:
        raise ValueError(
            f"{path} cannot be read: {markers.name} has a marker at sample {max(places)}, and "
            f"{data.name} holds {n_times} samples; copy or export the recording again, or put the "
            "files of one recording together"
        )


def _text(path: Path) -> str:
    """Return a header's or a marker file's text, in the code page that it states itself."""
    content = path.read_bytes()
    page = _value(content.decode("latin-1"), "Codepage")
    if page not in ("", "ANSI") and not _is_known(page):
        raise ValueError(
            f"{path} cannot be read: it states Codepage={page[:40]!r}, expected UTF-8, ANSI or a "
            "code page such as cp1252; correct that line"
        )
    return decode_text(content, "cp1252" if page == "ANSI" else page or None)


def _is_known(page: str) -> bool:
    try:
        return bool(_PAGES.fullmatch(page) and codecs.lookup(page))
    except LookupError:
        return False


def _value(header: str, key: str) -> str:
    match = re.search(rf"^{key}[ ]*=(.*)$", header, re.MULTILINE | re.IGNORECASE)
    return match[1].strip() if match else ""


def _beside(path: Path, header: str, key: str) -> Path | None:
    """Return the file that a key names, None where the header has no such key.

    `$b` in it is the header's own name.
    """
    name = _value(header, key).replace("$b", path.stem)
    if not name:
        return None
    if Path(name).name != name or "\\" in name or "\0" in name:
        raise ValueError(
            f"{path} cannot be read: its header names {key}={name[:80]!r}, expected a name without "
            "a folder; put the file beside the header and write its name alone"
        )
    file = path.with_name(name)
    if file.is_file():
        return file
    near = sorted(
        other.name for other in path.parent.iterdir() if other.suffix.lower() in _SUFFIXES[key]
    )
    shown = ", ".join(near[:5]) + (f" and {len(near) - 5} more" if len(near) > 5 else "")
    own = next((other for other in near if Path(other).stem == path.stem), "NAME")
    raise ValueError(
        f"{path} cannot be read: its header names {key}={name}, which is not beside it (there: "
        f"{shown or 'no ' + ' or '.join(_SUFFIXES[key])}); if the files were renamed, write "
        f"{key}={own} in the header, or give the file its old name"
    )
