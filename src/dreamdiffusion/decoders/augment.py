"""Trials varied as recordings vary, for training."""

from __future__ import annotations

import torch

from dreamdiffusion.decoders.config import AugmentConfig
from dreamdiffusion.models.encoders.virtual_electrodes import mark_absent
from dreamdiffusion.training.random_numbers import Draw


def augment_eeg(
    eeg: torch.Tensor, config: AugmentConfig, draw: Draw, any_montage: bool = False
) -> torch.Tensor:
    """Vary trials as recordings vary: added noise, small shifts in time, channels that drop out.

    A channel that drops out reads zero, or is marked absent for an encoder of any montage.
    Trials are ``(n, n_chans, n_times)``, in and out.
    """
    n_chans, n_times = eeg.shape[1:]
    if config.shift_augment:
        width = config.shift_augment
        shifts = draw.randint(-width, width + 1)
        places = (torch.arange(n_times)[None] - shifts[:, None]).clamp(0, n_times - 1)
        eeg = eeg.gather(2, places[:, None].expand(-1, n_chans, -1))
    if config.noise_augment:
        eeg = eeg + config.noise_augment * draw.randn(n_chans, n_times)
    if config.channel_dropout:
        gone = draw.rand(n_chans) < config.channel_dropout
        if any_montage:
            # A trial without any channel says nothing, and no recording is one.
            eeg = mark_absent(eeg, gone & ~gone.all(dim=1, keepdim=True))
        else:
            eeg = eeg * ~gone[:, :, None]
    return eeg
