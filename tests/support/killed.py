"""A `prepare` that is killed at a chosen moment of its writing, for a process of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dreamdiffusion.datasets.prepare import prepare
from dreamdiffusion.trials.config import PrepareConfig


def prepare_until(config: PrepareConfig, moment: int) -> None:
    """Prepare, and die without a word when a file is to be flushed or renamed once too often."""
    left = moment

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            nonlocal left
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return function(*args, **more)

        return call

    os.fsync, Path.replace = counted(os.fsync), counted(Path.replace)
    prepare(config)
