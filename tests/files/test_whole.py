"""Files and folders are written whole or not at all, and what fails names file and cause."""

from __future__ import annotations

import ast
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_disk import files_of_at_most

from dreamdiffusion.files.whole import (
    as_disk_error,
    naming,
    replacing,
    whole_folder,
    write_json,
    write_picture,
    write_tensors,
    write_text,
)

NOISE = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "Grün\n")
    assert (tmp_path / "a.txt").read_bytes() == b"Gr\xc3\xbcn\n"
    write_json(tmp_path / "a.json", {"b": [1, 2.5]})
    assert (tmp_path / "a.json").read_text("utf-8") == '{\n "b": [\n  1,\n  2.5\n ]\n}\n'
    write_picture(tmp_path / "a.png", Image.fromarray(NOISE))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), NOISE)
    figure = Figure(figsize=(2, 1))
    write_picture(tmp_path / "b.png", figure, dpi=50)
    assert Image.open(tmp_path / "b.png").size == (100, 50)
    write_tensors(tmp_path / "t.safetensors", {"w": torch.arange(3.0)}, {"of": "torch"})
    write_tensors(tmp_path / "n.safetensors", {"w": np.arange(3.0)})
    with safe_open(tmp_path / "t.safetensors", "np") as file:
        assert file.metadata() == {"of": "torch"}
        assert file.get_tensor("w").tolist() == [0, 1, 2]
    assert load_file(tmp_path / "n.safetensors")["w"].dtype == torch.float64
    assert not list(tmp_path.glob("*.unfinished"))


def test_what_a_killed_process_left_beside_a_folder_goes_with_the_next(tmp_path: Path) -> None:
    """Only its own: not that of a process that lives, of another folder, or the only copy."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = [f".model.{gone.pid}.unfinished", f".model.{gone.pid}.older"]
    stays = [
        f".model.{os.getppid()}.unfinished", f".model-2.{gone.pid}.unfinished",
        f"model.{gone.pid}.unfinished", ".model.x.unfinished",
    ]  # fmt: skip
    for name in (*left, *stays):
        (tmp_path / name / "part").mkdir(parents=True)
    with whole_folder(tmp_path / "model") as inside:
        present = {path.name for path in tmp_path.iterdir()}
        assert present == {left[1], *stays, inside.name}  # the older content may be all there is
    with whole_folder(tmp_path / "model"):
        assert left[1] not in {path.name for path in tmp_path.iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == {"model", *stays}


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.txt": lambda path: write_text(path, "x" * 5000),
    "a.json": lambda path: write_json(path, ["x" * 5000]),
    "a.png": lambda path: write_picture(path, Image.fromarray(NOISE)),
    "a.safetensors": lambda path: write_tensors(path, {"w": torch.zeros(5000)}),
    "a.array": lambda path: write_tensors(path, {"w": np.zeros(5000)}),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_does_not_fit_leaves_the_older_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"older")
    with pytest.raises(OSError) as caught, files_of_at_most(1000):
        WRITERS[name](tmp_path / name)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(tmp_path / name))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"older"]


def test_a_block_that_fails_leaves_the_older_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"older")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a") as file:
        file.write(b"newer")
        raise KeyboardInterrupt
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"older"]


def test_a_folder_appears_whole_in_place_of_the_older_one(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "model"
    for text in ("first", "second"):
        with whole_folder(folder, keep=("log",)) as inside:
            (inside / "part").mkdir()
            write_text(inside / "part" / "a", text)
            assert folder.exists() is (text == "second")
        (folder / "log").write_text(text, "utf-8") if text == "first" else None
    assert (folder / "part" / "a").read_text("utf-8") == "second"
    assert (folder / "log").read_text("utf-8") == "first"
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_folder_that_does_not_fit_leaves_the_older_one_and_no_rest(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with whole_folder(folder) as inside:
        write_json(inside / "a.json", {})
    with pytest.raises(OSError) as caught, files_of_at_most(1000), whole_folder(folder) as inside:
        (inside / "part").mkdir()
        write_tensors(inside / "part" / "w.safetensors", {"w": torch.zeros(5000)})
    name = str(folder / "part" / "w.safetensors")  # as it would have been called
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, name)
    # A library's own writing, which says neither file nor number.
    with pytest.raises(OSError) as caught, files_of_at_most(1000), whole_folder(folder) as inside:
        save_file({"w": torch.zeros(5000)}, inside / "w.safetensors")
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(folder))
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "a.json"]
    assert json.loads((folder / "a.json").read_text("utf-8")) == {}


def test_numpys_own_error_gets_file_and_cause(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError) as caught,
        files_of_at_most(1000),
        naming(tmp_path / "a.edf"),
    ):
        np.zeros(5000).tofile(tmp_path / "a.edf")
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(tmp_path / "a.edf"))


def test_other_errors_stay_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^no$"), naming(tmp_path):
        raise ValueError("no")
    with pytest.raises(OSError, match=r"^the server answers 404$"), naming(tmp_path):
        raise OSError("the server answers 404")
    missing = FileNotFoundError(errno.ENOENT, "No such file or directory", "other")
    assert as_disk_error(missing, tmp_path) is missing and missing.filename == "other"
    assert as_disk_error(KeyboardInterrupt(), tmp_path) is None


SOURCE = Path(__file__).parents[2] / "src" / "dreamdiffusion"
# Who holds a lock need not be whole; a header goes into a temporary folder.
BY_HAND = {"files/whole.py", "files/locks.py", "recordings/formats/brainvision.py"}


def test_every_file_is_written_through_one_place() -> None:
    """A file that is written by hand can be left half written, and its error names no file."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else None
            called = node.func.id if isinstance(node.func, ast.Name) else called
            text = ast.unparse(node.func)
            by_hand = called in ("write_text", "write_bytes") and isinstance(
                node.func, ast.Attribute
            )
            if (by_hand or called == "save_file" or text == "json.dump") and name not in BY_HAND:
                found.append(f"{name}:{node.lineno} {text}")
    assert not found, f"use files/whole.py: {found}"
