"""Training of a U-Net to draw in few steps, without guidance, what it draws in many with it.

Progressive distillation (Salimans and Ho 2022) of a guided model (Meng et al. 2023): at each of the
few timesteps that drawing will visit, the student's one step has to end where several guided steps
of the teacher end. The teacher is the U-Net as it was before.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from dreamdiffusion.models.config import DistillConfig
from dreamdiffusion.models.generator.prompt_task import PromptTask
from dreamdiffusion.training.random_numbers import Draw


class DistillTask(PromptTask):
    """One step of the student for several of the teacher's; arguments otherwise as `PromptTask`.

    Text encoder and projection of embeddings stay as they are, so that both read the same tokens.
    """

    def __init__(self, *given: Any, distill: DistillConfig, **named: Any) -> None:
        super().__init__(*given, **named)
        self.distill = distill
        self.teacher = copy.deepcopy(self.unet).eval().requires_grad_(False)
        self.projection.requires_grad_(False)
        self.text_encoder.requires_grad_(False)
        self.modules: dict[str, nn.Module] = {"unet": self.unet}
        self.frozen = [
            self.clip,
            self.vae,
            self.projection,
            self.text_encoder,
            self.teacher,
        ]
        n_train = int(self.scheduler.config["num_train_timesteps"])
        self.grid = trailing_timesteps(n_train, distill.n_steps * distill.teacher_steps)

    def loss(self, indices: torch.Tensor, draw: Draw) -> dict[str, torch.Tensor]:
        device, each = self.unet.device, self.distill.teacher_steps
        pictures, images, latents = self.see(indices)
        shares = draw.spread()
        noise = draw.randn(*latents.shape[1:]).to(device)
        place = each * draw.randint(0, self.distill.n_steps)
        start, end = self.grid[place].to(device), self.grid[place + each].to(device)
        noisy = self.scheduler.add_noise(latents, noise, start)  # pyright: ignore[reportArgumentType]
        nothing = self.encode([""])
        total = latents.new_zeros(())
        for rows, tokens in self.conditions(pictures.captions, images, shares, draw):
            arrived = noisy[rows]
            for step in range(each):
                now, then = (self.grid[place + step + i].to(device)[rows] for i in (0, 1))
                velocity = self._guided(arrived, now, tokens.detach(), nothing)
                clean, left = self._split(arrived, velocity, now)
                keeps, adds = self._levels(then)
                arrived = keeps * clean + adds * left
            target = self._velocity_to(noisy[rows], start[rows], arrived, end[rows])
            predicted = self.unet(noisy[rows], start[rows], tokens, return_dict=False)[0]
            total = total + (predicted.float() - target).square().mean((1, 2, 3)).sum()
        return {"loss": total / len(indices)}

    @torch.no_grad()
    def _guided(
        self, noisy: torch.Tensor, timesteps: torch.Tensor, tokens: torch.Tensor, nothing: Any
    ) -> torch.Tensor:
        """Return the teacher's velocity under guidance."""
        scale = self.distill.guidance_scale
        velocity = self.teacher(noisy, timesteps, tokens, return_dict=False)[0].float()
        if scale == 1:
            return velocity
        free = nothing.expand(len(noisy), -1, -1)
        plain = self.teacher(noisy, timesteps, free, return_dict=False)[0].float()
        return plain + scale * (velocity - plain)

    def _levels(self, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the shares of latents and of noise ``(n, 1, 1, 1)``; timestep -1 has no noise."""
        kept = self.scheduler.alphas_cumprod.to(timesteps.device)[timesteps.clamp(min=0)]
        kept = torch.where(timesteps < 0, 1.0, kept)[:, None, None, None]
        return kept.sqrt(), (1 - kept).sqrt()

    def _split(
        self, noisy: torch.Tensor, velocity: torch.Tensor, timesteps: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return clean latents and noise that a velocity means."""
        keeps, adds = self._levels(timesteps)
        return keeps * noisy - adds * velocity, keeps * velocity + adds * noisy

    def _velocity_to(
        self, noisy: torch.Tensor, start: torch.Tensor, arrived: torch.Tensor, end: torch.Tensor
    ) -> torch.Tensor:
        """Return the velocity whose one step from ``start`` ends where the teacher arrived."""
        (keeps, adds), (keeps_then, adds_then) = self._levels(start), self._levels(end)
        ratio = adds_then / adds
        clean = (arrived - ratio * noisy) / (keeps_then - ratio * keeps)
        return (keeps * noisy - clean) / adds


def trailing_timesteps(n_train: int, n_steps: int) -> torch.Tensor:
    """Return the timesteps of a drawing from pure noise on, and -1, no noise: ``(n_steps + 1,)``.

    As ``timestep_spacing: trailing`` of a scheduler of diffusers.
    """
    places = torch.arange(n_steps + 1, dtype=torch.float64)
    return (n_train - places * n_train / n_steps).round().long() - 1
