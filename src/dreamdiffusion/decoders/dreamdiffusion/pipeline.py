"""`EEGToImagePipeline`: a diffusers pipeline from EEG trials to images."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mne
import numpy as np
import torch
from diffusers.loaders.lora_pipeline import StableDiffusionLoraLoaderMixin
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.utils.outputs import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer

from dreamdiffusion.decoders.base import RECORD, read_record
from dreamdiffusion.decoders.dreamdiffusion.adapter import ADAPTER, read_adapter, write_adapter
from dreamdiffusion.decoders.dreamdiffusion.arguments import (
    CALLBACK_TENSORS,
    StepCallback,
    check_callback,
    check_generators,
    check_output_type,
    check_scheduler,
    check_strengths,
)
from dreamdiffusion.decoders.dreamdiffusion.condition import Condition, EEGConditioner
from dreamdiffusion.decoders.dreamdiffusion.guidance import Weighted, guide, predict, repeat
from dreamdiffusion.files.shipped import find_weights
from dreamdiffusion.models.encoders.eeg import EEGEncoder
from dreamdiffusion.models.encoders.processor import EEGProcessor
from dreamdiffusion.models.generator.generator import (
    decode_latents,
    encode_images,
    image_size,
    noise_source,
)

FORMER_MODULES = ("dreamdiffusion.encoder", "dreamdiffusion.condition", "dreamdiffusion.processor")
"""Named by pipelines that were saved before the package had folders."""


@dataclass
class EEGToImageOutput(BaseOutput):
    """What the pipeline returns: ``images``, trial by trial."""

    images: Any


class EEGToImagePipeline(DiffusionPipeline, StableDiffusionLoraLoaderMixin):
    """Images of what a person was looking at, from EEG.

    What a user of diffusers expects works: ``to``, another ``scheduler``, callbacks, a list of
    generators, ``enable_model_cpu_offload``, ``push_to_hub``, LoRAs of the generator.

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

    Examples
    --------
    >>> import numpy as np
    >>> from dreamdiffusion import EEGToImagePipeline
    >>> pipe = EEGToImagePipeline.from_pretrained("weights/eeg-scenes")
    >>> pipe.set_progress_bar_config(disable=True)
    >>> expected = pipe.eeg_processor.config  # channels, rate, window and filters of its training
    >>> shape = (2, len(expected.ch_names), expected.n_times)
    >>> eeg = np.random.default_rng(0).normal(0, 1e-5, shape)  # volts
    >>> images = pipe(eeg, expected.ch_names, expected.sfreq, num_inference_steps=2).images
    >>> len(images), images[0].size
    (2, (64, 64))
    """

    model_cpu_offload_seq = "eeg_encoder->conditioner->text_encoder->unet->vae"
    _exclude_from_cpu_offload = ["eeg_processor"]  # noqa: RUF012 - it has no parameter to move
    _callback_tensor_inputs = CALLBACK_TENSORS
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
        self._trained_with = scheduler
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
            If a folder does not exist or holds no model, or the generator that an adapter names
            is not where it says.
        ValueError
            If the folder holds another decoder.
        """
        folder = find_weights(Path(pretrained_model_name_or_path))
        if (folder / ADAPTER).is_file():
            pipeline = cls(**read_adapter(folder))
            for name in ("eeg_encoder", "conditioner", "vae", "unet"):
                getattr(pipeline, name).eval().requires_grad_(False)
            return pipeline
        is_folder = folder.is_dir() or isinstance(pretrained_model_name_or_path, Path)
        if is_folder and not (folder / "model_index.json").is_file():
            if (folder / RECORD).is_file():
                raise ValueError(
                    f"{folder} holds the decoder {read_record(folder)['decoder']!r}, which is no "
                    "pipeline; let it answer with dreamdiffusion.decode or dreamdiffusion decode"
                )
            found = f"holds no model ({ADAPTER} or model_index.json)"
            raise FileNotFoundError(
                f"{folder} {found if folder.is_dir() else 'does not exist'}; give --model the "
                "model folder that finetune wrote"
            )
        if is_folder:
            found = super().load_config(folder)
            kind = found.get("_class_name") if isinstance(found, dict) else None
            if kind != cls.__name__:
                raise ValueError(
                    f"{folder} holds {f'a {kind}' if kind else 'no model'}, expected a fine-tuned "
                    "model; give --model the model folder that finetune wrote"
                )
        kwargs.setdefault("use_safetensors", True)
        return super().from_pretrained(str(pretrained_model_name_or_path), **kwargs)

    @classmethod
    def load_config(cls, *args: Any, **kwargs: Any) -> Any:
        """Read ``model_index.json``; modules as they were called in 2026-11 get their new name."""
        loaded = super().load_config(*args, **kwargs)
        config = loaded[0] if isinstance(loaded, tuple) else loaded
        for value in config.values():
            if isinstance(value, list) and value and value[0] in FORMER_MODULES:
                value[0] = "dreamdiffusion"
        return loaded

    def enable_vae_slicing(self) -> None:
        """Decode images one by one, which takes less memory."""
        self.vae.enable_slicing()

    def disable_vae_slicing(self) -> None:
        """Decode images of a batch at once."""
        self.vae.disable_slicing()

    def enable_vae_tiling(self) -> None:
        """Decode images in tiles, which takes less memory; seams may show."""
        self.vae.enable_tiling()

    def disable_vae_tiling(self) -> None:
        """Decode images whole."""
        self.vae.disable_tiling()

    def load_lora_weights(
        self,
        pretrained_model_name_or_path_or_dict: Any,
        adapter_name: str | None = None,
        hotswap: bool = False,
        **kwargs: Any,
    ) -> None:
        """Load a LoRA of the generator's U-Net or text encoder, from a folder or the hub.

        Raises
        ------
        ValueError
            If peft is not installed, the file is no LoRA, or it is one of a text encoder that the
            pipeline does not have.
        """
        if importlib.util.find_spec("peft") is None:
            raise ValueError("load_lora_weights needs peft: pip install 'dreamdiffusion[lora]'")
        source = pretrained_model_name_or_path_or_dict
        if not isinstance(source, dict):
            kwargs.setdefault("use_safetensors", True)  # a pickle is not read
        if self.text_encoder is None:
            weights: Any = self.lora_state_dict(source, **kwargs)
            if any(key.startswith("text_encoder") for key in weights[0]):
                raise ValueError(
                    "the LoRA changes the text encoder, and this pipeline has none: give it the "
                    "tokenizer and text_encoder of its generator"
                )
        super().load_lora_weights(source, adapter_name, hotswap, **kwargs)

    def save_adapter(
        self, folder: Path, generator: str | Path, clip: str | Path | None = None
    ) -> None:
        """Write only what fine-tuning made, and where the generator lies, relative to the folder.

        Parameters
        ----------
        generator, clip
            What was fine-tuned from, see `load_generator`; a folder must stay as it is.
        """
        modules = (self.eeg_processor, self.eeg_encoder, self.conditioner)
        write_adapter(folder, *modules, self.unet, generator, clip)

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
        return encoder(scaled.to(device=self._execution_device, dtype=encoder.dtype))

    @torch.no_grad()
    def __call__(
        self,
        eeg: np.ndarray | mne.BaseEpochs | None = None,
        ch_names: list[str] | None = None,
        sfreq: float | None = None,
        num_inference_steps: int = 10,
        guidance_scale: float = 2.5,
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
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
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
            Source of the initial noise: one for all, or a list of one for each image.
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
        callback_on_step_end
            Called after every step with the pipeline, the number of the step, its timestep and the
            tensors asked for; what it returns, a dictionary of them, replaces them. Setting
            ``pipeline._interrupt = True`` in it leaves out the remaining steps.
        callback_on_step_end_tensor_inputs
            Names of the tensors that it gets: ``latents``, ``noise_pred``.

        Raises
        ------
        ValueError
            If there is not one of ``eeg`` and ``eeg_tokens``, the EEG does not fit the model, the
            output type is unknown, a strength is outside 0 to 1, there are too few or too many
            generators, the callback asks for another tensor, the scheduler is for another kind of
            prediction or noise schedule, or there is a prompt and no text encoder.
        """
        check_output_type(output_type)
        check_strengths(eeg_strength=eeg_strength, text_strength=text_strength, strength=strength)
        check_scheduler(self.scheduler, self._trained_with)
        check_callback(callback_on_step_end, callback_on_step_end_tensor_inputs)
        if (eeg is None) == (eeg_tokens is None):
            raise ValueError("give the EEG or its tokens: one of eeg and eeg_tokens")
        tokens = self.encode(eeg, ch_names, sfreq) if eeg_tokens is None else eeg_tokens  # pyright: ignore[reportArgumentType]
        condition = self.conditioner(tokens.to(self._execution_device))
        # A U-Net that was distilled with guidance takes the scale as a number instead.
        distilled = bool(self.unet.config["time_cond_proj_dim"])
        scale = 1.0 if distilled else max(1.0, guidance_scale)
        calls = guide(condition, scale, eeg_strength)
        if prompt is not None:
            text, empty = self._encode_prompt(prompt, condition)
            calls += [(text, scale * text_strength), (empty, -scale * text_strength)]
        count = len(condition.time_condition) * num_images_per_prompt
        noise = self._start(count, latents, generator, condition.time_condition)
        self.scheduler.set_timesteps(num_inference_steps, device=noise.device)
        latents, timesteps = self._first_latents(noise, image, num_inference_steps, strength)
        latents = self._denoise(
            latents,
            timesteps,
            repeat(calls, num_images_per_prompt),
            guidance_scale,
            generator,
            callback_on_step_end,
            callback_on_step_end_tensor_inputs,
        )
        images = self._finish(latents, output_type)
        self.maybe_free_model_hooks()
        return EEGToImageOutput(images) if return_dict else (images,)

    def _denoise(
        self,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        calls: Weighted,
        guidance_scale: float,
        generator: torch.Generator | list[torch.Generator] | None,
        callback: StepCallback | None,
        tensor_inputs: Sequence[str],
    ) -> torch.Tensor:
        """Run the scheduler's steps."""
        pixels = image_size(self.unet, self.vae)
        # Stochastic schedulers draw noise in their steps, from the same source.
        extra = noise_source(self.scheduler, generator)
        self._interrupt = False
        with self.progress_bar(total=len(timesteps)) as bar:  # pyright: ignore[reportCallIssue]
            for step, timestep in enumerate(timesteps):
                if self._interrupt:
                    break
                noisy = self.scheduler.scale_model_input(latents, timestep)
                noise_pred = predict(self.unet, noisy, timestep, calls, pixels, guidance_scale)
                latents = self.scheduler.step(
                    noise_pred, timestep, latents, return_dict=False, **extra
                )[0]
                if callback is not None:
                    given = {"latents": latents, "noise_pred": noise_pred}
                    kept = {name: given[name] for name in tensor_inputs}
                    changed = callback(self, step, timestep, kept) or {}
                    latents = changed.get("latents", latents)
                bar.update()
        return latents

    def _first_latents(
        self, noise: torch.Tensor, image: Any, steps: int, strength: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return where drawing starts, noise or a noisy picture, and the steps that are left."""
        if image is None:
            return noise * self.scheduler.init_noise_sigma, self.scheduler.timesteps
        timesteps = self._timesteps_left(steps, strength)
        start = self._encode_picture(image, noise)
        # With nothing to draw anew the picture comes back as the VAE sees it.
        if len(timesteps):
            start = self.scheduler.add_noise(start, noise, timesteps[:1])
        return start, timesteps

    def _finish(self, latents: torch.Tensor, output_type: str) -> Any:
        """Return latents as images of the kind that was asked for."""
        if output_type == "latent":
            return latents
        images: Any = decode_latents(self.vae, latents.to(self.vae.dtype)).float().cpu()
        if output_type == "pt":
            return images
        images = images.permute(0, 2, 3, 1).numpy()
        if output_type == "np":
            return images
        return [Image.fromarray((image * 255).round().astype(np.uint8)) for image in images]

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
        states = self.text_encoder(input_ids=ids.to(self._execution_device)).last_hidden_state
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
        pixels = image.to(like.device, self.vae.dtype)
        return encode_images(self.vae, pixels).to(like).expand(like.shape)

    def _start(
        self,
        count: int,
        latents: torch.Tensor | None,
        generator: torch.Generator | list[torch.Generator] | None,
        like: torch.Tensor,
    ) -> torch.Tensor:
        check_generators(generator, count)
        size = self.unet.config["sample_size"]
        shape = (count, self.unet.config["in_channels"], size, size)
        if latents is None:
            return randn_tensor(shape, generator=generator, device=like.device, dtype=like.dtype)
        if tuple(latents.shape) != shape:
            raise ValueError(f"latents have shape {tuple(latents.shape)}, expected {shape}")
        return latents.to(like)
