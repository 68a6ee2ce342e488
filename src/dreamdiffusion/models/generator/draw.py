"""Drawing from captions, CLIP image embeddings, or both, from noise or from a picture on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.utils.torch_utils import randn_tensor
from transformers import CLIPTextModel, CLIPTokenizer

from dreamdiffusion.files.shipped import find_weights
from dreamdiffusion.models.generator.generator import (
    decode_latents,
    encode_images,
    image_size,
    noise_source,
    open_text_pipeline,
)
from dreamdiffusion.models.generator.image_projection import ImageProjection, open_projection
from dreamdiffusion.training.device import autocast


@dataclass
class PromptedGenerator:
    """A generator folder opened to draw from captions and CLIP image embeddings.

    Parameters
    ----------
    projection
        Makes tokens of embeddings; None where the generator understands captions alone.
    precision
        As `training.device.autocast`.
    """

    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    scheduler: Any
    projection: ImageProjection | None = None
    precision: str = "auto"

    @classmethod
    def from_pretrained(cls, folder: str | Path, precision: str = "auto") -> PromptedGenerator:
        """Open a generator folder; ``weights/...`` is found wherever it lies.

        Raises
        ------
        FileNotFoundError
            If the folder holds none.
        """
        folder = find_weights(Path(folder))
        pipeline = open_text_pipeline(folder)
        parts = (pipeline.tokenizer, pipeline.text_encoder, pipeline.unet, pipeline.vae)
        for module in parts[1:]:
            module.eval().requires_grad_(False)
        projection = open_projection(folder)
        return cls(*parts, pipeline.scheduler, projection, precision)

    @property
    def image_size(self) -> int:
        """Pixels of the pictures that are drawn."""
        return image_size(self.unet, self.vae)

    def to(self, device: torch.device | str) -> PromptedGenerator:
        """Move all networks to a device; returns this generator."""
        for module in (self.text_encoder, self.unet, self.vae, self.projection):
            if module is not None:
                module.to(device)  # pyright: ignore[reportArgumentType, reportCallIssue]
        return self

    @torch.no_grad()
    def draw(
        self,
        captions: list[str] | None = None,
        embeddings: torch.Tensor | None = None,
        noise_level: float | torch.Tensor = 0.0,
        start: torch.Tensor | None = None,
        strength: float = 0.7,
        num_inference_steps: int = 10,
        guidance_scale: float = 2.5,
        rng: torch.Generator | list[torch.Generator] | None = None,
        batch_size: int = 32,
    ) -> torch.Tensor:
        """Draw one picture for every caption, embedding, or pair of both.

        Parameters
        ----------
        captions
            ``n`` texts; an empty one is no text.
        embeddings
            ``(n, embed_dim)``: CLIP image embeddings of any length; they are scaled to unit norm.
        noise_level
            Deviation of the error that the embeddings carry, in standard deviations of the
            embeddings of all pictures, 0 to the ``max_noise_level`` of the training (1.2); one
            number, or ``(n,)``. It is what the network is given; no noise is added.
        start
            ``(n, 3, H, W)`` in [0, 1]: pictures from which drawing starts instead of noise.
        strength
            How much of a start is redrawn: above 0 (nothing) to 1 (all of it).
        num_inference_steps
            Steps from noise to the picture; with ``start`` the last ``strength`` of them.
        guidance_scale
            How far away from what no condition gives; 1: no guidance.
        rng
            Source of the noise, on the CPU, or one of each picture; the same ones give the same
            pictures whatever ``batch_size`` is.

        Returns
        -------
        torch.Tensor
            float32 ``(n, 3, H, W)`` in [0, 1], on the CPU.

        Raises
        ------
        ValueError
            If there is no condition, or the arguments do not fit each other or this generator.
        """
        n = self._check(captions, embeddings, start, strength, num_inference_steps)
        size = int(self.unet.config["sample_size"])
        shape = (n, int(self.unet.config["in_channels"]), size, size)
        noise = randn_tensor(shape, generator=rng)
        sources = rng if isinstance(rng, list) else _split(rng, n)
        levels = torch.as_tensor(noise_level, dtype=torch.float32).expand(n)
        parts = []
        for i in range(0, n, batch_size):
            rows = slice(i, i + batch_size)
            with autocast(self.unet.device, self.precision):
                tokens = self._tokens(
                    captions[rows] if captions else [""] * len(noise[rows]),
                    None if embeddings is None else embeddings[rows],
                    levels[rows],
                )
                latents = self._denoise(
                    noise[rows],
                    tokens,
                    None if start is None else start[rows],
                    strength,
                    num_inference_steps,
                    guidance_scale,
                    sources[rows],
                )
                parts.append(decode_latents(self.vae, latents).float().cpu())
        return torch.cat(parts)

    def _check(
        self,
        captions: list[str] | None,
        embeddings: torch.Tensor | None,
        start: torch.Tensor | None,
        strength: float,
        num_inference_steps: int,
    ) -> int:
        """Return the number of pictures to draw; errors as `draw`."""
        if not captions and embeddings is None:
            raise ValueError("nothing to draw: give captions, embeddings, or both")
        n = len(captions) if captions else len(embeddings)  # pyright: ignore[reportArgumentType]
        if embeddings is not None:
            if self.projection is None:
                raise ValueError(
                    "embeddings were given, but this generator understands captions alone; use one "
                    "with a folder image_projection (train-generator with image_condition)"
                )
            wanted = (n, int(self.projection.config["embed_dim"]))
            if tuple(embeddings.shape) != wanted:
                raise ValueError(f"embeddings are {tuple(embeddings.shape)}, expected {wanted}")
        if start is not None:
            wanted = (n, 3, self.image_size, self.image_size)
            if tuple(start.shape) != wanted:
                raise ValueError(f"start is {tuple(start.shape)}, expected {wanted}")
            if start.min() < 0 or start.max() > 1:
                raise ValueError(
                    f"start has values from {float(start.min()):g} to {float(start.max()):g}, "
                    "expected [0, 1]"
                )
            if not 0 < strength <= 1 or int(num_inference_steps * strength) < 1:
                raise ValueError(
                    f"strength is {strength} of {num_inference_steps} steps, expected above 0, at "
                    "most 1, and one whole step at least"
                )
        return n

    def _tokens(
        self, captions: list[str], embeddings: torch.Tensor | None, levels: torch.Tensor
    ) -> torch.Tensor:
        """Return what cross-attention reads, ``(n, tokens, width)``: as `PromptTask` trains it."""
        tokens = self._encode(captions)
        if embeddings is None:
            return tokens
        assert self.projection is not None
        device = self.unet.device
        unit = torch.nn.functional.normalize(embeddings.to(device, torch.float32), dim=-1)
        seen = self.projection(self.projection.standardise(unit), levels.to(device))
        return torch.cat([tokens.to(seen.dtype), seen], 1)

    def _encode(self, captions: list[str]) -> torch.Tensor:
        tokens = self.tokenizer(
            captions,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        return self.text_encoder(tokens.to(self.unet.device))[0]

    def _denoise(
        self,
        noise: torch.Tensor,
        tokens: torch.Tensor,
        start: torch.Tensor | None,
        strength: float,
        num_inference_steps: int,
        guidance_scale: float,
        sources: list[torch.Generator],
    ) -> torch.Tensor:
        """Return scaled latents; ``sources`` are those of noise within the steps."""
        device = self.unet.device
        scheduler = type(self.scheduler).from_config(self.scheduler.config)
        scheduler.set_timesteps(num_inference_steps, device=device)
        noise, timesteps = noise.to(device), scheduler.timesteps
        if start is None:
            latents = noise * scheduler.init_noise_sigma
        else:
            skipped = num_inference_steps - int(num_inference_steps * strength)
            timesteps = timesteps[skipped * scheduler.order :]
            if hasattr(scheduler, "set_begin_index"):  # others find their place by the timestep
                scheduler.set_begin_index(skipped * scheduler.order)
            clean = encode_images(self.vae, start.to(device, torch.float32)).float()
            latents = scheduler.add_noise(clean, noise, timesteps[:1])
        options = noise_source(scheduler, sources)
        nothing = self._encode([""]).expand(len(noise), -1, -1) if guidance_scale > 1 else None
        for timestep in timesteps:
            noisy = scheduler.scale_model_input(latents, timestep)
            predicted = self.unet(noisy, timestep, tokens, return_dict=False)[0].float()
            if nothing is not None:
                # A call of its own: with embeddings there are more tokens than without.
                free = self.unet(noisy, timestep, nothing, return_dict=False)[0].float()
                predicted = free + guidance_scale * (predicted - free)
            latents = scheduler.step(predicted, timestep, latents, return_dict=False, **options)[0]
        return latents


def _split(rng: torch.Generator | None, n: int) -> list[torch.Generator]:
    """Return ``n`` sources of noise, seeded by one."""
    seeds = torch.randint(2**62, (n,), generator=rng).tolist()
    return [torch.Generator().manual_seed(seed) for seed in seeds]
