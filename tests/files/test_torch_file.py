"""Checkpoints of strangers: tensors come out, nothing in them is executed."""

from __future__ import annotations

import builtins
import collections
import contextlib
import io
import os
import pickle
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dreamdiffusion.files.torch_file import StoredTensor, TorchFile


class Settings:
    """Like the class whose instance the authors pickle beside their weights."""

    def __init__(self) -> None:
        self.lr = 1e-4
        self.paths = [Path("a"), np.float64(2.0)]


def test_tensors_come_back_bit_by_bit(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    saved = {
        "model": collections.OrderedDict(
            plain=base,
            view=base[1:3, ::2],
            turned=base.T,
            half=torch.tensor([0.5, -2.0], dtype=torch.float16),
            brain=torch.tensor([1.0, 3.0], dtype=torch.bfloat16),
            whole=torch.tensor([1, 2**40]),
            scalar=torch.tensor(3.0),
            empty=torch.zeros(0, 3),
            parameter=torch.nn.Parameter(torch.ones(2)),
        ),
        "config": Settings(),
        "epoch": 7,
        "state": torch.get_rng_state(),
    }
    torch.save(saved, tmp_path / "checkpoint.pth")
    file = TorchFile(tmp_path / "checkpoint.pth")
    assert file.content["epoch"] == 7
    assert any(name.endswith("Settings") for name in file.ignored)
    for key, expected in saved["model"].items():
        got = file.read(file.content["model"][key])
        assert got.dtype == expected.dtype
        assert torch.equal(got, expected.detach()), key
    assert torch.equal(file.read(file.content["state"]), saved["state"])


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, state: Any = None) -> None:
        self.parts = (function, arguments, state)

    def __reduce__(self) -> Any:
        function, arguments, state = self.parts
        return (function, arguments) if state is None else (function, arguments, state)


def hostile(mark: Path) -> dict[str, Callable[[], Any]]:
    """Objects that, unpickled as Python does, would make the file ``mark``."""
    touch = f"touch {mark}"
    code = f"open({str(mark)!r}, 'w').close()"

    def call() -> Call:
        return Call(os.system, touch)

    weights = {"a": torch.ones(2)}
    return {
        "in place of the file": call,
        "beside the weights": lambda: {"model": weights, "config": call()},
        "among the weights": lambda: {"model": {"a": torch.ones(2), "b": call()}},
        "as the weights": lambda: {"model": call()},
        "in a list": lambda: {"model": weights, "optimizer": [1, [call()]]},
        "in a tuple": lambda: (weights, (call(),)),
        "in a set": lambda: {"model": weights, "x": {frozenset([1]), 2}, "y": call()},
        "as a key": lambda: {"model": weights, Call(os.system, touch): 1},
        "by exec": lambda: {"model": weights, "config": Call(exec, code)},
        "by eval": lambda: {"model": weights, "config": Call(eval, f"exec({code!r})")},
        "by subprocess": lambda: {"config": Call(subprocess.call, ["touch", str(mark)])},
        "by open": lambda: {"config": Call(builtins.open, str(mark), "w")},
        "by getattr": lambda: {"config": Call(getattr, Call(__import__, "os"), "system")},
        "as a state": lambda: {"config": Call(Settings, state={"x": call()})},
        "in an ordered mapping": lambda: collections.OrderedDict(model=weights, x=call()),
        "nested in a call": lambda: {"config": Call(list, [call()])},
        "in numpy's rebuild": lambda: {"config": np.array([call()], dtype=object)},
    }


NAMES = list(hostile(Path("mark")))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_executed(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "executed"
    torch.save(hostile(mark)[name](), tmp_path / "checkpoint.pth")
    with contextlib.suppress(ValueError):  # to refuse the file is as good
        TorchFile(tmp_path / "checkpoint.pth")
    assert not mark.exists()


def test_the_attacks_are_real(tmp_path: Path) -> None:
    """Python's own unpickling runs them, so the test above can fail."""
    mark = tmp_path / "executed"
    pickle.loads(pickle.dumps(hostile(mark)["by exec"]()["config"]))
    assert mark.exists()


def write_zip(path: Path, content: bytes, **storages: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", content)
        for key, data in storages.items():
            file.writestr(f"archive/data/{key.removeprefix('s')}", data)
    return path


class _Storage:
    def __init__(self, key: object, count: object) -> None:
        self.pid = ("storage", torch.FloatStorage, key, "cpu", count)


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return obj.pid if isinstance(obj, _Storage) else None


def tensor_file(path: Path, key: object, count: object, *arguments: Any, data: bytes) -> Path:
    """A file of one tensor, described as told."""
    buffer = io.BytesIO()
    storage = _Storage(key, count)
    call = Call(torch._utils._rebuild_tensor_v2, storage, *arguments, False, None)
    _Pickler(buffer, protocol=2).dump({"a": call})
    return write_zip(path, buffer.getvalue(), s0=data)


def test_a_tensor_reads_only_its_own_storage(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    data = np.arange(4, dtype=np.float32).tobytes()
    file = TorchFile(tensor_file(path, "0", 4, 1, (3,), (1,), data=data))
    stored = file.content["a"]
    assert isinstance(stored, StoredTensor)
    assert file.read(stored).tolist() == [1, 2, 3]
    bad: list[tuple[tuple[object, ...], str]] = [
        (("0", 4, 2, (3,), (1,)), "beyond"),  # ends after the last value
        (("0", 4, -1, (3,), (1,)), "offset -1"),
        (("0", 4, 0, (3,), (1, 1)), "stride"),
        (("0", 4, 0, (10**9,), (0,)), "beyond"),  # 4 GB out of one value
        (("../../etc/passwd", 4, 0, (3,), (1,)), "passwd"),
        (("0", -4, 0, (3,), (1,)), "-4"),
    ]
    for arguments, message in bad:
        key, count, *rest = arguments
        with pytest.raises(ValueError, match=message):
            TorchFile(tensor_file(path, key, count, *rest, data=data))
    file = TorchFile(tensor_file(path, "0", 8, 0, (8,), (1,), data=data))
    with pytest.raises(ValueError, match="16 bytes, expected 32"):
        file.read(file.content["a"])
    file = TorchFile(tensor_file(path, "7", 4, 0, (4,), (1,), data=data))
    with pytest.raises(ValueError, match="storage 7"):
        file.read(file.content["a"])


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    with pytest.raises(FileNotFoundError, match=r"checkpoint\.pth"):
        TorchFile(path)
    path.write_bytes(pickle.dumps({"model": 1}))
    with pytest.raises(ValueError, match="neither zip nor older"):
        TorchFile(path)
    with pytest.raises(ValueError, match="not a checkpoint"):
        TorchFile(write_zip(path, b"\x80\x02}q\x00(X"))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", b" " * 10_000)
    with pytest.raises(ValueError, match="compressed"):
        TorchFile(path)
