"""The masked autoencoder that pre-trains the EEG encoder (paper section 3.1).

Masked autoencoding of He et al. 2022 (arXiv 2111.06377) over tokens of time: the encoder sees a
quarter of them, a small decoder predicts the others and is then dropped. Letters of shapes as in
:mod:`dreamdiffusion.models.encoders.tokens`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from diffusers.configuration_utils import register_to_config
from torch import nn

from dreamdiffusion.models.encoders.eeg import Block, EEGEncoder, initialise, sincos_positions
from dreamdiffusion.models.encoders.tokens import patchify, random_masking, unpatchify
from dreamdiffusion.models.encoders.virtual_electrodes import is_present
from dreamdiffusion.models.strict import StrictModel
from dreamdiffusion.training.random_numbers import Draw


class Placed(NamedTuple):
    """EEG and where its electrodes are."""

    eeg: torch.Tensor
    """``(B, C, T)``; with ``montage="any"`` a channel of NaN is absent."""
    positions: torch.Tensor | None
    """``(C, 3)`` or ``(B, C, 3)``, metres in MNE's head frame; None: those of its configuration."""


class Reconstruction(NamedTuple):
    """What the masked autoencoder says about a batch."""

    loss: torch.Tensor
    """Scalar: squared error, meant over each hidden token, then over the hidden tokens."""
    pred: torch.Tensor
    """Every token as the decoder sees it, ``(B, N, P * C)``, time-major."""
    mask: torch.Tensor
    """``(B, N)``, 1 where the token was hidden."""


class MaskedAutoencoder(StrictModel):
    """Temporal masked signal modelling: hide tokens, encode the rest, predict the hidden ones.

    Parameters
    ----------
    n_chans, n_times, patch_size, embed_dim, depth, num_heads, mlp_ratio
        The encoder, see :class:`EEGEncoder`. ``mlp_ratio`` holds for the decoder too.
    decoder_embed_dim, decoder_depth, decoder_num_heads
        The decoder, which is dropped after pre-training.
    montage
        See :class:`EEGEncoder`. With ``any`` the decoder predicts the virtual electrodes, and the
        loss compares what these say of the real ones.
    """

    @register_to_config
    def __init__(
        self,
        n_chans: int = 128,
        n_times: int = 512,
        patch_size: int = 4,
        embed_dim: int = 1024,
        depth: int = 24,
        num_heads: int = 16,
        mlp_ratio: float = 1.0,
        decoder_embed_dim: int = 512,
        decoder_depth: int = 8,
        decoder_num_heads: int = 16,
        montage: str = "fixed",
    ):
        super().__init__()
        self.encoder = EEGEncoder(
            n_chans, n_times, patch_size, embed_dim, depth, num_heads, mlp_ratio, montage=montage
        )
        width = decoder_embed_dim
        self.decoder_embed = nn.Linear(embed_dim, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("decoder_pos_embed", sincos_positions(self.encoder.n_tokens, width))
        self.decoder_blocks = nn.ModuleList(
            Block(width, decoder_num_heads, mlp_ratio) for _ in range(decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(width)
        self.decoder_pred = nn.Linear(width, patch_size * n_chans)
        self.init_weights()

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draw new weights (facts of the release), from ``generator`` or torch's global one."""
        initialise(self, generator)
        nn.init.normal_(self.encoder.cls_token, std=0.02, generator=generator)
        nn.init.normal_(self.mask_token, std=0.02, generator=generator)

    def decode(self, visible: torch.Tensor, ids_restore: torch.Tensor) -> torch.Tensor:
        """Predict every token from the visible ones.

        Parameters
        ----------
        visible
            ``(B, 1 + n_keep, D)`` from :meth:`EEGEncoder.encode_visible`.
        ids_restore
            int64 ``(B, N)`` from :func:`dreamdiffusion.tokens.random_masking`.

        Returns
        -------
        torch.Tensor
            ``(B, N, P * C)``, time-major.
        """
        x = self.decoder_embed(visible)
        batch, n_tokens = ids_restore.shape
        n_hidden = n_tokens + 1 - x.shape[1]
        hidden = self.mask_token.to(x.dtype).expand(batch, n_hidden, -1)
        tokens = torch.cat([x[:, 1:], hidden], dim=1)
        tokens = tokens.gather(1, ids_restore[:, :, None].expand(-1, -1, x.shape[2]))
        x = torch.cat([x[:, :1], tokens], dim=1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x))[:, 1:]

    def forward(
        self,
        eeg: torch.Tensor,
        mask_ratio: float,
        draw: Draw,
        positions: torch.Tensor | None = None,
        shown: Placed | None = None,
    ) -> Reconstruction:
        """Hide tokens of EEG ``(B, C, T)`` at random and predict them.

        Parameters
        ----------
        mask_ratio
            Fraction of hidden tokens, above 0 and below 1; the paper's is 0.75.
        draw
            Decides which, for as many windows as ``eeg`` has.
        positions
            Of the electrodes, with ``montage="any"``; a channel of NaN is then absent and does not
            count.
        shown
            What the encoder sees the visible tokens of, in place of ``eeg`` itself: the same EEG
            with some channels absent, which then are predicted from the others.

        Returns
        -------
        Reconstruction
            ``loss``, ``pred`` and ``mask``. The loss counts hidden tokens only, against the signal
            as it is (not normalised per token).
        """
        chosen = random_masking(self.encoder.n_tokens, mask_ratio, draw)
        ids_keep, ids_restore, mask = (part.to(eeg.device) for part in chosen)
        seen = shown or Placed(eeg, positions)
        pred = self.decode(
            self.encoder.encode_visible(seen.eeg, ids_keep, seen.positions), ids_restore
        )
        patch_size = self.config["patch_size"]
        if self.config["montage"] == "any":
            virtual = unpatchify(pred, self.config["n_chans"])
            where = self.encoder.locate(eeg, positions)
            pred = patchify(self.encoder.electrodes.spread(virtual, where), patch_size)
        error = token_errors(pred, eeg, patch_size)
        return Reconstruction((error * mask).sum() / mask.sum(), pred, mask)


def token_errors(pred: torch.Tensor, eeg: torch.Tensor, patch_size: int) -> torch.Tensor:
    """Return the mean squared error of each token over the channels that are present.

    Parameters
    ----------
    pred
        ``(B, N, P * C)``.
    eeg
        The signal, ``(B, C, T)``; a channel of NaN is absent.

    Returns
    -------
    torch.Tensor
        float32 ``(B, N)``, in full precision under autocast too.
    """
    present = is_present(eeg)
    target = patchify(eeg.masked_fill(~present[:, :, None], 0.0), patch_size)
    error = (pred.float() - target.float()).square()
    counts = present.to(error.dtype).repeat(1, patch_size)[:, None]  # (B, 1, P * C)
    return (error * counts).sum(dim=2) / counts.sum(dim=2)
