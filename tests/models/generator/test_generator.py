"""Generators of every Stable Diffusion kind: what is opened, what is refused, what they draw."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_lcm import LCMScheduler
from tiny import SIZE, finetune_config, write_generator

from dreamdiffusion.decoders.dreamdiffusion.adapter import clip_source
from dreamdiffusion.decoders.dreamdiffusion.finetune import finetune
from dreamdiffusion.decoders.dreamdiffusion.pipeline import EEGToImagePipeline
from dreamdiffusion.files.pictures import to_tensor
from dreamdiffusion.models.embedder import load_embedder
from dreamdiffusion.models.generator.generator import (
    PAPER_CLIP,
    decode_latents,
    encode_images,
    load_generator,
    unet_extras,
)
from dreamdiffusion.models.judge.judge import Judge
from dreamdiffusion.models.pictures import Pictures
from dreamdiffusion.models.pixels import CLIP_MEAN, CLIP_STD, clip_pixels
from dreamdiffusion.trials.trials import Trials

pytestmark = pytest.mark.global_rng

XL = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 4,
    "projection_class_embeddings_input_dim": 6 * 4 + 10,
}
DISTILLED = {"time_cond_proj_dim": 12}
VARIANTS = {
    "1.x": {},
    "2.x": {"use_linear_projection": True, "attention_head_dim": [2, 4], "cross_attention_dim": 48},
    "XL": XL,
    "distilled": DISTILLED,
}


def write_variant(folder: Path, changes: dict) -> Path:
    """A tiny generator whose U-Net is of another kind."""
    write_generator(folder)
    config = json.loads((folder / "unet" / "config.json").read_text("utf-8"))
    config = {k: v for k, v in config.items() if not k.startswith("_")} | changes
    with torch.random.fork_rng():
        torch.manual_seed(1)
        UNet2DConditionModel(**config).save_pretrained(folder / "unet")
    return folder


@pytest.mark.parametrize("name", VARIANTS)
def test_every_kind_is_fine_tuned_and_draws(tmp_path: Path, name: str) -> None:
    write_variant(tmp_path / "generator", VARIANTS[name])
    model = finetune(finetune_config(tmp_path, steps=2))
    pipe = EEGToImagePipeline.from_pretrained(model)
    pipe.set_progress_bar_config(disable=True)
    width = VARIANTS[name].get("cross_attention_dim", 32)
    assert pipe.conditioner.config["cross_attention_dim"] == width
    if name == "distilled":
        pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    trials = Trials.load(tmp_path / "trials")

    def draw(guidance_scale: float) -> torch.Tensor:
        return pipe(
            np.asarray(trials.data[:2]), trials.ch_names, trials.sfreq,
            num_inference_steps=2, guidance_scale=guidance_scale, output_type="pt",
            generator=torch.Generator().manual_seed(0),
        ).images  # fmt: skip

    plain, guided = draw(1.0), draw(4.0)
    assert plain.shape == (2, 3, SIZE, SIZE)
    assert torch.isfinite(plain).all()
    assert not torch.equal(plain, guided)
    assert not torch.equal(plain[0], plain[1])


def test_extras_by_hand(tmp_path: Path) -> None:
    unet = load_generator(write_variant(tmp_path / "xl", XL)).unet
    extras = unet_extras(unet, 3, 64)["added_cond_kwargs"]
    assert extras["time_ids"].tolist() == [[64, 64, 0, 0, 64, 64]] * 3
    assert extras["text_embeds"].shape == (3, 10)
    assert not extras["text_embeds"].any()
    unet = load_generator(write_variant(tmp_path / "lcm", DISTILLED)).unet
    embedding = unet_extras(unet, 2, 64, guidance_scale=1.5)["timestep_cond"]
    # sin and cos of 500 (= 1000 x (scale - 1)) at 6 rates from 1 down to 1 / 10000
    angle = 500 / 10000 ** (torch.arange(6) / 5)
    expected = torch.cat([angle.sin(), angle.cos()]).expand(2, 12)
    torch.testing.assert_close(embedding, expected, atol=2e-3, rtol=0)
    assert unet_extras(load_generator(write_generator(tmp_path / "plain")).unet, 2, 64) == {}


def test_the_image_tower_may_lie_elsewhere(tmp_path: Path) -> None:
    """A generator without a CLIP of its own takes the one that is named."""
    config = finetune_config(tmp_path, steps=2)
    shutil.move(tmp_path / "generator" / "clip", tmp_path / "tower")
    with pytest.raises(FileNotFoundError, match=PAPER_CLIP):  # the paper's: there is no network
        finetune(config)
    model = finetune(config.model_copy(update={"clip": str(tmp_path / "tower")}))
    assert clip_source(model) == (tmp_path / "tower").resolve()
    assert EEGToImagePipeline.from_pretrained(model).conditioner.config["clip_dim"] == 8
    assert load_embedder(tmp_path / "tower").embed_dim == 8


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nobody/nothing is neither a folder"):
        load_generator("nobody/nothing")
    folder = write_variant(tmp_path / "classes", {"num_class_embeds": 10})
    with pytest.raises(ValueError, match="takes class labels"):
        load_generator(folder)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="classes/unet"):
        load_generator(folder)
    index = {"_class_name": "FluxPipeline", "transformer": ["diffusers", "X"]}
    (folder / "model_index.json").write_text(json.dumps(index), "utf-8")
    with pytest.raises(ValueError, match="no Stable Diffusion"):
        load_generator(folder)


def test_only_a_scheduler_is_taken_by_the_name_in_the_file(tmp_path: Path) -> None:
    folder = write_generator(tmp_path / "generator")
    index = json.loads((folder / "model_index.json").read_text("utf-8"))
    for name in ("StableDiffusionPipeline", "no_such_class", "utils"):
        index["scheduler"] = ["diffusers", name]
        (folder / "model_index.json").write_text(json.dumps(index), "utf-8")
        with pytest.raises(ValueError, match=f"unknown scheduler {name}"):
            load_generator(folder)


def test_pictures_have_one_range(tmp_path: Path) -> None:
    """Whatever takes pictures takes [0, 1], gives [0, 1] and refuses what lies outside."""
    pixels = np.array([0, 51, 255], np.uint8)[None, None, :, None].repeat(3, 3)
    pictures = to_tensor(pixels)
    assert pictures[0, 0, 0].tolist() == pytest.approx([0, 0.2, 1])
    assert Pictures(pixels, ["grey"]).images(slice(None)).tolist() == pictures.tolist()
    scaled = clip_pixels(torch.full((1, 3, 4, 4), 0.2), 4)[0, :, 0, 0]
    by_hand = [(0.2 - mean) / std for mean, std in zip(CLIP_MEAN, CLIP_STD, strict=True)]
    assert scaled.tolist() == pytest.approx(by_hand, abs=1e-6)
    generator = load_generator(write_generator(tmp_path / "generator"))
    grey = torch.full((1, 3, SIZE, SIZE), 0.5)
    with torch.no_grad():  # middle grey is 0 where the VAE works
        middle = generator.vae.encode(torch.zeros_like(grey)).latent_dist.mode()
    latents = encode_images(generator.vae, grey)
    torch.testing.assert_close(latents, middle * generator.vae.config["scaling_factor"])
    drawn = decode_latents(generator.vae, 100 * latents)
    assert drawn.min() >= 0 and drawn.max() <= 1
    for take in (
        lambda images: encode_images(generator.vae, images),
        generator.clip,
        Judge(["a", "b"], image_size=SIZE, channels=[8]).predict,
    ):
        take(drawn)
        for outside in (grey - 1, grey * 255, grey * torch.nan):
            with pytest.raises(ValueError, match=r"expected \[0, 1\]"):
                take(outside)
