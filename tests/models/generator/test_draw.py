"""Drawing from captions, embeddings and pictures with a tiny untrained generator."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMInverseScheduler,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
)
from tiny import CAPTIONS, SIZE, write_generator

from dreamdiffusion.models.generator.build import open_networks
from dreamdiffusion.models.generator.draw import PromptedGenerator
from dreamdiffusion.models.generator.folder import DRAWING
from dreamdiffusion.models.generator.generator import decode_latents, encode_images, load_generator
from dreamdiffusion.models.generator.image_projection import ImageProjection

pytestmark = pytest.mark.global_rng


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_generator(tmp_path_factory.mktemp("generator") / "tiny")
    torch.manual_seed(0)
    ImageProjection(8, 2, 32, 16).save_pretrained(folder / "image_projection")
    return folder


@pytest.fixture(scope="module")
def generator(folder: Path) -> PromptedGenerator:
    return PromptedGenerator.from_pretrained(folder, precision="fp32")


def with_scheduler(folder: Path, tmp_path: Path, kind: Any, config: dict[str, Any]) -> Path:
    """Copy a generator, to draw with another scheduler."""
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    index = json.loads((other / "model_index.json").read_text("utf-8"))
    index["scheduler"] = ["diffusers", kind.__name__]
    (other / "model_index.json").write_text(json.dumps(index), "utf-8")
    kind.from_config(config).save_pretrained(other / "scheduler")
    return other


def noise() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_captions_draw_what_stable_diffusion_draws(
    folder: Path, generator: PromptedGenerator
) -> None:
    """From the same sources of noise, which the steps draw from too."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    options = {"num_inference_steps": 3, "guidance_scale": 2.5}

    def sources() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in (3, 4)]

    expected = pipe(
        CAPTIONS, height=SIZE, width=SIZE, generator=sources(), output_type="np", **options
    ).images
    drawn = generator.draw(captions=CAPTIONS, rng=sources(), **options)
    np.testing.assert_allclose(drawn.permute(0, 2, 3, 1), expected, atol=1e-4)
    assert drawn.shape == (2, 3, SIZE, SIZE) and 0 <= drawn.min() <= drawn.max() <= 1


def test_embeddings_change_the_picture_and_batches_do_not(generator: PromptedGenerator) -> None:
    embeddings = torch.randn(3, 8, generator=noise())

    def draw(**given: object) -> torch.Tensor:
        return generator.draw(num_inference_steps=2, rng=noise(), **given)  # pyright: ignore

    alone = draw(embeddings=embeddings)
    torch.testing.assert_close(alone, draw(embeddings=7 * embeddings), atol=1e-5, rtol=0)
    torch.testing.assert_close(alone, draw(embeddings=embeddings, batch_size=2), atol=1e-4, rtol=0)
    for other in (
        draw(embeddings=-embeddings),
        draw(embeddings=embeddings, noise_level=1.0),
        draw(embeddings=embeddings, captions=["a red square"] * 3),
        draw(captions=[""] * 3),
    ):
        assert (alone - other).abs().max() > 1e-3


def test_noise_within_the_steps_does_not_depend_on_the_batch(generator: PromptedGenerator) -> None:
    given = {"captions": [*CAPTIONS, CAPTIONS[0]], "num_inference_steps": 3}
    together = generator.draw(**given, rng=noise())
    torch.testing.assert_close(
        together, generator.draw(**given, rng=noise(), batch_size=2), atol=1e-4, rtol=0
    )
    scheduler = DPMSolverMultistepScheduler.from_config(
        generator.scheduler.config, algorithm_type="dpmsolver++"
    )
    without = dataclasses.replace(generator, scheduler=scheduler).draw(**given, rng=noise())
    assert (together - without).abs().max() > 1e-3


def test_little_strength_keeps_the_start(generator: PromptedGenerator) -> None:
    """One step of fifty redraws next to nothing: what is left is the VAE's reconstruction."""
    start = torch.rand(2, 3, SIZE, SIZE, generator=noise())
    # As of a trained generator, latents vary by one; else the least noise would drown them.
    scale = generator.vae.config["scaling_factor"] / encode_images(generator.vae, start).std()
    vae = copy.deepcopy(generator.vae)
    vae.register_to_config(scaling_factor=float(scale))
    generator = dataclasses.replace(generator, vae=vae)
    kept = decode_latents(generator.vae, encode_images(generator.vae, start))

    def distance(strength: float) -> float:
        drawn = generator.draw(
            CAPTIONS, start=start, strength=strength, num_inference_steps=50, rng=noise()
        )
        return float((drawn - kept).abs().mean())

    assert distance(0.02) < 0.4 * distance(1.0)


@pytest.mark.parametrize(
    "kind", [DDIMScheduler, DDPMScheduler, PNDMScheduler, EulerDiscreteScheduler]
)
def test_a_folder_of_another_scheduler_draws_from_a_start(
    folder: Path, tmp_path: Path, kind: Any
) -> None:
    config = {"rescale_betas_zero_snr": False, "algorithm_type": "dpmsolver++"}
    own = PromptedGenerator.from_pretrained(folder).scheduler.config
    generator = PromptedGenerator.from_pretrained(
        with_scheduler(folder, tmp_path, kind, own | config)
    )
    assert isinstance(generator.scheduler, kind)
    start = torch.rand(2, 3, SIZE, SIZE, generator=noise())
    given = {"captions": CAPTIONS, "start": start, "num_inference_steps": 4}
    drawn = generator.draw(**given, rng=noise())
    assert torch.isfinite(drawn).all()
    assert torch.equal(drawn, generator.draw(**given, rng=noise()))
    assert open_networks(tmp_path / "other", SIZE).schedule is DRAWING


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(EDMEulerScheduler, "no alphas_cumprod"), (DDIMInverseScheduler, "from a picture to noise")],
)
def test_a_folder_of_a_scheduler_that_does_not_draw_is_refused(
    folder: Path, tmp_path: Path, kind: Any, reason: str
) -> None:
    other = with_scheduler(folder, tmp_path, kind, {"prediction_type": "v_prediction"})
    for open_it in (PromptedGenerator.from_pretrained, load_generator):
        with pytest.raises(
            ValueError, match=f"{kind.__name__} does not draw .*{reason}.* take DDIM"
        ):
            open_it(other)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "nothing to draw"),
        ({"embeddings": torch.ones(2, 5)}, r"embeddings are \(2, 5\), expected \(2, 8\)"),
        ({"captions": ["a"], "embeddings": torch.ones(2, 8)}, r"expected \(1, 8\)"),
        ({"captions": ["a"], "start": torch.ones(1, 3, 4, 4)}, r"expected \(1, 3, 16, 16\)"),
        ({"captions": ["a"], "start": 2 * torch.ones(1, 3, 16, 16)}, r"expected \[0, 1\]"),
        ({"captions": ["a"], "start": torch.ones(1, 3, 16, 16), "strength": 0.0}, "strength is 0"),
    ],
)
def test_what_does_not_fit_is_named(
    generator: PromptedGenerator, given: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        generator.draw(**given)


def test_a_generator_of_captions_alone_says_so(tmp_path: Path) -> None:
    plain = PromptedGenerator.from_pretrained(write_generator(tmp_path / "plain"))
    with pytest.raises(ValueError, match="understands captions alone"):
        plain.draw(embeddings=torch.ones(1, 8))
