"""Names and positions of the 10-05 system; a bipolar channel lies between its electrodes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import mne
import numpy as np

# MNE loads its modules at first use, and two threads that do so at once trip over each other.
from mne.channels.montage import transform_to_head

# The 10-20 names that the 10-10 system replaced (Chatrian et al. 1985); the places are the same.
REPLACED = {"t3": "T7", "t4": "T8", "t5": "P7", "t6": "P8"}
EARS = {"a1", "a2", "m1", "m2"}
_WORD = r"[A-Za-z]+\d*[A-Za-z]*"


@cache
def standard_montage() -> mne.channels.DigMontage:
    """Return MNE's template of the 10-05 system, under whichever name this MNE version has it."""
    names = mne.channels.get_builtin_montages()
    return mne.channels.make_standard_montage(
        "colin27_1005" if "colin27_1005" in names else "standard_1005"
    )


@cache
def standard_names() -> dict[str, str]:
    """Return lower-case name -> name of every position of the 10-05 system."""
    return {name.lower(): name for name in standard_montage().ch_names}


def derivation(name: str) -> tuple[str, str] | None:
    """Return the two electrodes of a bipolar channel such as `Fp1-F7`; None for any other name.

    Both are 10-05 names of the scalp, in any case (the old T3, T4, T5, T6 too): a channel against
    an ear or a mastoid has a common reference. A number that MNE-Python appends to names that
    occur twice (`T8-P8-0`) is understood.
    """
    match = re.fullmatch(rf"\s*({_WORD})\s*-\s*({_WORD})(-\d+)?\s*", name)
    if match is None:
        return None
    words = [word.lower() for word in match.groups()[:2]]
    first, second = (REPLACED.get(word) or standard_names().get(word) for word in words)
    if first is None or second is None or first == second:
        return None
    return None if {first.lower(), second.lower()} & EARS else (first, second)


def are_amplifier_inputs(ch_names: Iterable[str]) -> bool:
    """Whether A1, B7, C3, ... are the amplifier's inputs (BioSemi) and not places on the head.

    Such files number the inputs of each cable, so their C3 is the third input of cable C, wherever
    that electrode sits. A3 or B1, which are no places of the 10-05 system, give them away.
    """
    return not {"A3", "B1"}.isdisjoint(name.upper() for name in ch_names)


def unknown_electrodes(ch_names: Sequence[str]) -> list[str]:
    """Return the names, in order, that name no place of the 10-05 system."""
    inputs = are_amplifier_inputs(ch_names)
    return [
        name
        for name in ch_names
        if _place(name) is None or (inputs and re.fullmatch(r"[A-Za-z]\d+", name))
    ]


def electrode_positions(ch_names: Sequence[str]) -> np.ndarray:
    """Return where electrodes sit on the template head of the 10-05 system.

    Parameters
    ----------
    ch_names
        Names of the 10-05 system, in any case. The old T3, T4, T5, T6 are known too, and bipolar
        channels (`derivation`): midway between their electrodes, on the straight line.

    Returns
    -------
    positions
        float32 (n_chans, 3), metres, in MNE's head frame: x to the right ear, y to the nose, z up;
        the origin lies between the ears.

    Raises
    ------
    ValueError
        If a name is unknown; the message lists every such name.
    """
    unknown = unknown_electrodes(ch_names)
    if unknown:
        why = "; A1, B1, ... are inputs of the amplifier" if are_amplifier_inputs(ch_names) else ""
        raise ValueError(
            f"no position is known for {', '.join(unknown)}: expected names of the 10-05 system "
            f"such as Fp1 or POz{why}; rename the channels, leave them out, or bring positions "
            "with the file (a digitised montage, or electrodes.tsv of BIDS)"
        )
    return np.array([_place(name) for name in ch_names], np.float32).reshape(-1, 3)


def template_montage(ch_names: Iterable[str]) -> mne.channels.DigMontage | None:
    """Return the template's places of those of these channels that it has, None where it has none.

    MNE copies a montage, place by place, each time it sets one; the whole template has 343.
    """
    places = {name: place for name in ch_names if (place := _place(name)) is not None}
    return mne.channels.make_dig_montage(places, **_fiducials()) if places else None


@cache
def _in_head() -> dict[str, Any]:
    return transform_to_head(standard_montage()).get_positions()


@cache
def _head_positions() -> dict[str, np.ndarray]:
    return {name.lower(): place for name, place in _in_head()["ch_pos"].items()}


def _place(name: str) -> np.ndarray | None:
    """Return where a channel sits, (3,) metres; None: its name names no place."""
    known, pair = _head_positions(), derivation(name)
    if pair is not None:
        return (known[pair[0].lower()] + known[pair[1].lower()]) / 2
    return known.get(name.lower())


def _fiducials() -> dict[str, Any]:
    return {name: _in_head()[name] for name in ("nasion", "lpa", "rpa", "coord_frame")}
