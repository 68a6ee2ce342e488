"""The drawn pictures: what they state, and that their pixels agree with it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dreamdiffusion.datasets.simulation.scenes import (
    ANGLE_RANGE,
    BACKGROUNDS,
    CATEGORIES,
    COLORS,
    PLACES,
    SIZE_RANGE,
    Scene,
    random_scene,
    render,
)


def pixels(scene: Scene, size: int = 64) -> np.ndarray:
    return np.asarray(render(scene, size)).astype(float)


def object_mask(scene: Scene, size: int = 64) -> np.ndarray:
    """Pixels that the background cannot reach: equal before a dark and before a light one."""
    dark = pixels(dataclasses.replace(scene, background="night sky"), size)
    light = pixels(dataclasses.replace(scene, background="snow"), size)
    return np.abs(dark - light).max(axis=2) < 1


def test_vocabulary():
    assert len(CATEGORIES) == len(set(CATEGORIES)) == 24
    assert len(COLORS) == 8
    assert PLACES == ("left", "center", "right")
    colors = np.array(list(COLORS.values()), dtype=float)
    apart = np.linalg.norm(colors[:, None] - colors[None], axis=2)[~np.eye(8, dtype=bool)]
    assert apart.min() > 75


@pytest.mark.parametrize(
    ("scene", "caption"),
    [
        (Scene("sailboat", "red", "left", "sea"), "a red sailboat on the left, sea background"),
        (
            Scene("icecream", "orange", "right", "night sky"),
            "an orange ice cream on the right, night sky background",
        ),
        (Scene("cat", "white", "center", "snow"), "a white cat in the center, snow background"),
    ],
)
def test_caption(scene: Scene, caption: str):
    assert scene.caption == caption


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("category", "boat"),
        ("color", "teal"),
        ("place", "top"),
        ("background", "forest"),
        ("size", 0.9),
        ("size", float("nan")),
        ("angle", 40.0),
        ("seed", -1),
    ],
)
def test_a_bad_field_is_named_with_its_value(field: str, value: object):
    fields: dict = {"category": "cup", "color": "red", field: value}
    with pytest.raises(ValueError, match=f"^{field} is {value!r}, expected"):
        Scene(**fields)


def test_too_small_a_picture_is_refused():
    with pytest.raises(ValueError, match="size is 15 pixels, expected 16 or more"):
        render(Scene("cup", "red"), 15)


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_a_picture_is_a_pure_function_of_scene_and_size(background: str):
    scene = Scene("fish", "blue", "left", background, seed=7)
    first = render(scene).tobytes()
    np.random.default_rng(0).random(10)
    render(Scene("key", "red", background=background, seed=8))
    assert render(scene).tobytes() == first
    assert render(dataclasses.replace(scene, seed=8)).tobytes() != first


def test_random_scenes_repeat_with_the_seed_and_use_every_value():
    first, again = (
        [random_scene(rng) for _ in range(300)]
        for rng in (np.random.default_rng(3), np.random.default_rng(3))
    )
    assert first == again
    assert {s.category for s in first} == set(CATEGORIES)
    assert {s.color for s in first} == set(COLORS)
    assert {s.place for s in first} == set(PLACES)
    assert {s.background for s in first} == set(BACKGROUNDS)
    fixed = random_scene(np.random.default_rng(3), category="key", color="pink")
    assert fixed == dataclasses.replace(first[0], category="key", color="pink")


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_object_has_the_stated_color(category: str):
    palette = np.array(list(COLORS.values()), dtype=float)
    for number, color in enumerate(COLORS):
        scene = Scene(category, color, size=0.7, seed=number)
        inside = pixels(scene)[object_mask(scene)]
        # Details and outlines are dark or white: leave them out by their saturation or darkness.
        saturation = inside.max(axis=1) - inside.min(axis=1)
        painted = inside.min(axis=1) > 150 if color == "white" else saturation > 60
        assert painted.mean() > 0.5
        seen = np.median(inside[painted], axis=0)
        distance = np.linalg.norm(seen - palette, axis=1)
        assert distance.argmin() == number, color
        assert distance[number] < 60, color


def test_edges_are_anti_aliased():
    scene = Scene("heart", "white", size=0.7)
    dark = pixels(dataclasses.replace(scene, background="night sky"))
    light = pixels(dataclasses.replace(scene, background="snow"))
    # Background that shows through: 0 inside the object, at least 84 outside it, shadow included.
    seen = (light - dark).max(axis=2)
    edge = (seen > 4) & (seen < 70)
    assert 50 < edge.sum() < 250
    assert len(np.unique(seen[edge].round())) > 20


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_place_is_where_the_object_is(category: str):
    grid = (np.arange(64) + 0.5) / 64
    for size in SIZE_RANGE:
        at = {}
        for place in PLACES:
            columns = object_mask(Scene(category, "red", place, size=size)).sum(axis=0)
            at[place] = float((columns * grid).sum() / columns.sum())
        assert at["left"] < at["center"] - 0.09
        assert at["right"] > at["center"] + 0.09
        assert at["center"] == pytest.approx(0.5, abs=0.14)


@pytest.mark.parametrize("size", SIZE_RANGE)
def test_the_size_is_the_longer_side_of_the_object(size: float):
    for angle in (ANGLE_RANGE[0], 0.0, ANGLE_RANGE[1]):
        mask = object_mask(Scene("car", "red", size=size, angle=angle), 128)
        columns = np.flatnonzero(mask.any(axis=0))
        assert (columns[-1] - columns[0] + 1) / 128 == pytest.approx(size, abs=0.04)


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_picture_looks_the_same_at_every_size(category: str):
    scene = Scene(category, "green", "right", "meadow", angle=6, flip=True, seed=5)
    small = pixels(scene, 64)
    halved = np.asarray(render(scene, 128).reduce(2)).astype(float)
    assert np.abs(small - halved).mean() < 2.5


def test_flip_mirrors_the_object():
    scene = Scene("fish", "red", size=0.6, seed=1)
    mask, flipped = (object_mask(dataclasses.replace(scene, flip=f)) for f in (False, True))
    columns, mirrored = mask.sum(axis=0), flipped.sum(axis=0)[::-1]
    best = max(np.corrcoef(columns, np.roll(mirrored, k))[0, 1] for k in range(-4, 5))
    assert best > 0.95
    assert np.corrcoef(columns, flipped.sum(axis=0))[0, 1] < best - 0.1


def test_categories_are_told_apart_by_outline_alone():
    rng = np.random.default_rng(0)

    def silhouette(category: str) -> np.ndarray:
        scene = dataclasses.replace(
            random_scene(rng, category=category), flip=False, color="red", place="center"
        )
        mask = Image.fromarray(object_mask(scene, 48).astype(np.uint8) * 255)
        box = mask.getbbox()
        assert box is not None
        return np.asarray(mask.crop(box).resize((16, 16))).ravel() / 255

    centroids = np.stack([np.mean([silhouette(c) for _ in range(6)], axis=0) for c in CATEGORIES])
    right = [
        np.linalg.norm(centroids - silhouette(c), axis=1).argmin() == number
        for number, c in enumerate(CATEGORIES)
        for _ in range(4)
    ]
    # n = 96, chance 1/24.
    assert np.mean(right) > 0.7


@settings(max_examples=40, deadline=None)
@given(size=st.integers(16, 160), seed=st.integers(0, 2**32))
def test_any_scene_renders_at_any_size(size: int, seed: int):
    picture = render(random_scene(np.random.default_rng(seed)), size)
    assert picture.size == (size, size)
    assert picture.mode == "RGB"
    assert np.asarray(picture).std() > 10


def test_short_captions_leave_words_out() -> None:
    assert Scene("apple", "orange").short_captions == ("an orange apple", "an apple")
    assert Scene("icecream", "red").short_captions == ("a red ice cream", "an ice cream")
