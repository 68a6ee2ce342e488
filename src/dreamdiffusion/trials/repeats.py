"""Runs that show the same pictures at the same moments: perhaps one recording, exported twice."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

LEAST_TRIALS = 8
"""That two runs share; fewer may agree by chance."""
TOLERANCE_S = 0.004
"""Onsets of one recording, exported again at another rate, differ by half a sample of either."""
LEAST_SHARE = 0.9
"""Of the shorter run's trials; another rejection of artefacts leaves others out."""


def repeated_runs(metadata: pd.DataFrame) -> list[tuple[str, str]]:
    """Return pairs of runs in which the same pictures, or classes, have the same onsets.

    Another reference, polarity, filter or cleaning changes the EEG of a recording, but neither
    when its pictures were shown nor in which order. Two people may have seen one fixed sequence,
    so a pair is a reason to look, and no proof: the audit compares the EEG.

    Parameters
    ----------
    metadata
        Of trials: ``subject``, ``session``, ``run``, ``onset`` in seconds from the start of the
        recording, ``category``, and ``stim_file`` where the picture is known.

    Returns
    -------
    list
        Names ``subject/session/run``, two of each pair.
    """
    keys = metadata[["subject", "session", "run"]].astype(str).agg("/".join, axis=1)
    shown = metadata["stim_file"] if "stim_file" in metadata else metadata["category"]
    shown = shown.astype(str).where(shown.astype(str) != "", metadata["category"].astype(str))
    onsets = metadata["onset"].to_numpy(float)
    runs = {
        str(name): (onsets[places], shown.to_numpy(str)[places])
        for name, places in keys.groupby(keys).indices.items()
        if np.isfinite(onsets[places]).all()
    }
    return [pair for pair in combinations(runs, 2) if _repeat(*(runs[name] for name in pair))]


def _repeat(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> bool:
    (onsets, shown), (longer, its_shown) = sorted((one, other), key=lambda run: len(run[0]))
    if len(onsets) < LEAST_TRIALS:
        return False
    order = np.argsort(longer)
    longer, its_shown = longer[order], its_shown[order]
    # The nearest onset on either side.
    after = np.searchsorted(longer, onsets).clip(1, len(longer) - 1)
    nearest = np.where(onsets - longer[after - 1] < longer[after] - onsets, after - 1, after)
    same = (np.abs(longer[nearest] - onsets) <= TOLERANCE_S) & (its_shown[nearest] == shown)
    return bool(same.mean() >= LEAST_SHARE)
