"""What the three trainings of a generator minimise: CLIP, VAE, U-Net."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import nn
from transformers import CLIPModel

from dreamdiffusion.models.generator.generator import prediction_target
from dreamdiffusion.models.generator.sources import Source
from dreamdiffusion.models.pictures import Pictures
from dreamdiffusion.models.pixels import clip_pixels, signed
from dreamdiffusion.training.random_numbers import Draw
from dreamdiffusion.training.task import Task

NOISIEST_SHARE = 0.25
"""Of a batch, at the noisiest tenth of timesteps."""

SQUARE_WEIGHT = 5.0
"""Of the squared error of pixels in the VAE's loss, beside 1 for the absolute."""


class ClipTask(Task):
    """Contrastive learning of pictures and captions (Radford et al. 2021).

    Pictures whose captions are the same text are all right answers for that text: among few
    categories such pairs are common, and calling them wrong would blur the classes.
    """

    whole_batch = True

    def __init__(
        self, clip: CLIPModel, pictures: Pictures, tokens: torch.Tensor, caption_ids: torch.Tensor
    ) -> None:
        self.clip, self.pictures = clip, pictures
        self.tokens, self.caption_ids = tokens, caption_ids
        self.n_samples = len(pictures.captions)
        self.modules: dict[str, nn.Module] = {"clip": clip}

    def loss(self, indices: torch.Tensor, draw: Draw) -> dict[str, torch.Tensor]:
        device = self.clip.device
        pixels = shift_and_add_noise(self.pictures.images(indices), draw)
        ids = self.caption_ids[indices]
        output = self.clip(
            input_ids=self.tokens[ids].to(device),
            pixel_values=clip_pixels(pixels, pixels.shape[-1]).to(device),
        )
        return {"loss": contrastive_loss(output.logits_per_text.float(), ids)}


class ClipImageTask(Task):
    """More training for CLIP's image tower alone, against a locked text tower (Zhai et al. 2022).

    The image tower learns shapes later than the text tower learns words. Locked, each caption is
    encoded once, and every picture can be compared with all its captions, one length at a time:
    within one length no right answer is called wrong. The text projection is replaced by one that
    whitens (`whitening`).

    Parameters
    ----------
    tokens
        Of the distinct captions, ``(n_captions, max_length)``.
    caption_ids
        Rows of ``tokens``, int64 ``(n_lengths, n_pictures)``.
    """

    whole_batch = True

    def __init__(
        self, clip: CLIPModel, pictures: Pictures, tokens: torch.Tensor, caption_ids: torch.Tensor
    ) -> None:
        self.clip, self.pictures, self.caption_ids = clip, pictures, caption_ids
        self.n_samples = len(pictures.captions)
        clip.text_model.requires_grad_(False)
        clip.text_projection.requires_grad_(False)
        self.modules: dict[str, nn.Module] = {"clip": clip}
        with torch.no_grad():
            pooled = [clip.text_model(input_ids=part).pooler_output for part in tokens.split(256)]
            texts = torch.cat(pooled).float()
            weight = whitening(texts[caption_ids.flatten()], clip.text_projection.out_features)
            clip.text_projection.weight.copy_(weight)
            self.texts = F.normalize(texts @ weight.T, dim=-1)

    def loss(self, indices: torch.Tensor, draw: Draw) -> dict[str, torch.Tensor]:
        clip = self.clip
        pixels = shift_and_add_noise(self.pictures.images(indices), draw)
        seen = clip.vision_model(pixel_values=clip_pixels(pixels, pixels.shape[-1]).to(clip.device))
        images = F.normalize(clip.visual_projection(seen.pooler_output).float(), dim=-1)
        losses = []
        for ids in self.caption_ids[:, indices]:
            logits = clip.logit_scale.exp() * self.texts[ids].to(clip.device) @ images.T
            losses.append(contrastive_loss(logits, ids))
        return {"loss": torch.stack(losses).mean()}


def whitening(features: torch.Tensor, n_dims: int) -> torch.Tensor:
    """Return the matrix ``(n_dims, n_features)`` that makes features vary alike in all directions.

    A text tower trained for minutes puts nearly all differences of its captions into few
    directions (here 95 % in 15 of 128); many categories are then close neighbours for an EEG
    embedding, which is never exact. Directions below 1 % of the largest are held down: they are
    rounding. If there are fewer features than ``n_dims``, the last rows are zero.

    Parameters
    ----------
    features
        ``(n, n_features)``.
    """
    second_moment = features.double().T @ features.double() / len(features)
    variance, directions = torch.linalg.eigh(second_moment)
    deviation = variance.clamp(min=0).sqrt()
    scale = 1 / (deviation.square() + (0.01 * deviation[-1]).square()).sqrt()
    matrix = (directions * scale).T.flip(0)[:n_dims]
    rows = torch.zeros(n_dims, features.shape[1], dtype=matrix.dtype)
    rows[: len(matrix)] = matrix
    return rows.to(features.dtype)


def contrastive_loss(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Cross-entropy both ways; pairs of the same caption share the right answer."""
    same = (ids[:, None] == ids[None, :]).to(logits)
    target = same / same.sum(1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def shift_and_add_noise(images: torch.Tensor, draw: Draw) -> torch.Tensor:
    """Shift each picture ``(n, 3, height, width)`` in [0, 1] by up to 3 pixels, add some noise."""
    height, width = images.shape[2:]
    padded = F.pad(images, (3, 3, 3, 3), mode="replicate")
    shifts = draw.randint(0, 7, 2)
    moved = torch.stack(
        [padded[i, :, y : y + height, x : x + width] for i, (y, x) in enumerate(shifts.tolist())]
    )
    return (moved + 0.015 * draw.randn(*moved.shape[1:])).clamp(0, 1)


class VaeTask(Task):
    """Reconstruction by error of pixels and of edges, and a small KL term.

    The edge term (differences of neighbouring pixels, at two scales) stands in for the perceptual
    and adversarial losses of Stable Diffusion's VAE: it is what keeps outlines crisp. The squared
    error makes wrong colours of whole areas costly, which the others alone learn last.
    """

    def __init__(self, vae: AutoencoderKL, source: Source, kl_weight: float) -> None:
        self.vae, self.source, self.kl_weight = vae, source, kl_weight
        self.n_samples = source.n_samples
        self.modules: dict[str, nn.Module] = {"vae": vae}

    def announce(self, indices: torch.Tensor) -> None:
        self.source.announce(indices)

    def loss(self, indices: torch.Tensor, draw: Draw) -> dict[str, torch.Tensor]:
        images = signed(self.source.read(indices).images(slice(None))).to(self.vae.device)
        posterior = self.vae.encode(images).latent_dist  # pyright: ignore[reportAttributeAccessIssue]
        noise = draw.randn(*posterior.mean.shape[1:]).to(images.device)
        output = self.vae.decode(posterior.mean + posterior.std * noise).sample.float()  # pyright: ignore[reportAttributeAccessIssue]
        difference = output - images
        pixel = difference.abs().mean() + SQUARE_WEIGHT * difference.square().mean()
        edge = _edges(output, images) + _edges(F.avg_pool2d(output, 2), F.avg_pool2d(images, 2))
        kl = posterior.kl().sum() / images[0].numel() / len(images)
        return {"loss": pixel + edge + self.kl_weight * kl, "pixel": pixel, "edge": edge, "kl": kl}


def _edges(output: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    difference = output - images
    horizontal = difference[..., 1:] - difference[..., :-1]
    vertical = difference[..., 1:, :] - difference[..., :-1, :]
    return horizontal.abs().mean() + vertical.abs().mean()


class UnetTask(Task):
    """Denoising of cached latents under cached caption encodings; see `loss_weight`."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        latents: torch.Tensor,
        encodings: torch.Tensor,
        caption_ids: torch.Tensor,
        scheduler: DDPMScheduler,
        min_snr_gamma: float,
        caption_dropout: float,
    ) -> None:
        self.unet, self.latents, self.encodings = unet, latents, encodings
        self.caption_ids, self.scheduler = caption_ids, scheduler
        self.gamma, self.caption_dropout = min_snr_gamma, caption_dropout
        self.n_samples = len(latents)
        self.modules: dict[str, nn.Module] = {"unet": unet}

    def loss(self, indices: torch.Tensor, draw: Draw) -> dict[str, torch.Tensor]:
        device = self.unet.device
        ids = self.caption_ids[indices].clone()
        # The last encoding is that of the empty caption, which guidance compares with.
        ids[draw.rand() < self.caption_dropout] = -1
        latents = self.latents[indices]
        noise = draw.randn(*latents.shape[1:])
        n_train = self.scheduler.config["num_train_timesteps"]
        timesteps = draw_timesteps(draw, n_train)
        noisy = self.scheduler.add_noise(latents, noise, timesteps).to(device)  # pyright: ignore[reportArgumentType]
        predicted = self.unet(
            noisy, timesteps.to(device), self.encodings[ids].to(device), return_dict=False
        )[0]
        target = prediction_target(self.scheduler, latents, noise, timesteps).to(device)
        error = (predicted.float() - target).square().mean((1, 2, 3))
        weight = loss_weight(self.scheduler, timesteps, self.gamma).to(device)
        return {"loss": (error * weight).mean()}


def draw_timesteps(draw: Draw, n_train: int) -> torch.Tensor:
    """Return the timesteps that a batch learns at, int64 ``(n,)``.

    A quarter of them are of the noisiest tenth. Little of the picture is left there, so that what
    the condition says about its layout has to be learned there.
    """
    noisiest = draw.randint(n_train - n_train // 10, n_train)
    return torch.where(draw.rand() < NOISIEST_SHARE, noisiest, draw.randint(0, n_train))


def loss_weight(scheduler: DDPMScheduler, timesteps: torch.Tensor, gamma: float) -> torch.Tensor:
    """Return each timestep's weight in the U-Net's loss.

    The error of the denoised latents counts SNR times in that of the noise, and SNR + 1 times in
    that of the velocity (Salimans and Ho 2022). Both are cut off at ``gamma`` (Hang et al. 2023):
    nearly clean latents would otherwise take most of a small network's effort.
    """
    alpha = scheduler.alphas_cumprod[timesteps]
    counts = alpha / (1 - alpha)
    if scheduler.config["prediction_type"] == "v_prediction":
        counts = counts + 1
    return counts.clamp(max=gamma) / counts
