"""The EEG encoder (paper section 3.1).

A vision transformer over time (He et al. 2022, arXiv 2111.06377; facts of the DreamDiffusion
release): tokens of ``patch_size`` time points over all channels, pre-LN blocks, fixed sin-cos
positions, a cls token. The cls token takes part in pre-training *and* in fine-tuning; the authors'
release left it out of the second, so its blocks then saw one token fewer than they were trained
with. It is a diffusers model: ``save_pretrained`` writes ``config.json`` and safetensors.

Parameter names follow the authors' checkpoints (``blocks.0.attn.qkv.weight`` ...). Letters of
shapes as in :mod:`dreamdiffusion.models.encoders.tokens`; D is ``embed_dim``.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import register_to_config
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from dreamdiffusion.models.encoders.tokens import count_tokens
from dreamdiffusion.models.encoders.virtual_electrodes import VirtualElectrodes
from dreamdiffusion.models.strict import StrictModel


def sincos_positions(n_tokens: int, dim: int) -> torch.Tensor:
    """Return fixed positions, float32 ``(1, 1 + N, dim)``; row 0, for the cls token, is zero.

    Row ``1 + n`` is ``[sin(n w_0) .. sin(n w_k) | cos(n w_0) .. cos(n w_k)]`` with
    ``w_i = 10000 ** (-i / (dim / 2))`` (Vaswani et al. 2017, section 3.5, in MAE's order).

    Raises
    ------
    ValueError
        If ``dim`` is odd.
    """
    if dim % 2:
        raise ValueError(f"embed_dim is {dim}, expected an even number: half sines, half cosines")
    frequency = 10000.0 ** (-torch.arange(dim // 2, dtype=torch.float64) / (dim // 2))
    angle = torch.arange(n_tokens, dtype=torch.float64)[:, None] * frequency
    table = torch.cat([angle.sin(), angle.cos()], dim=1)
    table = torch.cat([torch.zeros(1, dim, dtype=torch.float64), table])
    return table.to(torch.float32)[None]


class Attention(nn.Module):
    """Multi-head self-attention, ``(B, N, D)`` -> ``(B, N, D)``."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"width {dim} is not a multiple of {num_heads} heads")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, n_tokens, dim = x.shape
        heads = (3, self.num_heads, dim // self.num_heads)
        qkv = self.qkv(x).unflatten(-1, heads)  # (B, N, 3, heads, dim of a head)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        out = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(batch, n_tokens, dim))


class FeedForward(nn.Module):
    """Two linear layers with GELU between, ``(..., dim)`` -> ``(..., dim)``."""

    def __init__(self, dim: int, hidden_dim: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(functional.gelu(self.fc1(x)))


class Block(nn.Module):
    """A pre-LN transformer block without dropout, ``(B, N, D)`` -> ``(B, N, D)``."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, int(dim * mlp_ratio))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbedding(nn.Module):
    """EEG ``(B, C, T)`` -> tokens ``(B, N, D)``: a convolution that steps by its own length."""

    def __init__(self, n_chans: int, patch_size: int, embed_dim: int):
        super().__init__()
        self.proj = nn.Conv1d(n_chans, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, eeg: torch.Tensor) -> torch.Tensor:
        return self.proj(eeg).transpose(1, 2)


def initialise(module: nn.Module, generator: torch.Generator | None) -> None:
    """Draw initial weights: Linear xavier-uniform with bias 0, LN 1 and 0, Conv1d normal(0, .02).

    Parameters
    ----------
    generator
        Source of the numbers; None is torch's global one.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight, generator=generator)
            nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Conv1d):
            nn.init.normal_(part.weight, std=0.02, generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


class EEGEncoder(StrictModel):
    """EEG -> one embedding per token, the part of the autoencoder that is kept.

    Parameters
    ----------
    n_chans
        Channels of the signal; with ``montage="any"`` the virtual electrodes it is brought to.
    n_times
        Time points of the signal, a multiple of ``patch_size``.
    patch_size
        Time points per token.
    embed_dim
        Width of the embedding; even, and a multiple of ``num_heads``.
    depth
        Transformer blocks.
    num_heads
        Attention heads.
    mlp_ratio
        Width of the feed-forward layer over ``embed_dim`` (paper's released configuration: 1).
    use_cls_token
        Whether a cls token takes part. Only encoders fine-tuned by the authors' release lack it.
    montage
        ``fixed``: channels are known by their number, as in the paper. ``any``: by their positions
        (:mod:`dreamdiffusion.models.encoders.virtual_electrodes`); a channel of NaN is absent.
    positions
        With ``montage="any"``, where the channels lie if :meth:`forward` is given no positions:
        metres in MNE's head frame, one triple a channel.

    Raises
    ------
    ValueError
        If the sizes do not fit each other.

    Examples
    --------
    >>> import torch
    >>> from dreamdiffusion import EEGEncoder
    >>> encoder = EEGEncoder(n_chans=4, n_times=128, embed_dim=32, depth=2, num_heads=4)
    >>> encoder(torch.zeros(8, 4, 128)).shape  # trials, tokens of 4 samples, width
    torch.Size([8, 32, 32])
    """

    _supports_gradient_checkpointing = True

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
        use_cls_token: bool = True,
        montage: str = "fixed",
        positions: list[list[float]] | None = None,
    ):
        super().__init__()
        if montage not in ("fixed", "any"):
            raise ValueError(f"montage is {montage!r}, expected fixed or any")
        self.gradient_checkpointing = False
        self.n_tokens = count_tokens(n_times, patch_size)
        self.embed_dim = embed_dim
        if montage == "any":
            self.electrodes = VirtualElectrodes(n_chans)
        self.patch_embed = PatchEmbedding(n_chans, patch_size, embed_dim)
        if use_cls_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        # A buffer, so no optimiser moves it; kept in files, because imported weights may bring
        # their own positions (the authors' release trained them).
        self.register_buffer("pos_embed", sincos_positions(self.n_tokens, embed_dim))
        self.blocks = nn.ModuleList(Block(embed_dim, num_heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim)
        self.init_weights()

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Draw new weights (facts of the release), from ``generator`` or torch's global one."""
        initialise(self, generator)
        if self.config["use_cls_token"]:
            nn.init.normal_(self.cls_token, std=0.02, generator=generator)

    def embed(self, eeg: torch.Tensor, positions: torch.Tensor | None = None) -> torch.Tensor:
        """Return tokens with their positions, before any block: ``(B, C, T)`` -> ``(B, N, D)``.

        Raises
        ------
        ValueError
            If the EEG has another shape than the encoder was made for, or the places of its
            electrodes are needed and not known.
        """
        if self.config["montage"] == "any":
            eeg = self.electrodes.gather(eeg, self.locate(eeg, positions))
        expected = (self.config["n_chans"], self.config["n_times"])
        if eeg.ndim != 3 or tuple(eeg.shape[1:]) != expected:
            raise ValueError(
                f"EEG has shape {tuple(eeg.shape)}, the encoder expects (batch, n_chans="
                f"{expected[0]}, n_times={expected[1]}); prepare the recording with the sfreq, "
                "window and picks of the model"
            )
        return self.patch_embed(eeg) + self.pos_embed[:, 1:]

    def locate(self, eeg: torch.Tensor, positions: torch.Tensor | None) -> torch.Tensor:
        """Return the given positions, else those of the configuration, checked against the EEG.

        Raises
        ------
        ValueError
            If there are none, or not one for each channel of ``eeg (B, C, T)``.
        """
        if positions is None:
            if self.config["positions"] is None:
                raise ValueError(
                    "the encoder takes any montage and does not know where the electrodes are; "
                    "pass positions, (n_chans, 3) in metres (electrodes.electrode_positions)"
                )
            positions = torch.tensor(self.config["positions"], device=eeg.device)
        if tuple(positions.shape[-2:]) != (eeg.shape[1], 3):
            raise ValueError(
                f"positions have shape {tuple(positions.shape)}, expected one triple for each of "
                f"the {eeg.shape[1]} channels of the EEG"
            )
        return positions

    def _transform(self, tokens: torch.Tensor) -> torch.Tensor:
        """Put the cls token in front and run the blocks: ``(B, n, D)`` -> ``(B, 1 + n, D)``."""
        x = tokens
        if self.config["use_cls_token"]:
            cls = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens), -1, -1)
            x = torch.cat([cls.to(tokens.dtype), tokens], dim=1)
        for block in self.blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return self.norm(x)

    def forward(self, eeg: torch.Tensor, positions: torch.Tensor | None = None) -> torch.Tensor:
        """Embed EEG ``(B, C, T)`` as tokens ``(B, N, D)``; the cls token takes part unreturned."""
        return self._transform(self.embed(eeg, positions))[:, -self.n_tokens :]

    def encode_visible(
        self, eeg: torch.Tensor, ids_keep: torch.Tensor, positions: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Embed the visible tokens alone; hidden ones cost nothing and leave no trace.

        Parameters
        ----------
        eeg
            Signal ``(B, C, T)``.
        ids_keep
            int64 ``(B, n_keep)``, tokens that stay visible.
        positions
            Of the electrodes, with ``montage="any"``.

        Returns
        -------
        torch.Tensor
            ``(B, 1 + n_keep, D)``, the cls token first, then the tokens in the order asked for.
        """
        tokens = self.embed(eeg, positions)
        where = ids_keep[:, :, None].expand(-1, -1, tokens.shape[2])
        return self._transform(tokens.gather(1, where))


# Saved pipelines name the module of each part: the package's own, which no later move can break.
EEGEncoder.__module__ = "dreamdiffusion"
