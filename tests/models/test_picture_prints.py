"""Prints of pictures: what is written, what was written before, what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from dreamdiffusion.files.whole import write_tensors
from dreamdiffusion.models.picture_prints import FILE, load_prints, picture_prints, save_prints


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


def test_a_print_is_six_bytes_of_the_sum(pixels: np.ndarray) -> None:
    digest = hashlib.sha256(pixels[0].tobytes()).digest()
    assert picture_prints(pixels)[0] == int.from_bytes(digest[:6], "little")
    assert picture_prints(pixels[:0]).shape == (0,)


def test_what_is_written_takes_six_bytes_each_and_is_read_again(
    tmp_path: Path, pixels: np.ndarray
) -> None:
    save_prints(tmp_path, pixels, drawn=True)
    known = load_prints(tmp_path)
    assert known is not None
    assert known.tolist() == sorted(picture_prints(pixels).tolist())
    size = (tmp_path / FILE).stat().st_size
    save_prints(tmp_path, pixels, [np.arange(1000, dtype=np.uint64)], drawn=True)
    assert (tmp_path / FILE).stat().st_size - size in range(6000, 6100)


def test_prints_of_eight_bytes_are_still_known(tmp_path: Path, pixels: np.ndarray) -> None:
    digests = b"".join(hashlib.sha256(one.tobytes()).digest()[:8] for one in pixels)
    write_tensors(tmp_path / FILE, {"prints": np.frombuffer(digests, "<u8").astype(np.uint64)})
    known = load_prints(tmp_path)
    assert known is not None
    assert set(known) == set(picture_prints(pixels))


@pytest.mark.parametrize("wrong", [np.zeros(4, np.float32), np.zeros((3, 5), np.uint8)])
def test_prints_of_another_shape_are_named(tmp_path: Path, wrong: np.ndarray) -> None:
    write_tensors(tmp_path / FILE, {"prints": wrong})
    with pytest.raises(ValueError, match="expected uint8 of shape"):
        load_prints(tmp_path)
