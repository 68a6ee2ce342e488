"""Schemas of the networks and of their training; importing this module must stay cheap."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from dreamdiffusion.files.schema import PictureFit, Schema, Weights
from dreamdiffusion.training.config import OptimConfig, TrainConfig


class EncoderConfig(Schema):
    """The EEG encoder and its reconstruction decoder (paper section 3.1)."""

    patch_size: PositiveInt = Field(default=4, description="time points per token")
    embed_dim: PositiveInt = 192
    depth: PositiveInt = 6
    num_heads: PositiveInt = 6
    mlp_ratio: PositiveFloat = 2.0
    montage: Literal["fixed", "any"] = Field(
        default="fixed",
        description="fixed: channels by their number (paper); any: by their place on the head, so "
        "that headsets mix and channels may be absent",
    )
    decoder_embed_dim: PositiveInt = 128
    decoder_depth: PositiveInt = 2
    decoder_num_heads: PositiveInt = 4

    @model_validator(mode="after")
    def _heads_divide(self) -> EncoderConfig:
        for width, heads, name in (
            (self.embed_dim, self.num_heads, "embed_dim"),
            (self.decoder_embed_dim, self.decoder_num_heads, "decoder_embed_dim"),
        ):
            if width % heads:
                raise ValueError(f"{name} is {width}, which {heads} heads do not divide")
        return self


class CompactConfig(Schema):
    """The compact EEG encoder: filters over channels and over time."""

    n_spatial: PositiveInt | None = Field(
        default=None, description="filters over channels; empty: as many as channels"
    )
    n_temporal: PositiveInt = Field(default=40, description="filters over time")
    kernel_size: PositiveInt = Field(default=13, description="time points of a filter, odd")
    pool_size: PositiveInt = Field(default=13, description="time points of a mean")
    pool_stride: PositiveInt = Field(default=6, description="time points between means")
    dropout: float = Field(default=0.7, ge=0, lt=1)
    embed_dim: PositiveInt = 128


class PretrainConfig(TrainConfig):
    """Temporal masked signal modelling on unlabelled windows (paper section 3.1)."""

    data: Path = Field(
        default=Path("runs/windows"), description="folder written by prepare, kind windows"
    )
    output: Path = Path("runs/pretrain")
    init: Weights | None = Field(
        default=None,
        description="output of an earlier pretrain, of the same sizes: "
        "its weights are the start, the schedule is new",
    )
    encoder: EncoderConfig = EncoderConfig()
    n_chans: int | None = Field(
        default=None,
        description="channels of the encoder; more than the data has: tiled as the paper; with "
        "encoder.montage any: virtual electrodes (empty: 32)",
    )
    mask_ratio: float = Field(default=0.75, gt=0, lt=1)
    channel_dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="with encoder.montage any: share of channels hidden as a whole",
    )
    clip: float = Field(
        default=0.0,
        ge=0,
        description="cut scaled values beyond this many deviations, so that blinks do not rule the "
        "loss; 0: leave them",
    )
    validation_fraction: float = Field(default=0.05, ge=0, lt=1)


class ClipSizes(Schema):
    """A small CLIP: text and image towers and their common space."""

    width: PositiveInt = 128
    layers: PositiveInt = 4
    heads: PositiveInt = 4
    patch_size: PositiveInt = 8
    projection_dim: PositiveInt = 128
    max_length: PositiveInt = Field(default=24, description="tokens of a caption")
    vocab_size: PositiveInt = 1024


class VaeSizes(Schema):
    """A small SD-shaped VAE; each further channel width halves the resolution."""

    channels: list[int] = Field(default=[32, 64, 64])
    layers_per_block: PositiveInt = 1
    latent_channels: PositiveInt = 4
    kl_weight: float = 1e-5


class UnetSizes(Schema):
    """A small SD-shaped U-Net; the first ``plain_levels`` levels have no attention."""

    channels: list[int] = Field(default=[64, 128, 192])
    layers_per_block: PositiveInt = 2
    plain_levels: int = 1
    heads: PositiveInt = 4
    pooled_condition: bool = Field(
        default=True,
        description="add the pooled condition to the timestep's embedding, beside cross-attention",
    )


class ImageConditionConfig(Schema):
    """CLIP image embeddings as a condition of the U-Net, beside or instead of the caption.

    The shares say what a picture of the training is drawn from; the rest, ``1 - text_only - both
    - neither``, is drawn from its embedding alone.
    """

    n_tokens: PositiveInt = Field(default=8, description="tokens that an embedding becomes")
    width: PositiveInt = Field(default=512, description="hidden units of the projection")
    max_noise_level: PositiveFloat = Field(
        default=1.2, description="most noise on a standardised embedding, in standard deviations"
    )
    noisy: float = Field(default=0.7, ge=0, le=1, description="share of embeddings with noise")
    text_only: float = Field(default=0.25, ge=0, le=1)
    both: float = Field(default=0.25, ge=0, le=1)
    neither: float = Field(default=0.1, ge=0, le=1)

    @model_validator(mode="after")
    def _shares_fit(self) -> ImageConditionConfig:
        shares = self.text_only + self.both + self.neither
        if shares > 1 + 1e-9:
            raise ValueError(
                f"text_only, both and neither sum to {shares:g}; they are shares of all pictures, "
                "so lower them to at most 1 in all"
            )
        return self


class DistillConfig(Schema):
    """A U-Net that draws in few steps and without guidance what it draws in many with it."""

    n_steps: PositiveInt = Field(default=4, description="steps that it is to draw in")
    teacher_steps: PositiveInt = Field(default=4, description="of it as it is, for each of them")
    guidance_scale: float = Field(
        default=2.5, ge=1, description="of it as it is; 1 where init was distilled already"
    )


class TrainGeneratorConfig(Schema):
    """A small text-to-image generator in Stable Diffusion's own shape.

    A training that is empty leaves its part as it is in ``init``.
    """

    data: Path | None = Field(
        default=None, description="captioned or class folders of pictures; empty: drawn scenes"
    )
    output: Path = Path("runs/generator")
    init: Weights | None = Field(
        default=None,
        description="output of an earlier train-generator, or a generator: "
        "its weights are the start, the schedule is new",
    )
    image_size: PositiveInt = 64
    n_scenes: PositiveInt = Field(default=16000, description="drawn scenes, when data is empty")
    fresh_scenes: bool = Field(
        default=False,
        description="U-Net and VAE learn from new drawn scenes at every step, not from n_scenes",
    )
    workers: int = Field(
        default=0, ge=0, description="processes that draw the fresh scenes of a step ahead; 0: none"
    )
    new_vae: bool = Field(
        default=False,
        description="build VAE and U-Net anew, of the sizes given here; the rest is that of init",
    )
    clip: ClipSizes = ClipSizes()
    vae: VaeSizes = VaeSizes()
    unet: UnetSizes = UnetSizes()
    image_condition: ImageConditionConfig | None = Field(
        default=None, description="CLIP image embeddings as a condition; empty: captions alone"
    )
    clip_train: TrainConfig | None = TrainConfig(steps=1500, batch_size=128)
    clip_image_train: TrainConfig | None = TrainConfig(steps=1500, batch_size=128)
    vae_train: TrainConfig | None = TrainConfig(steps=3000, batch_size=16)
    decoder_train: TrainConfig | None = Field(
        default=None,
        description="the VAE's decoder alone, for crisp pictures; its latents stay as they are",
    )
    unet_train: TrainConfig | None = TrainConfig(steps=10000, batch_size=32)
    distill: DistillConfig = DistillConfig()
    distill_train: TrainConfig | None = Field(
        default=None, description="the U-Net of init alone, so that it draws in few steps"
    )
    min_snr_gamma: float = Field(
        default=5.0, description="weighting of the noise loss over timesteps"
    )
    caption_dropout: float = Field(default=0.1, ge=0, lt=1)
    picture_fit: PictureFit = Field(
        default="crop", description="as in prepare, whose trials it is to draw pictures of"
    )
    flip: bool = Field(default=False, description="mirror pictures at random (class folders)")

    @model_validator(mode="after")
    def _parts_come_from_somewhere(self) -> TrainGeneratorConfig:
        for name in ("clip_train", "clip_image_train", "vae_train", "unet_train"):
            if getattr(self, name) is None and self.init is None:
                raise ValueError(
                    f"{name} is empty, which leaves that part as it is in init, but init is empty "
                    "too; name a generator to start from"
                )
        if self.new_vae and (self.init is None or self.vae_train is None):
            raise ValueError(
                "new_vae builds VAE and U-Net of init anew: it needs init and vae_train; set both"
            )
        later = (self.unet_train, self.decoder_train, self.distill_train)
        if later == (None, None, None) and not self.new_vae:
            raise ValueError("unet_train, decoder_train and distill_train are empty; set one")
        if self.distill_train and (self.unet_train or self.image_condition is None):
            raise ValueError(
                "distill_train starts from the U-Net of init and draws from what image_condition "
                "says; set image_condition and leave unet_train empty"
            )
        if self.fresh_scenes and self.data is not None:
            raise ValueError(
                f"fresh_scenes draws scenes, but data is {self.data}; leave one of them out"
            )
        if self.fresh_scenes and self.unet_train and self.image_condition is None:
            raise ValueError(
                "fresh_scenes needs image_condition where the U-Net is trained: captions alone "
                "are learned from n_scenes fixed pictures; set image_condition"
            )
        return self


class TrainJudgeConfig(TrainConfig):
    """An independent classifier of pictures; it never sees the CLIP used for alignment."""

    data: Path | None = Field(default=None, description="class folders; empty: drawn scenes")
    output: Path = Path("runs/judge")
    init: Weights | None = Field(
        default=None,
        description="output of an earlier train-judge, of the same names: "
        "its weights are the start, the schedule is new",
    )
    image_size: PositiveInt = 64
    picture_fit: PictureFit = Field(
        default="crop", description="as in prepare, whose trials it is to score"
    )
    n_scenes: PositiveInt = Field(default=8000, description="drawn scenes, when data is empty")
    steps: PositiveInt = 1200
    batch_size: PositiveInt = 64
    optim: OptimConfig = OptimConfig(lr=2e-3, betas=(0.9, 0.99), warmup_steps=50)
