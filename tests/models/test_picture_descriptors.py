"""Pictures that were changed a little are found again, and others are not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from dreamdiffusion.models.picture_descriptors import alike_pictures, describe_pictures
from dreamdiffusion.models.picture_prints import load_descriptions, save_prints
from dreamdiffusion.models.pictures import draw_pictures


@pytest.fixture(scope="module")
def scenes() -> np.ndarray:
    """Sixty drawn scenes, (60, 64, 64, 3)."""
    return draw_pictures(60, 64, seed=3).pixels


def compressed(pixels: np.ndarray, quality: int) -> np.ndarray:
    changed = []
    for one in pixels:
        file = io.BytesIO()
        Image.fromarray(one).save(file, "JPEG", quality=quality)
        changed.append(np.asarray(Image.open(file)))
    return np.stack(changed)


def cropped(pixels: np.ndarray, left: int, top: int) -> np.ndarray:
    size = pixels.shape[1]
    box = (left, top, size, size)
    return np.stack(
        [np.asarray(Image.fromarray(one).crop(box).resize((size, size))) for one in pixels]
    )


def test_a_description_is_of_unit_length_and_the_same_at_another_size(scenes: np.ndarray) -> None:
    described = describe_pictures(scenes)
    assert described.shape == (60, 213)
    assert described.dtype == np.int8
    np.testing.assert_allclose(np.linalg.norm(described.astype(float), axis=1), 127, rtol=0.03)
    half = scenes.reshape(60, 32, 2, 32, 2, 3).mean(axis=(2, 4)).round().astype(np.uint8)
    assert alike_pictures(scenes, describe_pictures(half)).all()


@pytest.mark.parametrize("quality", [90, 50])
def test_mirrored_and_compressed_pictures_are_found(scenes: np.ndarray, quality: int) -> None:
    mirrored = np.ascontiguousarray(scenes[:, :, ::-1])
    trained = describe_pictures(compressed(mirrored[:30], quality))
    found = alike_pictures(scenes, trained)
    assert found[:30].all()
    assert not found[30:].any()


def test_cropped_pictures_are_found(scenes: np.ndarray) -> None:
    found = alike_pictures(scenes, describe_pictures(cropped(scenes[:30], 2, 4)))
    assert found[:30].mean() >= 0.8
    assert not found[30:].any()


def test_nothing_is_alike_to_no_picture(scenes: np.ndarray) -> None:
    assert not alike_pictures(scenes[:3], np.zeros((0, 213), np.int8)).any()


def test_descriptions_lie_beside_the_prints_and_are_carried_on(tmp_path, scenes) -> None:
    save_prints(tmp_path, scenes[:4])
    before = load_descriptions(tmp_path)
    assert before is not None and len(before) == 4
    save_prints(tmp_path, scenes[4:6], other_descriptions=before)
    both = load_descriptions(tmp_path)
    assert both is not None and len(both) == 6
    assert alike_pictures(scenes[:7], both).tolist() == [True] * 6 + [False]
