"""The processes that share a training: their parts of a batch, their gradients, their tracker."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import is_tensorboard_available, is_wandb_available
from torch import nn

from dreamdiffusion.training.config import TrainConfig
from dreamdiffusion.training.device import choose_device, is_main_process
from dreamdiffusion.training.sharding import shard

_AVAILABLE = {"tensorboard": is_tensorboard_available, "wandb": is_wandb_available}


class Workers:
    """The processes that share a run, seen from one of them, and their parts of a batch.

    One process unless ``accelerate launch`` or ``torchrun`` started several.

    Parameters
    ----------
    folder
        Gets what TensorBoard reads, where that is asked for.

    Raises
    ------
    ValueError
        If the batch cannot be dealt evenly, or the package that is to track is not installed.
    """

    def __init__(self, config: TrainConfig, folder: Path, name: str) -> None:
        self.name, self.precision = name, config.runtime.precision
        track = config.runtime.track
        if track != "none" and not _AVAILABLE[track]():
            raise ValueError(
                f"runtime.track is {track}, which is not installed: pip install {track}"
            )
        device = choose_device(config.runtime)
        # Some parameters get a gradient only in some steps (a condition that is dropped, say).
        ddp = DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)
        self.accelerator = Accelerator(
            cpu=device.type == "cpu",
            device_placement=False,
            kwargs_handlers=[ddp],
            log_with=None if track == "none" else track,
            project_dir=folder,
        )
        if track != "none":
            self.accelerator.init_trackers(name.replace(" ", "-"))
        self.count = self.accelerator.num_processes
        self.main = is_main_process()
        self.sharded = config.runtime.shard and self.count > 1
        self.device = device if self.count == 1 else self.accelerator.device
        share, rest = divmod(config.batch_size, self.count)
        size = min(config.runtime.micro_batch or share, share)
        if rest or share % size:
            raise ValueError(
                f"{name}: batch_size is {config.batch_size}, which {self.count} processes in parts "
                f"of {size} do not share evenly; change batch_size or runtime.micro_batch"
            )
        start = self.accelerator.process_index * share
        self.parts = [slice(i, i + size) for i in range(start, start + share, size)]

    def share(self, model: nn.Module) -> nn.Module:
        """Wrap a model so that its gradients are averaged over the processes."""
        if self.sharded:
            shard(model, self.device, self.count)
            return model
        return self.accelerator.prepare(model) if self.count > 1 else model

    @contextlib.contextmanager
    def gradients_kept_back(self, model: Any, kept: bool) -> Iterator[None]:
        """Where ``kept``, add up gradients in this process only: the batch has another part."""
        if self.sharded:
            model.set_requires_gradient_sync(not kept)
            yield
        else:
            with self.accelerator.no_sync(model) if kept else contextlib.nullcontext():
                yield

    @contextlib.contextmanager
    def whole(self, model: Any) -> Iterator[None]:
        """Put the weights together for the time of the block, in every process."""
        if self.sharded:
            model.unshard()
        yield
        if self.sharded:
            model.reshard()

    def mean(self, record: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Average scalars over the processes."""
        if self.count == 1:
            return record
        return {key: self.accelerator.reduce(value, "mean") for key, value in record.items()}  # pyright: ignore[reportReturnType]

    @contextlib.contextmanager
    def naming_a_lost_process(self, step: int) -> Iterator[None]:
        """Say in words that another process is gone, where sharing gradients fails."""
        try:
            yield
        except RuntimeError as error:
            if self.count == 1 or "out of memory" in str(error):
                raise
            raise ConnectionError(
                f"{self.name}: another process of this run stopped at step {step}; the same "
                f"command goes on from the last checkpoint ({str(error).splitlines()[0]})"
            ) from error

    def track(self, entry: dict[str, float], images: torch.Tensor | None = None) -> None:
        """Send figures of a step, and images ``(n, 3, height, width)`` in [0, 1], to the tracker.

        Does nothing where none is configured.
        """
        step = int(entry["step"])
        for tracker in self.accelerator.trackers:
            tracker.log({key: v for key, v in entry.items() if key != "step"}, step=step)
            if images is not None:
                pixels = (images.permute(0, 2, 3, 1) * 255).round().byte().numpy()
                layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
                tracker.log_images({"preview": pixels}, step=step, **layout)

    def stop(self) -> None:
        """Close the tracker."""
        for tracker in self.accelerator.trackers:
            tracker.finish()

    def wait(self) -> None:
        """Return when every process is here."""
        if self.count > 1:
            self.accelerator.wait_for_everyone()
