"""What a picture shows, in words: columns of the metadata that decoders read, and their values."""

from __future__ import annotations

import logging

import numpy as np

from dreamdiffusion.trials.trials import Trials

logger = logging.getLogger(__name__)


def find_attributes(trials: Trials, train: np.ndarray, wanted: list[str]) -> dict[str, list[str]]:
    """Return the values that each attribute has among the training trials, sorted.

    Parameters
    ----------
    train
        Places of the training trials.
    wanted
        Columns of the metadata. One that the trials lack, or that has one value, is left out.

    Raises
    ------
    ValueError
        If none is left.
    """
    found, left_out = {}, []
    for name in wanted:
        if name not in trials.metadata:
            left_out.append(name)
            continue
        values = sorted(set(trials.metadata[name].iloc[train].astype(str)) - {""})
        if len(values) > 1:
            found[name] = values
        else:
            left_out.append(name)
    if not found:
        raise ValueError(
            f"none of the attributes {', '.join(wanted)} has two values among the training trials; "
            f"the metadata have {', '.join(trials.metadata.columns)}"
        )
    if left_out:
        logger.info(
            "not read: %s; the training trials do not name two values of each", ", ".join(left_out)
        )
    return found


def as_learned(
    found: dict[str, list[str]], learned: dict[str, list[str]], trials: Trials, wanted: list[str]
) -> dict[str, list[str]]:
    """Return the values that an earlier reader learned, where trials have no others.

    Few trials of a person seldom show every value that many trials of other people did; the
    earlier reader still knows them.

    Parameters
    ----------
    found
        What `find_attributes` returned for the trials.
    learned
        Values of each attribute of the earlier reader.
    wanted
        As for `find_attributes`.

    Raises
    ------
    ValueError
        If the trials have a value that the earlier reader did not learn.
    """
    for name in found.keys() & learned.keys():
        if unknown := sorted(set(found[name]) - set(learned[name])):
            raise ValueError(
                f"the training trials have {name} {', '.join(unknown)}, which the reader of init "
                f"did not learn; leave these trials out, fit it on trials that have them, or leave "
                f"{name} out of --attributes in both fits"
            )
    kept = {name for name in learned if name in wanted and name in trials.metadata}
    return found | {name: learned[name] for name in kept}


def value_places(column: list[str], values: list[str], unknown: int) -> np.ndarray:
    """Return the place of each value, int ``(n,)``; ``unknown`` where it is none of them."""
    places = {value: place for place, value in enumerate(values)}
    return np.array([places.get(value, unknown) for value in column], dtype=np.int64)
