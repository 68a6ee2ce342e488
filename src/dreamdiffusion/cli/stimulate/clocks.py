"""The page's clock against the server's: exchanges of messages, the quickest of which counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClockFit:
    """Server time = page time + `offset`, seconds.

    Attributes
    ----------
    page
        Page time of the exchange that counts.
    offset
        Server time less page time.
    round_trip
        Of that exchange; the offset is wrong by half of it at most.
    """

    page: float
    offset: float
    round_trip: float


def fit_clock(exchanges: Sequence[tuple[float, float, float]]) -> ClockFit:
    """Take the exchange with the least round trip (Cristian 1989).

    Parameters
    ----------
    exchanges
        Page time of sending, server time, page time of receiving; s.

    Raises
    ------
    ValueError
        If there is none, or one came back before it was sent.
    """
    if not exchanges:
        raise ValueError("the clocks exchanged no message")
    sent, server, received = np.array(exchanges, dtype=float).T
    trips = received - sent
    if not np.isfinite(trips).all() or trips.min() < 0:
        raise ValueError("a message came back before it was sent; the page's clock is not steady")
    best = int(trips.argmin())
    middle = (sent[best] + received[best]) / 2
    return ClockFit(float(middle), float(server[best] - middle), float(trips[best]))


def drift_ms(before: ClockFit, after: ClockFit) -> float:
    """Return by how much the clocks moved apart between two fits, ms."""
    return 1000 * (after.offset - before.offset)
