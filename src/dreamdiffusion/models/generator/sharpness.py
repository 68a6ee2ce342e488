"""How crisp drawn pictures are: spectral power, edges, and the error of a reconstruction.

A classifier does not see a blur; these figures do. Pictures are float ``(n, 3, size, size)`` in
[0, 1]. Drawn pictures need not show the same scenes as the true ones, only as many kinds.
"""

from __future__ import annotations

import torch

BAND = 4
"""Cycles per picture that a band of the spectrum is wide."""
STRONG = 0.95
"""The strongest 5 % of all slopes are edges."""


def band_power(images: torch.Tensor) -> torch.Tensor:
    """Return the mean spectral power of each picture in bands of 4 cycles, up to half its size.

    The mean of a picture (0 cycles) is left out. Returns ``(n, size / 2 / 4)``, per pixel.
    """
    size = images.shape[-1]
    power = torch.fft.fft2(images, norm="ortho").abs().square().mean(1)
    cycles = torch.fft.fftfreq(size, 1 / size, device=images.device)
    distance = torch.hypot(cycles[:, None], cycles[None, :])
    distance[0, 0] = torch.inf
    bands = [
        power[:, (distance >= low) & (distance < low + BAND)].mean(1)
        for low in range(0, size // 2, BAND)
    ]
    return torch.stack(bands, 1)


def power_kept(images: torch.Tensor, true: torch.Tensor) -> list[float]:
    """Return the power of drawn pictures in each band as a share of that of true ones."""
    return (band_power(images.double()).mean(0) / band_power(true.double()).mean(0)).tolist()


def edge_strength(images: torch.Tensor) -> float:
    """Return the mean slope, per pixel, of the steepest 5 % of places of each picture."""
    grey = images.double().mean(1)
    across = grey[:, :-1, 1:] - grey[:, :-1, :-1]
    down = grey[:, 1:, :-1] - grey[:, :-1, :-1]
    slope = torch.hypot(across, down).flatten(1)
    n_edges = max(1, round((1 - STRONG) * slope.shape[1]))
    return float(slope.topk(n_edges, dim=1).values.mean())


def edges_kept(images: torch.Tensor, true: torch.Tensor) -> float:
    """Return the edges of drawn pictures as a share of those of true ones; 1 = as sharp."""
    return edge_strength(images) / edge_strength(true)


def psnr(images: torch.Tensor, true: torch.Tensor) -> float:
    """Return the mean peak signal-to-noise ratio in dB of pictures and their reconstruction."""
    error = (images.double() - true.double()).square().mean((1, 2, 3))
    return float((-10 * error.clamp(min=1e-12).log10()).mean())
