"""What any picture has: cells by hand, kinds of features and their scales."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from dreamdiffusion.decoders.prior.features import (
    GRID,
    PICTURE_SHARE,
    low_level,
    picture_features,
    scales,
)


def test_cells_by_hand() -> None:
    half = torch.zeros(1, 3, 16, 16)
    half[..., 8:] = 1  # white on the right
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    cells = low_level(torch.cat([half, red])).view(2, 8, GRID, GRID)
    light, contrast, red_green, blue_yellow = cells[0, :4]
    assert torch.equal(light, torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(GRID, GRID))
    assert contrast.max() == 0 and red_green.abs().max() == 0 and blue_yellow.abs().max() == 0
    # The border gives a gradient of 1/2 in the columns beside it: a quarter of each of two cells.
    upright, slanted, lying, other = cells[0, 4:]
    torch.testing.assert_close(upright, torch.tensor([0, 0.125, 0.125, 0]).expand(GRID, GRID))
    assert max(float(part.abs().max()) for part in (slanted, lying, other)) < 1e-6
    torch.testing.assert_close(cells[1, 0], torch.full((GRID, GRID), 1 / 3))
    assert torch.equal(cells[1, 2], torch.ones(GRID, GRID))
    assert torch.equal(cells[1, 3], torch.full((GRID, GRID), -0.5))
    assert cells[1, 4:].abs().max() < 1e-6


def test_contrast_is_the_deviation_within_a_cell() -> None:
    stripes = torch.zeros(1, 3, 8, 8)
    stripes[..., ::2] = 0.5
    contrast = low_level(stripes)[0, 1]
    torch.testing.assert_close(contrast, torch.full((GRID * GRID,), 0.25))


def test_kinds_and_scales() -> None:
    shown = pd.DataFrame({"category": ["cat", "key", "owl", "cat"]})
    generator = torch.Generator().manual_seed(0)
    cells = torch.rand(4, 8, GRID * GRID, generator=generator)
    embeddings = torch.randn(4, 5, generator=generator)
    kinds = picture_features(cells, embeddings, shown, {"category": ["cat", "key"]})
    assert kinds[0].tolist() == [[1, 0], [0, 1], [0, 0], [1, 0]]  # owls are unknown
    assert [kind.shape[1] for kind in kinds] == [2, 16, 16, 32, 64, 5]
    center, spread = scales(kinds)
    scaled = (np.concatenate(kinds, axis=1) - center) / spread
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled[:, :2].var(axis=0).sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(scaled[:, -5:].var(axis=0).sum(), PICTURE_SHARE**2, rtol=1e-5)
    without = picture_features(cells, embeddings, shown, {})
    assert without[0].shape == (4, 0)  # photographs without labels
    assert np.isfinite(scales(without)[1]).all()
