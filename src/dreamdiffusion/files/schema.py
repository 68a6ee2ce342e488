"""The configuration of every stage, as pydantic schemas that forbid unknown keys.

A stage is configured by one schema here: the command line, the YAML files in ``configs/`` and the
Python API use the same words. Science (what is computed) and runtime (where and how it is
computed) are apart: two runs that differ only in ``runtime`` mean to give the same result.
Importing this module must stay cheap, so it imports no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

Source = Annotated[str, BeforeValidator(str)]
"""A folder, or the id of a repository on the hub."""

Montage = Literal["muse4", "emotiv14", "easycap32", "easycap64", "biosemi128"]


class Schema(BaseModel):
    """Base of every schema: an unknown key is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class RuntimeConfig(Schema):
    """Where and how a stage runs; changes nothing of what it means."""

    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="auto: bf16 autocast on a GPU and on a CPU that has bf16 instructions",
    )
    threads: int = Field(default=0, description="CPU threads; 0 leaves the choice to torch")


class TrainRuntimeConfig(RuntimeConfig):
    """Where and how training runs; changes nothing of what is learned."""

    micro_batch: int = Field(
        default=0, ge=0, description="samples computed at once by a process; 0: its whole share"
    )
    memory: Literal["normal", "low"] = Field(
        default="normal",
        description="low: compute activations twice, pictures one by one and in tiles",
    )
    shard: bool = Field(
        default=False,
        description="several processes share out gradients, moments and averages (FSDP)",
    )
    compile: bool = Field(
        default=False, description="torch.compile the networks: slow start, faster steps"
    )
    track: Literal["none", "tensorboard", "wandb"] = Field(
        default="none", description="send log and previews there too; needs that package"
    )


class OptimConfig(Schema):
    """AdamW; the rate warms up linearly, then stays or falls as half a cosine to zero."""

    kind: Literal["adamw", "adamw8bit"] = Field(
        default="adamw", description="adamw8bit: moments in 8 bits (needs bitsandbytes, a GPU)"
    )
    lr: PositiveFloat = 2.5e-4
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(
        default=0.05, description="on parameters with more than one dimension"
    )
    warmup_steps: int = 0
    schedule: Literal["constant", "cosine"] = "cosine"
    clip_grad: PositiveFloat = 0.8
    ema_decay: float = Field(default=0.0, description="0 keeps no running average of the weights")


class TrainConfig(Schema):
    """The training loop: how long, how often, from which seed."""

    steps: PositiveInt = 2000
    batch_size: PositiveInt = 32
    seed: int = 0
    checkpoint_every: PositiveInt = 500
    validate_every: PositiveInt = 500
    log_every: PositiveInt = 50
    optim: OptimConfig = OptimConfig()
    runtime: TrainRuntimeConfig = TrainRuntimeConfig()


class SimulateConfig(Schema):
    """A BIDS folder of SIMULATED recordings: people who look at drawn pictures."""

    output: Path = Path("runs/simulated")
    montage: Montage = "easycap64"
    sfreq: PositiveFloat = Field(default=256.0, description="Hz")
    noise_level: float | None = Field(
        default=None,
        ge=0,
        description="1 is realistic, 0 is none; empty: the documented easy default",
    )
    n_subjects: PositiveInt = 1
    first_subject: PositiveInt = 1
    n_runs: PositiveInt = 8
    first_run: PositiveInt = Field(default=1, description="number of the first run that is written")
    trials_per_run: PositiveInt = 240
    image_size: PositiveInt = Field(default=64, description="pixels")
    seed: int = 0


class SignalConfig(Schema):
    """From a raw recording to a clean, comparable signal."""

    l_freq: float | None = Field(default=0.5, description="Hz, high-pass edge")
    h_freq: float | None = Field(default=40.0, description="Hz, low-pass edge")
    notch: list[float] = Field(default=[], description="Hz, line frequencies to remove")
    sfreq: PositiveFloat = Field(default=256.0, description="Hz after resampling")
    resample_up: bool = Field(default=False, description="accept recordings below sfreq")
    reference: Literal["none", "average"] | list[str] = "none"
    picks: list[str] | None = Field(default=None, description="channels to keep, in this order")
    reject_uv: float | None = Field(
        default=None, description="peak-to-peak microvolts above: rejected"
    )
    flat_uv: float = Field(default=0.5, description="peak-to-peak microvolts below: rejected")
    bad_channels: Literal["raise", "interpolate"] = "raise"


class PrepareConfig(Schema):
    """Recordings -> labelled trials, or unlabelled windows for pre-training."""

    input: list[Path] = Field(default_factory=list, description="files, folders, BIDS folders")
    dataset: str | None = Field(
        default=None,
        description="name of a public data set (datasets list), whose folder input is; "
        "what is not given below is then as that data set needs it",
    )
    subjects: list[str] = Field(
        default_factory=list, description="people of the data set; empty: all"
    )
    output: Path = Path("runs/prepared")
    kind: Literal["trials", "windows"] = "trials"
    signal: SignalConfig = SignalConfig()
    tmin: float = Field(default=0.0, description="s, from stimulus onset")
    tmax: float = Field(default=0.5, description="s, from stimulus onset; excluded")
    baseline: tuple[float, float] | None = Field(default=None, description="s, from stimulus onset")
    events: dict[str, int] | None = Field(default=None, description="category -> marker code")
    stimuli: Path | None = Field(default=None, description="folder of the pictures that were shown")
    pair_by: Literal["stim_file", "category", "none"] = Field(
        default="stim_file",
        description="category: only the class of a picture is known; none: no pictures",
    )
    window_s: PositiveFloat = Field(default=0.5, description="s, length of an unlabelled window")
    window_stride_s: PositiveFloat = Field(default=0.5, description="s")
    scale: Literal["whiten", "robust"] = Field(
        default="whiten",
        description="windows only; trials are scaled by what the training split fits",
    )
    strict: bool = Field(default=False, description="windows: a broken file ends the run")
    jobs: PositiveInt = Field(default=1, description="windows: recordings worked on at a time")
    scheduler: str | None = Field(
        default=None,
        description="windows: address of a Dask scheduler, whose workers do it instead",
    )


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


class PretrainConfig(TrainConfig):
    """Temporal masked signal modelling on unlabelled windows (paper section 3.1)."""

    data: Path = Field(
        default=Path("runs/windows"), description="folder written by prepare, kind windows"
    )
    output: Path = Path("runs/pretrain")
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

    channels: list[int] = [32, 64, 64]
    layers_per_block: PositiveInt = 1
    latent_channels: PositiveInt = 4
    kl_weight: float = 1e-5


class UnetSizes(Schema):
    """A small SD-shaped U-Net; the first ``plain_levels`` levels have no attention."""

    channels: list[int] = [64, 128, 192]
    layers_per_block: PositiveInt = 2
    plain_levels: int = 1
    heads: PositiveInt = 4
    pooled_condition: bool = Field(
        default=True,
        description="add the pooled condition to the timestep's embedding, beside cross-attention",
    )


class TrainGeneratorConfig(Schema):
    """A small text-to-image generator in Stable Diffusion's own shape, from scratch."""

    data: Path | None = Field(
        default=None, description="captioned or class folders of pictures; empty: drawn scenes"
    )
    output: Path = Path("runs/generator")
    init: Path | None = Field(
        default=None, description="a generator to start from instead of nothing"
    )
    image_size: PositiveInt = 64
    n_scenes: PositiveInt = Field(default=16000, description="drawn scenes, when data is empty")
    clip: ClipSizes = ClipSizes()
    vae: VaeSizes = VaeSizes()
    unet: UnetSizes = UnetSizes()
    clip_train: TrainConfig = TrainConfig(steps=1500, batch_size=128)
    clip_image_train: TrainConfig = TrainConfig(steps=1500, batch_size=128)
    vae_train: TrainConfig = TrainConfig(steps=3000, batch_size=16)
    unet_train: TrainConfig = TrainConfig(steps=10000, batch_size=32)
    min_snr_gamma: float = Field(
        default=5.0, description="weighting of the noise loss over timesteps"
    )
    caption_dropout: float = Field(default=0.1, ge=0, lt=1)
    flip: bool = Field(default=False, description="mirror pictures at random (class folders)")


class SplitConfig(Schema):
    """Which trials train, validate and test; never by chance alone when runs are known."""

    by: str = Field(default="run", description="column of the metadata")
    test: list[str] = Field(default_factory=list, description="values of that column held out")
    validation: list[str] = Field(
        default_factory=list, description="values of that column; empty: a fraction of the trials"
    )
    validation_fraction: float = Field(
        default=0.1, ge=0, lt=1, description="of the training trials, where no values are named"
    )


class FinetuneConfig(TrainConfig):
    """EEG encoder + projectors + cross-attention on EEG-image pairs (paper section 3.2, 3.3)."""

    data: Path = Field(
        default=Path("runs/trials"), description="folder written by prepare, kind trials"
    )
    generator: Source = Field(
        default="weights/scenes-generator",
        description="diffusers folder, or hub id of a Stable Diffusion",
    )
    clip: Source | None = Field(
        default=None,
        description="folder or hub id; empty: the generator's own, else the paper's ViT-L/14",
    )
    pretrained: Path | None = Field(
        default=None, description="output of pretrain; empty: from scratch"
    )
    output: Path = Path("runs/finetune")
    encoder: EncoderConfig = EncoderConfig()
    n_chans: int | None = Field(
        default=None, description="as in pretrain; the pretrained value wins"
    )
    split: SplitConfig = SplitConfig()
    n_pairs: PositiveInt | None = Field(
        default=None,
        description="training trials that are used, alike in each category; empty: all; the fewer "
        "are among the more",
    )
    acknowledge: list[str] = Field(
        default_factory=list,
        description="severe findings of the audit, by name, to go on with; reports tell them",
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
    noise_augment: float = Field(
        default=0.0, ge=0, description="sd of noise added, in units of the signal"
    )
    shift_augment: int = Field(default=0, ge=0, description="time points of random shift")
    channel_dropout: float = Field(default=0.0, ge=0, lt=1)


class SampleConfig(Schema):
    """How images are drawn from latents; the words of diffusers."""

    scheduler: Literal["own", "plms", "ddim", "dpm++", "unipc", "lcm"] = Field(
        default="own", description="own: the generator's; plms: the paper's; lcm: 1-4 steps"
    )
    num_inference_steps: PositiveInt = 20
    guidance_scale: float = Field(default=3.0, ge=1)
    num_images_per_prompt: PositiveInt = 4
    seed: int = 0


class GenerateConfig(Schema):
    """Images from a recording or from prepared trials."""

    model: Path = Field(default=Path("weights/eeg-scenes"), description="a fine-tuned model")
    data: Path = Field(
        default=Path("runs/trials"),
        description="trials folder, BIDS folder, or a recording with events",
    )
    output: Path = Path("runs/generate")
    events: dict[str, int] | None = Field(
        default=None, description="category -> marker code, as prepare"
    )
    limit: int | None = Field(default=None, description="number of trials at most")
    batch_size: PositiveInt = 16
    sample: SampleConfig = SampleConfig()
    runtime: RuntimeConfig = RuntimeConfig()


class TrainJudgeConfig(TrainConfig):
    """An independent classifier of pictures; it never sees the CLIP used for alignment."""

    data: Path | None = Field(default=None, description="class folders; empty: drawn scenes")
    output: Path = Path("runs/judge")
    image_size: PositiveInt = 64
    n_scenes: PositiveInt = Field(default=8000, description="drawn scenes, when data is empty")
    steps: PositiveInt = 1200
    batch_size: PositiveInt = 64
    optim: OptimConfig = OptimConfig(lr=2e-3, betas=(0.9, 0.99), warmup_steps=50)


class ConvertConfig(Schema):
    """Import a checkpoint of the authors' release; nothing in the file is executed."""

    input: Path = Field(default=Path("checkpoint.pth"), description="file of either stage")
    output: Path = Path("runs/convert")
    generator: Path | None = Field(
        default=None,
        description="diffusers folder that tells the sizes of U-Net and VAE; empty: SD 1.5's",
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


class DemoConfig(Schema):
    """From nothing to decoded images with the bundled weights."""

    output: Path = Path("runs/demo")
    weights: Path = Path("weights")
    trials: PositiveInt = Field(default=96, description="held-out trials that are decoded")
    seed: int = 0
    runtime: RuntimeConfig = RuntimeConfig()


def read_yaml(path: Path) -> dict:
    """Read a YAML file that holds one mapping.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not YAML or holds something else than a mapping.
    """
    if not path.is_file():
        raise FileNotFoundError(f"config file {path} does not exist")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"config file {path} is not valid YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"config file {path} holds a {type(content).__name__}, expected a mapping")
    return content


def write_yaml(config: Schema, path: Path) -> None:
    """Write the resolved configuration, so that a run folder says how it was made."""
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), "utf-8")
