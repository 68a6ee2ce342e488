"""Decodes windows beside the acquisition: the newest one, never a queue."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dreamdiffusion.cli.live.model import LiveModel, Named
from dreamdiffusion.cli.live.windows import Window
from dreamdiffusion.recordings.causal import WindowFilter
from dreamdiffusion.trials.preprocessing import reject_reason


@dataclass(frozen=True)
class Decoded:
    """A window and what the decoder says of it.

    Attributes
    ----------
    begun, ended
        When decoding began, and when the images were there, s, by the clock of the stream.
    reason
        Why it was not decoded: ``flat`` or ``peak_to_peak``, as in prepared trials; else None.
    """

    window: Window
    named: Named
    begun: float
    ended: float
    reason: str | None = None


class Decoding:
    """A thread that decodes the newest window.

    A window that comes before another one was begun takes its place, and is counted (`n_late`).

    Parameters
    ----------
    model, window_filter
        What is done with a window.
    clock
        Of the stream.
    """

    def __init__(
        self, model: LiveModel, window_filter: WindowFilter, clock: Callable[[], float]
    ) -> None:
        self._model, self._filter, self._clock = model, window_filter, clock
        self._changed = threading.Condition()
        self._waiting: Window | None = None
        self._busy = self._closed = False
        self._done: list[Decoded] = []
        self._error: Exception | None = None
        self.n_late = 0
        self._thread = threading.Thread(target=self._work, name="decoding", daemon=True)
        self._thread.start()

    def give(self, window: Window) -> None:
        """Hand over a window, in place of one that still waits."""
        with self._changed:
            self.n_late += self._waiting is not None
            self._waiting = window
            self._changed.notify_all()

    def take(self) -> list[Decoded]:
        """Return what was decoded since the last call.

        Raises
        ------
        Exception
            What ended the decoding.
        """
        with self._changed:
            if self._error is not None:
                raise self._error
            done, self._done = self._done, []
            return done

    def finish(self, timeout: float = 30.0) -> list[Decoded]:
        """Wait for the last window, end the thread, and return what is left."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._busy or self._waiting), timeout)
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout)
        return self.take()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None or self._closed)
                window, self._waiting = self._waiting, None
                if window is None:
                    return
                self._busy = True
            try:
                done = self._decode(window)
            except Exception as error:
                with self._changed:
                    self._error, self._busy, self._closed = error, False, True
                    self._changed.notify_all()
                return
            with self._changed:
                self._done.append(done)
                self._busy = False
                self._changed.notify_all()

    def _decode(self, window: Window) -> Decoded:
        begun = self._clock()
        piece = self._filter(window.data, window.start)
        reason = reject_reason(piece.astype(np.float32), 0, [], self._filter.signal)
        named = Named([]) if reason else self._model.decode(piece, window.number)
        return Decoded(window, named, begun, self._clock(), reason)
