"""Pickled numpy files of strangers: arrays come out, nothing in them is executed."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreamdiffusion.files.numpy_file import read_numpy

CONTENT = {
    "eeg": np.arange(24.0).reshape(2, 3, 4),
    "turned": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
    "big_endian": np.arange(3, dtype=">f4"),
    "empty": np.zeros((0, 2)),
    "words": np.array(["n01", "n02443484"]),
    "objects": np.array([["a", None], [1, 2.5]], dtype=object),
    "ch_names": ["Pz", "Oz"],
    "pair": ("x", [True, False, None]),
    "numbers": [0, -3, 70_000, 2**40, 1.5, np.float64(2.5), np.int64(7)],
}


def same(read: Any, written: Any) -> bool:
    if isinstance(written, np.ndarray):
        return read.dtype == written.dtype and np.array_equal(read, written)
    return read == written


@pytest.mark.parametrize("write", ["np.save", 3, 4])
def test_what_numpy_saves_comes_back(tmp_path: Path, write: str | int) -> None:
    path = tmp_path / "a.npy"
    if isinstance(write, str):
        np.save(path, CONTENT)  # pyright: ignore[reportArgumentType]
    else:
        path.write_bytes(pickle.dumps(CONTENT, protocol=write))
    content = read_numpy(path)
    assert content.keys() == CONTENT.keys()
    for key, written in CONTENT.items():
        assert same(content[key], written), key


def test_values_stay_on_disk(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", CONTENT)  # pyright: ignore[reportArgumentType]
    eeg = read_numpy(tmp_path / "a.npy")["eeg"]
    assert isinstance(eeg, np.memmap)
    assert not eeg.flags.writeable
    np.save(tmp_path / "plain.npy", np.arange(3))
    assert read_numpy(tmp_path / "plain.npy").tolist() == [0, 1, 2]


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.parts = (function, arguments)

    def __reduce__(self) -> Any:
        return self.parts


class Settings:
    """Pickles as an instance of a class."""

    def __init__(self) -> None:
        self.value = 1


def scalar_of_objects() -> Any:
    """numpy.core.multiarray.scalar with bytes that would be taken for an address."""
    return Call(np.core.multiarray.scalar, np.dtype("O"), struct.pack("<Q", 0xDEAD))


HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a call": (lambda mark: {"eeg": Call(os.system, f"touch {mark}")}, "system"),
    "a call alone": (lambda mark: Call(os.system, f"touch {mark}"), "system"),
    "in an array of objects": (
        lambda mark: np.array([Call(os.system, f"touch {mark}")], dtype=object), "system",
    ),
    "eval": (lambda mark: {"a": Call(eval, f"open({str(mark)!r}, 'w')")}, "eval"),
    "getattr": (lambda mark: {"a": Call(getattr, "x", "upper")}, "getattr"),
    "an instance": (lambda mark: {"a": Settings()}, "Settings"),
    "a numpy function": (lambda mark: {"a": Call(np.load, str(mark), None, True)}, "load"),
    "a key": (lambda mark: {(1, 2): 3}, "key of the type tuple"),
    "a set": (lambda mark: {"a": {1, 2}}, "EMPTY_SET"),
    "bytes": (lambda mark: {"a": b"x" * 300}, "bare bytes"),
    "bytes as object": (lambda mark: {"a": scalar_of_objects()}, "objects in place of numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_else_is_built_and_nothing_executed(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "executed"
    content, message = HOSTILE[name]
    (tmp_path / "a.npy").write_bytes(pickle.dumps(content(mark), protocol=4))
    with pytest.raises(ValueError, match=message):
        read_numpy(tmp_path / "a.npy")
    assert not mark.exists()


def test_the_attacks_are_real(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    pickle.loads(pickle.dumps(HOSTILE["a call"][0](mark)))
    assert mark.exists()


def test_an_array_reads_only_its_own_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    good = pickle.dumps({"a": np.zeros(4, np.uint8)}, protocol=3)
    assert good.count(b"K\x04\x85") == 1  # the shape, (4,)
    path.write_bytes(good.replace(b"K\x04\x85", b"K\x05\x85"))
    with pytest.raises(ValueError, match="4 bytes, expected 5"):
        read_numpy(path)
    big = pickle.dumps({"a": np.zeros(300, np.uint8)}, protocol=3)
    path.write_bytes(big[:-100])
    with pytest.raises(ValueError, match="cannot be read safely"):
        read_numpy(path)


def test_a_small_file_cannot_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    items: list[Any] = ["x"]
    for _ in range(12):
        items = [items] * 10  # named ten times, stored once
    path.write_bytes(pickle.dumps(items, protocol=4))
    assert path.stat().st_size < 1000
    with pytest.raises(ValueError, match="200000 items"):
        read_numpy(path)
    loop: list[Any] = []
    loop.append(loop)
    path.write_bytes(pickle.dumps(loop, protocol=4))
    with pytest.raises(ValueError, match="20 deep"):
        read_numpy(path)
    path.write_bytes(b"\x80\x04X\xff\xff\xff\x7f")  # a text of 2 GB
    with pytest.raises(ValueError, match="a text of 2147483647 bytes"):
        read_numpy(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x80", b"\x80\x04.", b"\x93NUMPY", b"\x80\x04e."]
)
def test_what_is_no_such_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npy cannot be read safely"):
        read_numpy(path)
    with pytest.raises(FileNotFoundError, match="none"):
        read_numpy(tmp_path / "none.npy")
