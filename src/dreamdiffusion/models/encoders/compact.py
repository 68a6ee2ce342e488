"""A compact EEG encoder: filters over channels, filters over time, one embedding of the trial.

Few weights and much dropout, for few trials of one person: trained for a minute on 1,920 trials it
reads more of them than the transformer of the paper (docs/decoders.md). The order of its layers is
that of shallow networks for EEG (Lawhern et al. 2018, EEGNet, J. Neural Eng. 15; Song et al. 2024,
NICE, arXiv 2308.13234).
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import register_to_config
from torch import nn

from dreamdiffusion.models.strict import StrictModel


class CompactEncoder(StrictModel):
    """EEG ``(B, n_chans, n_times)`` -> one embedding a trial ``(B, embed_dim)``.

    Parameters
    ----------
    n_chans, n_times
        Of the signal, whose channels should be whitened.
    n_spatial
        Filters over channels; None: as many as channels.
    n_temporal
        Filters over time.
    kernel_size
        Their length, time points; odd, so that the signal keeps its length.
    pool_size, pool_stride
        Time points of the mean that follows, and from one mean to the next.
    dropout
        Share of features that a training step does without.
    embed_dim
        Width of the embedding.

    Raises
    ------
    ValueError
        If the signal is shorter than the mean, or the kernel is even.
    """

    @register_to_config
    def __init__(
        self,
        n_chans: int = 64,
        n_times: int = 128,
        n_spatial: int | None = None,
        n_temporal: int = 40,
        kernel_size: int = 13,
        pool_size: int = 13,
        pool_stride: int = 6,
        dropout: float = 0.7,
        embed_dim: int = 128,
    ):
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {kernel_size}, expected an odd number")
        if n_times < pool_size:
            raise ValueError(
                f"the EEG has {n_times} time points, fewer than pool_size {pool_size}; "
                "give a shorter pool_size"
            )
        width = n_spatial or n_chans
        self.embed_dim = embed_dim
        self.features = nn.Sequential(
            nn.Conv1d(n_chans, width, 1, bias=False),
            nn.Conv1d(width, n_temporal, kernel_size, padding=kernel_size // 2),
            nn.BatchNorm1d(n_temporal),
            nn.ELU(),
            nn.AvgPool1d(pool_size, pool_stride),
            nn.Dropout(dropout),
            nn.Flatten(),
        )
        n_pooled = (n_times - pool_size) // pool_stride + 1
        self.project = nn.Linear(n_temporal * n_pooled, embed_dim)
        self.residual = nn.Sequential(
            nn.GELU(), nn.Linear(embed_dim, embed_dim), nn.Dropout(dropout)
        )
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, eeg: torch.Tensor) -> torch.Tensor:
        """Embed EEG.

        Raises
        ------
        ValueError
            If it has another shape than the encoder was made for.
        """
        expected = (self.config["n_chans"], self.config["n_times"])
        if eeg.ndim != 3 or tuple(eeg.shape[1:]) != expected:
            raise ValueError(
                f"EEG has shape {tuple(eeg.shape)}, the encoder expects (batch, n_chans="
                f"{expected[0]}, n_times={expected[1]})"
            )
        hidden = self.project(self.features(eeg))
        return self.norm(hidden + self.residual(hidden))
