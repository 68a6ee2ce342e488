"""BrainVision files, checked before a reader believes them.

MNE reads a file that is cut off as a shorter recording, and drops the markers beyond its end.
Keys of the header: BrainVision Core Data Format 1.0, Brain Products GmbH.
"""

from __future__ import annotations

import re
from pathlib import Path

_BYTES = {"INT_16": 2, "UINT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4}


def check_brainvision(path: Path) -> None:
    """Raise a ValueError where the samples' file is no whole recording.

    Its size must hold whole samples of all channels, as many as the header declares where it does,
    and reach the last marker. What the header leaves open is left to the reader.

    Parameters
    ----------
    path
        The `.vhdr`.
    """
    header = path.read_bytes().decode("utf-8", errors="replace")
    data, width = _beside(path, header, "DataFile"), _BYTES.get(_value(header, "BinaryFormat"))
    n_chans = _value(header, "NumberOfChannels")
    if width is None or data is None or not re.fullmatch(r"[1-9]\d{0,5}", n_chans):
        return
    n_times, rest = divmod(data.stat().st_size, width * int(n_chans))
    declared = _value(header, "DataPoints")
    if rest or n_times == 0 or (declared.isdigit() and int(declared) not in (0, n_times)):
        raise ValueError(
            f"{path} cannot be read: {data.name} holds {n_times} samples of {n_chans} channels and "
            f"{rest} bytes more; expected {declared or 'whole samples'}; it is cut off or damaged: "
            "copy or export it again"
        )
    markers = _beside(path, header, "MarkerFile")
    if markers is None:
        return
    text = markers.read_bytes().decode("utf-8", errors="replace")
    places = [int(place) for place in re.findall(r"^Mk\d+=[^,]*,[^,]*,(\d{1,18}),", text, re.M)]
    if places and max(places) > n_times + 1:
        raise ValueError(
            f"{path} cannot be read: {markers.name} has a marker at sample {max(places)}, and "
            f"{data.name} holds {n_times} samples; it is cut off, or the files are of two "
            "recordings: copy or export it again"
        )


def _value(header: str, key: str) -> str:
    match = re.search(rf"^{key}[ ]*=(.*)$", header, re.MULTILINE | re.IGNORECASE)
    return match[1].strip() if match else ""


def _beside(path: Path, header: str, key: str) -> Path | None:
    """Return the file that a key names, None where there is none; `$b` is the header's own name."""
    name = _value(header, key).replace("$b", path.stem)
    if not name or "\0" in name:
        return None
    file = path.with_name(name) if Path(name).name == name else None
    return file if file is not None and file.is_file() else None
