"""Train a small text-to-image generator, in Stable Diffusion's own shape."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from numpy.typing import NDArray
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer

from dreamdiffusion.files.output import RESUMES, writes_output
from dreamdiffusion.files.schema import write_yaml
from dreamdiffusion.files.whole import write_picture
from dreamdiffusion.models.config import TrainGeneratorConfig
from dreamdiffusion.models.generator.build import build_networks, build_projection
from dreamdiffusion.models.generator.decoder_task import DecoderTask, LastSteps
from dreamdiffusion.models.generator.distill_task import DistillTask
from dreamdiffusion.models.generator.folder import (
    DRAWING,
    FEW_STEPS,
    SCHEDULE,
    Networks,
    save_generator,
    text_tower,
)
from dreamdiffusion.models.generator.generator import (
    encode_images,
    image_size,
    open_text_pipeline,
)
from dreamdiffusion.models.generator.prompt_task import PromptTask, clip_embeddings
from dreamdiffusion.models.generator.sources import FixedSource, SceneSource, Source
from dreamdiffusion.models.generator.tasks import ClipImageTask, ClipTask, UnetTask, VaeTask
from dreamdiffusion.models.picture_prints import (
    load_descriptions,
    load_prints,
    save_prints,
)
from dreamdiffusion.models.pictures import FreshScenes, Pictures, draw_pictures, read_pictures
from dreamdiffusion.models.start import part_of
from dreamdiffusion.training.config import TrainConfig
from dreamdiffusion.training.device import choose_device
from dreamdiffusion.training.loop import train_task
from dreamdiffusion.training.task import Task

N_STATISTICS = 2048
"""Pictures, where there are so many, that mean and deviation of the embeddings are taken from."""


@writes_output(RESUMES)
def train_generator(config: TrainGeneratorConfig) -> Path:
    """Train tokenizer, CLIP, VAE and U-Net in turn and write a generator folder.

    The stages keep their own checkpoints under ``output/*-train``; a run that was
    stopped goes on where it was. The result is ``output/generator``, which
    ``diffusers.StableDiffusionPipeline.from_pretrained`` opens.

    Raises
    ------
    FileNotFoundError, ValueError
        If ``config.data`` names a folder that is missing, empty, or holds an unreadable picture,
        or ``config.init`` is a generator that does not fit.
    """
    if config.init is not None:
        config = config.model_copy(update={"init": part_of(config.init, "generator")})
    output = config.output
    output.mkdir(parents=True, exist_ok=True)
    write_yaml(config, output / "config.yaml")
    pictures = _pictures(config)
    networks = build_networks(config, pictures.captions)
    clip, vae = networks.clip, networks.vae
    _train_clip(config, pictures, networks)
    prints = []
    if config.vae_train is not None:
        prints += [_train_vae(config, config.vae_train, pictures, vae)]
    for frozen in (clip, vae):
        frozen.eval().requires_grad_(False)
    if config.unet_train is not None and config.image_condition is None:
        _train_on_captions(config, config.unet_train, pictures, networks)
    elif config.unet_train is not None:
        prints += [_train_on_embeddings(config, config.unet_train, pictures, networks)]
    elif config.distill_train is not None:
        prints += [_distill(config, config.distill_train, pictures, networks)]
    if config.decoder_train is not None:
        prints += [_train_decoder(config, config.decoder_train, pictures, networks)]
    folder = output / "generator"
    save_generator(folder, networks)
    _save_all_prints(config, folder, pictures, prints)
    captions = _spread(sorted(set(pictures.captions)), 48)
    drawn = {"num_inference_steps": 10, "guidance_scale": 2.5}
    if networks.schedule is FEW_STEPS:
        drawn = {"num_inference_steps": config.distill.n_steps, "guidance_scale": 1.0}
    draw_samples(folder, captions, output / "samples.png", _fresh_stages(config)[-1], drawn)
    return folder


def _run(
    task: Task,
    config: TrainGeneratorConfig,
    stage: TrainConfig,
    pictures: Pictures,
    folder: str,
    name: str,
) -> list[dict[str, Any]]:
    """Train one part; one that goes on has to be given the same generator, pictures and start."""
    stages = {key for key, field in config if isinstance(field, TrainConfig)}
    given = config.model_dump(mode="json", exclude={"output", "workers", *stages})
    start = config.init and _digest(config.init)  # it may lie elsewhere by then
    task.given = {**given, "init": start, "digest of data": pictures.digest}
    return train_task(task, stage, config.output / folder, name)


def _digest(generator: Path) -> str:
    """Return one sum of all weights of a generator folder."""
    sums = hashlib.sha256()
    for path in sorted(generator.rglob("*.safetensors")):
        sums.update(f"{path.relative_to(generator)} {path.stat().st_size} ".encode())
        sums.update(path.read_bytes())
    return sums.hexdigest()[:16]


def _fresh_stages(config: TrainGeneratorConfig) -> list[TrainConfig]:
    """Return the trainings that may draw new scenes at every step."""
    stages = (config.vae_train, config.unet_train, config.distill_train, config.decoder_train)
    return [stage for stage in stages if stage is not None]


def _train_on_source(
    make_task: Callable[[Source], Task],
    config: TrainGeneratorConfig,
    stage: TrainConfig,
    pictures: Pictures,
    folder: str,
    name: str,
) -> NDArray[np.uint64]:
    """Train on fresh scenes or on the fixed pictures; return the prints of the fresh ones."""
    source: Source = FixedSource(pictures)
    if config.fresh_scenes:
        source = SceneSource(
            config.image_size, stage.seed, stage.steps, stage.batch_size, config.workers
        )
    log = _run(make_task(source), config, stage, pictures, folder, name)
    return source.prints(log[-1]["step"] if log else stage.steps)


def _pictures(config: TrainGeneratorConfig) -> Pictures:
    """Return the fixed pictures; where all are fresh, the first ones of the last stage."""
    if config.data is not None:
        return read_pictures(config.data, config.image_size, config.picture_fit, config.flip)
    last = _fresh_stages(config)[-1]
    if config.fresh_scenes and (config.clip_train, config.clip_image_train) == (None, None):
        some = torch.arange(min(N_STATISTICS, last.steps * last.batch_size))
        return FreshScenes(config.image_size, last.seed).read(some)
    return draw_pictures(config.n_scenes, config.image_size, last.seed)


def _train_clip(config: TrainGeneratorConfig, pictures: Pictures, networks: Networks) -> None:
    """Train both towers; the U-Net begins with a copy of the text tower."""
    tokenizer, clip = networks.tokenizer, networks.clip
    if config.clip_train is not None:
        captions, (caption_ids,) = _number([pictures.captions])
        task = ClipTask(clip, pictures, _tokenize(tokenizer, captions), caption_ids)
        _run(task, config, config.clip_train, pictures, "clip-train", "CLIP")
        networks.text_encoder = text_tower(clip)
    if config.clip_image_train is not None:
        texts, text_ids = _number(pictures.captions_by_length or [pictures.captions])
        image_task = ClipImageTask(clip.cpu(), pictures, _tokenize(tokenizer, texts), text_ids)
        stage, folder = config.clip_image_train, "clip-image-train"
        _run(image_task, config, stage, pictures, folder, "CLIP images")


def _train_vae(
    config: TrainGeneratorConfig, stage: TrainConfig, pictures: Pictures, vae: AutoencoderKL
) -> NDArray[np.uint64]:
    """Train encoder and decoder, and set the scale that gives latents unit variance."""

    def task(source: Source) -> Task:
        return VaeTask(vae, source, config.vae.kl_weight)

    prints = _train_on_source(task, config, stage, pictures, "vae-train", "VAE")
    vae.eval().requires_grad_(False)
    vae.register_to_config(scaling_factor=1.0)
    vae.register_to_config(scaling_factor=float(1 / _encode_all(vae, pictures).std()))
    return prints


def _train_decoder(
    config: TrainGeneratorConfig, stage: TrainConfig, pictures: Pictures, networks: Networks
) -> NDArray[np.uint64]:
    """Train the VAE's decoder alone, on what the U-Net leaves it; latents stay as they are."""
    for module in (networks.unet, networks.text_encoder):
        module.eval().to(choose_device(stage.runtime))  # pyright: ignore[reportArgumentType]

    def encode(captions: list[str]) -> torch.Tensor:
        tokens = _tokenize(networks.tokenizer, captions)
        return _encode_captions(networks.text_encoder, tokens).to(networks.unet.device)

    last_steps = LastSteps(networks.unet, DDPMScheduler(**SCHEDULE), encode)

    def task(source: Source) -> Task:
        return DecoderTask(networks.vae, source, last_steps, stage.seed)

    return _train_on_source(task, config, stage, pictures, "decoder-train", "VAE decoder")


def _train_on_captions(
    config: TrainGeneratorConfig, stage: TrainConfig, pictures: Pictures, networks: Networks
) -> None:
    """Train the U-Net on captions alone, from latents that are computed once."""
    captions, (caption_ids,) = _number([pictures.captions])
    task = UnetTask(
        networks.unet,
        _encode_all(networks.vae, pictures),
        _encode_captions(networks.text_encoder, _tokenize(networks.tokenizer, [*captions, ""])),
        caption_ids,
        DDPMScheduler(**SCHEDULE),
        config.min_snr_gamma,
        config.caption_dropout,
    )
    _run(task, config, stage, pictures, "unet-train", "U-Net")


def _train_on_embeddings(
    config: TrainGeneratorConfig, stage: TrainConfig, pictures: Pictures, networks: Networks
) -> NDArray[np.uint64]:
    """Train the U-Net, and what makes tokens of CLIP image embeddings, on these and on captions."""
    condition = config.image_condition
    assert condition is not None
    networks.schedule = DRAWING
    if networks.projection is None:
        clip: Any = networks.clip.to(choose_device(stage.runtime))  # pyright: ignore[reportArgumentType]
        some = pictures.images(slice(N_STATISTICS)).to(clip.device)
        embeddings = clip_embeddings(clip, some).float().cpu()
        networks.projection = build_projection(condition, clip, embeddings, stage.seed)

    def task(source: Source) -> Task:
        return PromptTask(*_prompted(config, stage, networks, source))

    return _train_on_source(task, config, stage, pictures, "unet-train", "U-Net")


def _distill(
    config: TrainGeneratorConfig, stage: TrainConfig, pictures: Pictures, networks: Networks
) -> NDArray[np.uint64]:
    """Train the U-Net to draw in few steps."""
    if networks.projection is None:
        raise ValueError(
            f"init {config.init} understands captions alone; distill_train takes one with a folder "
            "image_projection (train-generator with image_condition)"
        )
    networks.schedule = FEW_STEPS

    def task(source: Source) -> Task:
        given = _prompted(config, stage, networks, source)
        return DistillTask(*given, distill=config.distill)

    return _train_on_source(task, config, stage, pictures, "distill-train", "U-Net, few steps")


def _prompted(
    config: TrainGeneratorConfig, stage: TrainConfig, networks: Networks, source: Source
) -> tuple[Any, ...]:
    """Return the arguments of `PromptTask`, with all networks on the device."""
    assert networks.projection is not None
    modules: list[Any] = [
        networks.clip,
        networks.vae,
        networks.projection,
        networks.text_encoder,
        networks.unet,
    ]
    for module in modules:
        module.to(choose_device(stage.runtime))
    return (
        networks.unet,
        networks.projection,
        networks.text_encoder,
        networks.clip,
        networks.vae,
        DDPMScheduler(**SCHEDULE),
        source,
        functools.partial(_tokenize, networks.tokenizer),
        config.image_condition,
        config.min_snr_gamma,
    )


def _save_all_prints(
    config: TrainGeneratorConfig,
    folder: Path,
    pictures: Pictures,
    prints: list[NDArray[np.uint64]],
) -> None:
    """Save prints of all pictures that any part learned from, those of ``init`` included."""
    descriptions = None
    if config.init is not None:
        before, descriptions = load_prints(config.init), load_descriptions(config.init)
        prints = prints if before is None else [before, *prints]
    save_prints(folder, pictures.pixels, prints, descriptions, drawn=config.data is None)


def _number(lists: list[list[str]]) -> tuple[list[str], torch.Tensor]:
    """Return the distinct texts, sorted, and the place of each text, int64 as the lists."""
    distinct = sorted({text for texts in lists for text in texts})
    place = {text: i for i, text in enumerate(distinct)}
    return distinct, torch.tensor([[place[text] for text in texts] for texts in lists])


def _spread(items: list[str], n: int) -> list[str]:
    step = max(1, len(items) // n)
    return items[::step][:n]


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
        encode_images(vae, pictures.images(slice(i, i + chunk)).to(vae.device)).cpu()
        for i in range(0, n, chunk)
    ]
    return torch.cat(parts)


@torch.no_grad()
def _encode_captions(text_encoder: CLIPTextModel, tokens: torch.Tensor) -> torch.Tensor:
    """Return what cross-attention sees of each caption, ``(n, max_length, width)``."""
    parts = [
        text_encoder(input_ids=part.to(text_encoder.device)).last_hidden_state.cpu()
        for part in tokens.split(256)
    ]
    return torch.cat(parts)


def draw_samples(
    folder: Path, captions: list[str], path: Path, train: TrainConfig, drawn: dict[str, Any]
) -> None:
    """Draw one picture a caption, as a user would, and write them as one grid."""
    pipeline = open_text_pipeline(folder).to(choose_device(train.runtime))
    size = image_size(pipeline.unet, pipeline.vae)
    images: list[Image.Image] = []
    for i in range(0, len(captions), 16):
        images += pipeline(
            captions[i : i + 16],
            generator=torch.Generator().manual_seed(train.seed + i),
            height=size,
            width=size,
            **drawn,
        ).images  # pyright: ignore[reportAttributeAccessIssue]
    columns = 8
    grid = Image.new("RGB", (columns * size, -(-len(images) // columns) * size), "white")
    for i, image in enumerate(images):
        grid.paste(image, (i % columns * size, i // columns * size))
    write_picture(path, grid)
