"""How far a stage is: a bar on a terminal or in a notebook, a line every 10 % in a log file."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

from tqdm.auto import tqdm

Item = TypeVar("Item")

_SHORTEST = 1.0
"""Seconds at least between two lines, but for the last."""
_UNKNOWN = 60.0
"""Seconds between two lines where nobody knows how much there is to do."""
_hiding = 0
"""Blocks of `hidden` that are open."""


@contextlib.contextmanager
def hidden() -> Iterator[None]:
    """Show no progress in the block: of work that is done again and again."""
    global _hiding
    _hiding += 1
    try:
        yield
    finally:
        _hiding -= 1


def hide_library_bars() -> None:
    """Switch off the bars of imported libraries that load weights; those of downloads stay."""
    hub = sys.modules.get("huggingface_hub.utils")
    shown = hub is not None and not hub.are_progress_bars_disabled()
    for library in ("transformers", "diffusers"):
        module = sys.modules.get(f"{library}.utils.logging")
        if module is not None:
            module.disable_progress_bar()
    if hub is not None and shown:
        hub.enable_progress_bars()


def progress(
    iterable: Iterable[Item] | None = None,
    desc: str = "",
    *,
    unit: str = "it",
    total: int | None = None,
    initial: int = 0,
    disable: bool = False,
) -> tqdm[Item] | Lines[Item]:
    """Follow a loop, or what ``update`` is called for, on stderr.

    Of several processes that share a run, the first one shows it.

    Parameters
    ----------
    iterable
        What the loop goes over; None to call ``update`` by hand.
    desc
        What is done.
    unit
        What is counted, in the singular; ``"B"`` for bytes.
    total
        How many there are; the length of `iterable` where it has one.
    initial
        How many were done before.
    disable
        Show nothing.
    """
    if total is None and iterable is not None and hasattr(iterable, "__len__"):
        total = len(iterable)  # pyright: ignore[reportArgumentType]
    disable = disable or _hiding > 0 or os.environ.get("RANK", "0") != "0"
    if disable or _is_interactive():
        return tqdm(  # pyright: ignore[reportReturnType]
            iterable, desc, total, unit=unit, initial=initial, disable=disable,
            unit_scale=unit == "B", file=sys.stderr, mininterval=0.5, leave=unit != "B",
        )  # fmt: skip
    return Lines(iterable, desc, unit, total, initial)


def write_line(text: str) -> None:
    """Write a line to stderr that does not break a bar."""
    tqdm.write(text, file=sys.stderr)


def _is_interactive() -> bool:
    return sys.stderr.isatty() or "ipykernel" in sys.modules


class Lines(Generic[Item]):
    """What `tqdm` offers and `progress` needs, in lines: no carriage return is ever written."""

    def __init__(
        self, iterable: Iterable[Item] | None, desc: str, unit: str, total: int | None, initial: int
    ) -> None:
        self._iterable, self._desc, self._unit, self._total = iterable, desc, unit, total
        self.n, self._initial = initial, initial
        self._start = self._last = time.monotonic()
        self._shown, self._postfix = self._tenth(), ""

    def __iter__(self) -> Iterator[Item]:
        for item in self._iterable or ():
            yield item
            self.update()
        self.close()

    def __enter__(self) -> Lines[Item]:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def update(self, n: int = 1) -> None:
        """Count `n` more, and write a line if another tenth is done."""
        self.n += n
        done = self._total is not None and self.n >= self._total
        waited = time.monotonic() - self._last
        due = self._tenth() > self._shown if self._total else waited >= _UNKNOWN
        if due and (done or waited >= _SHORTEST):
            self._write()

    def set_postfix(self, values: dict[str, str], refresh: bool = True) -> None:
        """Set figures that the next line ends with."""
        self._postfix = "".join(f", {key} {value}" for key, value in values.items())

    def close(self) -> None:
        """Write the last line, where the end was not known before."""
        if self._total is None and self.n > self._initial:
            self._total = self.n
            self._write()

    def _tenth(self) -> int:
        return int(10 * self.n / self._total) if self._total else 0

    def _write(self) -> None:
        self._last, self._shown = time.monotonic(), self._tenth()
        elapsed = self._last - self._start
        text = f"{self._unit} {self._size(self.n)}"
        if self._total is not None:
            text = f"{100 * self.n / self._total:.0f} %, {text} of {self._size(self._total)}"
        text += f", {elapsed:.0f} s"
        if self._total is not None and self.n < self._total:
            left = elapsed * (self._total - self.n) / max(1, self.n - self._initial)
            text += f", {left:.0f} s left"
        print(f"{self._desc}: {text}{self._postfix}", file=sys.stderr, flush=True)

    def _size(self, n: int) -> str:
        return tqdm.format_sizeof(n, divisor=1000) if self._unit == "B" else str(n)
