"""MATLAB files (version 5), checked before a reader believes them.

scipy's reader ends the whole process at a type of text that does not exist, and asks for as much
memory as the dimensions say. Layout: "MAT-File Format", The MathWorks, chapter 1.
"""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

from dreamdiffusion.recordings.formats.archives import MAX_BYTES, MAX_RATIO

_MATRIX, _COMPRESSED = 14, 15
# Bytes of an item by the number of its type.
_NUMBERS = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}
_TEXTS = {1: 1, 2: 1, 4: 2, 16: 1, 17: 2, 18: 4}
_CELL, _STRUCT, _OBJECT, _CHAR = 1, 2, 3, 4
_UNCHECKED = (5, 16, 17)  # sparse arrays, functions and opaque objects
_COMPLEX = 0x0800
_DEEPEST = 32


class _Element(NamedTuple):
    kind: int
    data: memoryview
    stop: int
    """Where the next element begins."""


def check_matlab(path: Path) -> None:
    """Raise a ValueError, which names the file, where its parts contradict each other.

    Checked of a file of version 5: that every part lies within the one that holds it, has a type
    that exists, and as many items as its dimensions say. Files of version 7.3 (HDF5) are left to
    their reader.
    """
    content = memoryview(path.read_bytes())
    orders = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}  # of version 5
    order = orders.get(bytes(content[124:128]))
    if order is None:
        return
    limit = max(MAX_BYTES, MAX_RATIO * len(content))
    try:
        place = 128
        while place < len(content):
            element = _element(content, place, order)
            place = element.stop
            if element.kind == _COMPRESSED:
                unpacked = memoryview(zlib.decompressobj().decompress(element.data, limit))
                element = _element(unpacked, 0, order)
            if element.kind == _MATRIX:
                _check_matrix(element.data, order, 0)
    except (ValueError, struct.error, zlib.error) as error:
        raise ValueError(
            f"{path} cannot be read: as a file of MATLAB it contradicts itself: {error}; copy or "
            "save it again"
        ) from error


def _element(content: memoryview, place: int, order: str) -> _Element:
    kind, size = struct.unpack_from(f"{order}II", content, place)
    if kind >> 16:  # size and data in the same 8 bytes
        kind, size = kind & 0xFFFF, kind >> 16
        if size > 4:
            raise ValueError(f"a short part at byte {place} has {size} bytes")
        return _Element(kind, content[place + 4 : place + 4 + size], place + 8)
    start = place + 8
    if size > len(content) - start:
        raise ValueError(
            f"a part at byte {place} has {size} bytes, and {len(content) - start} are left"
        )
    padded = size if kind == _COMPRESSED else -(-size // 8) * 8
    return _Element(kind, content[start : start + size], start + padded)


def _check_matrix(content: memoryview, order: str, depth: int) -> None:
    if not len(content):
        return  # an empty array
    if depth > _DEEPEST:
        raise ValueError(f"arrays within arrays, more than {_DEEPEST} deep")
    flags = _element(content, 0, order)
    if flags.kind != 6 or len(flags.data) != 8:
        raise ValueError(f"an array begins with type {flags.kind}, expected 6")
    (word,) = struct.unpack_from(f"{order}I", flags.data)
    kind = word & 0xFF
    if not 1 <= kind <= 17:
        raise ValueError(f"an array of class {kind}")
    if kind in _UNCHECKED:
        return
    shape = _element(content, flags.stop, order)
    dims = struct.unpack(f"{order}{len(shape.data) // 4}i", shape.data)
    if shape.kind not in (5, 6) or len(dims) < 2 or min(dims) < 0:
        raise ValueError(f"an array has the dimensions {dims}")
    n_items = math.prod(dims)
    name = _element(content, shape.stop, order)
    if name.kind not in (1, 2, 16):
        raise ValueError(f"a name of type {name.kind}, expected 1")
    if kind in (_CELL, _STRUCT, _OBJECT):
        _check_items(content, name.stop, order, depth, kind, n_items)
        return
    types = _TEXTS if kind == _CHAR else _NUMBERS
    place = name.stop
    for _ in range(2 if word & _COMPLEX and kind != _CHAR else 1):
        if kind == _CHAR and not n_items and place >= len(content):
            return
        part = _element(content, place, order)
        place = part.stop
        width = types.get(part.kind)
        if width is None:
            raise ValueError(f"items of type {part.kind} in an array of class {kind}")
        found = len(part.data) // width
        # A text may have more bytes than letters, and some programs write empty ones of length 1.
        if found != n_items if kind != _CHAR else n_items > found + 8:
            raise ValueError(f"an array of {n_items} items ({dims}) holds {found}")


def _check_items(
    content: memoryview, place: int, order: str, depth: int, kind: int, n_items: int
) -> None:
    """Check the arrays that a cell array, structure or object holds."""
    n_fields = 1
    if kind == _OBJECT:
        place = _element(content, place, order).stop
    if kind != _CELL:
        length = _element(content, place, order)
        names = _element(content, length.stop, order)
        (width,) = struct.unpack(f"{order}i", length.data)
        if not 1 <= width <= 1 << 16 or len(names.data) % width:
            raise ValueError(f"names of fields have {width} bytes of {len(names.data)}")
        n_fields, place = len(names.data) // width, names.stop
    if n_items * n_fields > len(content) // 8 + 1:
        raise ValueError(f"{n_items} x {n_fields} arrays in {len(content)} bytes")
    for _ in range(n_items * n_fields):
        item = _element(content, place, order)
        if item.kind != _MATRIX:
            raise ValueError(f"a part of type {item.kind} where an array is expected")
        _check_matrix(item.data, order, depth + 1)
        place = item.stop
