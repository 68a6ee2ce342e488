"""The words of a picture: as its scene has them, and with less known."""

from __future__ import annotations

import numpy as np

from dreamdiffusion.datasets.simulation.scenes import random_scene
from dreamdiffusion.decoders.caption.words import caption_of


def test_words_are_those_of_the_scene() -> None:
    rng = np.random.default_rng(0)
    for scene in (random_scene(rng) for _ in range(50)):
        shown = {
            name: getattr(scene, name) for name in ("category", "color", "place", "background")
        }
        assert caption_of(shown) == scene.caption
        del shown["place"]
        assert caption_of(shown) == scene.short_captions[0]
        assert caption_of({"category": scene.category}) == scene.short_captions[1]


def test_other_categories_are_named() -> None:
    assert caption_of({"category": "fire_engine", "color": "red"}) == "a picture of fire engine"
