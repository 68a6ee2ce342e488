"""Tensors out of a torch checkpoint that a user brings, without executing anything in it.

A checkpoint of ``torch.save`` is a zip with a pickle (before torch 1.6: pickles in a row, then the
values), and a pickle may name any function to call. Here every name in it stands for one of three
harmless things: a mapping, a description of a tensor, or an inert placeholder. Nothing is imported
and nothing of the file is called.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# What a file of torch before 1.6 starts with.
_OLD_MAGIC, _OLD_VERSION = 0x1950A86A20F9469CFC6C, 1001


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies in the file; `TorchFile.read` reads it."""

    key: str
    dtype: torch.dtype
    n_stored: int
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Inert:
    """Stands for an object of the file that is neither tensor, container nor plain value."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Inert:
        return object.__new__(cls)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None: ...

    def __call__(self, *_args: Any, **_kwargs: Any) -> Inert:
        return self

    def __setstate__(self, state: object) -> None: ...

    def __setitem__(self, key: object, value: object) -> None: ...

    def append(self, value: object) -> None:
        """Take what a pickle adds to a list, and forget it."""

    def extend(self, values: object) -> None:
        """Take what a pickle adds to a list, and forget it."""

    def add(self, value: object) -> None:
        """Take what a pickle adds to a set, and forget it."""


class _Mapping(dict[Any, Any]):
    def __setstate__(self, state: object) -> None:
        """Ignore attributes: state dicts carry version numbers there."""


@dataclass(frozen=True, slots=True)
class _StorageType:
    dtype: torch.dtype


class _RebuildTensor:
    __slots__ = ()

    def __setstate__(self, state: object) -> None: ...

    def __call__(self, storage: Any, offset: Any, size: Any, stride: Any, *_rest: Any) -> Any:
        if not isinstance(storage, StoredTensor):
            raise ValueError("a tensor without a storage")
        numbers = (offset, *size, *stride)
        if any(type(n) is not int or n < 0 for n in numbers) or len(size) != len(stride):
            raise ValueError(f"a tensor of size {size}, stride {stride}, offset {offset}")
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        # More values than are stored: repeated ones, by which a small file could fill the memory.
        if math.prod(size) > storage.n_stored or (math.prod(size) and last >= storage.n_stored):
            raise ValueError(f"a tensor of size {size} reaches beyond its storage")
        return StoredTensor(
            storage.key, storage.dtype, storage.n_stored, offset, tuple(size), tuple(stride)
        )


class _RebuildParameter:
    __slots__ = ()

    def __setstate__(self, state: object) -> None: ...

    def __call__(self, data: Any, *_rest: Any) -> Any:
        return data


class _Reader(pickle.Unpickler):
    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.ignored: set[str] = set()
        self.sizes: dict[str, int] = {}  # bytes of each storage

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _Mapping
        if module == "torch" and name in _STORAGES:
            return _StorageType(_STORAGES[name])
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _RebuildTensor()
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _RebuildParameter()
        self.ignored.add(f"{module}.{name}")
        return type("Inert", (Inert,), {})

    def persistent_load(self, pid: Any, /) -> StoredTensor:
        kind, storage, key, _location, n_stored, *view = pid
        if any(part is not None for part in view):
            raise ValueError("a storage that is part of another, as torch before 0.4 wrote")
        if kind != "storage" or not isinstance(storage, _StorageType):
            raise ValueError(f"a storage of the unknown kind {kind!r}")
        if type(key) is not str or not key.isdigit() or type(n_stored) is not int or n_stored < 0:
            raise ValueError(f"a storage called {key!r} of {n_stored!r} values")
        n_bytes = n_stored * storage.dtype.itemsize
        if self.sizes.setdefault(key, n_bytes) != n_bytes:
            raise ValueError(f"storage {key} of {n_bytes} and of {self.sizes[key]} bytes")
        return StoredTensor(key, storage.dtype, n_stored, 0, (n_stored,), (1,))


class TorchFile:
    """A file written by ``torch.save``, opened for reading.

    Attributes
    ----------
    content
        What was saved: mappings, lists, plain values, `StoredTensor` and `Inert`.
    ignored
        Names of the classes and functions in the file, none of which was imported or called.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not such a file, or a damaged one.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"checkpoint {path} does not exist")
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        self._offsets: dict[str, int] = {}  # of the values of each storage, before torch 1.6
        self._last: tuple[str, bytearray] | None = None
        if zipfile.is_zipfile(path):
            self._zip = zipfile.ZipFile(path)
            reader = self._open_zip(self._zip)
        else:
            reader = self._open_old()
        self.ignored = sorted(reader.ignored)

    def _open_zip(self, file: zipfile.ZipFile) -> _Reader:
        path = self.path
        names = [n for n in file.namelist() if n == "data.pkl" or n.endswith("/data.pkl")]
        if len(names) != 1:
            raise ValueError(f"{path} holds {len(names)} files data.pkl, expected 1")
        self._prefix = names[0].removesuffix("data.pkl")
        order = f"{self._prefix}byteorder"
        if order in file.namelist() and file.read(order) != b"little":
            raise ValueError(f"{path} was written on a big-endian machine, which is not supported")
        reader = _Reader(io.BytesIO(self._member(file, names[0])))
        self.content = self._load(reader)
        return reader

    def _open_old(self) -> _Reader:
        """Read magic number, version, machine, content and keys; find where the values begin."""
        with self.path.open("rb") as file:
            start = file.read(1)
            file.seek(0)
            if start != b"\x80" or self._load(_Reader(file)) != _OLD_MAGIC:
                raise ValueError(f"{self.path} is not a checkpoint of torch, neither zip nor older")
            version, machine = self._load(_Reader(file)), self._load(_Reader(file))
            if version != _OLD_VERSION or not isinstance(machine, dict):
                raise ValueError(f"{self.path} is a checkpoint of the unknown version {version!r}")
            if machine.get("little_endian") is not True:
                raise ValueError(f"{self.path} was written on a big-endian machine")
            reader = _Reader(file)
            self.content = self._load(reader)
            keys = self._load(_Reader(file))
            if not isinstance(keys, list) or set(keys) != reader.sizes.keys():
                raise ValueError(f"{self.path} stores other values than its tensors name")
            place = file.tell()
            for key in keys:
                self._offsets[key] = place + 8  # after their number
                place += 8 + reader.sizes[key]
        if place != self.path.stat().st_size:
            raise ValueError(
                f"{self.path} has {self.path.stat().st_size} bytes, its tensors need {place}"
            )
        return reader

    def _load(self, reader: _Reader) -> Any:
        try:
            return reader.load()
        except Exception as error:  # a damaged or hostile pickle fails in any way it likes
            raise ValueError(
                f"{self.path} is not a checkpoint that can be read: {error}"
            ) from error

    def read(self, tensor: StoredTensor) -> torch.Tensor:
        """Read one tensor of the file's own shape; values that others share with it are kept.

        Raises
        ------
        ValueError
            If the file lacks its values.
        """
        wanted = tensor.n_stored * tensor.dtype.itemsize
        if self._last is None or self._last[0] != tensor.key:
            self._last = tensor.key, bytearray(self._stored(tensor.key, wanted))
        data = self._last[1]
        if len(data) != wanted:
            raise ValueError(
                f"{self.path}: storage {tensor.key} has {len(data)} bytes, expected {wanted}"
            )
        if not wanted:
            return torch.empty(tensor.shape, dtype=tensor.dtype)
        flat = torch.frombuffer(data, dtype=tensor.dtype)
        return flat.as_strided(tensor.shape, tensor.stride, tensor.offset).clone()

    def _stored(self, key: str, wanted: int) -> bytes:
        try:
            if self._zip is not None:
                return self._member(self._zip, f"{self._prefix}data/{key}")
            with self.path.open("rb") as file:
                file.seek(self._offsets[key])
                return file.read(wanted)
        except KeyError as error:
            raise ValueError(f"{self.path} lacks the values of storage {key}") from error

    def _member(self, file: zipfile.ZipFile, name: str) -> bytes:
        # torch stores without compression; a compressed member could blow up a thousandfold.
        if file.getinfo(name).compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{self.path}: {name} is compressed, which torch never does")
        return file.read(name)
