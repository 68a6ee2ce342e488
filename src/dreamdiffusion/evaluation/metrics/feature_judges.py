"""Networks that judge pictures by their features or name what they show, by hub id or folder.

A source is one of

- a folder or hub id of transformers: CLIP (its image tower), DINOv2 and whatever ``AutoModel``
  opens for pictures, and every ``...ForImageClassification``; safetensors only, no code of
  strangers;
- ``torchvision:NAME`` or ``torchvision:NAME/LAYER`` and ``lpips:alex``, see `published_judges`.

Notation: n pictures, d features, c classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification
from transformers.image_processing_base import ImageProcessingMixin

from dreamdiffusion.evaluation.metrics.published_judges import PREFIXES, open_published
from dreamdiffusion.models.embedder import load_embedder

Network = Callable[[Tensor], tuple[Tensor, Tensor | None]]
"""Pictures (n, 3, H, W) in [0, 1] -> features (n, ...) and, from a classifier, logits (n, c)."""

_MODES = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers, which processor files use


@dataclass
class FeatureJudge:
    """A network that judges pictures.

    Attributes
    ----------
    description : str
        Model, layer and size of the pictures.
    run : callable
        For one batch.
    """

    description: str
    run: Network

    @torch.no_grad()
    def look(
        self, images: Tensor, batch_size: int = 32
    ) -> tuple[Tensor, NDArray[np.float64] | None]:
        """Return the features (n, d), float32 on the CPU, and the probabilities (n, c) if any.

        Parameters
        ----------
        images : Tensor, (n, 3, H, W)
            RGB in [0, 1].
        batch_size : int
        """
        features, probabilities = [], []
        for part in images.split(batch_size):
            found, logits = self.run(part)
            features.append(found.flatten(1).float().cpu())
            if logits is not None:  # in double precision, or far classes tie at 0
                probabilities.append(logits.double().softmax(1).cpu())
        chances = torch.cat(probabilities).numpy() if probabilities else None
        return torch.cat(features), chances

    def features(self, images: Tensor, batch_size: int = 32) -> Tensor:
        """Return the features (n, d) of pictures (n, 3, H, W) in [0, 1]."""
        return self.look(images, batch_size)[0]

    def probabilities(self, images: Tensor, batch_size: int = 32) -> NDArray[np.float64]:
        """Return the probability (n, c) of each class.

        Raises
        ------
        ValueError
            If it is no classifier.
        """
        found = self.look(images, batch_size)[1]
        if found is None:
            raise ValueError(f"{self.description} names no classes; give an image classifier")
        return found


def open_judge(source: str, device: torch.device) -> FeatureJudge:
    """Open a network that judges pictures.

    Parameters
    ----------
    source : str
        See the head of this module.
    device : torch.device

    Raises
    ------
    FileNotFoundError
        If it is no folder, and the hub does not have it or cannot be reached.
    ValueError
        If a published judge needs an extra that is not installed, the folder's weights are
        incomplete, or the model does not take pictures alone.
    """
    if source.startswith(PREFIXES):
        description, run = open_published(source, device)
        return FeatureJudge(description, run)
    options = {"local_files_only": Path(source).is_dir(), "trust_remote_code": False}
    config = _fetch(AutoConfig.from_pretrained, source, **options)
    if config.model_type in ("clip", "clip_vision_model"):
        clip = load_embedder(source, device)
        description = f"{source}, image embedding, pictures at {clip.image_size} pixels"
        return FeatureJudge(description, lambda x: (clip(x), None))
    if hasattr(config, "text_config"):
        raise ValueError(
            f"judge {source} is a {config.model_type}, which takes text too; give its vision "
            "tower, a CLIP, or a model of pictures alone"
        )
    return _transformers_judge(source, config, device, options)


def _transformers_judge(
    source: str, config: Any, device: torch.device, options: dict[str, Any]
) -> FeatureJudge:
    names = config.architectures or [""]
    classifies = names[0].endswith("ForImageClassification")
    kind = AutoModelForImageClassification if classifies else AutoModel
    model, report = _fetch(
        kind.from_pretrained, source, use_safetensors=True, dtype=torch.float32,
        output_loading_info=True, **options,
    )  # fmt: skip
    absent = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if absent:
        raise ValueError(f"judge {source} lacks the weights {', '.join(absent[:3])}")
    pooled = not report["missing_keys"]  # else the pooling was drawn at random just now
    prepare, size = _preparation(source, options)
    model = model.to(device).eval()

    def run(images: Tensor) -> tuple[Tensor, Tensor | None]:
        pixels = prepare(images.to(device, torch.float32))
        if not classifies:
            return _pooled(model(pixel_values=pixels), pooled), None
        kept: list[Any] = []
        hook = model.base_model.register_forward_hook(lambda module, given, out: kept.append(out))
        try:
            logits = model(pixel_values=pixels).logits
        finally:
            hook.remove()
        return _pooled(kept[0], pooled), logits

    return FeatureJudge(f"{source}, pooled features, pictures at {size} pixels", run)


def _pooled(out: Any, pooled: bool) -> Tensor:
    """Return the model's own pooling, else the class token, else the mean over places."""
    if pooled and getattr(out, "pooler_output", None) is not None:
        return out.pooler_output
    last = out.last_hidden_state
    return last[:, 0] if last.ndim == 3 else last.mean((2, 3))


def _preparation(source: str, options: dict[str, Any]) -> tuple[Callable[[Tensor], Tensor], int]:
    """Return what the model's own processor file says is done to pictures, and their size."""
    load = ImageProcessingMixin.get_image_processor_dict
    found, _ = _fetch(load, source, local_files_only=options["local_files_only"])
    try:
        edge = _edge(found["size"])
        mean, std = (torch.tensor(found[key]).view(3, 1, 1) for key in ("image_mean", "image_std"))
        mode = _MODES[found.get("resample", 2)]
        crop = _edge(found["crop_size"]) if found.get("do_center_crop") else edge
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"judge {source}: preprocessor_config.json does not say size, image_mean, image_std or "
            f"resample as expected ({error!r})"
        ) from error
    if "crop_pct" in found and edge < 384:  # ConvNeXt: enlarged first, cut to size afterwards
        edge = int(edge / found["crop_pct"])

    def prepare(images: Tensor) -> Tensor:
        if images.shape[-2:] != (edge, edge):
            images = F.interpolate(images, (edge, edge), mode=mode, antialias=True).clamp(0, 1)
        start = (edge - crop) // 2
        images = images[..., start : start + crop, start : start + crop]
        return (images - mean.to(images)) / std.to(images)

    return prepare, crop


def _edge(size: Any) -> int:
    """Read the side of a square from what a processor file says of it."""
    if isinstance(size, dict):
        size = size["shortest_edge"] if "shortest_edge" in size else size["height"]
    return int(size)


def _fetch(load: Any, source: str, **options: Any) -> Any:
    try:
        # Some models draw first weights before they read the file's.
        with torch.random.fork_rng(devices=[]):
            return load(source, **options)
    except OSError as error:
        raise FileNotFoundError(
            f"judge {source} is neither a folder with what is needed, nor can it be fetched from "
            f"the hub ({str(error).splitlines()[0]})"
        ) from error
