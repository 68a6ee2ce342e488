"""Train a small text-to-image generator, in Stable Diffusion's own shape, from nothing."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from PIL import Image
from torch import nn
from tqdm import tqdm
from transformers import CLIPConfig, CLIPModel, CLIPTextModel, CLIPTokenizer

from dreamdiffusion.files.output import RESUMES, writes_output
from dreamdiffusion.files.schema import write_yaml
from dreamdiffusion.models.config import ClipSizes, TrainGeneratorConfig, UnetSizes, VaeSizes
from dreamdiffusion.models.generator.generator import (
    NOISE_SCHEDULE,
    encode_images,
    image_size,
    open_text_pipeline,
)
from dreamdiffusion.models.generator.image_projection import ImageProjection
from dreamdiffusion.models.generator.prompt_task import PromptTask, clip_embeddings
from dreamdiffusion.models.generator.tasks import ClipImageTask, ClipTask, UnetTask, VaeTask
from dreamdiffusion.models.picture_prints import load_prints, picture_prints, save_prints
from dreamdiffusion.models.pictures import FreshScenes, Pictures, draw_pictures, read_pictures
from dreamdiffusion.training.config import TrainConfig
from dreamdiffusion.training.device import choose_device
from dreamdiffusion.training.loop import fit

SCHEDULE: dict[str, Any] = NOISE_SCHEDULE | {
    # As Stable Diffusion 2: predicting the noise puts little weight on the noisy timesteps, which
    # decide what is drawn.
    "prediction_type": "v_prediction",
}


@writes_output(RESUMES)
def train_generator(config: TrainGeneratorConfig) -> Path:
    """Train tokenizer, CLIP, VAE and U-Net in turn and write a generator folder.

    The stages keep their own checkpoints under ``output/*-train``; a run that was
    stopped goes on where it was. The result is ``output/generator``, which
    ``diffusers.StableDiffusionPipeline.from_pretrained`` opens.

    Raises
    ------
    FileNotFoundError, ValueError
        If ``config.data`` names a folder that is missing, empty, or holds an unreadable picture.
    """
    output = config.output
    output.mkdir(parents=True, exist_ok=True)
    write_yaml(config, output / "config.yaml")
    pictures = _pictures(config)
    tokenizer, clip, vae, unet = _build(config, pictures)
    _train_clip(config, pictures, tokenizer, clip)
    if config.vae_train is not None:
        vae_task = VaeTask(vae, pictures, config.vae.kl_weight)
        fit(vae_task, config.vae_train, output / "vae-train", "VAE")
        vae.register_to_config(scaling_factor=_unit_variance(vae, pictures))
    for frozen in (clip, vae):
        frozen.eval().requires_grad_(False)
    projection = None
    if config.image_condition is None:
        _train_unet(config, pictures, tokenizer, clip, vae, unet)
    else:
        projection = _train_prompted(config, pictures, tokenizer, clip, vae, unet)
    folder = output / "generator"
    save_generator(folder, tokenizer, clip, vae, unet, projection)
    _save_all_prints(config, folder, pictures)
    draw_samples(
        folder,
        _spread(sorted(set(pictures.captions)), 48),
        output / "samples.png",
        config.unet_train,
    )
    return folder


N_STATISTICS = 2048
"""Pictures that the mean and deviation of the embeddings are taken from, where there are so many"""


def _pictures(config: TrainGeneratorConfig) -> Pictures:
    """Return the fixed pictures; of fresh ones, those that the statistics are taken from."""
    if config.data is not None:
        return read_pictures(config.data, config.image_size, config.flip)
    if config.fresh_scenes and config.clip_train is None and config.vae_train is None:
        return _fresh(config).read(torch.arange(min(N_STATISTICS, _n_fresh(config))))
    return draw_pictures(config.n_scenes, config.image_size, config.unet_train.seed)


def _fresh(config: TrainGeneratorConfig) -> FreshScenes:
    return FreshScenes(config.image_size, config.unet_train.seed)


def _n_fresh(config: TrainGeneratorConfig) -> int:
    return config.unet_train.steps * config.unet_train.batch_size


def _train_clip(
    config: TrainGeneratorConfig, pictures: Pictures, tokenizer: CLIPTokenizer, clip: CLIPModel
) -> None:
    """Train both towers; from there on the text tower stays as it is, as the U-Net reads it."""
    captions, (caption_ids,) = _number([pictures.captions])
    if config.clip_train is not None:
        task = ClipTask(clip, pictures, _tokenize(tokenizer, captions), caption_ids)
        fit(task, config.clip_train, config.output / "clip-train", "CLIP")
    if config.clip_image_train is not None:
        texts, text_ids = _number(pictures.captions_by_length or [pictures.captions])
        image_task = ClipImageTask(clip.cpu(), pictures, _tokenize(tokenizer, texts), text_ids)
        fit(image_task, config.clip_image_train, config.output / "clip-image-train", "CLIP images")


def _unit_variance(vae: AutoencoderKL, pictures: Pictures) -> float:
    """Return the scale that gives latents unit variance, as the diffusion assumes."""
    vae.eval().requires_grad_(False)
    vae.register_to_config(scaling_factor=1.0)
    return float(1 / _encode_all(vae, pictures).std())


def _train_unet(
    config: TrainGeneratorConfig,
    pictures: Pictures,
    tokenizer: CLIPTokenizer,
    clip: CLIPModel,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
) -> None:
    """Train the U-Net on captions alone, from latents that are computed once."""
    captions, (caption_ids,) = _number([pictures.captions])
    task = UnetTask(
        unet,
        _encode_all(vae, pictures),
        _encode_captions(clip, _tokenize(tokenizer, [*captions, ""])),
        caption_ids,
        DDPMScheduler(**SCHEDULE),
        config.min_snr_gamma,
        config.caption_dropout,
    )
    fit(task, config.unet_train, config.output / "unet-train", "U-Net")


def _train_prompted(
    config: TrainGeneratorConfig,
    pictures: Pictures,
    tokenizer: CLIPTokenizer,
    clip: CLIPModel,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
) -> ImageProjection:
    """Train the U-Net on captions and CLIP image embeddings; return what makes tokens of these."""
    condition = config.image_condition
    assert condition is not None
    device = choose_device(config.unet_train.runtime)
    clip.to(device)  # pyright: ignore[reportArgumentType]
    vae.to(device)  # pyright: ignore[reportArgumentType]
    projection = _build_projection(config, clip)
    some = pictures.tensor(slice(N_STATISTICS)).to(device)
    projection.set_statistics(clip_embeddings(clip, some).float().cpu())
    task = PromptTask(
        unet,
        projection,
        clip,
        vae,
        DDPMScheduler(**SCHEDULE),
        _fresh(config).read if config.fresh_scenes else pictures.select,
        _n_fresh(config) if config.fresh_scenes else len(pictures.captions),
        functools.partial(_tokenize, tokenizer),
        condition,
        config.min_snr_gamma,
    )
    fit(task, config.unet_train, config.output / "unet-train", "U-Net")
    return projection


def _build_projection(config: TrainGeneratorConfig, clip: CLIPModel) -> ImageProjection:
    """Return the projection of the generator to start from, or a new one."""
    condition = config.image_condition
    assert condition is not None
    if config.init is not None and (config.init / "image_projection").is_dir():
        return ImageProjection.from_pretrained(config.init / "image_projection").float()
    with torch.random.fork_rng():
        torch.manual_seed(config.unet_train.seed)
        sizes: Any = clip.config
        return ImageProjection(
            sizes.projection_dim,
            condition.n_tokens,
            sizes.text_config.hidden_size,
            condition.width,
        )


def _save_all_prints(config: TrainGeneratorConfig, folder: Path, pictures: Pictures) -> None:
    """Save prints of all pictures that any part learned from, those of ``init`` included."""
    prints = []
    if config.init is not None:
        before = load_prints(config.init)
        prints += [] if before is None else [before]
    if config.fresh_scenes:
        places = torch.arange(_n_fresh(config)).split(256)
        for part in tqdm(places, desc="prints", unit="batch", mininterval=1):
            prints.append(picture_prints(_fresh(config).read(part).pixels))
    save_prints(folder, pictures.pixels, prints)


def _number(lists: list[list[str]]) -> tuple[list[str], torch.Tensor]:
    """Return the distinct texts, sorted, and the place of each text, int64 as the lists."""
    distinct = sorted({text for texts in lists for text in texts})
    place = {text: i for i, text in enumerate(distinct)}
    return distinct, torch.tensor([[place[text] for text in texts] for texts in lists])


def _spread(items: list[str], n: int) -> list[str]:
    step = max(1, len(items) // n)
    return items[::step][:n]


def _build(
    config: TrainGeneratorConfig, pictures: Pictures
) -> tuple[CLIPTokenizer, CLIPModel, AutoencoderKL, UNet2DConditionModel]:
    """Return the networks: new ones, or those of the generator to start from."""
    if config.init is not None:
        start = open_text_pipeline(config.init)
        clip = CLIPModel.from_pretrained(config.init / "clip", use_safetensors=True)
        size = image_size(start.unet, start.vae)
        if size != config.image_size:
            raise ValueError(
                f"init {config.init} draws {size} pixels, image_size is {config.image_size}; "
                f"set image_size to {size}"
            )
        for module in (clip, start.vae, start.unet):
            module.float().requires_grad_(True)
        # The folder keeps the text tower twice, and whole only in the text encoder.
        _copy_weights(start.text_encoder, clip.text_model)
        return start.tokenizer, clip, start.vae, start.unet
    with torch.random.fork_rng():
        torch.manual_seed(config.unet_train.seed)
        tokenizer = train_tokenizer(pictures.captions, config.clip)
        clip = build_clip(tokenizer, config.clip, config.image_size)
        vae = build_vae(config.vae, config.image_size)
        unet = build_unet(config.unet, config.vae, config.clip.width, config.image_size)
    return tokenizer, clip, vae, unet


def train_tokenizer(captions: list[str], sizes: ClipSizes) -> CLIPTokenizer:
    """Learn CLIP's byte-pair encoding from the captions."""
    tokenizer = CLIPTokenizer().train_new_from_iterator(
        sorted(set(captions)), vocab_size=sizes.vocab_size, show_progress=False
    )
    tokenizer.model_max_length = sizes.max_length
    return tokenizer


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


def _tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    return tokenizer(
        captions,
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids


def _encode_all(vae: AutoencoderKL, pictures: Pictures, chunk: int = 512) -> torch.Tensor:
    """Return the latents of all pictures on the CPU, ``(n, channels, h, w)``."""
    n = len(pictures.captions)
    parts = [
        encode_images(vae, pictures.tensor(slice(i, i + chunk)).to(vae.device)).cpu()
        for i in range(0, n, chunk)
    ]
    return torch.cat(parts)


@torch.no_grad()
def _encode_captions(clip: CLIPModel, tokens: torch.Tensor) -> torch.Tensor:
    """Return what cross-attention sees of each caption, ``(n, max_length, width)``."""
    parts = [
        clip.text_model(input_ids=part.to(clip.device)).last_hidden_state.cpu()
        for part in tokens.split(256)
    ]
    return torch.cat(parts)


def save_generator(
    folder: Path,
    tokenizer: CLIPTokenizer,
    clip: CLIPModel,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    projection: ImageProjection | None = None,
) -> None:
    """Write the folder, weights in safetensors and mostly fp16, whole or not at all."""
    partial = folder.with_name(f".partial-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    text_encoder = CLIPTextModel(clip.config.text_config)  # pyright: ignore[reportArgumentType]
    _copy_weights(clip.text_model, text_encoder)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DPMSolverMultistepScheduler(**SCHEDULE),  # pyright: ignore[reportArgumentType]
        safety_checker=None,  # type: ignore[arg-type]
        feature_extractor=None,  # type: ignore[arg-type]
        requires_safety_checker=False,
    )
    modules: list[nn.Module] = [vae, unet, clip]
    for module in modules:
        module.cpu().eval().half()
    # diffusers opens its own parts in fp32 whatever the file holds, transformers keeps what it
    # finds: stored as fp32, the text encoder fits the others without a word from the user.
    text_encoder.eval().float()
    pipeline.save_pretrained(partial, safe_serialization=True)
    clip.save_pretrained(partial / "clip", safe_serialization=True)
    if projection is not None:
        # Its statistics lose digits in half precision, and it is small.
        projection.cpu().eval().save_pretrained(partial / "image_projection")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy a text tower; every weight must find its place, whichever prefix a class gives it."""
    prefix = "text_model."
    weights = {key.removeprefix(prefix): value for key, value in source.state_dict().items()}
    wanted = target.state_dict()
    own = prefix if any(key.startswith(prefix) for key in wanted) else ""
    target.load_state_dict({own + key: value for key, value in weights.items()})


def draw_samples(folder: Path, captions: list[str], path: Path, train: TrainConfig) -> None:
    """Draw one picture a caption, as a user would, and write them as one grid."""
    pipeline = open_text_pipeline(folder).to(choose_device(train.runtime))
    size = image_size(pipeline.unet, pipeline.vae)
    images: list[Image.Image] = []
    for i in range(0, len(captions), 16):
        images += pipeline(
            captions[i : i + 16],
            num_inference_steps=20,
            guidance_scale=3.0,
            generator=torch.Generator().manual_seed(train.seed + i),
            height=size,
            width=size,
        ).images  # pyright: ignore[reportAttributeAccessIssue]
    columns = 8
    grid = Image.new("RGB", (columns * size, -(-len(images) // columns) * size), "white")
    for i, image in enumerate(images):
        grid.paste(image, (i % columns * size, i // columns * size))
    grid.save(path)
