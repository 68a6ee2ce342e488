"""Training of the U-Net under captions, CLIP image embeddings, both, or neither."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import nn
from transformers import CLIPModel, CLIPTextModel

from dreamdiffusion.models.config import ImageConditionConfig
from dreamdiffusion.models.generator.generator import (
    encode_images,
    prediction_target,
)
from dreamdiffusion.models.generator.image_projection import ImageProjection
from dreamdiffusion.models.generator.sources import Source
from dreamdiffusion.models.generator.tasks import draw_timesteps, loss_weight
from dreamdiffusion.models.pictures import Pictures
from dreamdiffusion.models.pixels import clip_pixels
from dreamdiffusion.training.random_numbers import Draw
from dreamdiffusion.training.task import Task

Tokenize = Callable[[list[str]], torch.Tensor]


@torch.no_grad()
def clip_embeddings(clip: CLIPModel, images: torch.Tensor) -> torch.Tensor:
    """Return unit-norm embeddings ``(n, projection_dim)`` of images in [0, 1]."""
    vision: Any = clip.config.vision_config
    pooled = clip.vision_model(pixel_values=clip_pixels(images, vision.image_size)).pooler_output
    return nn.functional.normalize(clip.visual_projection(pooled), dim=-1)


class PromptTask(Task):
    """Denoising under a caption, a CLIP image embedding, both, or neither.

    The condition is what is there and nothing else: 24 tokens of the caption, followed by the
    tokens of the embedding. A caption that is absent is the empty one, as Stable Diffusion's own
    guidance has it. An embedding that is absent has no tokens: zero tokens or a mask would make a
    text alone look otherwise than `StableDiffusionPipeline` gives it, as the U-Net's pooled
    condition averages over all tokens and takes no mask. The batch is therefore computed in two
    parts, with and without embeddings; their sizes stay the same, as new sizes cost time on CPUs.

    Pictures, latents, embeddings and texts are computed as they are needed, so that the pictures
    may be new at every step.

    What reads captions learns too. It was the text tower of CLIP, which knows what told pictures of
    one batch from each other, their kinds and colours, and hardly where things are.

    Parameters
    ----------
    source
        The pictures; each is seen once before any is seen again.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        projection: ImageProjection,
        text_encoder: CLIPTextModel,
        clip: CLIPModel,
        vae: AutoencoderKL,
        scheduler: DDPMScheduler,
        source: Source,
        tokenize: Tokenize,
        condition: ImageConditionConfig,
        min_snr_gamma: float,
    ) -> None:
        self.unet, self.projection, self.text_encoder = unet, projection, text_encoder
        self.clip, self.vae = clip, vae
        self.scheduler, self.source, self.tokenize = scheduler, source, tokenize
        self.n_samples = source.n_samples
        self.condition, self.gamma = condition, min_snr_gamma
        self.modules: dict[str, nn.Module] = {
            "unet": unet,
            "image_projection": projection,
            "text_encoder": text_encoder,
        }
        self.frozen = [clip, vae]

    def announce(self, indices: torch.Tensor) -> None:
        self.source.announce(indices)

    def loss(self, indices: torch.Tensor, draw: Draw) -> dict[str, torch.Tensor]:
        device = self.unet.device
        pictures, images, latents = self.see(indices)
        shares = draw.spread()
        noise = draw.randn(*latents.shape[1:]).to(device)
        n_train = int(self.scheduler.config["num_train_timesteps"])
        timesteps = draw_timesteps(draw, n_train).to(device)
        noisy = self.scheduler.add_noise(latents, noise, timesteps)  # pyright: ignore[reportArgumentType]
        target = prediction_target(self.scheduler, latents, noise, timesteps)
        weight = loss_weight(self.scheduler, timesteps.cpu(), self.gamma).to(device)
        total = latents.new_zeros(())
        for rows, tokens in self.conditions(pictures.captions, images, shares, draw):
            predicted = self.unet(noisy[rows], timesteps[rows], tokens, return_dict=False)[0]
            error = (predicted.float() - target[rows]).square().mean((1, 2, 3))
            total = total + (error * weight[rows]).sum()
        return {"loss": total / len(indices)}

    def see(self, indices: torch.Tensor) -> tuple[Pictures, torch.Tensor, torch.Tensor]:
        """Return pictures, their pixels in [0, 1] and their scaled latents, on the device."""
        pictures = self.source.read(indices)
        images = pictures.images(slice(None)).to(self.unet.device)
        return pictures, images, encode_images(self.vae, images, len(images)).float()

    def conditions(
        self, captions: list[str], images: torch.Tensor, shares: torch.Tensor, draw: Draw
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Give the rows without and those with an embedding, and what cross-attention reads there.

        Parameters
        ----------
        shares
            ``(n,)`` in [0, 1): which pictures have their caption and which their embedding.
        """
        device = images.device
        has_text, has_image = choose_conditions(shares, self.condition)
        level = noise_levels(draw.rand(), draw.rand(), self.condition).to(device)
        embeddings = self.projection.standardise(clip_embeddings(self.clip, images).float())
        embeddings = embeddings + level[:, None] * draw.randn(embeddings.shape[1]).to(device)
        pairs = zip(captions, has_text.tolist(), strict=True)
        texts = self.encode([text if there else "" for text, there in pairs])
        for with_image in (False, True):
            rows = (has_image == with_image).nonzero().flatten().to(device)
            if not len(rows):
                continue
            tokens = texts[rows]
            if with_image:
                seen = self.projection(embeddings[rows], level[rows])
                tokens = torch.cat([tokens.to(seen.dtype), seen], 1)
            yield rows, tokens

    def encode(self, captions: list[str]) -> torch.Tensor:
        """Return what cross-attention sees of captions, ``(n, max_length, width)``."""
        tokens = self.tokenize(captions).to(self.text_encoder.device)
        return self.text_encoder(input_ids=tokens).last_hidden_state


def choose_conditions(
    uniform: torch.Tensor, condition: ImageConditionConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which pictures have their caption and which their embedding, bool ``(n,)`` each.

    Parameters
    ----------
    uniform
        Random numbers in [0, 1), ``(n,)``.
    """
    text_only, both = condition.text_only, condition.text_only + condition.both
    has_text = uniform < both
    has_image = (uniform >= text_only) & (uniform < 1 - condition.neither)
    return has_text, has_image


def noise_levels(
    which: torch.Tensor, amount: torch.Tensor, condition: ImageConditionConfig
) -> torch.Tensor:
    """Return the standard deviation of the noise on each embedding, from two uniform numbers."""
    return torch.where(which < condition.noisy, amount * condition.max_noise_level, 0.0)
