"""The text-to-image generator: a diffusers folder in Stable Diffusion's shape, plus a CLIP.

Layout of the folder: what `diffusers.StableDiffusionPipeline` reads (``vae``, ``unet``,
``text_encoder``, ``tokenizer``, ``scheduler``, ``model_index.json``), and ``clip``, the whole CLIP
whose text tower the generator uses and whose image tower is the target of the alignment.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
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

from dreamdiffusion.models.embedder import Embedder, load_embedder
from dreamdiffusion.models.hub import fetch, open_weights
from dreamdiffusion.models.pixels import signed

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
    # Its own algorithm: a generator may draw by a stochastic one, or by that of another scheduler.
    "dpm++": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++"}),
    "unipc": (UniPCMultistepScheduler, {}),
    "lcm": (LCMScheduler, {}),
}


@dataclass
class Generator:
    """What draws, and the space of pictures that the EEG is aligned in."""

    vae: AutoencoderKL
    unet: UNet2DConditionModel
    scheduler: Any
    clip: Embedder

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
        The space that the EEG is aligned in, as `load_embedder` opens it. Left out: ``clip`` in the
        generator's folder, else the paper's.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or the hub has no such repository or cannot be reached.
    ValueError
        If it is no Stable Diffusion, its U-Net already takes class labels, or its scheduler does
        not draw.
    """
    parts = fetch(DiffusionPipeline.load_config, source, "generator")
    if not isinstance(parts, dict) or not {"vae", "unet", "scheduler"} <= parts.keys():
        raise ValueError(
            f"generator {source} is no Stable Diffusion: its model_index.json has "
            f"{', '.join(map(str, parts)) or 'nothing'}, expected vae, unet and scheduler"
        )
    options = {"torch_dtype": torch.float32}
    unet = open_weights(UNet2DConditionModel, source, "generator", "unet", **options)
    if unet.config["class_embed_type"] not in (None, "identity") or unet.config["num_class_embeds"]:
        raise ValueError(f"the U-Net of {source} takes class labels, where the EEG would go in")
    vae = open_weights(AutoencoderKL, source, "generator", "vae", **options)
    kind = getattr(diffusers, parts["scheduler"][1], None)
    # The file names a class; nothing but a scheduler is taken from it.
    if not (isinstance(kind, type) and issubclass(kind, SchedulerMixin)):
        raise ValueError(f"generator {source} names the unknown scheduler {parts['scheduler'][1]}")
    scheduler = fetch(kind.from_pretrained, source, "generator", "scheduler")
    check_draws(scheduler)
    if clip is None:
        clip = Path(source) / "clip" if (Path(source) / "clip").is_dir() else PAPER_CLIP
    return Generator(vae, unet, scheduler, load_embedder(clip))


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
    check_draws(pipeline.scheduler)
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
    parts = fetch(DiffusionPipeline.load_config, folder, "generator")
    if not isinstance(parts, dict) or not {"vae", "unet", "text_encoder"} <= parts.keys():
        raise ValueError(
            f"{folder / 'model_index.json'} is of no generator with a text encoder; give a folder "
            "that train-generator wrote"
        )


def change_scheduler(scheduler: Any, name: str) -> Any:
    """Return the scheduler called ``name`` for the same noise schedule; ``own`` is this one.

    Raises
    ------
    ValueError
        If that scheduler cannot keep it.
    """
    if name == "own":
        return scheduler
    kind, options = SCHEDULERS[name]
    changed = kind.from_config(scheduler.config, **options)
    check_noise_schedule(changed, scheduler.alphas_cumprod)
    return changed


def check_draws(scheduler: Any) -> None:
    """Refuse a scheduler that makes no picture of what Stable Diffusion's U-Net predicts.

    Raises
    ------
    ValueError
        If it counts noise otherwise than in timesteps, wants more than the prediction, or goes from
        picture to noise.
    """
    name = type(scheduler).__name__
    wanted = ("scale_model_input", "alphas_cumprod", "init_noise_sigma", "add_noise", "step")
    problems = ["it goes from a picture to noise"] if name.endswith("InverseScheduler") else []
    problems += [f"it has no {part}" for part in wanted if not hasattr(scheduler, part)]
    if not problems:
        needed = [
            parameter.name
            for parameter in inspect.signature(scheduler.step).parameters.values()
            if parameter.default is parameter.empty
        ]
        if needed != ["model_output", "timestep", "sample"]:
            problems.append(f"its step needs {', '.join(needed)}")
    if problems:
        raise ValueError(
            f"the scheduler {name} does not draw with Stable Diffusion's U-Net ({problems[0]}); "
            "take DDIM, DPM++, UniPC, Euler or another of diffusers for it"
        )


def check_noise_schedule(scheduler: Any, alphas_cumprod: torch.Tensor) -> None:
    """Refuse a scheduler whose timesteps are not as noisy as those that the U-Net learned.

    Parameters
    ----------
    alphas_cumprod
        Share of the picture's variance that is left at each timestep of the training.
    """
    own, trained = scheduler.alphas_cumprod.cpu().float(), alphas_cumprod.cpu().float()
    # Some keep 2 ** -24 where nothing is left, which they could not divide by.
    if own.shape != trained.shape or not torch.allclose(own, trained, atol=1e-4):
        raise ValueError(
            f"the scheduler {type(scheduler).__name__} has another noise schedule than the U-Net "
            "was trained with; take one that knows rescale_betas_zero_snr (DDIM, DPM++, Euler or "
            "UniPC), made with from_config of the generator's own"
        )


def noise_source(
    scheduler: Any, generator: torch.Generator | list[torch.Generator] | None
) -> dict[str, Any]:
    """Return what a scheduler's step takes beside latents: its source, where it draws noise."""
    takes = "generator" in inspect.signature(scheduler.step).parameters
    return {"generator": generator} if takes else {}


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
