"""Arrays of safetensors files: what was written, and what is something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dreamdiffusion.decoders.repair import REPAIR, ChannelRepair
from dreamdiffusion.files.arrays import read_arrays
from dreamdiffusion.files.whole import write_tensors


def test_arrays_are_read_as_they_were_written(tmp_path: Path) -> None:
    written = {"a": np.arange(6.0).reshape(2, 3), "b": np.array([1], np.uint64)}
    write_tensors(tmp_path / "file", written)
    found = read_arrays(tmp_path / "file", "numbers", ("a",))
    assert sorted(found) == ["a", "b"]
    assert all((found[key] == written[key]).all() for key in found)
    assert found["b"].dtype == np.uint64


def test_what_lacks_an_array_is_named(tmp_path: Path) -> None:
    write_tensors(tmp_path / "file", {"other": np.zeros(2)})
    with pytest.raises(ValueError, match="file does not hold numbers: no a, but other"):
        read_arrays(tmp_path / "file", "numbers", ("a", "other"))


def test_what_is_no_such_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"nonsense")
    save_file({"a": torch.zeros(2, dtype=torch.bfloat16)}, tmp_path / "bfloat")
    for name in ("text", "bfloat"):
        with pytest.raises(ValueError, match=f"{name} does not hold numbers"):
            read_arrays(tmp_path / name, "numbers", ("a",))


@pytest.mark.parametrize("content", [b"nonsense", None], ids=["damaged", "other"])
def test_a_repair_that_is_something_else_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is None:
        write_tensors(tmp_path / REPAIR, {"usual": np.zeros(2)})
    else:
        (tmp_path / REPAIR).write_bytes(content)
    with pytest.raises(ValueError, match="does not hold a repair of channels"):
        ChannelRepair.load(tmp_path)
