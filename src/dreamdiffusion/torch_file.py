"""Tensors out of a torch checkpoint that a user brings, without executing anything in it.

A checkpoint of ``torch.save`` is a zip with a pickle, and a pickle may name any function to call.
Here every name in it stands for one of three harmless things: a mapping, a description of a tensor,
or an inert placeholder. Nothing is imported and nothing of the file is called.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.ignored: set[str] = set()

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
        kind, storage, key, _location, n_stored = pid
        if kind != "storage" or not isinstance(storage, _StorageType):
            raise ValueError(f"a storage of the unknown kind {kind!r}")
        if type(key) is not str or not key.isdigit() or type(n_stored) is not int or n_stored < 0:
            raise ValueError(f"a storage called {key!r} of {n_stored!r} values")
        return StoredTensor(key, storage.dtype, n_stored, 0, (n_stored,), (1,))


class TorchFile:
    """A checkpoint written by ``torch.save`` (torch >= 1.6), opened for reading.

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
        If it is not such a checkpoint, or a damaged one.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"checkpoint {path} does not exist")
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise ValueError(
                f"{path} is not a zip checkpoint of torch >= 1.6: {error}; older ones have to be "
                "saved again with a newer torch, on a machine that may run them"
            ) from error
        names = [n for n in self._zip.namelist() if n == "data.pkl" or n.endswith("/data.pkl")]
        if len(names) != 1:
            raise ValueError(f"{path} holds {len(names)} files data.pkl, expected 1")
        self._prefix = names[0].removesuffix("data.pkl")
        order = f"{self._prefix}byteorder"
        if order in self._zip.namelist() and self._zip.read(order) != b"little":
            raise ValueError(f"{path} was written on a big-endian machine, which is not supported")
        reader = _Reader(self._member(names[0]))
        try:
            self.content = reader.load()
        except Exception as error:  # a damaged or hostile pickle fails in any way it likes
            raise ValueError(f"{path} is not a checkpoint that can be read: {error}") from error
        self.ignored = sorted(reader.ignored)

    def read(self, tensor: StoredTensor) -> torch.Tensor:
        """Read one tensor.

        Raises
        ------
        ValueError
            If the file lacks its values.
        """
        try:
            data = self._member(f"{self._prefix}data/{tensor.key}")
        except KeyError as error:
            raise ValueError(f"{self.path} lacks the values of storage {tensor.key}") from error
        wanted = tensor.n_stored * tensor.dtype.itemsize
        if len(data) != wanted:
            raise ValueError(
                f"{self.path}: storage {tensor.key} has {len(data)} bytes, expected {wanted}"
            )
        if not wanted:
            return torch.empty(tensor.shape, dtype=tensor.dtype)
        flat = torch.frombuffer(bytearray(data), dtype=tensor.dtype)
        return flat.as_strided(tensor.shape, tensor.stride, tensor.offset).clone()

    def _member(self, name: str) -> bytes:
        # torch stores without compression; a compressed member could blow up a thousandfold.
        if self._zip.getinfo(name).compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{self.path}: {name} is compressed, which torch never does")
        return self._zip.read(name)
