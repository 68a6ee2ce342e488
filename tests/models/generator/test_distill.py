"""A U-Net taught to draw in few steps: the algebra of its target, and a short run to the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from safetensors.torch import load_file
from tiny import SIZE, write_generator

from dreamdiffusion.models.config import (
    DistillConfig,
    ImageConditionConfig,
    TrainGeneratorConfig,
)
from dreamdiffusion.models.generator.build import open_networks
from dreamdiffusion.models.generator.distill_task import DistillTask, trailing_timesteps
from dreamdiffusion.models.generator.draw import PromptedGenerator
from dreamdiffusion.models.generator.folder import FEW_STEPS, SCHEDULE
from dreamdiffusion.models.generator.image_projection import ImageProjection
from dreamdiffusion.models.generator.sources import FixedSource
from dreamdiffusion.models.generator.train import train_generator
from dreamdiffusion.models.pictures import draw_pictures
from dreamdiffusion.training.random_numbers import Draw

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng
CONDITION = {"n_tokens": 2, "width": 16, "neither": 0.0}


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    folder = write_generator(tmp_path_factory.mktemp("generator") / "start")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ImageProjection(8, 2, 32, 16).save_pretrained(folder / "image_projection")
    return folder


def distill_task(start: Path, **distill) -> DistillTask:
    networks = open_networks(start, SIZE)

    def tokenize(captions: list[str]) -> torch.Tensor:
        return networks.tokenizer(
            captions, padding="max_length", max_length=8, truncation=True, return_tensors="pt"
        ).input_ids

    return DistillTask(
        networks.unet, networks.projection, networks.text_encoder, networks.clip, networks.vae,
        DDPMScheduler(**SCHEDULE),
        FixedSource(draw_pictures(8, SIZE, 0)), tokenize, ImageConditionConfig(**CONDITION), 5.0,
        distill=DistillConfig(**distill),
    )  # fmt: skip


def few_steps(n: int) -> DPMSolverMultistepScheduler:
    scheduler = DPMSolverMultistepScheduler(**FEW_STEPS)
    scheduler.set_timesteps(n)
    return scheduler


@pytest.mark.parametrize("n", [2, 3, 4, 16])
def test_timesteps_are_those_that_drawing_visits(n):
    timesteps = trailing_timesteps(1000, n)
    assert timesteps[:-1].tolist() == few_steps(n).timesteps.tolist()
    assert timesteps[-1] == -1
    assert trailing_timesteps(1000, 4).tolist() == [999, 749, 499, 249, -1]


def test_one_step_of_the_target_ends_where_two_of_the_teacher_end(start):
    """Against the scheduler of diffusers, in the middle and to the end of a drawing."""
    task = distill_task(start, n_steps=2, teacher_steps=2, guidance_scale=1)
    rng = torch.Generator().manual_seed(0)
    tokens = torch.randn(3, 8, 32, generator=rng)
    latents = torch.randn(3, 4, 8, 8, generator=rng)
    fine, coarse = few_steps(4), few_steps(2)
    for k in range(2):
        begin = latents
        for timestep in fine.timesteps[2 * k : 2 * k + 2]:
            velocity = task._guided(latents, timestep.expand(3), tokens, None)
            latents = fine.step(velocity, timestep, latents, return_dict=False)[0]
        ends = [task.grid[2 * k + i].expand(3) for i in (0, 2)]
        target = task._velocity_to(begin, ends[0], latents, ends[1])
        landed = coarse.step(target, coarse.timesteps[k], begin, return_dict=False)[0]
        # Where training has no picture left, the scheduler keeps 2 ** -12 of it.
        torch.testing.assert_close(landed, latents, atol=1e-3, rtol=1e-3)


def test_a_student_of_itself_has_nothing_to_learn(start):
    """One unguided step of the teacher is the student's own; two guided ones are not."""
    everyone, draw = torch.arange(8), Draw(0, 0, 8)
    own = distill_task(start, n_steps=4, teacher_steps=1, guidance_scale=1)
    assert float(own.loss(everyone, draw)["loss"].detach()) < 1e-6
    other = distill_task(start, n_steps=4, teacher_steps=2, guidance_scale=4)
    loss = other.loss(everyone, Draw(0, 0, 8))["loss"]
    assert float(loss.detach()) > 1e-5
    loss.backward()
    assert all(p.grad is None for m in other.frozen for p in m.parameters())
    assert any(p.grad is not None for p in other.unet.parameters())


def test_guidance_goes_away_from_what_no_condition_gives(start):
    task = distill_task(start, guidance_scale=3)
    rng = torch.Generator().manual_seed(0)
    noisy, tokens = torch.randn(1, 4, 8, 8, generator=rng), torch.randn(1, 8, 32, generator=rng)
    nothing, timestep = task.encode([""]), torch.tensor([499])
    with torch.no_grad():
        given, free = (task.teacher(noisy, timestep, x).sample for x in (tokens, nothing))
    guided = task._guided(noisy, timestep, tokens, nothing)
    torch.testing.assert_close(guided, 3 * given - 2 * free, atol=1e-4, rtol=1e-4)


def test_the_u_net_alone_learns_and_is_drawn_from_in_few_steps(start, tmp_path):
    def config(output: str, init: Path, **stages) -> TrainGeneratorConfig:
        none = dict.fromkeys(("clip_train", "clip_image_train", "vae_train", "unet_train"))
        return TrainGeneratorConfig(
            init=init, output=tmp_path / output, image_size=SIZE, fresh_scenes=True,
            image_condition=CONDITION, distill={"n_steps": 2, "teacher_steps": 2},
            **(none | stages),
        )  # fmt: skip

    short = {"steps": 4, "batch_size": 4, "runtime": {"device": "cpu", "precision": "fp32"}}
    folder = train_generator(config("out", start, distill_train=short))
    for part in ("unet", "vae", "image_projection", "text_encoder"):
        stem = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        name = f"{part}/{stem}.safetensors"
        before, after = load_file(start / name), load_file(folder / name)
        same = all(torch.equal(before[key].half(), after[key].half()) for key in before)
        assert same == (part != "unet")

    def schedule(folder: Path) -> dict:
        return json.loads((folder / "scheduler/scheduler_config.json").read_text("utf-8"))

    assert schedule(folder).items() >= FEW_STEPS.items()
    generator = PromptedGenerator.from_pretrained(folder)
    given = {"captions": ["a red square"], "num_inference_steps": 2, "guidance_scale": 1}
    assert torch.isfinite(generator.draw(**given)).all()
    start_from = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    assert generator.draw(**given, start=start_from, strength=0.5).shape == (1, 3, SIZE, SIZE)
    # What changes another part keeps how it draws; a U-Net that is trained draws in many steps.
    again = train_generator(config("decoder", folder, decoder_train=short))
    assert schedule(again).items() >= FEW_STEPS.items()
    many = train_generator(config("many", folder, unet_train=short))
    assert schedule(many)["solver_order"] == 2


def test_a_generator_of_captions_alone_is_refused(tmp_path):
    init = write_generator(tmp_path / "captions")
    config = TrainGeneratorConfig(
        init=init, output=tmp_path / "out", image_size=SIZE, fresh_scenes=True,
        image_condition=CONDITION, clip_train=None, clip_image_train=None, vae_train=None,
        unet_train=None, distill_train={"steps": 1, "batch_size": 1},
    )  # fmt: skip
    with pytest.raises(ValueError, match="understands captions alone; distill_train takes one"):
        train_generator(config)
