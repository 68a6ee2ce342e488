"""The registry: name -> data set, and the step from a configuration to trials."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dreamdiffusion.datasets.base import PublicDataset
from dreamdiffusion.datasets.public.alljoined import Alljoined
from dreamdiffusion.datasets.public.bids import Bids
from dreamdiffusion.datasets.public.eeg_imagenet import EEGImageNet
from dreamdiffusion.datasets.public.imagenet_eeg import ImageNetEEG
from dreamdiffusion.datasets.public.kaneshiro2015 import Kaneshiro2015
from dreamdiffusion.datasets.public.moabb import Moabb
from dreamdiffusion.datasets.public.muse_gratings import MuseGratings
from dreamdiffusion.datasets.public.muse_n170 import MuseN170
from dreamdiffusion.datasets.public.things_eeg1 import ThingsEEG1
from dreamdiffusion.datasets.public.things_eeg2 import ThingsEEG2
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.cut import source_of
from dreamdiffusion.trials.trials import Trials

DATASETS: dict[str, type[PublicDataset]] = {
    kind.name: kind
    for kind in (
        *(ImageNetEEG, ThingsEEG1, ThingsEEG2, Alljoined, EEGImageNet, Kaneshiro2015),
        *(MuseN170, MuseGratings, Moabb, Bids),
    )
}


def get_dataset(name: str) -> PublicDataset:
    """Return the data set of this name; `moabb:<Name>` is one of MOABB's.

    Raises
    ------
    ValueError
        If there is none; the message names the nearest and all.
    """
    kind, _, rest = name.partition(":")
    if kind == Moabb.name:
        return Moabb(rest)
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"unknown data set {name!r}{hint}; there are {', '.join(DATASETS)}")
    return DATASETS[name]()


def load_dataset(
    name: str, folder: Path | str, subjects: Sequence[str] = (), **settings: Any
) -> Trials:
    """Read the trials of a public data set, cut as that data set needs it.

    Parameters
    ----------
    name
        As ``dreamdiffusion datasets list`` shows it.
    folder
        Where its files lie; ``dreamdiffusion datasets fetch NAME`` downloads what can be had.
    subjects
        People; none: all that are there.
    settings
        Fields of `dreamdiffusion.trials.config.PrepareConfig` that differ.

    Returns
    -------
    trials
        Volts; the pictures are found, unless ``pair_by="none"``.

    Raises
    ------
    ValueError, FileNotFoundError
        For an unknown data set or person, and for files that are missing (the message says how to
        get them) or not as published.

    Examples
    --------
    >>> from dreamdiffusion import load_dataset
    >>> trials = load_dataset("bids", "people", tmax=0.5)
    >>> trials.data.shape  # trials, channels, samples
    (48, 4, 128)
    """
    return load_public(
        PrepareConfig(dataset=name, input=[Path(folder)], subjects=list(subjects), **settings)
    )


def load_public(config: PrepareConfig) -> Trials:
    """Read the data set that `config.dataset` names from the folder `config.input` names.

    Raises
    ------
    ValueError, FileNotFoundError
        For an unknown data set or person, more or less than one folder, a picture that is missing
        (the message says how to get it); otherwise as `PublicDataset.load`.
    """
    assert config.dataset is not None
    dataset = get_dataset(config.dataset)
    dataset.choose(config.subjects)  # a wrong name ends it before any file is looked for
    if config.kind != "trials":
        raise ValueError(
            "--dataset gives labelled trials; for windows name the recordings with --input alone"
        )
    if len(config.input) != 1 and not (dataset.name == Moabb.name and not config.input):
        raise ValueError(
            f"--dataset {config.dataset} needs --input with the one folder of the data set, not "
            f"{len(config.input)}; dreamdiffusion datasets show {config.dataset} says what is in it"
        )
    root = config.input[0] if config.input else Path()
    resolved = dataset.resolve(config, root)
    hint = f"{dataset.how_to_get} To go without pictures: --pair_by none"
    trials = dataset.load(root, config.subjects, resolved)
    trials.source = source_of(resolved)
    if resolved.pair_by != "none" or config.stimuli is not None:
        try:
            trials.check_images()
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error}. {hint}") from error
    return trials
