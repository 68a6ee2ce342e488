"""Training of the VAE's decoder alone, so that pictures are crisp.

Errors of pixels reward a blur wherever the place of a fine mark is in doubt. Three terms see it: a
discriminator of patches (Isola et al. 2017; hinge loss, spectral norm: Miyato et al. 2018), the
distance of its features (Wang et al. 2018), and the power of each band of the spectrum (Durall et
al. 2020). The encoder stays as it is, so latents and whatever draws them stay valid.

Drawn latents are not encoded ones: what the U-Net leaves in doubt, the decoder blurs. Half of what
it learns from is therefore latents as the last steps of a drawing leave them, beside the pictures
that they stand for.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm

from dreamdiffusion.models.generator.sharpness import band_power
from dreamdiffusion.models.generator.sources import Source
from dreamdiffusion.models.generator.tasks import SQUARE_WEIGHT
from dreamdiffusion.models.pixels import signed
from dreamdiffusion.training.random_numbers import Draw
from dreamdiffusion.training.task import Task

HINGE_WEIGHT = 0.1
FEATURE_WEIGHT = 1.0
SPECTRUM_WEIGHT = 0.25
DRAWN_SHARE = 0.5
"""Of a batch: latents as a drawing leaves them."""
DRAWN_WEIGHT = 0.2
"""Of these in the errors of pixels and features: they are not quite those of the picture."""
LAST_TIMESTEPS = 0.6
"""Share of the schedule in which a drawing takes its last steps."""
LEAST_POWER = 1e-6
"""Added to the power of a band of pixels in [-1, 1]: below, there is nothing to see."""


class PatchDiscriminator(nn.Module):
    """Four convolutions that judge overlapping patches of 22 pixels."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = [3, width, 2 * width, 4 * width]
        self.layers = nn.ModuleList(
            [
                spectral_norm(nn.Conv2d(before, after, 4, stride=2, padding=1))
                for before, after in itertools.pairwise(widths)
            ]
        )
        self.verdict = spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return verdicts ``(n, 1, h, w)``, above 0 for true, and the features of each layer."""
        features = []
        for layer in self.layers:
            images = F.leaky_relu(layer(images), 0.2)
            features.append(images)
        return self.verdict(images), features


@dataclass
class LastSteps:
    """The last two steps of a drawing: latents are made noisy, and a U-Net has to clean them.

    Parameters
    ----------
    encode
        Captions -> what cross-attention reads, ``(n, length, width)``.
    """

    unet: UNet2DConditionModel
    scheduler: DDPMScheduler
    encode: Callable[[list[str]], torch.Tensor]

    @torch.no_grad()
    def __call__(
        self,
        latents: torch.Tensor,
        captions: list[str],
        noise: torch.Tensor,
        uniform: torch.Tensor,
    ) -> torch.Tensor:
        """Return scaled latents ``(n, c, h, w)`` as the steps leave them.

        Parameters
        ----------
        latents
            Scaled, of true pictures.
        uniform
            ``(n,)`` in [0, 1): how noisy they are made.
        """
        n_train = int(self.scheduler.config["num_train_timesteps"])
        timesteps = (uniform * LAST_TIMESTEPS * n_train).long().to(latents.device)
        tokens = self.encode(captions)
        clean = latents
        for at in (timesteps, timesteps // 2):  # the second from where the first has led, as DDIM
            kept = self.scheduler.alphas_cumprod.to(latents.device)[at].view(-1, 1, 1, 1)
            noisy = kept.sqrt() * clean + (1 - kept).sqrt() * noise
            velocity = self.unet(noisy, at, tokens, return_dict=False)[0].float()
            clean = kept.sqrt() * noisy - (1 - kept).sqrt() * velocity
            noise = (1 - kept).sqrt() * noisy + kept.sqrt() * velocity
        return clean


class DecoderTask(Task):
    """Reconstruction by a decoder, which is trained with its discriminator in one loss.

    Gradients of the decoder's part pass through the discriminator and leave its weights alone;
    the discriminator's part sees reconstructions that are cut off from the decoder.

    Parameters
    ----------
    source
        The pictures; each is seen once before any is seen again.
    last_steps
        What the U-Net makes of a share of the latents.
    """

    def __init__(
        self, vae: AutoencoderKL, source: Source, last_steps: LastSteps, seed: int
    ) -> None:
        self.vae, self.source, self.n_samples = vae, source, source.n_samples
        self.last_steps = last_steps
        last_steps.unet.requires_grad_(False)
        self.frozen = [last_steps.unet]
        vae.requires_grad_(False)
        vae.decoder.requires_grad_(True)
        if vae.post_quant_conv is not None:
            vae.post_quant_conv.requires_grad_(True)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.discriminator = PatchDiscriminator()
        self.modules: dict[str, nn.Module] = {"vae": vae, "discriminator": self.discriminator}

    def announce(self, indices: torch.Tensor) -> None:
        self.source.announce(indices)

    def loss(self, indices: torch.Tensor, draw: Draw) -> dict[str, torch.Tensor]:
        pictures = self.source.read(indices)
        images = signed(pictures.images(slice(None))).to(self.vae.device)
        drawn = (draw.spread() < DRAWN_SHARE).to(images.device)
        latents = self._latents(images, pictures.captions, drawn, draw)
        output = self.vae.decode(latents).sample.float()  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
        weight = torch.where(drawn, DRAWN_WEIGHT, 1.0)
        difference = output - images
        error = difference.abs() + SQUARE_WEIGHT * difference.square()
        pixel = (error.mean((1, 2, 3)) * weight).mean()
        spectrum = (_log_power(output) - _log_power(images)).abs().mean()
        verdict, deceived, matching = self._judge(output, images, weight)
        blur = FEATURE_WEIGHT * matching + SPECTRUM_WEIGHT * spectrum - HINGE_WEIGHT * deceived
        return {
            "loss": pixel + blur + verdict,
            "pixel": pixel,
            "features": matching,
            "spectrum": spectrum,
            "verdict": verdict,
        }

    def _judge(
        self, output: torch.Tensor, images: torch.Tensor, weight: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the discriminator's own loss, its mean verdict, and the distance of features."""
        of_true, true_features = self.discriminator(images)
        of_drawn, _ = self.discriminator(output.detach())
        verdict = F.relu(1 - of_true.float()).mean() + F.relu(1 + of_drawn.float()).mean()
        fixed = {key: value.detach() for key, value in self.discriminator.named_parameters()}
        deceived, features = functional_call(self.discriminator, fixed, (output,))
        distances = [
            ((a.float() - b.detach().float()).abs().mean((1, 2, 3)) * weight).mean()
            for a, b in zip(features, true_features, strict=True)
        ]
        return verdict, deceived.float().mean(), torch.stack(distances).mean()

    @torch.no_grad()
    def _latents(
        self, images: torch.Tensor, captions: list[str], drawn: torch.Tensor, draw: Draw
    ) -> torch.Tensor:
        """Return the latents of pictures in [-1, 1], some of them as a drawing leaves them."""
        latents = self.vae.encode(images).latent_dist.mode()  # pyright: ignore[reportAttributeAccessIssue]
        scale = self.vae.config["scaling_factor"]
        noise, uniform = draw.randn(*latents.shape[1:]).to(latents.device), draw.rand()
        some = [caption for caption, there in zip(captions, drawn.tolist(), strict=True) if there]
        if not some:
            return latents
        of = latents[drawn].float() * scale
        left = self.last_steps(of, some, noise[drawn], uniform[drawn.cpu()]) / scale
        return latents.index_put((drawn,), left.to(latents))


def _log_power(images: torch.Tensor) -> torch.Tensor:
    """Return the logarithm of the power in each band, ``(n, bands)``."""
    return (band_power(images) + LEAST_POWER).log()
