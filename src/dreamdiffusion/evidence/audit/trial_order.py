"""The order of the trials that an audit looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dreamdiffusion.evidence.audit.findings import N_PERMUTATIONS, Floats, Ints
from dreamdiffusion.evidence.audit.permutation import permutations


@dataclass(frozen=True)
class TrialOrder:
    """The trials of an experiment by recording, and in it by onset; shape (n_trials,) each.

    Attributes
    ----------
    rows
        Place of each trial in the metadata.
    runs, subjects
        Number of the recording (subject, session and run together) and of the person.
    onsets
        Seconds from the start of the recording; NaN where it is not known. Such a trial stands
        after the one before it in the metadata.
    labels
        Number of the category in `names`.
    names, run_names
        Categories, and recordings as "subject/session/run".
    """

    rows: Ints
    runs: Ints
    subjects: Ints
    onsets: Floats
    labels: Ints
    names: list[str]
    run_names: list[str]

    @classmethod
    def of(cls, metadata: pd.DataFrame) -> TrialOrder:
        """Sort the trials of `Trials.metadata`."""
        columns = pd.DataFrame(metadata[["subject", "session", "run"]]).astype(str)
        keys = np.array(["/".join(row) for row in columns.itertuples(index=False)], dtype=object)
        run_names, runs = np.unique(keys.astype(str), return_inverse=True)
        subjects = np.unique(columns["subject"].to_numpy(str), return_inverse=True)[1]
        names, labels = np.unique(
            metadata["category"].astype(str).to_numpy(str), return_inverse=True
        )
        onsets = metadata["onset"].to_numpy(float)
        onsets = np.where(np.isfinite(onsets), onsets, np.nan)
        place = pd.Series(onsets).groupby(runs).ffill().fillna(-np.inf).to_numpy()
        rows = np.lexsort((place, runs))
        return cls(
            rows, runs[rows], subjects[rows], onsets[rows], labels[rows], names.tolist(),
            run_names.tolist(),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def timed(self) -> NDArray[np.bool_]:
        """Mark the trials, (n_trials,), whose onset is known."""
        return np.isfinite(self.onsets)

    @property
    def varied(self) -> bool:
        """True where some recording holds several classes, so that order can mean something."""
        return any(len(np.unique(self.labels[self.runs == run])) > 1 for run in range(self.n_runs))

    @property
    def n_runs(self) -> int:
        """Number of recordings."""
        return len(self.run_names)

    def side(self, rows: Ints) -> NDArray[np.bool_]:
        """Mark the trials, (n_trials,), that are rows of the metadata."""
        return np.isin(self.rows, rows)

    def shuffles(self, groups: Ints, seed: int, count: int = N_PERMUTATIONS) -> Ints:
        """Return places ``(1 + count, n_trials)``: the order as it is, then permuted within groups.

        Permuting within recordings is what an experiment with a random order could have done
        just as well, whatever the counts of its classes and the course of its signal.
        """
        rng = np.random.default_rng([seed, len(self)])
        own = np.arange(len(self))[None]
        return np.concatenate([own, permutations(len(self), count, rng, groups)])


def max_p(statistics: Floats) -> float:
    """One-sided p of the largest of several standardised statistics (Westfall and Young 1993).

    Parameters
    ----------
    statistics
        ``(1 + n_permutations, n_statistics)``; the first row is what was observed.

    Returns
    -------
    p
        (1 + hits) / (1 + n_permutations), for all the statistics together.
    """
    spread = statistics.std(axis=0)
    moving = spread > 1e-12
    if not moving.any():
        return 1.0
    z = (statistics[:, moving] - statistics[:, moving].mean(axis=0)) / spread[moving]
    largest = z.max(axis=1)
    # An equal statistic counts as a hit; its sums may differ in the last digits.
    return float((largest >= largest[0] - 1e-9).sum() / len(largest))


def excess(observed: float, chance: float) -> float:
    """Return how far a share lies on the way from chance (0) to certainty (1)."""
    return (observed - chance) / (1 - chance) if chance < 1 else 0.0


def rounded(figures: dict[str, Any]) -> dict[str, Any]:
    """Return figures with four significant digits, as plain numbers that JSON can hold."""
    result: dict[str, Any] = {}
    for name, value in figures.items():
        if isinstance(value, float | np.floating):
            result[name] = float(f"{value:.4g}")
        elif isinstance(value, np.integer):
            result[name] = int(value)
        else:
            result[name] = value
    return result
