"""Stable Diffusion that draws from CLIP image embeddings too, by an IP-Adapter (Ye et al. 2023).

What `PromptedGenerator` is for the small generator, with pipelines of diffusers: Stable Diffusion
1.5, XL, and what was distilled from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.pipelines.auto_pipeline import AutoPipelineForImage2Image, AutoPipelineForText2Image

PATCHES = ("plus", "full", "faceid")
"""Adapters that read the patches of a picture, or a face, in place of its embedding."""


@dataclass
class AdaptedGenerator:
    """A text-to-image pipeline with an IP-Adapter.

    Parameters
    ----------
    pipeline
        Of diffusers, the adapter loaded.
    length
        Mean norm of the image encoder's embeddings. The adapter learned from embeddings of that
        length; those of `draw` are scaled to it, whatever theirs is.
    """

    pipeline: Any
    length: float

    @classmethod
    def from_pretrained(
        cls, source: str, adapter: str, weight_name: str, length: float, subfolder: str = ""
    ) -> AdaptedGenerator:
        """Open a pipeline and its adapter.

        Parameters
        ----------
        source
            Diffusers folder or hub id of a Stable Diffusion.
        adapter
            Folder or hub id of the adapter, such as ``h94/IP-Adapter``.
        weight_name
            A safetensors file there, such as ``ip-adapter_sd15.safetensors``: of the first kind,
            which reads one embedding.
        subfolder
            Where in ``adapter`` it lies, such as ``models``.

        Raises
        ------
        FileNotFoundError
            If one of them is neither a folder nor can be fetched.
        ValueError
            If the file is not safetensors, or of an adapter that does not read embeddings.
        """
        if not weight_name.endswith(".safetensors"):
            raise ValueError(f"weight_name is {weight_name}, expected a .safetensors file")
        if any(word in weight_name for word in PATCHES):
            raise ValueError(
                f"{weight_name} reads patches or faces, not a picture's embedding; use a plain "
                "adapter, such as ip-adapter_sd15.safetensors"
            )
        try:
            with torch.random.fork_rng(devices=[]):
                pipeline = AutoPipelineForText2Image.from_pretrained(
                    source, use_safetensors=True, torch_dtype=torch.float32
                )
                pipeline.load_ip_adapter(
                    adapter, subfolder=subfolder, weight_name=weight_name, image_encoder_folder=None
                )
        except OSError as error:
            raise FileNotFoundError(
                f"generator {source} or adapter {adapter} ({subfolder}/{weight_name}) is neither a "
                f"folder with what is needed, nor can it be fetched: {str(error).splitlines()[0]}"
            ) from error
        pipeline.set_progress_bar_config(disable=True)
        return cls(pipeline, length)

    @property
    def embed_dim(self) -> int:
        """Dimensions of the embeddings that the adapter reads."""
        return int(self._projection.image_embeds.in_features)

    @property
    def _projection(self) -> Any:
        return self.pipeline.unet.encoder_hid_proj.image_projection_layers[0]

    def to(self, device: torch.device | str) -> AdaptedGenerator:
        """Move all networks to a device; returns this generator."""
        self.pipeline.to(device)
        return self

    @torch.no_grad()
    def draw(
        self,
        captions: list[str] | None = None,
        embeddings: torch.Tensor | None = None,
        start: torch.Tensor | None = None,
        strength: float = 0.7,
        num_inference_steps: int = 20,
        guidance_scale: float = 5.0,
        adapter_scale: float = 0.7,
        rng: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Draw one picture for every caption, embedding, or pair of both.

        Parameters
        ----------
        captions
            ``n`` texts; an empty one is no text.
        embeddings
            ``(n, embed_dim)``: CLIP image embeddings of any length, of the adapter's own encoder.
        start, strength
            ``(n, 3, H, W)`` in [0, 1]: pictures of which this share is drawn anew.
        adapter_scale
            Weight of the embedding beside the text, 0 to 1.
        rng
            Source of the noise, on the CPU; the same one gives the same pictures.

        Returns
        -------
        torch.Tensor
            float32 ``(n, 3, H, W)`` in [0, 1], on the CPU.

        Raises
        ------
        ValueError
            If there is no condition, or embeddings are of another encoder.
        """
        if not captions and embeddings is None:
            raise ValueError("nothing to draw: give captions, embeddings, or both")
        n = len(captions) if captions else len(embeddings)  # pyright: ignore[reportArgumentType]
        if embeddings is None:  # the pipeline wants some; at a scale of 0 they say nothing
            embeddings, adapter_scale = torch.zeros(n, self.embed_dim), 0.0
        if tuple(embeddings.shape) != (n, self.embed_dim):
            raise ValueError(
                f"embeddings are {tuple(embeddings.shape)}, expected {(n, self.embed_dim)}: those "
                "of the image encoder that the adapter was trained with"
            )
        self.pipeline.set_ip_adapter_scale(adapter_scale)
        given = torch.nn.functional.normalize(embeddings.float(), dim=-1) * self.length
        seeds = torch.randint(2**62, (n,), generator=rng).tolist()
        pipeline: Any = self.pipeline
        if start is not None:
            pipeline = AutoPipelineForImage2Image.from_pipe(self.pipeline)
            pipeline.set_progress_bar_config(disable=True)
        drawn = []
        for i in range(n):  # the pipelines take one embedding for all pictures of a call
            picture = {} if start is None else {"image": start[i : i + 1], "strength": strength}
            seen = given[i : i + 1, None]
            if guidance_scale > 1:
                seen = torch.cat([torch.zeros_like(seen), seen])
            drawn += (
                pipeline(
                    prompt=captions[i] if captions else "",
                    ip_adapter_image_embeds=[seen.to(pipeline.unet.device, pipeline.unet.dtype)],
                    num_inference_steps=num_inference_steps,
                    guidance_scale=guidance_scale,
                    generator=torch.Generator().manual_seed(seeds[i]),
                    output_type="pt",
                    **picture,
                )
                .images.float()
                .cpu()
            )
        return torch.stack(drawn)
