"""From EEG tokens to what the generator's cross-attention sees (paper section 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import nn

from dreamdiffusion.models.strict import StrictModel


class Condition(NamedTuple):
    """What the U-Net is given beside the latents."""

    encoder_hidden_states: torch.Tensor
    """``(B, n_condition_tokens, cross_attention_dim)``."""
    time_condition: torch.Tensor
    """``(B, time_embed_dim)``, added to the embedding of the timestep."""


class EEGConditioner(StrictModel):
    """Projects EEG tokens to a condition, to a time condition and into CLIP's image space.

    Parameters
    ----------
    n_tokens, embed_dim
        Of the EEG encoder.
    n_condition_tokens
        Tokens that cross-attention sees; 77 in the paper.
    cross_attention_dim
        Of the U-Net; 768 in Stable Diffusion 1.x.
    time_embed_dim
        Of the U-Net; 1280 in Stable Diffusion 1.x.
    clip_dim
        Of CLIP's projected image embedding.

    Notes
    -----
    Convolutions with kernel 1 run over the token axis: they mix tokens and leave features alone.
    """

    @register_to_config
    def __init__(
        self,
        n_tokens: int = 128,
        embed_dim: int = 1024,
        n_condition_tokens: int = 77,
        cross_attention_dim: int = 768,
        time_embed_dim: int = 1280,
        clip_dim: int = 768,
    ):
        super().__init__()
        half = max(1, n_condition_tokens // 2)
        self.channel_mapper = nn.Sequential(
            nn.Conv1d(n_tokens, max(1, n_tokens // 2), 1),
            nn.Conv1d(max(1, n_tokens // 2), n_condition_tokens, 1),
        )
        self.dim_mapper = nn.Linear(embed_dim, cross_attention_dim)
        self.time_mapper = nn.Sequential(
            nn.Conv1d(n_condition_tokens, half, 1),
            nn.Conv1d(half, 1, 1),
            nn.Flatten(),
            nn.Linear(cross_attention_dim, time_embed_dim),
        )
        self.clip_pool = nn.Conv1d(n_tokens, 1, 1)
        self.clip_proj = nn.Linear(embed_dim, clip_dim)

    def forward(self, tokens: torch.Tensor) -> Condition:
        """Project EEG tokens ``(B, n_tokens, embed_dim)`` to a condition."""
        states = self.dim_mapper(self.channel_mapper(tokens))
        return Condition(states, self.time_mapper(states))

    @apply_forward_hook  # so that enable_model_cpu_offload moves it for this call too
    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Project EEG tokens into CLIP's image space, unit norm ``(B, clip_dim)`` (paper 3.3)."""
        pooled = self.clip_pool(tokens).squeeze(1)
        return F.normalize(self.clip_proj(pooled).float(), dim=-1)


def drop_condition(condition: Condition, dropped: torch.Tensor) -> Condition:
    """Replace the condition by zeros, "no EEG", where ``dropped`` (bool ``(B,)``) is true.

    Guidance at sampling compares the two: Ho and Salimans 2022, classifier-free guidance.
    """
    kept = (~dropped).to(condition.encoder_hidden_states.dtype)
    return Condition(
        condition.encoder_hidden_states * kept[:, None, None],
        condition.time_condition * kept[:, None],
    )


# Saved pipelines name the module of each part: the package's own, which no later move can break.
EEGConditioner.__module__ = "dreamdiffusion"
