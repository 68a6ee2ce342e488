"""The chain of tags of a FIF file, checked before a reader follows it.

Each tag says where the next is, and the last says that it is the last. MNE-Python follows one that
points back for ever, and reads a chain that breaks off as a shorter recording. Layout: "Functional
Image File Format", Elekta Neuromag NM20564A, part I.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path


def check_fif_tags(path: Path) -> None:
    """Raise a ValueError, which names the file, where its tags do not lead to an end.

    Parameters
    ----------
    path
        `.fif` or `.fif.gz`.
    """
    place = 0
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        while True:
            file.seek(place)
            head = file.read(16)
            if len(head) < 16:
                raise ValueError(
                    f"{path} cannot be read: its tags lead to byte {place}, its end, and none "
                    "says that it is the last; the file is cut off: copy or export it again"
                )
            size, following = struct.unpack(">8xii", head)
            if size < 0 or following < -1 or 0 < following <= place:
                raise ValueError(
                    f"{path} cannot be read: the tag at byte {place} has {size} bytes and names "
                    f"byte {following} as the next tag's; expected a later one: copy or export it "
                    "again"
                )
            if following == -1:
                return
            place = following or place + 16 + size
