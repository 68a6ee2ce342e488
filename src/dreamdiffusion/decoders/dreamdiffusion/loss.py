"""The loss of fine-tuning: noise prediction under the EEG's condition, and alignment with CLIP.

Paper section 3.2 and 3.3. What is trained is chosen here: projectors, and, unless switched off, the
EEG encoder and the U-Net's cross-attention; the rest of the U-Net stays frozen.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import nn

from dreamdiffusion.decoders.augment import augment_eeg
from dreamdiffusion.decoders.config import FinetuneConfig
from dreamdiffusion.decoders.dreamdiffusion.adapter import cross_attention
from dreamdiffusion.decoders.dreamdiffusion.condition import EEGConditioner, drop_condition
from dreamdiffusion.decoders.dreamdiffusion.pairs import Pairs
from dreamdiffusion.models.encoders.eeg import EEGEncoder
from dreamdiffusion.models.generator.generator import prediction_target, unet_extras
from dreamdiffusion.training.device import choose_device, compute_dtype
from dreamdiffusion.training.memory import keep_frozen_in
from dreamdiffusion.training.random_numbers import Draw
from dreamdiffusion.training.task import Task


class FinetuneTask(Task):
    """Noise-prediction loss under the EEG's condition, plus ``1 - cos`` to CLIP (paper eq. 5, 6).

    Parameters
    ----------
    eeg
        All trials at the model's scale, ``(n_trials, n_chans, n_times)``.
    train, validation
        Places of the trials of the two splits.

    Attributes
    ----------
    draw_preview
        Returns images of the state of the training, ``(n, 3, height, width)`` in [0, 1]; None
        shows none.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        eeg: torch.Tensor,
        pairs: Pairs,
        train: np.ndarray,
        validation: np.ndarray,
        encoder: EEGEncoder,
        conditioner: EEGConditioner,
        unet: UNet2DConditionModel,
        scheduler: DDPMScheduler,
        image_size: int,
    ) -> None:
        self.image_size = image_size
        self.n_places = pairs.latents[0, 0].numel()  # which attention runs over
        self.config, self.eeg, self.pairs, self.scheduler = config, eeg, pairs, scheduler
        self.train = torch.from_numpy(train)
        self.validation = torch.from_numpy(validation)
        self.encoder, self.conditioner, self.unet = encoder, conditioner, unet
        self.n_samples = len(train)
        self.draw_preview: Callable[[], torch.Tensor] | None = None
        self.modules: dict[str, nn.Module] = {"encoder": encoder, "conditioner": conditioner}
        self.frozen = [unet]
        encoder.requires_grad_(config.train_encoder)
        unet.eval().requires_grad_(False)
        if config.train_cross_attention and config.noise_weight:
            layers = cross_attention(unet)
            for parameter_name, parameter in layers.named_parameters():
                parameter.requires_grad_(not config.lora_rank or ".lora_" in parameter_name)
            self.modules["cross_attention"] = layers
        dtype = compute_dtype(choose_device(config.runtime), config.runtime.precision)
        keep_frozen_in(dtype, unet, besides=cross_attention(unet))  # that is saved, in full

    def preview(self) -> torch.Tensor | None:
        """Return the images of `draw_preview`, ``(n, 3, height, width)`` in [0, 1]."""
        return self.draw_preview() if self.draw_preview else None

    def loss(self, indices: torch.Tensor, draw: Draw) -> dict[str, torch.Tensor]:
        chosen = self.train[indices]
        any_montage = self.encoder.config["montage"] == "any"
        eeg = augment_eeg(self.eeg[chosen], self.config, draw, any_montage)
        return self._loss(eeg, chosen, draw, self.config.condition_dropout)

    def _loss(
        self,
        eeg: torch.Tensor,
        trials: torch.Tensor,
        draw: Draw,
        condition_dropout: float,
    ) -> dict[str, torch.Tensor]:
        device = self.encoder.device
        pictures = self.pairs.choose(trials, draw)
        tokens = self.encoder(eeg.to(device))
        target = self.pairs.embeddings[pictures].to(device)
        clip = (1 - F.cosine_similarity(self.conditioner.embed(tokens), target)).mean()
        if not self.config.noise_weight:
            return {"loss": self.config.clip_weight * clip, "clip": clip}
        condition = self.conditioner(tokens)
        dropped = draw.rand() < condition_dropout
        condition = drop_condition(condition, dropped.to(device))
        latents = self.pairs.latents[pictures]
        noise = draw.randn(*latents.shape[1:])
        n_train = self.scheduler.config["num_train_timesteps"]
        timesteps = draw.randint(0, n_train)
        predicted = self.unet(
            self.scheduler.add_noise(latents, noise, timesteps).to(device),  # pyright: ignore[reportArgumentType]
            timesteps.to(device),
            encoder_hidden_states=condition.encoder_hidden_states,
            class_labels=condition.time_condition,
            **unet_extras(self.unet, len(trials), self.image_size),
            return_dict=False,
        )[0]
        wanted = prediction_target(self.scheduler, latents, noise, timesteps).to(device)
        error = F.mse_loss(predicted.float(), wanted)
        loss = self.config.noise_weight * error + self.config.clip_weight * clip
        return {"loss": loss, "noise": error, "clip": clip}

    def validate(self) -> dict[str, float]:
        """Return the losses on the validation trials, always under the same noise."""
        if not len(self.validation):
            return {}
        self.encoder.eval()
        total: dict[str, float] = {}
        for number, part in enumerate(self.validation.split(64)):
            draw = Draw(self.config.seed, number, len(part), stream=1)
            record = self._loss(self.eeg[part], part, draw, condition_dropout=0.0)
            for key, value in record.items():
                share = len(part) / len(self.validation)
                total[f"validation_{key}"] = total.get(f"validation_{key}", 0) + share * float(
                    value
                )
        return total
