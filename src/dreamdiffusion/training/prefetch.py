"""Batches are read on a thread of their own while the step before them is computed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np

Batch = TypeVar("Batch")


class Prefetch(Generic[Batch]):
    """A reader that can be asked ahead for what is needed next.

    What it returns is the same whether it was asked ahead or not: a run that resumes reads what the
    uninterrupted run read.

    Parameters
    ----------
    read
        Returns the batch of some rows, int64 ``(B,)``; called on the thread, and by whoever asks
        for rows that were not announced.
    """

    def __init__(self, read: Callable[[np.ndarray], Batch]) -> None:
        self._read = read
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._coming: dict[bytes, Future[Batch]] = {}

    def announce(self, rows: np.ndarray) -> None:
        """Begin to read these rows, int64 ``(B,)``."""
        self._coming[rows.tobytes()] = self._thread.submit(self._read, rows)

    def __call__(self, rows: np.ndarray) -> Batch:
        """Return the batch of these rows; wait for it where it is still being read."""
        coming = self._coming.pop(rows.tobytes(), None)
        return self._read(rows) if coming is None else coming.result()
