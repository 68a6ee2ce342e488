"""Which trials a model was fitted on, and those before it whose weights it started from (``init``).

The sides of a split share no trial, but weights to start from may come from a fit of another split,
and a recording that is called new may be an old one under another name. So the folder of every fit
holds a hash of each trial's samples, and the 256 smallest hashes of what trials are called, which
stay the same when a recording is prepared in another way.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dreamdiffusion.evidence.audit.duplicates import sample_digests
from dreamdiffusion.evidence.look_log import trial_identities
from dreamdiffusion.evidence.scores import Reason
from dreamdiffusion.files.arrays import read_arrays
from dreamdiffusion.files.whole import write_tensors
from dreamdiffusion.trials.trials import Trials

NAME = "trained_on_these_trials"
FILE = "trials_trained_on.safetensors"
N_NAMES = 256
LEAST_SAMPLES, LEAST_NAMES, LEAST_SHARE = 2, 5, 0.05
"""Trials that have to be known, by samples or by name: one may be alike by chance. The first trials
of two recordings that are called the same may begin at the same time: 1 in 60 trials, say."""

Hashes = NDArray[np.uint64]


def save_trained_on(
    folder: Path, trials: Trials, rows: NDArray[np.integer], earlier: Path | None = None
) -> None:
    """Write hashes of the trials that a model was fitted on or chosen by.

    Parameters
    ----------
    folder
        Of the model.
    trials, rows
        All trials of the folder, and the places of those that trained or validated, ``(n,)``.
    earlier
        Folder of the model whose weights were the start; what it was fitted on counts too.
    """
    samples, names = _hash_samples(trials, rows), _hash_names(trials, rows)
    known = None if earlier is None else load_trained_on(earlier)
    if known is not None:
        samples = np.concatenate([samples, known[0]])
        names = np.concatenate([names, known[1]])
    tensors = {"samples": np.unique(samples), "names": np.unique(names)[:N_NAMES]}
    write_tensors(folder / FILE, tensors)


def load_trained_on(folder: Path) -> tuple[Hashes, Hashes] | None:
    """Read the hashes beside a model; None where it was fitted before they were kept.

    Raises
    ------
    ValueError
        If the file is something else.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    arrays = read_arrays(path, "hashes of trials", ("samples", "names"))
    for key in ("samples", "names"):
        found = arrays[key]
        if found.dtype != np.uint64 or found.ndim != 1:
            raise ValueError(
                f"{path} does not hold hashes of trials: {key} has to be uint64 of one axis, "
                f"found {found.dtype} of shape {found.shape}; fit the model again"
            )
    return arrays["samples"], arrays["names"]


def trained_on_reason(folder: Path, trials: Trials, rows: NDArray[np.integer]) -> Reason | None:
    """Name it where a model was fitted on trials that are scored.

    Parameters
    ----------
    folder
        Of the model.
    trials, rows
        All trials of the folder, and the places of those that are scored, ``(n,)``.
    """
    known = load_trained_on(folder)
    if known is None:
        return None
    who = "the model, or one whose weights it started from (init), was fitted on, or chosen by,"
    samples = _hash_samples(trials, rows)
    same = np.isin(samples, known[0])
    if len(np.unique(samples[same])) >= LEAST_SAMPLES:  # flat trials are all the same
        what = f"{who} {same.sum()} of the {len(rows)} trials that are scored"
        return Reason(name=NAME, what=what)
    names = _hash_names(trials, rows)
    asked = names[names <= known[1].max(initial=0)]  # of those above it is not known
    n_names = int(np.isin(asked, known[1]).sum())
    if n_names < max(LEAST_NAMES, LEAST_SHARE * len(asked)):
        return None
    what = (
        f"{who} trials with subject, session, run, onset and picture of trials that are scored, "
        "but other samples: they were prepared in another way"
    )
    return Reason(name=NAME, what=what)


def _hash_samples(trials: Trials, rows: NDArray[np.integer]) -> Hashes:
    return _numbers([digest for _, digest in sample_digests(trials, rows)])


def _hash_names(trials: Trials, rows: NDArray[np.integer]) -> Hashes:
    """Return hashes of what trials are called, each once; without an onset they have no name."""
    timed = np.isfinite(trials.metadata["onset"].to_numpy(float)[rows])
    names = trial_identities(trials.metadata.iloc[rows[timed]])
    return np.unique(_numbers([hashlib.sha256(name.encode()).digest() for name in names]))


def _numbers(digests: list[bytes]) -> Hashes:
    first = b"".join(digest[:8] for digest in digests)
    return np.frombuffer(first, dtype="<u8").astype(np.uint64)
