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
from transformers import CLIPTextModel, CLIPTokenizer

from .condition import Condition, EEGConditioner
from .encoder import EEGEncoder
from .generator import (
    PAPER_CLIP,
    decode_latents,
    encode_images,
    image_size,
    load_generator,
    unet_extras,
)
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
    tokenizer, text_encoder
        Of the generator, for a text beside the EEG; may be missing.
    """

    model_cpu_offload_seq = "eeg_encoder->conditioner->text_encoder->unet->vae"
    _optional_components = ["tokenizer", "text_encoder"]  # noqa: RUF012 - diffusers reads a list

    def __init__(
        self,
        eeg_processor: EEGProcessor,
        eeg_encoder: EEGEncoder,
        conditioner: EEGConditioner,
        vae: AutoencoderKL,
        unet: UNet2DConditionModel,
        scheduler: SchedulerMixin,
        tokenizer: CLIPTokenizer | None = None,
        text_encoder: CLIPTextModel | None = None,
    ):
        super().__init__()
        self.register_modules(
            eeg_processor=eeg_processor,
            eeg_encoder=eeg_encoder,
            conditioner=conditioner,
            vae=vae,
            unet=unet,
            scheduler=scheduler,
            tokenizer=tokenizer,
            text_encoder=text_encoder,
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
        return self.conditioner.embed(self.encode(eeg, ch_names, sfreq)).cpu()

    @torch.no_grad()
    def encode(
        self,
        eeg: np.ndarray | mne.BaseEpochs,
        ch_names: list[str] | None = None,
        sfreq: float | None = None,
    ) -> torch.Tensor:
        """Return the EEG's tokens ``(n_trials, n_tokens, embed_dim)``, on the encoder's device."""
        scaled = self.eeg_processor(eeg, ch_names, sfreq)
        encoder = self.eeg_encoder
        return encoder(scaled.to(device=encoder.device, dtype=encoder.dtype))

    @torch.no_grad()
    def __call__(
        self,
        eeg: np.ndarray | mne.BaseEpochs | None = None,
        ch_names: list[str] | None = None,
        sfreq: float | None = None,
        num_inference_steps: int = 20,
        guidance_scale: float = 3.0,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        prompt: str | list[str] | None = None,
        eeg_strength: float = 1.0,
        text_strength: float = 1.0,
        image: Image.Image | torch.Tensor | None = None,
        strength: float = 0.8,
        eeg_tokens: torch.Tensor | None = None,
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
        prompt
            A text beside the EEG, one for all trials or one for each.
        eeg_strength, text_strength
            How much of ``guidance_scale`` each of them gets, 0 to 1.
        image
            Start from this picture instead of noise: PIL, or ``(n or 1, 3, height, width)`` in
            [0, 1].
        strength
            How much of it is drawn anew, 0 to 1.
        eeg_tokens
            What `encode` returns, in place of ``eeg``.

        Raises
        ------
        ValueError
            If there is not one of ``eeg`` and ``eeg_tokens``, the EEG does not fit the model, the
            output type is unknown, a strength is outside 0 to 1, or there is a prompt and no text
            encoder.
        """
        if output_type not in ("pil", "np", "pt", "latent"):
            raise ValueError(f"output_type is {output_type!r}, expected pil, np, pt or latent")
        for name, value in (
            ("eeg_strength", eeg_strength),
            ("text_strength", text_strength),
            ("strength", strength),
        ):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}, expected a number from 0 to 1")
        # A U-Net that was distilled with guidance takes the scale as a number instead.
        distilled = bool(self.unet.config["time_cond_proj_dim"])
        scale = 1.0 if distilled else max(1.0, guidance_scale)
        if (eeg is None) == (eeg_tokens is None):
            raise ValueError("give the EEG or its tokens: one of eeg and eeg_tokens")
        tokens = self.encode(eeg, ch_names, sfreq) if eeg_tokens is None else eeg_tokens  # pyright: ignore[reportArgumentType]
        condition = self.conditioner(tokens.to(self.conditioner.device))
        calls = _guide(condition, Condition(*map(torch.zeros_like, condition)), scale, eeg_strength)
        if prompt is not None:
            text, empty = self._encode_prompt(prompt, condition)
            calls += [(text, scale * text_strength), (empty, -scale * text_strength)]
        k = num_images_per_prompt
        calls = [(Condition(*(p.repeat_interleave(k, 0) for p in c)), w) for c, w in calls]
        count = len(condition.time_condition) * k
        latents = self._start(count, latents, generator, condition.time_condition)
        self.scheduler.set_timesteps(num_inference_steps, device=latents.device)
        timesteps = self.scheduler.timesteps
        if image is None:
            latents = latents * self.scheduler.init_noise_sigma
        else:
            timesteps = self._timesteps_left(num_inference_steps, strength)
            start = self._encode_picture(image, latents)
            # With nothing to draw anew the picture comes back as the VAE sees it.
            if len(timesteps):
                start = self.scheduler.add_noise(start, latents, timesteps[:1])
            latents = start
        pixels = image_size(self.unet, self.vae)
        # Stochastic schedulers draw noise in their steps, from the same source.
        extra = {"generator": generator} if _takes_generator(self.scheduler) else {}
        with self.progress_bar(total=len(timesteps)) as bar:  # pyright: ignore[reportCallIssue]
            for timestep in timesteps:
                noisy = self.scheduler.scale_model_input(latents, timestep)
                noise_pred = self._predict(noisy, timestep, calls, pixels, guidance_scale)
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

    def _predict(
        self,
        noisy: torch.Tensor,
        timestep: torch.Tensor,
        calls: list[tuple[Condition, float]],
        pixels: int,
        guidance_scale: float,
    ) -> Any:
        """Return the weighted sum of the U-Net's predictions; equally long conditions in one go."""
        by_length: dict[int, list[tuple[Condition, float]]] = {}
        for condition, weight in calls:
            length = condition.encoder_hidden_states.shape[1]
            by_length.setdefault(length, []).append((condition, weight))
        total: Any = 0
        for group in by_length.values():
            states, times = (torch.cat(parts) for parts in zip(*(c for c, _ in group), strict=True))
            predicted = self.unet(
                torch.cat([noisy] * len(group)),
                timestep,
                encoder_hidden_states=states,
                class_labels=times,
                return_dict=False,
                **unet_extras(self.unet, len(times), pixels, guidance_scale),
            )[0]
            for part, (_, weight) in zip(predicted.chunk(len(group)), group, strict=True):
                total = total + weight * part
        return total

    def _encode_prompt(
        self, prompt: str | list[str], condition: Condition
    ) -> tuple[Condition, Condition]:
        """Return the conditions of a text and of no text."""
        if self.tokenizer is None or self.text_encoder is None:
            raise ValueError(
                "there is a prompt, but the model has no text encoder: give the pipeline the "
                "tokenizer and text_encoder of its generator"
            )
        count = len(condition.time_condition)
        texts = [prompt] * count if isinstance(prompt, str) else list(prompt)
        if len(texts) != count:
            raise ValueError(f"there are {len(texts)} prompts for {count} trials")
        ids = self.tokenizer(
            texts + [""] * count,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        states = self.text_encoder(input_ids=ids.to(self.text_encoder.device)).last_hidden_state
        with_text, without = states.to(condition.encoder_hidden_states).chunk(2)
        no_eeg = torch.zeros_like(condition.time_condition)
        return Condition(with_text, no_eeg), Condition(without, no_eeg)

    def _timesteps_left(self, steps: int, strength: float) -> Any:
        """Return the timesteps that are left when a picture is the start."""
        first = (steps - min(int(steps * strength), steps)) * getattr(self.scheduler, "order", 1)
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(first)
        return self.scheduler.timesteps[first:]

    def _encode_picture(self, image: Any, like: torch.Tensor) -> torch.Tensor:
        size = image_size(self.unet, self.vae)
        if isinstance(image, Image.Image):
            pixels = np.asarray(image.convert("RGB").resize((size, size)), dtype=np.float32) / 255
            image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        if (
            image.ndim != 4
            or image.shape[1:] != (3, size, size)
            or len(image) not in (1, len(like))
        ):
            raise ValueError(
                f"image has shape {tuple(image.shape)}, expected (1 or {len(like)}, 3, {size}, "
                f"{size})"
            )
        pixels = image.to(like.device, self.vae.dtype) * 2 - 1
        return encode_images(self.vae, pixels).to(like).expand(like.shape)

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


def _guide(
    with_eeg: Condition, without: Condition, scale: float, strength: float
) -> list[tuple[Condition, float]]:
    """Return conditions and weights: ``without + scale * strength * (with_eeg - without)``."""
    weight = scale * strength
    calls = [(without, 1 - weight), (with_eeg, weight)]
    return [(condition, w) for condition, w in calls if w]


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


def generator_source(model: Path) -> str | Path | None:
    """Return folder or hub id of the generator that a model was fine-tuned from, where it says."""
    if not (model / ADAPTER).is_file():
        return None
    content = json.loads((model / ADAPTER).read_text(encoding="utf-8"))
    return _resolve(content["generator"], model)


def _relative(source: str | Path, folder: Path) -> str:
    """Return a folder as seen from another; the id of a repository stays as it is."""
    return os.path.relpath(source, folder) if Path(source).is_dir() else str(source)


def _resolve(source: str, folder: Path) -> str | Path:
    """Undo `_relative`."""
    path = (folder / source).resolve()
    return path if path.is_dir() or source.startswith(".") else source


def _load_text(source: str | Path) -> dict[str, Any]:
    """Return tokenizer and text encoder of a generator folder that has them."""
    if not (Path(source) / "text_encoder").is_dir():
        return {}
    encoder = CLIPTextModel.from_pretrained(
        source, subfolder="text_encoder", use_safetensors=True, dtype=torch.float32
    )
    tokenizer = CLIPTokenizer.from_pretrained(source, subfolder="tokenizer")
    return {"tokenizer": tokenizer, "text_encoder": encoder.eval().requires_grad_(False)}


def _takes_generator(scheduler: Any) -> bool:
    return "generator" in scheduler.step.__code__.co_varnames


def _load_adapter(cls: type[EEGToImagePipeline], folder: Path) -> EEGToImagePipeline:
    content = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
    clip = _resolve(content["clip"], folder) if "clip" in content else None
    source = _resolve(content["generator"], folder)
    generator = load_generator(source, clip)
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
        **_load_text(source),
    )
    for module in (pipeline.eeg_encoder, pipeline.conditioner, pipeline.vae, pipeline.unet):
        module.eval().requires_grad_(False)
    return pipeline
