"""Stable Diffusion 1.5, 2.1 and CLIP ViT-L/14 at their real sizes, with random weights.

Slow: each writes 3 to 4 GB and takes minutes. Run: pytest -m slow tests/test_full_size.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from dreamdiffusion.decoders.config import FinetuneConfig
from dreamdiffusion.decoders.dreamdiffusion.adapter import add_time_condition
from dreamdiffusion.decoders.dreamdiffusion.build import make_conditioner
from dreamdiffusion.decoders.dreamdiffusion.convert import SD15_UNET, SD15_VAE
from dreamdiffusion.decoders.dreamdiffusion.pipeline import EEGToImagePipeline
from dreamdiffusion.models.encoders.eeg import EEGEncoder
from dreamdiffusion.models.encoders.processor import EEGProcessor
from dreamdiffusion.models.generator.generator import (
    NOISE_SCHEDULE,
    encode_images,
    load_generator,
)

pytestmark = [pytest.mark.slow, pytest.mark.global_rng]

CLIP_L14 = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
    "num_attention_heads": 16, "patch_size": 14, "projection_dim": 768,
}  # fmt: skip
# Sizes: the config.json files of the published repositories.
SD21_UNET = SD15_UNET | {
    "sample_size": 96,
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
KINDS = {
    "1.5": (SD15_UNET, PNDMScheduler, {"skip_prk_steps": True}, 860),
    "2.1": (SD21_UNET, DDIMScheduler, {"prediction_type": "v_prediction"}, 866),
}


def write_full_size(folder: Path, kind: str) -> Path:
    """Write a Stable Diffusion of one kind and its CLIP, in half precision, as downloads are."""
    unet, scheduler, options, _ = KINDS[kind]
    torch.manual_seed(0)
    UNet2DConditionModel(**unet).half().save_pretrained(folder / "unet")
    AutoencoderKL(**SD15_VAE).half().save_pretrained(folder / "vae")
    config = CLIPVisionConfig(**CLIP_L14)
    CLIPVisionModelWithProjection(config).half().save_pretrained(folder / "clip")
    scheduler(**NOISE_SCHEDULE, **options).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", scheduler.__name__],
    }
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_the_papers_encoder_drives_it(tmp_path: Path, kind: str) -> None:
    """77 tokens of the U-Net's own width, one picture of its own size."""
    generator = load_generator(write_full_size(tmp_path, kind))
    sizes, _, _, millions = KINDS[kind]
    pixels = sizes["sample_size"] * 8
    assert generator.image_size == pixels
    count = sum(p.numel() for p in generator.unet.parameters())
    assert round(count / 1e6) == millions
    picture = torch.rand(1, 3, pixels, pixels)
    assert encode_images(generator.vae, picture).shape == (1, 4, pixels // 8, pixels // 8)
    embedding = generator.clip(picture)
    assert embedding.shape == (1, 768)
    assert float(embedding.norm()) == pytest.approx(1, abs=1e-3)

    encoder = EEGEncoder()
    add_time_condition(generator.unet)
    conditioner = make_conditioner(FinetuneConfig(n_condition_tokens=77), encoder, generator)
    eeg = np.random.default_rng(0).standard_normal((1, 128, 512)) * 1e-5
    condition = conditioner(encoder(torch.from_numpy(eeg).float()))
    assert condition.encoder_hidden_states.shape == (1, 77, sizes["cross_attention_dim"])
    assert condition.time_condition.shape == (1, 1280)
    names = [f"E{i}" for i in range(128)]
    processor = EEGProcessor(names, sfreq=1000.0, n_times=512, scale="robust")
    pipe = EEGToImagePipeline(
        processor, encoder, conditioner, generator.vae, generator.unet, generator.scheduler
    )
    image = pipe(eeg, names, 1000.0, num_inference_steps=1, guidance_scale=1.0).images[0]
    assert image.size == (pixels, pixels)
    assert np.asarray(image).std() > 0
