"""Markers as two streams of the Lab Streaming Layer: names of pictures, and codes of classes.

A marker is a picture, and nothing else is one: whoever reads the streams needs to sort nothing out.
The codes have a type of their own, since readers of all streams of type Markers (`live` is one)
would meet every picture twice.
"""

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
        for kind, of_type, form in (
            ("pictures", "Markers", pylsl.cf_string),
            ("codes", "Codes", pylsl.cf_int32),
        ):
            name = f"{NAME}-{kind}"
            info = pylsl.StreamInfo(name, of_type, 1, pylsl.IRREGULAR_RATE, form, name)
            outlets.append(pylsl.StreamOutlet(info))
        markers._outlets = (outlets[0], outlets[1])
        logger.info("LSL streams %s-pictures and %s-codes", NAME, NAME)
        return markers

    @property
    def streams(self) -> bool:
        """Whether markers leave this process."""
        return self._outlets is not None

    def push(self, time_s: float, picture: str, code: int) -> None:
        """Send that a picture came on at a moment of `clock`, and the code of its class."""
        if self._outlets is None:
            return
        pictures, codes = self._outlets
        pictures.push_sample([picture], time_s)
        codes.push_sample([code], time_s)
