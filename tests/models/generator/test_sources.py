"""Pictures of a training: drawn ahead or not they are the same, and a print of each is kept."""

from __future__ import annotations

import numpy as np
import torch

from dreamdiffusion.models.generator import sources
from dreamdiffusion.models.generator.sources import FixedSource, SceneSource
from dreamdiffusion.models.picture_prints import picture_prints
from dreamdiffusion.models.pictures import FreshScenes, draw_pictures
from dreamdiffusion.training.random_numbers import batch_indices

SIZE = 16


def test_other_processes_draw_the_same_in_the_same_order():
    places = torch.tensor([5, 0, 3])
    source = SceneSource(SIZE, seed=4, steps=2, batch_size=3, workers=1)
    source.announce(places)
    drawn = source.read(places)
    prints = source.prints(steps=2)
    assert set(source.prints(steps=2)) == set(prints)  # all known, nothing left to draw
    expected = FreshScenes(SIZE, 4).read(places)
    assert drawn.captions == expected.captions
    assert np.array_equal(drawn.pixels, expected.pixels)
    assert set(prints) == set(picture_prints(FreshScenes(SIZE, 4).read(torch.arange(6)).pixels))


def test_prints_are_those_of_the_steps_that_were_taken(monkeypatch):
    """Also of those that an earlier process took; nothing is drawn twice in one."""
    source = SceneSource(SIZE, seed=4, steps=3, batch_size=2)
    drawn, draw = [], FreshScenes.read

    def counted(scenes, rows):
        drawn.extend(rows.tolist())
        return draw(scenes, rows)

    monkeypatch.setattr(FreshScenes, "read", counted)
    second = batch_indices(6, 2, 1, seed=4)
    source.read(second)
    prints = source.prints(steps=2)
    first = batch_indices(6, 2, 0, seed=4)
    assert sorted(drawn) == sorted([*first.tolist(), *second.tolist()])
    seen = draw(FreshScenes(SIZE, 4), torch.cat([first, second]))
    assert set(prints) == set(picture_prints(seen.pixels))


def test_the_first_scenes_come_again_after_the_most(monkeypatch):
    monkeypatch.setattr(sources, "MOST_FRESH", 5)
    assert SceneSource(SIZE, 0, steps=4, batch_size=2).n_samples == 5
    assert SceneSource(SIZE, 0, steps=2, batch_size=2).n_samples == 4


def test_fixed_pictures_leave_no_prints_of_their_own():
    source = FixedSource(draw_pictures(3, SIZE, 0))
    assert source.n_samples == 3 and not len(source.prints(10))
    assert source.read(torch.tensor([2])).pixels.shape == (1, SIZE, SIZE, 3)
