"""A CLIP image embedding as tokens that the U-Net's cross-attention reads beside those of a text.

As an IP-Adapter (Ye et al. 2023) and the prior of unCLIP (Ramesh et al. 2022): the embedding may
carry noise, and the network is given its amount, so that a guess serves as well as the truth.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.configuration_utils import register_to_config
from torch import nn

from dreamdiffusion.models.strict import StrictModel


class ImageProjection(StrictModel):
    """A small perceptron from an embedding and its amount of noise to tokens.

    Parameters
    ----------
    embed_dim
        Dimensions of the CLIP embedding.
    n_tokens, token_dim
        Shape of what cross-attention reads.
    width
        Hidden units.

    Notes
    -----
    ``mean`` and ``std``, float ``(embed_dim,)``, standardise embeddings of unit norm; they are
    those of the pictures that the generator was trained on, and are saved with the weights.
    """

    mean: torch.Tensor
    std: torch.Tensor

    @register_to_config
    def __init__(
        self, embed_dim: int = 128, n_tokens: int = 8, token_dim: int = 128, width: int = 512
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(embed_dim))
        self.register_buffer("std", torch.ones(embed_dim))
        self.layers = nn.Sequential(
            nn.Linear(embed_dim + 1, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, n_tokens * token_dim),
            nn.Unflatten(1, (n_tokens, token_dim)),
            nn.LayerNorm(token_dim),
        )

    def set_statistics(self, embeddings: torch.Tensor) -> None:
        """Take mean and standard deviation from CLIP embeddings ``(n, embed_dim)``."""
        self.mean.copy_(embeddings.mean(0))
        self.std.copy_(embeddings.std(0).clamp(min=1e-6))

    def standardise(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return CLIP embeddings ``(n, embed_dim)`` with mean 0 and variance 1 per dimension."""
        return (embeddings - self.mean) / self.std

    def forward(self, standardised: torch.Tensor, noise_level: torch.Tensor) -> torch.Tensor:
        """Return tokens ``(n, n_tokens, token_dim)``.

        Parameters
        ----------
        standardised
            ``(n, embed_dim)``, from `standardise`, with whatever noise it carries.
        noise_level
            ``(n,)``: standard deviation of that noise.
        """
        return self.layers(torch.cat([standardised, noise_level[:, None]], 1))


def open_projection(folder: Path) -> ImageProjection | None:
    """Return the projection of a generator folder; None where it understands captions alone."""
    path = folder / "image_projection"
    return ImageProjection.from_pretrained(path).eval() if path.is_dir() else None
