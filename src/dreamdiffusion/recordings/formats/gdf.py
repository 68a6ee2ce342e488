"""The header of GDF files, checked before a reader believes it.

MNE-Python makes one list entry per channel that a header declares, of which there can be billions.
Layout: Schloegl 2006, arXiv cs/0608052.
"""

from __future__ import annotations

import struct
from pathlib import Path

# Bytes of a sample by the number of its type; the types that MNE-Python reads.
_BYTES = {0: 1, 1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 8, 8: 8, 16: 4, 17: 8}


def check_gdf_header(path: Path) -> None:
    """Raise a ValueError, which names the file, where header and size contradict each other.

    Checked: the header's length against the number of channels, the types of samples, and that the
    file holds the declared records and the table of events behind them.
    """
    name, size = f"{path} cannot be read:", path.stat().st_size
    with path.open("rb") as file:
        fixed = file.read(256)
        if len(fixed) < 256 or fixed[:4] != b"GDF ":
            raise ValueError(f"{name} it begins with {fixed[:8]!r}, and a GDF with `GDF 2.20`")
        try:
            version = float(fixed[4:8])
        except ValueError:
            raise ValueError(f"{name} its version is {fixed[4:8]!r}, expected a number") from None
        if version < 1.9:
            (n_bytes,), (n_chans,) = struct.unpack_from("<q", fixed, 184), _u32(fixed, 252)
        else:
            blocks, n_chans = (struct.unpack_from("<H", fixed, at)[0] for at in (184, 252))
            n_bytes = 256 * blocks
        if not 1 <= n_chans <= size // 256 or not 256 * (n_chans + 1) <= n_bytes <= size:
            raise ValueError(
                f"{name} the header declares {n_chans} channels and {n_bytes} bytes of header in a "
                f"file of {size} bytes; expected 256 bytes, and 256 per channel"
            )
        fields = file.read(n_bytes - 256)
        samples = struct.unpack_from(f"<{n_chans}i", fields, 216 * n_chans)
        types = struct.unpack_from(f"<{n_chans}i", fields, 220 * n_chans)
        unknown = sorted({kind for kind in types if kind not in _BYTES})
        if unknown or min(samples) < 1:
            raise ValueError(
                f"{name} the header declares {min(samples)} samples in a record and the types "
                f"{unknown} of samples; expected 1 or more, and types of {sorted(_BYTES)}"
            )
        (n_records,) = struct.unpack_from("<q", fixed, 236)
        record = sum(_BYTES[kind] * n for kind, n in zip(types, samples, strict=True))
        stop = n_bytes + n_records * record
        if n_records < 1 or stop > size:
            raise ValueError(
                f"{name} the header declares {n_records} records of {record} bytes, and the file "
                f"has room for {(size - n_bytes) // record}; it is cut off: copy or export it again"
            )
        file.seek(stop)
        table = file.read(8)
    if not table:
        return
    if len(table) < 8:
        raise ValueError(f"{name} its table of events is cut off; copy or export it again")
    n_events = _u32(table, 4)[0] if version < 1.94 else int.from_bytes(table[1:4], "little")
    needed = stop + 8 + n_events * (12 if table[0] == 3 else 6)
    if needed > size:
        raise ValueError(
            f"{name} its table of events declares {n_events} events, and {size - stop - 8} bytes "
            "are left for them; it is cut off: copy or export it again"
        )


def _u32(content: bytes, at: int) -> tuple[int]:
    return struct.unpack_from("<I", content, at)
