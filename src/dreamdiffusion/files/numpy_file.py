"""Arrays out of a pickled numpy file that a user brings, without unpickling it.

``np.save`` of a dict writes a pickle, and a pickle may name any function to call. Here its opcodes
are read one by one. They can build dicts, lists, tuples, texts, numbers and arrays; a name that
stands for anything else is an error. Nothing is imported and nothing of the file is called. The
values of an array stay in the file, memory-mapped, so that several gigabytes cost nothing to open.
"""

from __future__ import annotations

import math
import pickletools
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_ARRAY = {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")}
_SCALAR = {("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar")}
_NAMES = {*_ARRAY, *_SCALAR, ("numpy", "ndarray"), ("numpy", "dtype")}
_NUMBER = re.compile(r"[fiub](1|2|4|8)|[US]\d{1,6}|O8?")
_LENGTHS = {"SHORT_BINBYTES": "<B", "BINBYTES": "<I", "BINBYTES8": "<Q"}
_LONGEST_TEXT = 1_000_000  # bytes: names are short
_MOST_ITEMS = 200_000  # of all containers together: one that is named twice counts twice
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
}  # fmt: skip
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple,
}  # fmt: skip
_OTHERS = {
    "PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET",
    "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "GLOBAL",
    "STACK_GLOBAL", "REDUCE", "BUILD",
}  # fmt: skip
_KNOWN = {*_LENGTHS, *_CONSTANTS, *_VALUES, *_EMPTY, *_OTHERS}
_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
_MARK = object()


@dataclass(frozen=True)
class _Name:
    module: str
    name: str


@dataclass(frozen=True)
class _Bytes:
    offset: int
    length: int


class _DType:
    def __init__(self, code: Any) -> None:
        if type(code) is not str or not _NUMBER.fullmatch(code):
            raise ValueError(f"an array of the type {code!r}")
        self.code = code
        self.order = "|"

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|", "="):
            raise ValueError(f"an array type described by {state!r}")
        if any(part is not None for part in state[2:5]):
            raise ValueError("an array of records")
        self.order = state[1]

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.code if self.order == "|" else self.order + self.code)


class _Array:
    """An array whose description has not been read yet."""

    def __init__(self) -> None:
        self.state: Any = None

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _DType):
            raise ValueError("an array without shape and type")
        self.state = state


class _Reader:
    """Runs the opcodes of one pickle; see `read_numpy`."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file, self.path = file, path
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.n_items = 0

    def load(self) -> Any:
        while True:
            code = self.file.read(1)
            opcode = _OPCODES.get(code.decode("latin-1"))
            if opcode is None:
                raise ValueError("no end" if not code else f"the unknown opcode {code!r}")
            if opcode.name not in _KNOWN:
                raise ValueError(f"the opcode {opcode.name}, which no dict of arrays needs")
            if opcode.name in _LENGTHS:
                self.stack.append(self._skip_bytes(_LENGTHS[opcode.name]))
                continue
            if "UNICODE" in opcode.name:
                self._check_length(opcode.name)
            argument = opcode.arg.reader(self.file) if opcode.arg is not None else None
            if opcode.name == "STOP":
                (content,) = self.stack
                return self._finish(content, depth=0)
            self._run(opcode.name, argument)

    def _run(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _VALUES:
            stack.append(argument)
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name == "TUPLE":
            stack.append(tuple(self._since_mark()))
        elif name == "APPEND":
            item = stack.pop()
            self._top(list).append(item)
        elif name == "APPENDS":
            items = self._since_mark()
            self._top(list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            pairs = self._since_mark() if name == "SETITEMS" else [stack.pop(), stack.pop()][::-1]
            for key, value in zip(pairs[::2], pairs[1::2], strict=True):
                if type(key) not in (str, int):
                    raise ValueError(f"a dict with a key of the type {type(key).__name__}")
                self._top(dict)[key] = value
        elif name == "GLOBAL":
            stack.append(self._name(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            item, module = stack.pop(), stack.pop()
            stack.append(self._name(module, item))
        elif name == "REDUCE":
            arguments, called = stack.pop(), stack.pop()
            stack.append(self._make(called, arguments))
        elif name == "BUILD":
            state = stack.pop()
            if not isinstance(stack[-1], _Array | _DType):
                raise ValueError("an object that is neither array nor plain value")
            stack[-1].build(state)

    def _skip_bytes(self, form: str) -> _Bytes:
        (length,) = struct.unpack(form, self.file.read(struct.calcsize(form)))
        place = _Bytes(self.file.tell(), length)
        self.file.seek(length, 1)
        return place

    def _check_length(self, name: str) -> None:
        """Refuse a text so long that it could only be meant to fill the memory."""
        form = {"BINUNICODE": "<I", "BINUNICODE8": "<Q"}.get(name, "<B")
        place = self.file.tell()
        (length,) = struct.unpack(form, self.file.read(struct.calcsize(form)))
        self.file.seek(place)
        if length > _LONGEST_TEXT:
            raise ValueError(f"a text of {length} bytes")

    def _since_mark(self) -> list[Any]:
        place = max(i for i, item in enumerate(self.stack) if item is _MARK)
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def _top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise ValueError(f"items for a {type(self.stack[-1]).__name__}, not a {kind.__name__}")
        return self.stack[-1]

    def _name(self, module: Any, name: Any) -> _Name:
        if (module, name) not in _NAMES:
            raise ValueError(
                f"the name {module}.{name}; only dicts, lists, texts, numbers and numpy arrays are "
                "read, and nothing in the file is executed"
            )
        return _Name(module, name)

    def _make(self, called: Any, arguments: Any) -> Any:
        name = (called.module, called.name) if isinstance(called, _Name) else None
        if name is None or not isinstance(arguments, tuple):
            raise ValueError("a call of something that is not numpy's")
        if name in _ARRAY:
            return _Array()
        if name == ("numpy", "dtype"):
            return _DType(*arguments[:1])
        if name in _SCALAR and len(arguments) == 2 and isinstance(arguments[0], _DType):
            values = self._values(arguments[0].dtype, (), arguments[1], "C")
            return values.item()
        raise ValueError(f"a call of {'.'.join(name)}")

    def _finish(self, content: Any, depth: int) -> Any:
        """Replace every description of an array by the array."""
        self.n_items += 1
        if depth > 20 or self.n_items > _MOST_ITEMS:
            raise ValueError(f"containers 20 deep, or of {_MOST_ITEMS} items")
        if isinstance(content, _Array):
            return self._array(content, depth)
        if type(content) is dict:
            return {key: self._finish(value, depth + 1) for key, value in content.items()}
        if type(content) in (list, tuple):
            return type(content)(self._finish(item, depth + 1) for item in content)
        if content is None or type(content) in (str, int, float, bool):
            return content
        raise ValueError(f"a bare {type(content).__name__.strip('_').lower()}")

    def _array(self, array: _Array, depth: int) -> Any:
        if array.state is None:
            raise ValueError("an array without values")
        _version, shape, dtype, fortran, values = array.state
        if not isinstance(shape, tuple) or any(type(n) is not int or n < 0 for n in shape):
            raise ValueError(f"an array of the shape {shape!r}")
        if not dtype.code.startswith("O"):
            return self._values(dtype.dtype, shape, values, "F" if fortran else "C")
        if not isinstance(values, list) or len(values) != math.prod(shape):
            raise ValueError(f"an array of {shape} objects that holds others")
        items = [self._finish(item, depth + 1) for item in values]
        if shape == ():
            return items[0]
        result = np.empty(len(items), dtype=object)
        result[:] = items
        return result.reshape(shape, order="F" if fortran else "C")

    def _values(self, dtype: np.dtype, shape: tuple[int, ...], values: Any, order: str) -> Any:
        if dtype.hasobject:  # its bytes would be taken for addresses in memory
            raise ValueError("objects in place of numbers")
        wanted = math.prod(shape) * dtype.itemsize
        if not isinstance(values, _Bytes) or values.length != wanted:
            found = values.length if isinstance(values, _Bytes) else "no"
            raise ValueError(f"an array of {shape} {dtype} with {found} bytes, expected {wanted}")
        if values.offset + values.length > self.path.stat().st_size:
            raise ValueError("an array whose values are cut off")
        if not wanted:
            return np.empty(shape, dtype)
        return np.memmap(
            self.path, dtype, "r", values.offset, shape or (1,), "F" if order == "F" else "C"
        ).reshape(shape, order="F" if order == "F" else "C")


def read_numpy(path: Path) -> Any:
    """Read what ``np.save`` or ``pickle.dump`` wrote: a dict of arrays, without executing anything.

    Parameters
    ----------
    path
        An npy file of any kind, or a bare pickle (protocol 3 or 4) called so.

    Returns
    -------
    Any
        Dicts, lists, tuples, texts and numbers as they are; arrays memory-mapped read-only.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it holds anything else; the message names it. Nothing of the file has run by then.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    with path.open("rb") as file:
        start = file.read(6)
        file.seek(0)
        try:
            if start == b"\x93NUMPY":
                version = np.lib.format.read_magic(file)
                read_header = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                _shape, _fortran, dtype = read_header(file)
                if not dtype.hasobject:
                    return np.lib.format.open_memmap(path, mode="r")
                if dtype != np.dtype(object):
                    raise ValueError("an array of records")
            elif start[:1] != b"\x80":
                raise ValueError(f"no npy header and no pickle, but {start!r}")
            return _Reader(file, path).load()
        except (
            *(ValueError, KeyError, IndexError, TypeError, OverflowError, MemoryError),
            struct.error,
        ) as error:
            raise ValueError(f"{path} cannot be read safely: it holds {error}") from error
