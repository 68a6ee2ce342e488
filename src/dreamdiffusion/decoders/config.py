"""Schemas of the decoders; importing this module must stay cheap."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from dreamdiffusion.files.schema import Schema, Source, Weights
from dreamdiffusion.models.config import CompactConfig, EncoderConfig
from dreamdiffusion.recordings.config import Unit
from dreamdiffusion.training.config import OptimConfig, RuntimeConfig, TrainConfig
from dreamdiffusion.trials.config import SplitConfig


class FitConfig(Schema):
    """What every decoder is fitted on, and where it is written to."""

    data: Path = Field(
        default=Path("runs/trials"), description="folder written by prepare, kind trials"
    )
    output: Path = Path("runs/fit")
    split: SplitConfig = SplitConfig()
    n_pairs: PositiveInt | None = Field(
        default=None,
        description="training trials that are used, alike in each category; empty: all; the fewer "
        "are among the more",
    )
    acknowledge: list[str] = Field(
        default_factory=list,
        description="severe findings of the audit, by name, to go on with; reports list them",
    )
    seed: int = 0


class RepairConfig(FitConfig):
    """Loose electrodes, which spoil what is learned of all trials."""

    repair_channels: PositiveFloat | None = Field(
        default=None,
        description="a channel of a trial that departs from what the other channels say this many "
        "times as far as usual (4 is a good start) is replaced by it, in training too; "
        "empty: never",
    )


class LdaConfig(RepairConfig):
    """Shrinkage LDA on window means, the linear baseline."""

    output: Path = Path("runs/lda")
    width_s: PositiveFloat = Field(default=0.03, description="s, length of a window")
    covariance: Literal["class", "pooled"] = Field(
        default="pooled",
        description="class: shrunk in each class and averaged (scikit-learn); pooled: shrunk once",
    )


ATTRIBUTES = ["category", "color", "place", "background"]


class EncodingConfig(RepairConfig):
    """A linear encoding model of what the picture shows, and its posterior."""

    output: Path = Path("runs/encoding")
    attributes: list[str] = Field(
        default=ATTRIBUTES,
        description="columns of the metadata that are read; one that the trials lack is left out",
    )
    width_s: PositiveFloat = Field(default=0.03, description="s, length of a window")
    electrode_relevance: bool = Field(
        default=False,
        description="learn how large effects are at each electrode, and trust it accordingly",
    )


class AugmentConfig(Schema):
    """How training trials are varied, anew at every step."""

    noise_augment: float = Field(
        default=0.0, ge=0, description="sd of noise added, in units of the signal"
    )
    shift_augment: int = Field(default=0, ge=0, description="time points of random shift")
    channel_dropout: float = Field(default=0.0, ge=0, lt=1)


class FinetuneConfig(AugmentConfig, TrainConfig, FitConfig):
    """EEG encoder + projectors + cross-attention on EEG-image pairs (paper section 3.2, 3.3)."""

    generator: Source = Field(
        default="weights/scenes-generator",
        validate_default=True,
        description="diffusers folder, or hub id of a Stable Diffusion",
    )
    clip: Source | None = Field(
        default=None,
        description="folder or hub id of a CLIP, or photos (EfficientNet-Lite0, extra photos); "
        "empty: the generator's own, else the paper's ViT-L/14",
    )
    init: Weights | None = Field(
        default=None,
        description="output of an earlier finetune, of the same sizes and generator: "
        "its weights are the start, the schedule is new",
    )
    pretrained: Path | None = Field(
        default=None, description="output of pretrain; empty: from scratch"
    )
    output: Path = Path("runs/finetune")
    encoder: EncoderConfig = EncoderConfig()
    n_chans: int | None = Field(
        default=None, description="as in pretrain; the pretrained value wins"
    )
    scale: Literal["whiten", "robust"] = Field(
        default="whiten", description="fitted on training trials"
    )
    clip_weight: float = Field(
        default=1.0, ge=0, description="of 1 - cos(image, EEG), paper eq. 6; 0: off"
    )
    noise_weight: float = Field(default=1.0, ge=0, description="of the noise-prediction loss")
    n_condition_tokens: PositiveInt = Field(
        default=77, description="tokens that cross-attention sees"
    )
    condition_dropout: float = Field(
        default=0.1, ge=0, lt=1, description="for guidance at sampling"
    )
    train_encoder: bool = Field(
        default=True, description="E of E+A; false: it stays as pre-trained, projectors are trained"
    )
    train_cross_attention: bool = Field(default=True, description="A of E+A")
    lora_rank: int = Field(
        default=0,
        ge=0,
        description="train updates of this rank of the cross-attention (peft), merged at the end; "
        "0: its weights themselves",
    )
    encoder_lr_scale: PositiveFloat = 1.0


INIT_LR = 1e-4
"""Learning rate of a reader that starts from trained weights: at the rate that suits random ones,
few trials unlearn most of what other people's had taught (docs/pretraining.md)."""


class ReaderOptimConfig(OptimConfig):
    """AdamW, as it suits a reader."""

    lr: PositiveFloat = Field(
        default=2e-3, description=f"from random weights; with init {INIT_LR:g}, unless it is given"
    )
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = Field(
        default=0.5, description="on parameters with more than one dimension"
    )
    warmup_steps: int = 300
    clip_grad: PositiveFloat = 1.0


class ReaderConfig(AugmentConfig, TrainConfig, RepairConfig):
    """A small network that reads attributes of the picture, and its CLIP embedding, off the EEG."""

    clip: Source = Field(
        default="weights/scenes-generator/clip",
        validate_default=True,
        description="folder or hub id of the CLIP whose image embeddings are learned, or photos: "
        "EfficientNet-Lite0 (extra photos), for photographs",
    )
    output: Path = Path("runs/reader")
    init: Weights | None = Field(
        default=None,
        description="output of an earlier fit of a reader or prior, perhaps of others, of the "
        "same sizes and attributes: its weights are the start, the schedule is new",
    )
    encoder: Literal["compact", "mae"] = Field(
        default="compact", description="mae: the paper's transformer, under the same losses"
    )
    compact: CompactConfig = CompactConfig()
    mae: EncoderConfig = EncoderConfig()
    montage: Literal["fixed", "any"] = Field(
        default="fixed",
        description="any: trials of other headsets are read too, with either encoder; channels "
        "that they lack are estimated from theirs, by place",
    )
    pretrained: Path | None = Field(
        default=None, description="output of pretrain, with encoder mae; empty: from scratch"
    )
    attributes: list[str] = Field(
        default=ATTRIBUTES,
        description="columns of the metadata that are read; one that the trials lack is left out",
    )
    ensemble: PositiveInt = Field(
        default=1, description="networks of different seeds, whose answers are averaged"
    )
    linear: bool = Field(
        default=True,
        description="a linear encoding model beside the networks; its part in the probabilities is "
        "fitted on validation trials",
    )
    linear_widths_s: list[PositiveFloat] = Field(
        default=[0.03],
        min_length=1,
        description="s, windows of the linear model; several: one model for each, averaged",
    )
    electrode_relevance: bool = Field(
        default=False,
        description="learn from the training trials which electrodes to trust: a second linear "
        "model beside each, and the networks' channels are scaled by it; not with scale whiten",
    )
    scale: Literal["whiten", "robust", "trial"] = Field(
        default="whiten",
        description="whiten, robust: fitted on training trials; trial: each channel of each trial "
        "by its own mean and deviation",
    )
    contrastive_weight: float = Field(
        default=1.0, ge=0, description="of InfoNCE between EEG and image embeddings; 0: off"
    )
    label_weight: float = Field(
        default=1.0, ge=0, description="of the cross-entropy of the attributes; 0: off"
    )
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    noise_augment: float = Field(
        default=0.5, ge=0, description="sd of noise added, in units of the signal"
    )
    shift_augment: int = Field(default=3, ge=0, description="time points of random shift")
    steps: PositiveInt = 1500
    batch_size: PositiveInt = 256
    optim: ReaderOptimConfig = ReaderOptimConfig()

    @model_validator(mode="after")
    def _gentle_from_init(self) -> ReaderConfig:
        if self.init is not None and "lr" not in self.optim.model_fields_set:
            self.optim = self.optim.model_copy(update={"lr": INIT_LR})
        return self

    @model_validator(mode="after")
    def _one_montage(self) -> ReaderConfig:
        if self.mae.montage == "any":
            raise ValueError(
                "mae.montage is any, which a reader's encoder does not take; set montage: any"
            )
        return self


class PriorConfig(ReaderConfig):
    """A reader, and a posterior over a bank of pictures that nobody saw."""

    output: Path = Path("runs/prior")
    bank: Path | None = Field(
        default=None, description="folder with one folder of pictures a category; empty: drawn"
    )
    bank_size: PositiveInt = Field(default=24000, description="drawn scenes, when bank is empty")
    image_size: PositiveInt = Field(default=64, description="pixels of a picture of the bank")
    generator: Weights = Field(
        default=Path("weights/scenes-generator"),
        validate_default=True,
        description="folder of the generator that draws from a picture of the bank on",
    )


class CaptionConfig(ReaderConfig):
    """A reader whose words are drawn from text."""

    output: Path = Path("runs/caption")
    generator: Weights = Field(
        default=Path("weights/scenes-generator"),
        validate_default=True,
        description="folder of the generator that draws from text",
    )


Scheduler = Literal["own", "plms", "ddim", "dpm++", "unipc", "lcm"]
Condition = Literal["both", "caption", "embedding"]


class PriorSampleConfig(Schema):
    """How pictures of the bank are chosen, and how much of them is drawn anew."""

    num_images_per_prompt: PositiveInt = 1
    strength: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="share of the drawing that is done anew, from the picture on; 0: the picture "
        "of the bank itself; 1: from noise",
    )
    condition: Condition = Field(
        default="both",
        description="what the generator is given of the picture: both as far as it understands "
        "embeddings, or one of them",
    )
    num_inference_steps: PositiveInt = 10
    guidance_scale: float = Field(default=2.5, ge=1)
    temperature: float = Field(
        default=0.0,
        ge=0,
        description="0: the likeliest pictures, the best guess first; 1: by their probability, as "
        "validation trials justify",
    )
    seed: int = 0


class CaptionSampleConfig(Schema):
    """How words are chosen, and how they are drawn."""

    num_images_per_prompt: PositiveInt = 1
    num_inference_steps: PositiveInt = 10
    guidance_scale: float = Field(default=2.5, ge=1)
    temperature: float = Field(
        default=0.0, ge=0, description="0: the most probable words; 1: by their probability"
    )
    seed: int = 0


class PaperSampleConfig(Schema):
    """How the paper's decoder draws images from latents; the words of diffusers."""

    scheduler: Scheduler = "own"
    num_inference_steps: PositiveInt = 10
    guidance_scale: float = Field(default=2.5, ge=1)
    num_images_per_prompt: PositiveInt = 4
    seed: int = 0


class SampleConfig(Schema):
    """How any decoder draws images; what is empty is the decoder's own default.

    A decoder refuses, by name, a setting that it does not have.
    """

    num_images_per_prompt: PositiveInt | None = Field(
        default=None, description="images of a trial; dreamdiffusion: 4, prior and caption: 1"
    )
    num_inference_steps: PositiveInt | None = Field(default=None, description="own: 10")
    guidance_scale: float | None = Field(default=None, ge=1, description="own: 2.5")
    scheduler: Scheduler | None = Field(
        default=None,
        description="dreamdiffusion. own: the generator's; plms: the paper's; lcm: 1-4 steps",
    )
    strength: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="prior. Share of the drawing that is done anew, from the picture of the bank "
        "on; 0: that picture itself; 1: from noise; own: 0.5",
    )
    temperature: float | None = Field(
        default=None,
        ge=0,
        description="prior, caption. 0: the likeliest pictures or words, their own; 1: by their "
        "probability",
    )
    condition: Condition | None = Field(
        default=None, description="prior. What the generator is given of the picture; own: both"
    )
    seed: int = 0

    @model_serializer(mode="wrap")
    def _without_empty(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is the decoder's own, unless that was asked for: null is then written."""
        return {
            name: value
            for name, value in handler(self).items()
            if value is not None or name in self.model_fields_set
        }


class GenerateConfig(Schema):
    """Images from a recording or from prepared trials."""

    model: Weights = Field(
        default=Path("weights/prior-scenes"),
        validate_default=True,
        description="folder of a decoder that gives images",
    )
    data: Path = Field(
        default=Path("runs/trials"),
        description="trials folder, BIDS folder, or a recording with events",
    )
    output: Path = Path("runs/generate")
    events: dict[str, int] | None = Field(
        default=None, description="category -> marker code, as prepare"
    )
    unit: Unit | None = Field(
        default=None,
        description="of a recording's EEG, where its file says it wrongly or not at all",
    )
    limit: int | None = Field(default=None, description="number of trials at most")
    batch_size: PositiveInt = 16
    sample: SampleConfig = SampleConfig()
    runtime: RuntimeConfig = RuntimeConfig()


class DecodeConfig(Schema):
    """Answers of any decoder for prepared trials: labels, embeddings, images."""

    model: Weights = Field(default=Path("runs/prior/model"), description="folder of a fit")
    data: Path = Field(default=Path("runs/trials"), description="trials folder")
    output: Path = Path("runs/decode")
    limit: PositiveInt | None = Field(default=None, description="number of trials at most")
    sample: SampleConfig = SampleConfig()
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps")


class ConvertConfig(Schema):
    """Import a checkpoint of the authors' release; nothing in the file is executed."""

    input: Path = Field(default=Path("checkpoint.pth"), description="file of either stage")
    output: Path = Path("runs/convert")
    generator: Path | None = Field(
        default=None,
        description="diffusers folder that has the sizes of U-Net and VAE; empty: SD 1.5's",
    )
    num_heads: PositiveInt = Field(default=16, description="of the encoder; the file lacks it")
    decoder_num_heads: PositiveInt = 16
    ch_names: list[str] | None = Field(
        default=None, description="channels in the order of the training data; empty: numbered"
    )
    sfreq: PositiveFloat = Field(
        default=512 / 0.44, description="Hz; the release stretches 440 ms to 512 points"
    )
    tmin: float = Field(default=0.02, description="s from stimulus onset")
    unit: PositiveFloat = Field(
        default=1e-6, description="volts per number of the training data, which names no unit"
    )
