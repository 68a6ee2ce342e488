"""Spectral power, edges and PSNR of pictures, by hand."""

from __future__ import annotations

import pytest
import torch

from dreamdiffusion.models.generator.sharpness import (
    band_power,
    edge_strength,
    edges_kept,
    power_kept,
    psnr,
)


def wave(cycles: int, height: float = 0.5, size: int = 16) -> torch.Tensor:
    """One grey picture of vertical stripes."""
    x = torch.arange(size, dtype=torch.float64) / size
    row = 0.5 + height * torch.cos(2 * torch.pi * cycles * x)
    return row.expand(1, 3, size, size)


def test_a_wave_has_its_power_in_its_own_band() -> None:
    """16 pixels have two bands, 0 to 4 and 4 to 8 cycles; the mean grey is in neither."""
    power = band_power(torch.cat([wave(2), wave(5), torch.ones(1, 3, 16, 16)]))
    assert power.shape == (3, 2)
    # A wave of height .5 has 2 of 256 frequencies, each of power (.5 / 2) ** 2 * 256.
    distance = torch.hypot(*torch.meshgrid(2 * [torch.arange(-8, 8.0)], indexing="ij"))
    n_low, n_high = int((distance < 4).sum()) - 1, int(((distance >= 4) & (distance < 8)).sum())
    expected = torch.tensor([[2 * 16 / n_low, 0], [0, 2 * 16 / n_high], [0, 0]])
    torch.testing.assert_close(power, expected.double(), atol=1e-6, rtol=1e-6)


def test_half_the_height_keeps_a_quarter_of_the_power() -> None:
    true = wave(2) + wave(5)
    assert power_kept(true / 2, true) == pytest.approx([0.25, 0.25])
    assert power_kept(wave(2) + wave(5, 0.25), true) == pytest.approx([1, 0.25])


def test_edges_of_a_step_and_of_its_blur() -> None:
    """One step of .8 between columns: 7 places of 49, the steepest 5 % (2 places) all .8."""
    step = torch.zeros(1, 3, 8, 8)
    step[..., 4:] = 0.8
    assert edge_strength(step) == pytest.approx(0.8)
    blurred = step.clone()
    blurred[..., 4] = 0.4
    assert edges_kept(blurred, step) == pytest.approx(0.5)


def test_psnr_by_hand() -> None:
    """An error of .1 everywhere: 20 dB; the mean over pictures is one of dB."""
    true = torch.full((2, 3, 4, 4), 0.5)
    drawn = true.clone()
    drawn[0] += 0.1
    drawn[1] += 0.01
    assert psnr(drawn, true) == pytest.approx(30, abs=1e-3)
