"""The text-to-image generator: a diffusers folder in Stable Diffusion's shape, plus a CLIP.

Layout of the folder: what `diffusers.StableDiffusionPipeline` reads (``vae``, ``unet``,
``text_encoder``, ``tokenizer``, ``scheduler``, ``model_index.json``), and ``clip``, the whole CLIP
whose text tower the generator uses and whose image tower is the target of the alignment.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from transformers import CLIPModel

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass
class Generator:
    """A loaded generator: what text-to-image needs, and the CLIP for alignment."""

    pipeline: StableDiffusionPipeline
    clip: CLIPModel

    @property
    def vae(self) -> AutoencoderKL:
        return self.pipeline.vae

    @property
    def unet(self) -> UNet2DConditionModel:
        return self.pipeline.unet

    @property
    def image_size(self) -> int:
        """Pixels of the pictures that the U-Net was trained for."""
        return int(self.unet.config["sample_size"]) * 2 ** (
            len(self.vae.config["block_out_channels"]) - 1
        )


def load_generator(folder: Path) -> Generator:
    """Open a generator folder; every weight must be there, as safetensors.

    Raises
    ------
    FileNotFoundError
        If the folder or its ``clip`` is missing.
    """
    for part in ("model_index.json", "clip/config.json"):
        if not (folder / part).is_file():
            raise FileNotFoundError(
                f"generator {folder} has no {part}; make one with: dreamdiffusion train-generator"
            )
    pipeline = StableDiffusionPipeline.from_pretrained(
        folder, use_safetensors=True, dtype=torch.float32
    )
    pipeline.set_progress_bar_config(disable=True)
    clip = CLIPModel.from_pretrained(folder / "clip", use_safetensors=True, dtype=torch.float32)
    return Generator(pipeline, clip)


@torch.no_grad()
def encode_images(vae: AutoencoderKL, images: torch.Tensor, batch_size: int = 64) -> torch.Tensor:
    """Return the scaled latents of images.

    Parameters
    ----------
    images
        ``(n, 3, height, width)`` in [-1, 1].

    Returns
    -------
    torch.Tensor
        ``(n, latent_channels, h, w)``: the mean of the VAE's posterior times its scaling factor.
        The posterior's width is orders of magnitude below the diffusion noise and left out.
    """
    scale = vae.config["scaling_factor"]
    parts = [vae.encode(part).latent_dist.mode() * scale for part in images.split(batch_size)]  # pyright: ignore[reportAttributeAccessIssue]
    return torch.cat(parts)


@torch.no_grad()
def decode_latents(vae: AutoencoderKL, latents: torch.Tensor, batch_size: int = 64) -> torch.Tensor:
    """Return images ``(n, 3, height, width)`` in [0, 1] from scaled latents."""
    scale = vae.config["scaling_factor"]
    parts = [vae.decode(part / scale).sample for part in latents.split(batch_size)]  # pyright: ignore[reportAttributeAccessIssue]
    return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)


def prediction_target(
    scheduler: DDPMScheduler, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
) -> torch.Tensor:
    """Return what the U-Net is trained to predict: the noise, or the velocity (SD 2.x).

    Raises
    ------
    ValueError
        If the generator's scheduler asks for another prediction.
    """
    kind = scheduler.config["prediction_type"]
    if kind == "epsilon":
        return noise
    if kind == "v_prediction":
        return scheduler.get_velocity(latents, noise, timesteps)  # pyright: ignore[reportArgumentType]
    raise ValueError(
        f"the generator's scheduler has prediction_type {kind!r}; "
        "training supports epsilon and v_prediction"
    )


def clip_pixels(images: torch.Tensor, size: int) -> torch.Tensor:
    """Scale images from [-1, 1] to what CLIP's image tower takes, ``(n, 3, size, size)``."""
    if images.shape[-1] != size:
        images = F.interpolate(images, size=(size, size), mode="bicubic", antialias=True)
    mean = images.new_tensor(CLIP_MEAN).view(1, 3, 1, 1)
    std = images.new_tensor(CLIP_STD).view(1, 3, 1, 1)
    return ((images.clamp(-1, 1) + 1) / 2 - mean) / std


@torch.no_grad()
def embed_images(clip: CLIPModel, images: torch.Tensor, batch_size: int = 128) -> torch.Tensor:
    """Return unit-norm CLIP embeddings ``(n, projection_dim)`` of images in [-1, 1]."""
    size = clip.config.vision_config.image_size  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]
    parts = []
    for part in images.split(batch_size):
        pooled = clip.vision_model(pixel_values=clip_pixels(part, size)).pooler_output  # pyright: ignore[reportArgumentType]
        parts.append(F.normalize(clip.visual_projection(pooled), dim=-1))
    return torch.cat(parts)
