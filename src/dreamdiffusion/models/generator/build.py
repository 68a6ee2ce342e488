"""Networks of a small generator: untrained ones of given sizes, or those of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from dreamdiffusion.models.config import (
    ClipSizes,
    ImageConditionConfig,
    TrainGeneratorConfig,
    UnetSizes,
    VaeSizes,
)
from dreamdiffusion.models.generator.folder import DRAWING, FEW_STEPS, Networks, text_tower
from dreamdiffusion.models.generator.generator import image_size, open_text_pipeline
from dreamdiffusion.models.generator.image_projection import ImageProjection, open_projection
from dreamdiffusion.models.generator.vocabulary import train_tokenizer


def build_networks(config: TrainGeneratorConfig, captions: list[str]) -> Networks:
    """Return the networks to train: new ones, or those of ``config.init``.

    Raises
    ------
    FileNotFoundError
        If ``init`` is no generator folder.
    ValueError
        If ``init`` draws pictures of another size, or understands embeddings and is to be trained
        on captions alone, which would unlearn them.
    """
    if config.init is not None:
        networks = open_networks(config.init, None if config.new_vae else config.image_size)
        if config.new_vae:
            _renew_latents(networks, config)
        if networks.projection and config.unet_train and config.image_condition is None:
            raise ValueError(
                f"init {config.init} understands image embeddings; trained on captions alone its "
                "U-Net would unlearn them: set image_condition, or leave unet_train empty"
            )
    else:
        seed = config.unet_train.seed if config.unet_train else 0
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            tokenizer = train_tokenizer(captions, config.clip)
            clip = build_clip(tokenizer, config.clip, config.image_size)
            networks = Networks(
                tokenizer,
                clip,
                text_tower(clip),
                build_vae(config.vae, config.image_size),
                build_unet(config.unet, config.vae, config.clip.width, config.image_size),
            )
    return networks


def _renew_latents(networks: Networks, config: TrainGeneratorConfig) -> None:
    """Replace VAE and U-Net by untrained ones of the sizes of the configuration."""
    width = int(networks.unet.config["cross_attention_dim"])
    with torch.random.fork_rng():
        torch.manual_seed(config.vae_train.seed if config.vae_train else 0)
        networks.vae = build_vae(config.vae, config.image_size)
        networks.unet = build_unet(config.unet, config.vae, width, config.image_size)


def open_networks(folder: Path, size: int | None) -> Networks:
    """Open the networks of a generator folder in fp32, ready to be trained.

    Parameters
    ----------
    size
        Pixels of the pictures that it has to draw; None: any.

    Raises
    ------
    ValueError
        If it draws pictures of another size.
    """
    start = open_text_pipeline(folder)
    clip = CLIPModel.from_pretrained(folder / "clip", use_safetensors=True)
    pixels = image_size(start.unet, start.vae)
    if size is not None and pixels != size:
        raise ValueError(
            f"init {folder} draws {pixels} pixels, image_size is {size}; set image_size to {pixels}"
        )
    projection = open_projection(folder)
    text_encoder = start.text_encoder
    for module in (clip, text_encoder, start.vae, start.unet, projection):
        if module is not None:
            module.float().requires_grad_(True)
    few = start.scheduler.config.get("solver_order") == FEW_STEPS["solver_order"]
    schedule = FEW_STEPS if few else DRAWING
    return Networks(
        start.tokenizer, clip, text_encoder, start.vae, start.unet, projection, schedule
    )


def build_projection(
    condition: ImageConditionConfig, clip: CLIPModel, embeddings: torch.Tensor, seed: int
) -> ImageProjection:
    """Return an untrained projection that standardises as CLIP ``embeddings (n, d)`` demand."""
    sizes: Any = clip.config
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        projection = ImageProjection(
            sizes.projection_dim,
            condition.n_tokens,
            sizes.text_config.hidden_size,
            condition.width,
        )
    projection.set_statistics(embeddings)
    return projection


def build_clip(tokenizer: CLIPTokenizer, sizes: ClipSizes, image_size: int) -> CLIPModel:
    """Return an untrained CLIP of the given sizes."""
    tower = {
        "hidden_size": sizes.width,
        "intermediate_size": 4 * sizes.width,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "projection_dim": sizes.projection_dim,
    }
    text = tower | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": sizes.max_length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = tower | {"image_size": image_size, "patch_size": sizes.patch_size}
    return CLIPModel(
        CLIPConfig(text_config=text, vision_config=vision, projection_dim=sizes.projection_dim)
    )


def build_vae(sizes: VaeSizes, image_size: int) -> AutoencoderKL:
    """Return an untrained VAE of the given sizes."""
    levels = len(sizes.channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,  # pyright: ignore[reportArgumentType]
        up_block_types=("UpDecoderBlock2D",) * levels,  # pyright: ignore[reportArgumentType]
        block_out_channels=tuple(sizes.channels),  # pyright: ignore[reportArgumentType]
        layers_per_block=sizes.layers_per_block,
        latent_channels=sizes.latent_channels,
        norm_num_groups=16,
        sample_size=image_size,
    )


def build_unet(
    sizes: UnetSizes, vae: VaeSizes, cross_attention_dim: int, image_size: int
) -> UNet2DConditionModel:
    """Return an untrained U-Net of the given sizes, on the latents of ``vae``."""
    levels, plain = len(sizes.channels), sizes.plain_levels
    return UNet2DConditionModel(
        sample_size=image_size // 2 ** (len(vae.channels) - 1),
        in_channels=vae.latent_channels,
        out_channels=vae.latent_channels,
        down_block_types=("DownBlock2D",) * plain + ("CrossAttnDownBlock2D",) * (levels - plain),
        up_block_types=("CrossAttnUpBlock2D",) * (levels - plain) + ("UpBlock2D",) * plain,
        block_out_channels=tuple(sizes.channels),
        layers_per_block=sizes.layers_per_block,
        cross_attention_dim=cross_attention_dim,
        attention_head_dim=sizes.heads,
        norm_num_groups=32,
        addition_embed_type="text" if sizes.pooled_condition else None,
        addition_embed_type_num_heads=sizes.heads,
    )
