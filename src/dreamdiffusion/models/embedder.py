"""Spaces of pictures in which EEG is aligned, looked up and identified: `load_embedder`.

A CLIP by folder or hub id, or `PHOTOS`: EfficientNet-Lite0, for photographs where no CLIP that
knows them is at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPVisionModelWithProjection

from dreamdiffusion.models.hub import open_weights
from dreamdiffusion.models.lite import open_lite
from dreamdiffusion.models.pixels import check_range, clip_pixels, distinct_pictures

PHOTOS = "photos"
"""The name that opens Lite0; a folder that is called so is given as ``./photos``."""


Embed = Callable[[Tensor], Tensor]
"""Pictures (n, 3, H, W) in [0, 1] -> embeddings (n, d); an `Embedder` is one."""


class Embedder(nn.Module):
    """A network that puts pictures into a space.

    Parameters
    ----------
    network
        A CLIP's image tower, or `lite.Lite`.
    image_size
        Pixels of the pictures that it looks at; others are scaled.
    embed_dim
        Of an embedding.
    """

    def __init__(self, network: nn.Module, image_size: int, embed_dim: int) -> None:
        super().__init__()
        self.network, self.image_size, self.embed_dim = network, image_size, embed_dim

    @torch.no_grad()
    def forward(self, images: Tensor, batch_size: int = 128) -> Tensor:
        """Return unit-norm embeddings ``(n, embed_dim)``, float32 on the CPU.

        Parameters
        ----------
        images
            ``(n, 3, H, W)`` in [0, 1].

        Raises
        ------
        ValueError
            If they are not in [0, 1].
        """
        device = next(self.network.parameters()).device
        rows, which = distinct_pictures(images)  # those of a bank come again and again
        parts = [
            self._look(part.to(device, torch.float32)).float().cpu()
            for part in images[rows].split(batch_size)
        ]
        return F.normalize(torch.cat(parts), dim=-1)[which]

    def _look(self, images: Tensor) -> Tensor:
        if isinstance(self.network, CLIPVisionModelWithProjection):
            pixels = clip_pixels(images, self.image_size)
            return self.network(pixel_values=pixels).image_embeds  # pyright: ignore[reportArgumentType]
        check_range(images)
        return self.network(images)[0]


class _ImageTower(CLIPVisionModelWithProjection):
    """The image tower; that a whole CLIP lies in the file is no surprise."""

    _keys_to_ignore_on_load_unexpected: ClassVar = [
        r"text_model\.",
        "text_projection",
        "logit_scale",
    ]


def load_embedder(source: str | Path, device: torch.device | str = "cpu") -> Embedder:
    """Open a space of pictures.

    Parameters
    ----------
    source
        A CLIP's folder or hub id (safetensors), or `PHOTOS`.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or the hub has no such repository or cannot be reached.
    ValueError
        If weights are missing, or the extra ``photos`` is asked for and not installed.
    """
    if str(source) == PHOTOS:
        lite = open_lite("lite0", f"clip {PHOTOS}")
        return Embedder(lite, lite.size, lite.n_features).eval().to(device)
    tower: Any = open_weights(_ImageTower, source, "CLIP", dtype=torch.float32)
    sizes = tower.config
    return Embedder(tower, sizes.image_size, sizes.projection_dim).eval().to(device)
