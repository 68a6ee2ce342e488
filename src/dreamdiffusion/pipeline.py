"""`EEGToImagePipeline`: a diffusers pipeline from EEG trials to images."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mne
import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.utils.outputs import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from .condition import Condition, EEGConditioner
from .encoder import EEGEncoder
from .generator import PAPER_CLIP, decode_latents, image_size, load_generator, unet_extras
from .processor import EEGProcessor

ADAPTER = "adapter.json"
CROSS_ATTENTION = "cross_attention.safetensors"


@dataclass
class EEGToImageOutput(BaseOutput):
    """What the pipeline returns: ``images``, trial by trial."""

    images: Any


def add_time_condition(unet: UNet2DConditionModel) -> None:
    """Let the U-Net take a vector that it adds to the embedding of the timestep.

    diffusers has that as the class embedding of type ``identity``; it has no weights.
    """
    unet.register_to_config(class_embed_type="identity")
    unet.class_embedding = nn.Identity()


def cross_attention(unet: UNet2DConditionModel) -> nn.ModuleDict:
    """Return the cross-attention layers (``attn2``) of a U-Net, the modules themselves."""
    return nn.ModuleDict(
        {
            name.replace(".", "-"): module
            for name, module in unet.named_modules()
            if name.endswith(".attn2")
        }
    )


class EEGToImagePipeline(DiffusionPipeline):
    """Images of what a person was looking at, from EEG.

    Parameters
    ----------
    eeg_processor
        Checks and scales trials.
    eeg_encoder
        Trials -> tokens.
    conditioner
        Tokens -> condition of the U-Net, and embedding in CLIP's image space.
    vae, unet, scheduler
        The generator, its cross-attention fine-tuned.
    """

    model_cpu_offload_seq = "eeg_encoder->conditioner->unet->vae"

    def __init__(
        self,
        eeg_processor: EEGProcessor,
        eeg_encoder: EEGEncoder,
        conditioner: EEGConditioner,
        vae: AutoencoderKL,
        unet: UNet2DConditionModel,
        scheduler: SchedulerMixin,
    ):
        super().__init__()
        self.register_modules(
            eeg_processor=eeg_processor,
            eeg_encoder=eeg_encoder,
            conditioner=conditioner,
            vae=vae,
            unet=unet,
            scheduler=scheduler,
        )

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:
        """Open a folder of `save_pretrained`, or one of `save_adapter` with its generator.

        Raises
        ------
        FileNotFoundError
            If the generator that an adapter names is not where it says.
        """
        folder = Path(pretrained_model_name_or_path)
        if (folder / ADAPTER).is_file():
            return _load_adapter(cls, folder)
        if folder.is_dir() and not (folder / "model_index.json").is_file():
            raise FileNotFoundError(
                f"{folder} holds no model ({ADAPTER} or model_index.json); give the model folder "
                "that finetune wrote"
            )
        kwargs.setdefault("use_safetensors", True)
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)

    def save_adapter(self, folder: Path, generator: str | Path, clip: str | None = None) -> None:
        """Write only what fine-tuning made, and where the generator lies, relative to the folder.

        Parameters
        ----------
        generator, clip
            What was fine-tuned from, see `load_generator`; a folder must stay as it is.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.eeg_processor.save_pretrained(folder / "eeg_processor")
        self.eeg_encoder.save_pretrained(folder / "eeg_encoder")
        self.conditioner.save_pretrained(folder / "conditioner")
        weights = cross_attention(self.unet).state_dict()
        tensors = {key: value.detach().half().contiguous().cpu() for key, value in weights.items()}
        save_file(tensors, folder / CROSS_ATTENTION)
        content = {"generator": _relative(generator, folder)}
        if clip is not None:
            content["clip"] = _relative(clip, folder)
        (folder / ADAPTER).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @torch.no_grad()
    def embed(
        self,
        eeg: np.ndarray | mne.BaseEpochs,
        ch_names: list[str] | None = None,
        sfreq: float | None = None,
    ) -> torch.Tensor:
        """Return the EEG's embedding in CLIP's image space, unit norm ``(n_trials, clip_dim)``."""
        return self.conditioner.embed(self._tokens(eeg, ch_names, sfreq)).cpu()

    def _tokens(self, eeg: Any, ch_names: list[str] | None, sfreq: float | None) -> torch.Tensor:
        scaled = self.eeg_processor(eeg, ch_names, sfreq)
        encoder = self.eeg_encoder
        return encoder(scaled.to(device=encoder.device, dtype=encoder.dtype))

    @torch.no_grad()
    def __call__(
        self,
        eeg: np.ndarray | mne.BaseEpochs,
        ch_names: list[str] | None = None,
        sfreq: float | None = None,
        num_inference_steps: int = 20,
        guidance_scale: float = 3.0,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> EEGToImageOutput | tuple[Any]:
        """Draw images for trials.

        Parameters
        ----------
        eeg
            `mne.Epochs`, or volts ``(n_trials, n_chans, n_times)`` with ``ch_names`` and ``sfreq``,
            filtered as the model's `eeg_processor.config.signal` says.
        guidance_scale
            How strongly the EEG steers; 1 draws from the model as it is, as the paper does.
        num_images_per_prompt
            Images for each trial.
        generator
            Source of the initial noise.
        latents
            The initial noise itself.
        output_type
            ``pil``, ``np`` ``(n, height, width, 3)`` or ``pt`` ``(n, 3, height, width)``, the last
            two in [0, 1]; n is trials x images, trial by trial; ``latent``.

        Raises
        ------
        ValueError
            If the EEG does not fit the model, or the output type is unknown.
        """
        if output_type not in ("pil", "np", "pt", "latent"):
            raise ValueError(f"output_type is {output_type!r}, expected pil, np, pt or latent")
        condition = self.conditioner(self._tokens(eeg, ch_names, sfreq))
        condition = Condition(
            *(part.repeat_interleave(num_images_per_prompt, 0) for part in condition)
        )
        count = len(condition.time_condition)
        latents = self._start(count, latents, generator, condition.time_condition)
        self.scheduler.set_timesteps(num_inference_steps, device=latents.device)
        latents = latents * self.scheduler.init_noise_sigma
        # A U-Net that was distilled with guidance takes the scale as a number instead.
        guided = guidance_scale > 1 and not self.unet.config["time_cond_proj_dim"]
        if guided:
            condition = Condition(*(torch.cat([torch.zeros_like(p), p]) for p in condition))
        extras = unet_extras(
            self.unet,
            len(condition.time_condition),
            image_size(self.unet, self.vae),
            guidance_scale,
        )
        # Stochastic schedulers draw noise in their steps, from the same source.
        extra = {"generator": generator} if _takes_generator(self.scheduler) else {}
        with self.progress_bar(total=num_inference_steps) as bar:  # pyright: ignore[reportCallIssue]
            for timestep in self.scheduler.timesteps:
                both = torch.cat([latents] * 2) if guided else latents  # pyright: ignore[reportArgumentType]
                noise_pred = self.unet(
                    self.scheduler.scale_model_input(both, timestep),
                    timestep,
                    encoder_hidden_states=condition.encoder_hidden_states,
                    class_labels=condition.time_condition,
                    return_dict=False,
                    **extras,
                )[0]
                if guided:
                    without, with_eeg = noise_pred.chunk(2)
                    noise_pred = without + guidance_scale * (with_eeg - without)
                latents = self.scheduler.step(
                    noise_pred, timestep, latents, return_dict=False, **extra
                )[0]
                bar.update()
        images: Any = latents
        if output_type != "latent":
            images = decode_latents(self.vae, latents).float().cpu()  # pyright: ignore[reportArgumentType]
        if output_type in ("np", "pil"):
            images = images.permute(0, 2, 3, 1).numpy()
        if output_type == "pil":
            images = [Image.fromarray((image * 255).round().astype(np.uint8)) for image in images]
        self.maybe_free_model_hooks()
        return EEGToImageOutput(images) if return_dict else (images,)

    def _start(
        self,
        count: int,
        latents: torch.Tensor | None,
        generator: torch.Generator | list[torch.Generator] | None,
        like: torch.Tensor,
    ) -> torch.Tensor:
        size = self.unet.config["sample_size"]
        shape = (count, self.unet.config["in_channels"], size, size)
        if latents is None:
            return randn_tensor(shape, generator=generator, device=like.device, dtype=like.dtype)
        if tuple(latents.shape) != shape:
            raise ValueError(f"latents have shape {tuple(latents.shape)}, expected {shape}")
        return latents.to(like)


def clip_source(model: Path) -> str | Path:
    """Return folder or hub id of the CLIP that a model's EEG embedding is aligned with.

    Raises
    ------
    FileNotFoundError
        If neither the model nor the generator of its adapter holds one.
    """
    candidates = [model / "clip"]
    if (model / ADAPTER).is_file():
        content = json.loads((model / ADAPTER).read_text(encoding="utf-8"))
        if "clip" in content:
            return _resolve(content["clip"], model)
        generator = _resolve(content["generator"], model)
        if not isinstance(generator, Path):
            return PAPER_CLIP
        candidates.append(generator / "clip")
    for candidate in candidates:
        if (candidate / "config.json").is_file():
            return candidate
    raise FileNotFoundError(
        f"model {model} has no CLIP (looked in {', '.join(map(str, candidates))})"
    )


def _relative(source: str | Path, folder: Path) -> str:
    """Return a folder as seen from another; the id of a repository stays as it is."""
    return os.path.relpath(source, folder) if Path(source).is_dir() else str(source)


def _resolve(source: str, folder: Path) -> str | Path:
    """Undo `_relative`."""
    path = (folder / source).resolve()
    return path if path.is_dir() or source.startswith(".") else source


def _takes_generator(scheduler: Any) -> bool:
    return "generator" in scheduler.step.__code__.co_varnames


def _load_adapter(cls: type[EEGToImagePipeline], folder: Path) -> EEGToImagePipeline:
    content = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
    clip = _resolve(content["clip"], folder) if "clip" in content else None
    generator = load_generator(_resolve(content["generator"], folder), clip)
    add_time_condition(generator.unet)
    layers = cross_attention(generator.unet)
    try:
        weights = load_file(folder / CROSS_ATTENTION)
        layers.load_state_dict(weights, strict=True)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ValueError(
            f"{folder / CROSS_ATTENTION} does not fit the generator {content['generator']}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    pipeline = cls(
        eeg_processor=EEGProcessor.from_pretrained(folder / "eeg_processor", use_safetensors=True),
        eeg_encoder=EEGEncoder.from_pretrained(folder / "eeg_encoder"),
        conditioner=EEGConditioner.from_pretrained(folder / "conditioner"),
        vae=generator.vae,
        unet=generator.unet,
        scheduler=generator.scheduler,
    )
    for module in (pipeline.eeg_encoder, pipeline.conditioner, pipeline.vae, pipeline.unet):
        module.eval().requires_grad_(False)
    return pipeline
