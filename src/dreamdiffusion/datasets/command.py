"""``dreamdiffusion datasets``: what there is, what one of them is, and fetching it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ..config_data import DatasetsConfig
from .base import PublicDataset
from .registry import DATASETS, get_dataset

logger = logging.getLogger(__name__)

_SHOWN = (
    "name", "title", "licence", "doi", "url", "device", "n_subjects", "n_chans", "sfreq", "shown",
    "caveat", "citation", "unverified",
)  # fmt: skip


def datasets(config: DatasetsConfig) -> list[dict[str, Any]] | dict[str, Any] | Path:
    """List the public data sets, describe one, or download one.

    Returns
    -------
    list, dict or Path
        One row per data set; everything about one; the folder of what was downloaded.

    Raises
    ------
    ValueError
        For an unknown name, or a data set that has to be got by hand (the message says where).
    OSError
        If a download breaks off; the same command goes on from there.
    """
    if config.action == "list":
        return [_row(kind()) for kind in DATASETS.values()]
    if config.name is None:
        raise ValueError(f"datasets {config.action} needs a name; there are {', '.join(DATASETS)}")
    dataset = get_dataset(config.name)
    if config.action == "show":
        return describe(dataset)
    folder = config.output or Path("data") / dataset.name
    logger.info("%s: licence %s; cite %s", dataset.name, dataset.licence, dataset.citation)
    dataset.fetch(folder, config.subjects)
    if dataset.by_hand:
        logger.info("still to be got by hand: %s", dataset.by_hand)
    return folder


def describe(dataset: PublicDataset) -> dict[str, Any]:
    """Return all that a data set declares, for people and for JSON."""
    found = {key: getattr(dataset, key) or None for key in _SHOWN}
    return {
        **found,
        "files": list(dataset.layout),
        "fetch": how_to_fetch(dataset),
        "by_hand": dataset.by_hand or None,
        "settings": dict(dataset.settings),
    }


def how_to_fetch(dataset: PublicDataset) -> str:
    """Return `yes`, `in part` or `by hand`: what `datasets fetch` does for it."""
    own = type(dataset).fetch is not PublicDataset.fetch
    if not own and not dataset.remote_files(dataset.subjects):
        return "by hand"
    return "in part" if dataset.by_hand else "yes"


def _row(dataset: PublicDataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "people": dataset.n_subjects or None,
        "channels": dataset.n_chans or None,
        "Hz": dataset.sfreq or None,
        "fetch": how_to_fetch(dataset),
        "title": dataset.title,
    }
