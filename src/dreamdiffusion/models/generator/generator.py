"""The text-to-image generator: a diffusers folder in Stable Diffusion's shape, plus a CLIP.

Layout of the folder: what `diffusers.StableDiffusionPipeline` reads (``vae``, ``unet``,
``text_encoder``, ``tokenizer``, ``scheduler``, ``model_index.json``), and ``clip``, the whole CLIP
whose text tower the generator uses and whose image tower is the target of the alignment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import diffusers
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_lcm import LCMScheduler
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


NOISE_SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "steps_offset": 1,
}
"""How Stable Diffusion adds noise; what the U-Net predicts is not part of it."""

PAPER_CLIP = "openai/clip-vit-large-patch14"
"""The image tower of the paper, for generators that bring none."""


SCHEDULERS: dict[str, tuple[Any, dict[str, Any]]] = {
    # PNDM without its Runge-Kutta steps is PLMS (Liu et al. 2022).
    "plms": (PNDMScheduler, {"skip_prk_steps": True}),
    "ddim": (DDIMScheduler, {}),
    "dpm++": (DPMSolverMultistepScheduler, {}),
    "unipc": (UniPCMultistepScheduler, {}),
    "lcm": (LCMScheduler, {}),
}


@dataclass
class Generator:
    """What draws, and the image tower that the EEG is aligned with."""

    vae: AutoencoderKL
    unet: UNet2DConditionModel
    scheduler: Any
    clip: CLIPVisionModelWithProjection

    @property
    def image_size(self) -> int:
        """Pixels of the pictures that the U-Net was trained for."""
        return image_size(self.unet, self.vae)


def image_size(unet: UNet2DConditionModel, vae: AutoencoderKL) -> int:
    """Return the pixels of the pictures that a U-Net was trained for."""
    return int(unet.config["sample_size"]) * 2 ** (len(vae.config["block_out_channels"]) - 1)


def load_generator(source: str | Path, clip: str | Path | None = None) -> Generator:
    """Open a Stable Diffusion (1.x, 2.x, XL, or distilled from them), without its text encoders.

    Parameters
    ----------
    source
        A diffusers folder, or the id of one on the hub. Weights must be safetensors.
    clip
        The same for the CLIP whose image tower is the target of the alignment. Left out: ``clip``
        in the generator's folder, else the paper's.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or the hub has no such repository or cannot be reached.
    ValueError
        If it is no Stable Diffusion, or its U-Net already takes class labels.
    """
    parts = _fetch(DiffusionPipeline.load_config, source, "generator")
    if not isinstance(parts, dict) or not {"vae", "unet", "scheduler"} <= parts.keys():
        raise ValueError(
            f"generator {source} is no Stable Diffusion: its model_index.json has "
            f"{', '.join(map(str, parts)) or 'nothing'}, expected vae, unet and scheduler"
        )
    options = {"torch_dtype": torch.float32}
    unet = _open_weights(UNet2DConditionModel, source, "generator", "unet", **options)
    if unet.config["class_embed_type"] not in (None, "identity") or unet.config["num_class_embeds"]:
        raise ValueError(f"the U-Net of {source} takes class labels, where the EEG would go in")
    vae = _open_weights(AutoencoderKL, source, "generator", "vae", **options)
    kind = getattr(diffusers, parts["scheduler"][1], None)
    # The file names a class; nothing but a scheduler is taken from it.
    if not (isinstance(kind, type) and issubclass(kind, SchedulerMixin)):
        raise ValueError(f"generator {source} names the unknown scheduler {parts['scheduler'][1]}")
    scheduler = _fetch(kind.from_pretrained, source, "generator", "scheduler")
    if clip is None:
        clip = Path(source) / "clip" if (Path(source) / "clip").is_dir() else PAPER_CLIP
    return Generator(vae, unet, scheduler, load_clip(clip))


def open_text_pipeline(folder: Path) -> StableDiffusionPipeline:
    """Open a generator folder as what draws from text.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder holds none.
    """
    check_text_generator(folder)
    # Some libraries draw first weights before they read the file's.
    with torch.random.fork_rng(devices=[]):
        pipeline = StableDiffusionPipeline.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def check_text_generator(folder: Path) -> None:
    """Refuse a folder that is no generator with a text encoder, without opening its weights.

    Raises
    ------
    FileNotFoundError, ValueError
        If it is none.
    """
    if not (folder / "model_index.json").is_file():
        raise FileNotFoundError(
            f"generator {folder} has no model_index.json; give a folder that train-generator wrote"
        )
    parts = _fetch(DiffusionPipeline.load_config, folder, "generator")
    if not isinstance(parts, dict) or not {"vae", "unet", "text_encoder"} <= parts.keys():
        raise ValueError(
            f"{folder / 'model_index.json'} is of no generator with a text encoder; give a folder "
            "that train-generator wrote"
        )


def load_clip(source: str | Path) -> CLIPVisionModelWithProjection:
    """Open the image tower of a CLIP, from a folder or the hub; errors as `load_generator`."""
    return _open_weights(_ImageTower, source, "CLIP", dtype=torch.float32)


class _ImageTower(CLIPVisionModelWithProjection):
    """The image tower; that a whole CLIP lies in the file is no surprise."""

    _keys_to_ignore_on_load_unexpected: ClassVar = [
        r"text_model\.",
        "text_projection",
        "logit_scale",
    ]


def _open_weights(
    kind: Any, source: str | Path, what: str, subfolder: str = "", **options: Any
) -> Any:
    """Open a network; one that would keep random weights is refused."""
    options |= {"use_safetensors": True, "output_loading_info": True}
    network, info = _fetch(kind.from_pretrained, source, what, subfolder, **options)
    if info["missing_keys"]:
        raise ValueError(
            f"{what} {source} does not fit: its file {subfolder} lacks "
            f"{len(info['missing_keys'])} tensors ({', '.join(sorted(info['missing_keys'])[:2])}); "
            "copy the whole folder again"
        )
    return network


def _fetch(load: Any, source: str | Path, what: str, subfolder: str = "", **options: Any) -> Any:
    try:
        if subfolder:
            options["subfolder"] = subfolder
        # Some libraries draw first weights before they read the file's.
        with torch.random.fork_rng(devices=[]):
            return load(str(source), **options)
    except OSError as error:
        place = f"{source}/{subfolder}" if subfolder else str(source)
        needed = f"{what} {place} is neither a folder with what is needed, nor"
        if Path(source).exists() or Path(source).is_absolute() or str(source).count("/") > 1:
            why = "the id of a repository on the hub"
        else:
            why = f"can it be fetched from the hub ({str(error).splitlines()[0]})"
        raise FileNotFoundError(
            f"{needed} {why}; dreamdiffusion train-generator makes a small one"
        ) from error


def change_scheduler(scheduler: Any, name: str) -> Any:
    """Return the scheduler called ``name`` for the same noise schedule; ``own`` is this one."""
    if name == "own":
        return scheduler
    kind, options = SCHEDULERS[name]
    return kind.from_config(scheduler.config, **options)


def unet_extras(
    unet: UNet2DConditionModel, n: int, image_size: int, guidance_scale: float = 1.0
) -> dict[str, Any]:
    """Return what a U-Net wants beside latents, timestep and condition.

    Stable Diffusion XL takes the picture's size and a pooled text embedding (zero, as for an empty
    text); one that was distilled with guidance takes the guidance scale.
    """
    config, device = unet.config, unet.device
    extras: dict[str, Any] = {}
    if config["addition_embed_type"] == "text_time":
        width = config["addition_time_embed_dim"]
        pooled = config["projection_class_embeddings_input_dim"] - 6 * width
        size = torch.tensor([image_size, image_size, 0, 0, image_size, image_size], device=device)
        extras["added_cond_kwargs"] = {
            "text_embeds": torch.zeros(n, pooled, device=device, dtype=unet.dtype),
            "time_ids": size.to(unet.dtype).expand(n, 6),
        }
    if config["time_cond_proj_dim"]:
        scale = torch.full((n,), (guidance_scale - 1) * 1000.0, device=device)
        embedding = get_timestep_embedding(scale, config["time_cond_proj_dim"])
        extras["timestep_cond"] = embedding.to(unet.dtype)
    return extras


def signed(images: torch.Tensor) -> torch.Tensor:
    """Turn pictures in [0, 1], which everything takes and gives, into [-1, 1] for a VAE.

    Raises
    ------
    ValueError
        If they are not in [0, 1].
    """
    low, high = (float(value) for value in torch.aminmax(images))
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # also false for NaN
        raise ValueError(
            f"pictures lie in [{low:.3g}, {high:.3g}], expected [0, 1]; for pictures in [-1, 1] "
            "pass (images + 1) / 2"
        )
    return images * 2 - 1


@torch.no_grad()
def encode_images(vae: AutoencoderKL, images: torch.Tensor, batch_size: int = 64) -> torch.Tensor:
    """Return the scaled latents of images.

    Parameters
    ----------
    images
        ``(n, 3, height, width)`` in [0, 1].

    Returns
    -------
    torch.Tensor
        ``(n, latent_channels, h, w)``: the mean of the VAE's posterior times its scaling factor.
        The posterior's width is orders of magnitude below the diffusion noise and left out.
    """
    scale = vae.config["scaling_factor"]
    parts = [
        vae.encode(signed(part)).latent_dist.mode() * scale  # pyright: ignore[reportAttributeAccessIssue]
        for part in images.split(batch_size)
    ]
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
    """Return what the U-Net learns to predict: the noise, or the velocity (SD 2.x), as ``latents``.

    Latents and noise are ``(n, channels, height, width)``, timesteps int64 ``(n,)``.

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
    """Scale images from [0, 1] to what CLIP's image tower takes, ``(n, 3, size, size)``."""
    images = signed(images)  # as in training, to the last digit
    if images.shape[-1] != size:
        images = F.interpolate(images, size=(size, size), mode="bicubic", antialias=True)
    mean = images.new_tensor(CLIP_MEAN).view(1, 3, 1, 1)
    std = images.new_tensor(CLIP_STD).view(1, 3, 1, 1)
    return ((images.clamp(-1, 1) + 1) / 2 - mean) / std


@torch.no_grad()
def embed_images(
    clip: CLIPVisionModelWithProjection, images: torch.Tensor, batch_size: int = 128
) -> torch.Tensor:
    """Return unit-norm CLIP embeddings ``(n, projection_dim)`` of images in [0, 1]."""
    size = clip.config.image_size
    parts = [
        clip(pixel_values=clip_pixels(part, size)).image_embeds  # pyright: ignore[reportArgumentType]
        for part in images.split(batch_size)
    ]
    return F.normalize(torch.cat(parts), dim=-1)


Embed = Callable[[Tensor], Tensor]
"""Pictures (n, 3, H, W) in [0, 1] -> embeddings (n, d)."""


def load_embedder(source: str | Path, device: torch.device) -> Embed:
    """Return the image tower of a CLIP (folder or hub id) as a function of pictures in [0, 1].

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    clip = load_clip(source).to(device).eval()  # pyright: ignore[reportArgumentType]

    def embed(images: Tensor) -> Tensor:
        return embed_images(clip, images.to(device, torch.float32)).cpu()

    return embed
