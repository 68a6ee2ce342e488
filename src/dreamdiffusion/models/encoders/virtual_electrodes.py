"""From the electrodes of any headset to a fixed number of virtual ones, and back.

A model of the paper knows its channels by their number. Here a channel is known by where it lies on
the head, so that headsets of 4 and of 128 electrodes train one encoder, an electrode may be absent,
and a montage that was never seen still has a meaning. (Défossez et al. 2023, Nature Machine
Intelligence 5, 1097, attend over sensors by their position; this is the kernel form of it, with
places on the head that can be looked at.)

Letters of shapes as in :mod:`dreamdiffusion.models.encoders.tokens`; V is the number of virtual
electrodes.
"""

from __future__ import annotations

import math

import torch
from torch import nn

# Sphere through the electrodes of the 10-05 template, metres in MNE's head frame.
CENTRE, RADIUS = (0.0, 0.02, 0.04), 0.098
VIRTUAL_ELECTRODES = 32
"""V where a configuration does not say."""
LOWEST = -0.6  # height of the lowest electrodes (mastoids) above the centre, in radii


def spread_over_head(count: int) -> torch.Tensor:
    """Return evenly spread places on the electrodes' part of the sphere, metres ``(count, 3)``.

    A Fibonacci lattice: equal steps in height, the golden angle around.
    """
    number = torch.arange(count, dtype=torch.float64)
    height = 1 - (1 - LOWEST) * (number + 0.5) / count
    angle = number * math.pi * (3 - math.sqrt(5))
    ring = (1 - height**2).sqrt()
    unit = torch.stack([ring * angle.cos(), ring * angle.sin(), height], dim=1)
    return (unit * RADIUS + torch.tensor(CENTRE, dtype=torch.float64)).to(torch.float32)


def mark_absent(eeg: torch.Tensor, absent: torch.Tensor) -> torch.Tensor:
    """Return EEG ``(B, C, T)`` whose channels ``absent`` (bool ``(B, C)``) count as not there."""
    return eeg.masked_fill(absent[:, :, None], torch.nan)


def is_present(eeg: torch.Tensor) -> torch.Tensor:
    """Return which channels of EEG ``(B, C, T)`` are not NaN, bool ``(B, C)``."""
    return eeg[:, :, 0].isfinite()


def drop_channels(eeg: torch.Tensor, share: float, noise: torch.Tensor) -> torch.Tensor:
    """Return EEG ``(B, C, T)`` with a share of its channels marked absent; one at least stays.

    Parameters
    ----------
    noise
        ``(B, C)``, even in [0, 1): a channel below ``share`` goes.
    """
    noise = noise.to(eeg.device).masked_fill(~is_present(eeg), -1.0)
    kept = (noise >= share) | (noise == noise.amax(dim=1, keepdim=True))
    return mark_absent(eeg, ~kept)


class VirtualElectrodes(nn.Module):
    """Learned places on the head that gather the signals of the real electrodes near them.

    A virtual electrode is the weighted mean of the electrodes that are present, with weights that
    fall off with the squared distance, and a weight for silence: far from every electrode it reads
    zero, as an unplugged one does, and not the signal of the other side of the head.

    Parameters
    ----------
    count
        V.
    """

    def __init__(self, count: int):
        super().__init__()
        # In radii of the head, so that one step of the optimiser moves places and widths alike.
        self.places = nn.Parameter(spread_over_head(count) / RADIUS)
        width = 1.2 * math.sqrt(2 * math.pi * (1 - LOWEST) / count)  # 1.2 x the lattice's step
        self.log_width = nn.Parameter(torch.full((count,), math.log(width)))
        self.log_silence = nn.Parameter(torch.full((count,), -4.5))

    def gather(self, eeg: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Read EEG ``(B, C, T)`` at the virtual electrodes: ``(B, V, T)``.

        Parameters
        ----------
        eeg
            A channel of NaN is absent.
        positions
            Metres in MNE's head frame, ``(C, 3)`` or ``(B, C, 3)``.
        """
        present = is_present(eeg)
        closeness = self._closeness(positions).masked_fill(~present[:, None], -torch.inf)
        silence = self.log_silence[:, None].expand(*closeness.shape[:2], 1)
        weights = torch.cat([closeness, silence], dim=2).softmax(dim=2)[:, :, :-1]
        return weights.to(eeg.dtype) @ eeg.masked_fill(~present[:, :, None], 0.0)

    def spread(self, virtual: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Read virtual electrodes ``(B, V, T)`` at the places of real ones: ``(B, C, T)``."""
        weights = self._closeness(positions).transpose(1, 2).softmax(dim=2)
        return weights.to(virtual.dtype) @ virtual

    def _closeness(self, positions: torch.Tensor) -> torch.Tensor:
        """Return minus half the squared distance in widths, float32 ``(B or 1, V, C)``."""
        real = positions.to(self.places.dtype).reshape(-1, *positions.shape[-2:]) / RADIUS
        squared = (self.places[None, :, None] - real[:, None]).square().sum(dim=3)
        return -0.5 * squared / (2 * self.log_width).exp()[:, None]
