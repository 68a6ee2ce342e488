"""Data sets that are published as trials: what a configuration can still change, and what not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.trials import Trials

_FREE = ("picks",)  # what can be chosen after filtering


@dataclass(frozen=True)
class Window:
    """Which samples and channels of published trials are kept.

    Attributes
    ----------
    samples
        Of every trial, in its own numbering.
    channels
        Indices, in the order of `picks`.
    ch_names
        Their names.
    """

    samples: slice
    channels: np.ndarray
    ch_names: list[str]


def window(
    config: PrepareConfig,
    settings: SignalConfig,
    ch_names: list[str],
    times: tuple[float, int],
    name: str,
) -> Window:
    """Return the part of published trials that `config` asks for.

    Parameters
    ----------
    config
        `tmin`, `tmax` and `signal.picks` choose; the rest of `signal` has to be as published.
    settings
        The signal as it was published.
    ch_names
        Channels of the release, in order.
    times
        Second of the first published sample from stimulus onset, and number of samples.
    name
        What errors call the data set.

    Raises
    ------
    ValueError
        For another filter, rate or reference than the release has, a time outside its trials, or
        a channel it has not.
    """
    published, wanted = settings.model_dump(), config.signal.model_dump()
    for key, value in published.items():
        if key not in _FREE and wanted[key] != value:
            raise ValueError(
                f"{name} is published filtered and cut, with signal.{key} {value}; {wanted[key]} "
                "cannot be had from it: leave it out"
            )
    if config.baseline is not None:
        raise ValueError(f"{name} is published cut; leave baseline out")
    first_s, n_times = times
    sfreq = settings.sfreq
    start, stop = (round((edge - first_s) * sfreq) for edge in (config.tmin, config.tmax))
    if not 0 <= start < stop <= n_times:
        raise ValueError(
            f"{name} has trials from {first_s:g} to {first_s + n_times / sfreq:g} s; tmin "
            f"{config.tmin:g} to tmax {config.tmax:g} s is not inside"
        )
    picks = config.signal.picks or ch_names
    absent = [pick for pick in picks if pick not in ch_names]
    if absent:
        raise ValueError(f"{name} has no channel {', '.join(absent)}; it has {', '.join(ch_names)}")
    channels = np.array([ch_names.index(pick) for pick in picks])
    return Window(slice(start, stop), channels, list(picks))


def assemble(
    config: PrepareConfig,
    part: Window,
    data: np.ndarray,
    metadata: pd.DataFrame,
    rejected: dict[str, int] | None = None,
) -> Trials:
    """Return published trials (n_trials, n_chans, n_times) with what a `Trials` needs beside them.

    Columns that the release does not tell are filled in: onset is missing, the rest "unknown".
    """
    for column in ("subject", "session", "run", "category"):
        if column not in metadata:
            metadata[column] = "unknown"
    if "onset" not in metadata:
        metadata["onset"] = np.nan
    if not len(data):
        raise ValueError("no trial is left")
    root = config.stimuli
    return Trials(
        data=data,
        ch_names=part.ch_names,
        sfreq=float(config.signal.sfreq),
        tmin=config.tmin,
        metadata=metadata.reset_index(drop=True),
        stimuli_root=None if root is None else Path(root),
        picture_fit=config.picture_fit,
        rejected=rejected or {},
        signal=config.signal.model_copy(update={"picks": part.ch_names}).model_dump(mode="json"),
    )
