"""DreamDiffusion: images of what a person was looking at, from EEG (arXiv 2306.16934)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dreamdiffusion.decoders.dreamdiffusion.condition import EEGConditioner
    from dreamdiffusion.decoders.dreamdiffusion.pipeline import EEGToImagePipeline
    from dreamdiffusion.models.encoders.eeg import EEGEncoder
    from dreamdiffusion.models.encoders.processor import EEGProcessor

# Where each public name lives. It is imported when it is first used, so that importing the package
# takes neither torch nor time.
_HOMES = {
    "EEGConditioner": "dreamdiffusion.decoders.dreamdiffusion.condition",
    "EEGEncoder": "dreamdiffusion.models.encoders.eeg",
    "EEGProcessor": "dreamdiffusion.models.encoders.processor",
    "EEGToImagePipeline": "dreamdiffusion.decoders.dreamdiffusion.pipeline",
}
__all__ = ["EEGConditioner", "EEGEncoder", "EEGProcessor", "EEGToImagePipeline", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "ModelMixin":  # diffusers looks for the base class beside a saved class
        from diffusers.models.modeling_utils import ModelMixin

        return ModelMixin
    if name not in _HOMES:
        raise AttributeError(f"module 'dreamdiffusion' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
