"""Samples at the end of a channel's range: clipped, or railed by an electrode without contact."""

from __future__ import annotations

import mne
import numpy as np

LEAST_SAMPLES = 10
"""At one value, before it counts as the end of a range."""
LEAST_RATIO = 3
"""Of their number to that of the samples just short of it; a rounded sine has 2.4 at its turn."""
NEAR = 0.01
"""Just short of it: within this share of the channel's range."""
BRIDGED_S = 0.1
"""Clipped samples no farther apart belong together; no trial fits between them."""


def clipped_samples(samples: np.ndarray) -> np.ndarray:
    """Return which samples lie at the end of the range that a channel could record.

    The highest or lowest value of a channel is such an end where many samples have exactly it
    (`LEAST_SAMPLES`), three times as many as come near it or, where none do, as have the next
    value. A signal that only turns there has few samples at its extreme and more below it. Of a
    channel with two values, such as a trigger, neither is an end.

    Parameters
    ----------
    samples
        (n_times,), as recorded: a filter moves clipped samples off the end of the range. Any unit.

    Returns
    -------
    clipped
        bool (n_times,).
    """
    clipped = np.zeros(len(samples), bool)
    finite = samples[np.isfinite(samples)]
    if len(finite) < LEAST_SAMPLES or finite.min() == finite.max():
        return clipped
    for sign in (1.0, -1.0):
        depth = sign * finite
        depth = depth.max() - depth  # of each sample below the end
        at = depth <= 1e-9 * depth.max()
        n_at, rest = int(at.sum()), depth[~at]
        near = int((rest <= NEAR * depth.max()).sum())
        near = near or int((rest <= rest.min() * (1 + 1e-9)).sum())
        if n_at >= LEAST_SAMPLES and n_at >= LEAST_RATIO * near:
            end = sign * (sign * finite).max()
            clipped |= np.abs(samples - end) <= 1e-9 * depth.max()
    return clipped


def clipped_shares(raw: mne.io.BaseRaw, names: list[str]) -> dict[str, float]:
    """Return channel -> share of its samples that are clipped, 0 to 1, for those with any."""
    shares = {name: float(clipped_samples(_row(raw, name)).mean()) for name in names}
    return {name: share for name, share in shares.items() if share}


def mark_clipped(raw: mne.io.BaseRaw) -> dict[str, float]:
    """Annotate as `BAD_clipped` when any channel is clipped; nothing else is changed.

    Returns
    -------
    shares
        As `clipped_shares`.
    """
    sfreq, shares = float(raw.info["sfreq"]), {}
    where = np.zeros(raw.n_times, bool)
    for name in raw.ch_names:
        found = clipped_samples(_row(raw, name))
        if found.any():
            shares[name] = float(found.mean())
            where |= found
    places = np.flatnonzero(where)
    if len(places):
        parts = np.split(places, np.flatnonzero(np.diff(places) > BRIDGED_S * sfreq) + 1)
        starts = np.array([part[0] for part in parts])
        lasts = np.array([part[-1] + 1 - part[0] for part in parts])
        onsets = raw.first_time + starts / sfreq
        raw.annotations.append(onsets, lasts / sfreq, ["BAD_clipped"] * len(parts))
    return shares


def _row(raw: mne.io.BaseRaw, name: str) -> np.ndarray:
    return raw.get_data(picks=np.array([name]))[0]
