"""Writing a generator folder (its layout: `generator.py`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import nn
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from dreamdiffusion.files.whole import whole_folder
from dreamdiffusion.models.generator.generator import NOISE_SCHEDULE
from dreamdiffusion.models.generator.image_projection import ImageProjection

SCHEDULE: dict[str, Any] = NOISE_SCHEDULE | {
    # As Stable Diffusion 2: predicting the noise puts little weight on the noisy timesteps, which
    # decide what is drawn.
    "prediction_type": "v_prediction",
    # Stable Diffusion's last timestep keeps some of the picture, enough to tell where things are: a
    # U-Net that can see it there ignores what the caption says about it, and draws by its noise
    # (Lin et al. 2023).
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",  # drawing begins at that timestep
}

DRAWING: dict[str, Any] = SCHEDULE | {
    # Noise in every step mends what earlier steps got wrong, guidance above all: shapes hold
    # together, and more of the fine detail is kept (docs/generator.md).
    "algorithm_type": "sde-dpmsolver++",
}

FEW_STEPS: dict[str, Any] = SCHEDULE | {
    "solver_order": 1,  # as a U-Net is distilled (`distill_task`)
}


@dataclass
class Networks:
    """What a generator folder holds; ``projection`` only where it understands embeddings.

    ``text_encoder`` is what the U-Net reads captions with. It begins as the text tower of ``clip``
    and learns on with the U-Net, while CLIP stays what EEG is aligned with. ``schedule`` is how it
    draws: `DRAWING`, or `FEW_STEPS` of a U-Net that was distilled.
    """

    tokenizer: CLIPTokenizer
    clip: CLIPModel
    text_encoder: CLIPTextModel
    vae: AutoencoderKL
    unet: UNet2DConditionModel
    projection: ImageProjection | None = None
    schedule: dict[str, Any] = field(default_factory=lambda: DRAWING)


def save_generator(folder: Path, networks: Networks) -> None:
    """Write the folder, weights in safetensors and mostly fp16, whole or not at all.

    Raises
    ------
    OSError
        If the disk is full or fails; what was there before stays.
    """
    clip, vae, unet, projection = (
        networks.clip,
        networks.vae,
        networks.unet,
        networks.projection,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=networks.text_encoder,
        tokenizer=networks.tokenizer,
        unet=unet,
        scheduler=DPMSolverMultistepScheduler(**networks.schedule),  # pyright: ignore[reportArgumentType]
        safety_checker=None,  # type: ignore[arg-type]
        feature_extractor=None,  # type: ignore[arg-type]
        requires_safety_checker=False,
    )
    for part in (vae, unet, projection):
        if part is not None:
            # Where a part was opened from is a path of this machine, and of no use in another.
            part.register_to_config(_name_or_path="")
    modules: list[nn.Module] = [vae, unet, clip]
    for module in modules:
        module.cpu().eval().half()
    # diffusers opens its own parts in fp32 whatever the file holds, transformers keeps what it
    # finds: stored as fp32, the text encoder fits the others without a word from the user.
    networks.text_encoder.cpu().eval().float()
    with whole_folder(folder) as unfinished:
        pipeline.save_pretrained(unfinished, safe_serialization=True)
        clip.save_pretrained(unfinished / "clip", safe_serialization=True)
        if projection is not None:
            for weights in projection.cpu().eval().parameters():
                weights.data = weights.data.half()  # its statistics would lose digits
            projection.save_pretrained(unfinished / "image_projection")


def text_tower(clip: CLIPModel) -> CLIPTextModel:
    """Return a copy of the text tower of a CLIP."""
    tower = CLIPTextModel(clip.config.text_config)  # pyright: ignore[reportArgumentType]
    copy_weights(clip.text_model, tower)
    return tower


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy a text tower; every weight must find its place, whichever prefix a class gives it."""
    prefix = "text_model."
    weights = {key.removeprefix(prefix): value for key, value in source.state_dict().items()}
    wanted = target.state_dict()
    own = prefix if any(key.startswith(prefix) for key in wanted) else ""
    target.load_state_dict({own + key: value for key, value in weights.items()})
