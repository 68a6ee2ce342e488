"""Markers as two streams of the Lab Streaming Layer: class numbers, and words."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

NAME = "dreamdiffusion-stimulate"


class Markers:
    """Push markers, or, where there are no streams, only keep the time.

    Attributes
    ----------
    clock
        Seconds; LSL's own clock where there are streams, so that its times fit the recording's.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self._outlets: tuple[Any, Any] | None = None

    @classmethod
    def open(cls, lsl: bool) -> Markers:
        """Open the streams.

        Raises
        ------
        ValueError
            If they are asked for and pylsl is not installed.
        """
        if not lsl:
            return cls()
        try:
            import pylsl
        except (ImportError, RuntimeError) as error:  # RuntimeError: no liblsl for this system
            raise ValueError(
                f"lsl needs pylsl ({error}): pip install 'dreamdiffusion[live]', or leave --lsl "
                "out: markers then go to events.tsv alone"
            ) from error
        markers = cls(pylsl.local_clock)
        outlets = []
        for kind, form in (("codes", pylsl.cf_int32), ("words", pylsl.cf_string)):
            name = f"{NAME}-{kind}"
            info = pylsl.StreamInfo(name, "Markers", 1, pylsl.IRREGULAR_RATE, form, name)
            outlets.append(pylsl.StreamOutlet(info))
        markers._outlets = (outlets[0], outlets[1])
        logger.info("LSL streams %s-codes and %s-words", NAME, NAME)
        return markers

    @property
    def streams(self) -> bool:
        """Whether markers leave this process."""
        return self._outlets is not None

    def push(self, time_s: float, words: str, code: int | None = None) -> None:
        """Send a marker of a moment on `clock`; the numeric stream has those with a code only."""
        if self._outlets is None:
            return
        codes, texts = self._outlets
        texts.push_sample([words], time_s)
        if code is not None:
            codes.push_sample([code], time_s)
