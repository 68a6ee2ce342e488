"""Device, precision and random numbers of a run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from dreamdiffusion.training.config import RuntimeConfig


def choose_device(runtime: RuntimeConfig) -> torch.device:
    """Return the device that ``runtime`` names, or the best one present for ``auto``.

    Raises
    ------
    ValueError
        If the device is unknown to torch or not present.
    """
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    if runtime.device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        return torch.device("cpu")
    try:
        device = torch.device(runtime.device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"runtime.device is {runtime.device!r}, which torch cannot use here "
            f"({str(error).splitlines()[0]}); use auto or cpu"
        ) from error
    return device


def process_index() -> int:
    """Return the number of this process among those that ``torchrun`` or accelerate started."""
    return int(os.environ.get("RANK", "0"))


def process_count() -> int:
    """Return how many processes share this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Whether this is the one process of a run, or the first of several: the one that writes."""
    return process_index() == 0


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 natively; where not, bf16 is slower than fp32."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def compute_dtype(device: torch.device, precision: str) -> torch.dtype:
    """Return what matrices are multiplied in (``auto``, ``fp32``, ``bf16`` or ``fp16``)."""
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" or cpu_has_bf16() else "fp32"
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


LONG_SEQUENCE = 1024
"""Places from which on fused attention is the faster one in bfloat16 on a CPU."""


@contextlib.contextmanager
def autocast(device: torch.device, precision: str, n_places: int = 0) -> Iterator[None]:
    """Run the block in the precision asked for (``auto``, ``fp32``, ``bf16`` or ``fp16``).

    Parameters
    ----------
    n_places
        The longest sequence that attention runs over, where it may be long.
    """
    dtype = compute_dtype(device, precision)
    half = dtype != torch.float32
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            torch.autocast(device.type, dtype=dtype if half else None, enabled=half)
        )
        stack.enter_context(attention_kernel(device, precision, n_places))
        yield


def attention_kernel(
    device: torch.device, precision: str, n_places: int = 0
) -> contextlib.AbstractContextManager[object]:
    """Choose how attention is computed in the block, as `autocast` does.

    Where activations are computed again in the backward pass, it has to hold there too.
    """
    half = compute_dtype(device, precision) == torch.bfloat16
    if half and device.type == "cpu" and n_places < LONG_SEQUENCE:
        # torch's fused attention has a slow bfloat16 backward on CPUs: over the short
        # sequences here the plain product made a step 1.35 (U-Net) to 1.6 times (CLIP) faster.
        # Over 1,024 places and more it is three times as slow.
        return sdpa_kernel(SDPBackend.MATH)
    return contextlib.nullcontext()
