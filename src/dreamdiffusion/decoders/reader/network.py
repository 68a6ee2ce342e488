"""The network of a reader: an encoder, one head for each attribute, one into CLIP's space."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import nn

from dreamdiffusion.models.encoders.compact import CompactEncoder
from dreamdiffusion.models.encoders.eeg import EEGEncoder
from dreamdiffusion.models.strict import StrictModel


class ReaderNetwork(StrictModel):
    """EEG -> scores of each attribute's values, and an embedding in CLIP's image space.

    Parameters
    ----------
    encoder_type
        ``compact`` (`CompactEncoder`) or ``mae`` (`EEGEncoder`, whose tokens are averaged).
    sizes
        Arguments of the encoder.
    attributes
        Values of each attribute, in the order of its scores.
    clip_dim
        Of CLIP's image embeddings.
    """

    @register_to_config
    def __init__(
        self,
        encoder_type: str,
        sizes: dict[str, Any],
        attributes: dict[str, list[str]],
        clip_dim: int,
    ):
        super().__init__()
        if encoder_type not in ("compact", "mae"):
            raise ValueError(f"encoder_type is {encoder_type!r}, expected compact or mae")
        kind = CompactEncoder if encoder_type == "compact" else EEGEncoder
        self.encoder = kind(**sizes)
        width = self.encoder.embed_dim
        self.names = sorted(attributes)  # as a saved configuration has them
        self.heads = nn.ModuleList(nn.Linear(width, len(attributes[n])) for n in self.names)
        self.clip_head = nn.Linear(width, clip_dim)
        # Of InfoNCE: the logarithm of 1 / temperature (Radford et al. 2021).
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, eeg: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Read EEG ``(B, n_chans, n_times)``.

        Returns
        -------
        scores
            Of each attribute, ``(B, n_values)``, before the softmax.
        embedding
            Unit norm ``(B, clip_dim)``.
        """
        hidden = self.encoder(eeg)
        if hidden.ndim == 3:
            hidden = hidden.mean(dim=1)
        scores = {n: head(hidden).float() for n, head in zip(self.names, self.heads, strict=True)}
        return scores, F.normalize(self.clip_head(hidden).float(), dim=-1)
