"""Training of the VAE's decoder alone, so that pictures are crisp: a small discriminator helps.

Errors of pixels reward a blur wherever the place of a fine mark is in doubt. A discriminator of
patches (Isola et al. 2017; hinge loss, spectral norm: Miyato et al. 2018) sees the blur; matching
its features (Wang et al. 2018) keeps the decoder to the picture at hand. The encoder stays as it
is, so latents and whatever draws them stay valid.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm

from dreamdiffusion.models.generator.sources import Source
from dreamdiffusion.models.generator.tasks import SQUARE_WEIGHT
from dreamdiffusion.models.pixels import signed
from dreamdiffusion.training.random_numbers import Draw
from dreamdiffusion.training.task import Task

HINGE_WEIGHT = 0.02
FEATURE_WEIGHT = 0.5


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


class DecoderTask(Task):
    """Reconstruction by a decoder, which is trained with its discriminator in one loss.

    Gradients of the decoder's part pass through the discriminator and leave its weights alone;
    the discriminator's part sees reconstructions that are cut off from the decoder.

    Parameters
    ----------
    source
        The pictures; each is seen once before any is seen again.
    """

    def __init__(self, vae: AutoencoderKL, source: Source, seed: int) -> None:
        self.vae, self.source, self.n_samples = vae, source, source.n_samples
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
        images = signed(self.source.read(indices).images(slice(None))).to(self.vae.device)
        with torch.no_grad():
            latents = self.vae.encode(images).latent_dist.mode()  # pyright: ignore[reportAttributeAccessIssue]
        output = self.vae.decode(latents).sample.float()  # pyright: ignore[reportAttributeAccessIssue]
        difference = output - images
        pixel = difference.abs().mean() + SQUARE_WEIGHT * difference.square().mean()
        of_true, true_features = self.discriminator(images)
        of_drawn, _ = self.discriminator(output.detach())
        verdict = F.relu(1 - of_true).mean() + F.relu(1 + of_drawn).mean()
        fixed = {key: value.detach() for key, value in self.discriminator.named_parameters()}
        deceived, features = functional_call(self.discriminator, fixed, (output,))
        matching = torch.stack(
            [
                F.l1_loss(a.float(), b.detach().float())
                for a, b in zip(features, true_features, strict=True)
            ]
        ).mean()
        loss = pixel - HINGE_WEIGHT * deceived.mean() + FEATURE_WEIGHT * matching + verdict
        return {"loss": loss, "pixel": pixel, "features": matching, "verdict": verdict}
