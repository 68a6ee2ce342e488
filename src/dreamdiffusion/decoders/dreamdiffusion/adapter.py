"""A fine-tuned model on disk: what fine-tuning made, and where the generator lies.

The generator stays where it is and as it is; an adapter holds the EEG encoder, the projectors and
the cross-attention that was trained beside them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from dreamdiffusion.decoders.dreamdiffusion.condition import EEGConditioner
from dreamdiffusion.files.whole import parse_json, write_json, write_tensors
from dreamdiffusion.models.embedder import PHOTOS
from dreamdiffusion.models.encoders.eeg import EEGEncoder
from dreamdiffusion.models.encoders.processor import EEGProcessor
from dreamdiffusion.models.generator.generator import PAPER_CLIP, load_generator
from dreamdiffusion.models.start import start_from

ADAPTER = "adapter.json"
CROSS_ATTENTION = "cross_attention.safetensors"


def add_time_condition(unet: UNet2DConditionModel) -> None:
    """Let the U-Net take a vector that it adds to the embedding of the timestep.

    diffusers has that as the class embedding of type ``identity``; it has no weights.
    """
    unet.register_to_config(class_embed_type="identity")
    unet.class_embedding = nn.Identity()


def cross_attention(unet: UNet2DConditionModel) -> nn.ModuleDict:
    """Return the cross-attention layers (``attn2``) of a U-Net, the modules themselves."""
    return nn.ModuleDict(
        {
            name.replace(".", "-"): module
            for name, module in unet.named_modules()
            if name.endswith(".attn2")
        }
    )


def write_adapter(
    folder: Path,
    processor: EEGProcessor,
    encoder: EEGEncoder,
    conditioner: EEGConditioner,
    unet: UNet2DConditionModel,
    generator: str | Path,
    clip: str | Path | None = None,
) -> None:
    """Write a fine-tuned model; of the U-Net the cross-attention alone, in half precision.

    Parameters
    ----------
    generator, clip
        Folder or hub id of what was fine-tuned from, see `load_generator`; a folder is named as
        seen from the adapter.
    """
    folder.mkdir(parents=True, exist_ok=True)
    processor.save_pretrained(folder / "eeg_processor")
    encoder.save_pretrained(folder / "eeg_encoder")
    conditioner.save_pretrained(folder / "conditioner")
    weights = cross_attention(unet).state_dict()
    tensors = {key: value.detach().half().contiguous().cpu() for key, value in weights.items()}
    write_tensors(folder / CROSS_ATTENTION, tensors)
    content = {"generator": relative_source(generator, folder)}
    if clip is not None:
        content["clip"] = relative_source(clip, folder)
    write_json(folder / ADAPTER, content)


def load_adapter(
    folder: Path, encoder: EEGEncoder, conditioner: EEGConditioner, unet: UNet2DConditionModel
) -> None:
    """Give untrained networks the weights of a fine-tuned model of the same sizes, in place.

    Raises
    ------
    FileNotFoundError
        If the folder holds no fine-tuned model.
    ValueError
        If a size differs, or the cross-attention does not fit the U-Net.
    """
    if not (folder / ADAPTER).is_file():
        raise FileNotFoundError(
            f"init {folder} holds no fine-tuned model; give the output folder of a finetune"
        )
    start_from(encoder, folder / "eeg_encoder", aside=("positions",))
    start_from(conditioner, folder / "conditioner")
    _load_cross_attention(folder, unet, "the U-Net of this generator")


def read_adapter(folder: Path) -> dict[str, Any]:
    """Return the components of `EEGToImagePipeline` that an adapter and its generator hold.

    Raises
    ------
    FileNotFoundError
        If the generator is not where the adapter says.
    ValueError
        If the cross-attention does not fit the generator.
    """
    content = _read_content(folder)
    clip = resolve_source(content["clip"], folder) if "clip" in content else None
    source = resolve_source(content["generator"], folder)
    generator = load_generator(source, clip)
    add_time_condition(generator.unet)
    _load_cross_attention(folder, generator.unet, f"the generator {content['generator']}")
    return {
        "eeg_processor": EEGProcessor.from_pretrained(
            folder / "eeg_processor", use_safetensors=True
        ),
        "eeg_encoder": EEGEncoder.from_pretrained(folder / "eeg_encoder"),
        "conditioner": EEGConditioner.from_pretrained(folder / "conditioner"),
        "vae": generator.vae,
        "unet": generator.unet,
        "scheduler": generator.scheduler,
        **_load_text(source),
    }


def _read_content(folder: Path) -> dict[str, str]:
    """Read the file of an adapter; a ValueError names it where it is something else."""
    path = folder / ADAPTER
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict) or "generator" not in content:
        raise ValueError(
            f"{path} names no generator; give --model the model folder that finetune wrote"
        )
    return content


def clip_source(model: Path) -> str | Path:
    """Return folder or hub id of the CLIP that a model's EEG embedding is aligned with.

    Raises
    ------
    FileNotFoundError
        If neither the model nor the generator of its adapter holds one.
    """
    candidates = [model / "clip"]
    if (model / ADAPTER).is_file():
        content = _read_content(model)
        if "clip" in content:
            return resolve_source(content["clip"], model)
        generator = resolve_source(content["generator"], model)
        if not isinstance(generator, Path):
            return PAPER_CLIP
        candidates.append(generator / "clip")
    for candidate in candidates:
        if (candidate / "config.json").is_file():
            return candidate
    raise FileNotFoundError(
        f"model {model} has no CLIP (looked in {', '.join(map(str, candidates))})"
    )


def adapter_sources(model: Path) -> tuple[str | Path, str | Path | None] | None:
    """Return what an adapter names: generator, and CLIP where it is another; None of a pipeline."""
    if not (model / ADAPTER).is_file():
        return None
    content = _read_content(model)
    clip = resolve_source(content["clip"], model) if "clip" in content else None
    return resolve_source(content["generator"], model), clip


def generator_source(model: Path) -> str | Path | None:
    """Return folder or hub id of the generator that a model was fine-tuned from, where it says."""
    sources = adapter_sources(model)
    return None if sources is None else sources[0]


def relative_source(source: str | Path, folder: Path) -> str:
    """Return a folder as seen from another; an id of the hub and `PHOTOS` stay as they are."""
    if str(source) == PHOTOS:
        return PHOTOS
    return os.path.relpath(source, folder) if Path(source).is_dir() else str(source)


def resolve_source(source: str, folder: Path) -> str | Path:
    """Undo `relative_source`."""
    if source == PHOTOS:
        return source
    path = (folder / source).resolve()
    return path if path.is_dir() or source.startswith(".") else source


def _load_text(source: str | Path) -> dict[str, Any]:
    """Return tokenizer and text encoder of a generator folder that has them."""
    if not (Path(source) / "text_encoder").is_dir():
        return {}
    encoder = CLIPTextModel.from_pretrained(
        source, subfolder="text_encoder", use_safetensors=True, dtype=torch.float32
    )
    tokenizer = CLIPTokenizer.from_pretrained(source, subfolder="tokenizer")
    return {"tokenizer": tokenizer, "text_encoder": encoder.eval().requires_grad_(False)}


def _load_cross_attention(folder: Path, unet: UNet2DConditionModel, what: str) -> None:
    try:
        weights = load_file(folder / CROSS_ATTENTION)
        cross_attention(unet).load_state_dict(weights, strict=True)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ValueError(
            f"{folder / CROSS_ATTENTION} does not fit {what}: {str(error).splitlines()[0]}"
        ) from error
