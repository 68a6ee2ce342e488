"""Schemas of device and training loop; importing this module must stay cheap."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
)

from dreamdiffusion.files.schema import Schema


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
    max_seconds: float = Field(
        default=0.0,
        ge=0,
        description="stop with a checkpoint after so long and go on with the weights as they are; "
        "the same command goes on from there; 0: no limit",
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
