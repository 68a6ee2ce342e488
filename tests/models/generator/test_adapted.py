"""Stable Diffusion with an IP-Adapter: small stand-ins of the same shape and file names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from tiny import write_generator
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from dreamdiffusion.models.generator.adapted import AdaptedGenerator
from dreamdiffusion.models.generator.folder import SCHEDULE

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng
WIDTH, EMBED_DIM, LENGTH = 32, 6, 4.0
FILE = "ip-adapter_sd15.safetensors"
LEVELS = {
    "sample_size": 8, "block_out_channels": (32, 32), "layers_per_block": 1, "norm_num_groups": 16,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "attention_head_dim": 4,
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}  # fmt: skip


def vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(16, 16), norm_num_groups=8, latent_channels=4, sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip


def stable_diffusion(folder: Path, tokenizer: CLIPTokenizer) -> UNet2DConditionModel:
    unet = UNet2DConditionModel(**LEVELS, cross_attention_dim=WIDTH)
    StableDiffusionPipeline(
        vae(), CLIPTextModel(text_config(tokenizer, WIDTH)), tokenizer, unet,
        DPMSolverMultistepScheduler(**SCHEDULE), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return unet


def stable_diffusion_xl(folder: Path, tokenizer: CLIPTokenizer) -> UNet2DConditionModel:
    unet = UNet2DConditionModel(
        **LEVELS, cross_attention_dim=2 * WIDTH, addition_embed_type="text_time",
        addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + WIDTH,
    )  # fmt: skip
    second = CLIPTextModelWithProjection(text_config(tokenizer, WIDTH))
    StableDiffusionXLPipeline(
        vae(), CLIPTextModel(text_config(tokenizer, WIDTH)), second, tokenizer, tokenizer, unet,
        DPMSolverMultistepScheduler(**SCHEDULE), add_watermarker=False,
    ).save_pretrained(folder)  # fmt: skip
    return unet


def text_config(tokenizer: CLIPTokenizer, width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=width, projection_dim=width,
        num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=8,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip


def write_adapter(folder: Path, unet: UNet2DConditionModel) -> Path:
    """Write what h94/IP-Adapter holds: a projection to 4 tokens, keys and values of each layer."""
    width = unet.config.cross_attention_dim
    content = {
        "image_proj.proj.weight": torch.randn(4 * width, EMBED_DIM),
        "image_proj.proj.bias": torch.zeros(4 * width),
        "image_proj.norm.weight": torch.ones(width), "image_proj.norm.bias": torch.zeros(width),
    }  # fmt: skip
    cross = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    for number in range(len(cross)):
        for part in ("to_k_ip", "to_v_ip"):
            content[f"ip_adapter.{2 * number + 1}.{part}.weight"] = torch.randn(32, width)
    (folder / "models").mkdir(parents=True)
    save_file(content, folder / "models" / FILE)
    return folder


@pytest.fixture(scope="module", params=[stable_diffusion, stable_diffusion_xl])
def generator(request, tmp_path_factory) -> AdaptedGenerator:
    root = tmp_path_factory.mktemp("adapted")
    tokenizer = CLIPTokenizer.from_pretrained(write_generator(root / "small") / "tokenizer")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = request.param(root / "sd", tokenizer)
        adapter = write_adapter(root / "adapter", unet)
    return AdaptedGenerator.from_pretrained(str(root / "sd"), str(adapter), FILE, LENGTH, "models")


def draw(generator: AdaptedGenerator, seed: int = 0, **given) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return generator.draw(**given, num_inference_steps=2, rng=rng)


def test_embeddings_count_by_direction_and_scale(generator):
    embeddings = torch.eye(EMBED_DIM)[:3]
    drawn = draw(generator, embeddings=embeddings)
    assert drawn.shape == (3, 3, 16, 16) and drawn.min() >= 0 and drawn.max() <= 1
    torch.testing.assert_close(draw(generator, embeddings=9 * embeddings), drawn)
    other = draw(generator, embeddings=embeddings.roll(1, 0))
    assert (other - drawn).abs().max() > 1e-3
    captions = ["a red square"] * 3
    text = draw(generator, captions=captions)
    unheard = draw(generator, captions=captions, embeddings=embeddings, adapter_scale=0.0)
    torch.testing.assert_close(unheard, text)
    both = draw(generator, captions=captions, embeddings=embeddings, adapter_scale=1.0)
    assert (both - text).abs().max() > 1e-3


def test_each_picture_has_its_own_embedding_and_noise(generator):
    given = {"embeddings": torch.eye(EMBED_DIM)[:2], "guidance_scale": 1.0}
    both = draw(generator, **given)
    first = draw(generator, embeddings=given["embeddings"][:1], guidance_scale=1.0)
    torch.testing.assert_close(first, both[:1], atol=1e-5, rtol=1e-4)
    assert (both[0] - both[1]).abs().max() > 1e-3
    assert (draw(generator, seed=1, **given) - both).abs().max() > 1e-3


def test_drawing_starts_from_a_picture(generator):
    start = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    given = {"embeddings": torch.eye(EMBED_DIM)[:2]}
    drawn = draw(generator, **given, start=start, strength=0.5)
    assert drawn.shape == (2, 3, 16, 16)
    again = draw(generator, **given, start=start.flip(0), strength=0.5)
    assert (drawn - again).abs().max() > 1e-3


def test_what_does_not_fit_is_named(generator, tmp_path):
    with pytest.raises(ValueError, match="nothing to draw"):
        generator.draw()
    with pytest.raises(ValueError, match=r"embeddings are \(2, 5\), expected \(2, 6\)"):
        generator.draw(embeddings=torch.ones(2, 5))
    opened = AdaptedGenerator.from_pretrained
    with pytest.raises(ValueError, match=r"weight_name is a\.bin, expected a \.safetensors"):
        opened("x", "y", "a.bin", LENGTH)
    with pytest.raises(ValueError, match="reads patches or faces"):
        opened("x", "y", "ip-adapter-plus_sd15.safetensors", LENGTH)
    with pytest.raises(FileNotFoundError, match="nor can it be fetched"):
        opened(str(tmp_path / "none"), str(tmp_path), FILE, LENGTH)
