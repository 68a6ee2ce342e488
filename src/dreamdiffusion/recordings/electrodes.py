"""Standard electrode names and positions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import mne
import numpy as np


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


def are_amplifier_inputs(ch_names: Iterable[str]) -> bool:
    """Whether A1, B7, C3, ... are the amplifier's inputs (BioSemi) and not places on the head.

    Such files number the inputs of each cable, so their C3 is the third input of cable C, wherever
    that electrode sits. They are told by A3 or B1, which are no places of the 10-05 system.
    """
    return not {"A3", "B1"}.isdisjoint(name.upper() for name in ch_names)


def unknown_electrodes(ch_names: Sequence[str]) -> list[str]:
    """Return the names, in order, that name no place of the 10-05 system."""
    inputs = are_amplifier_inputs(ch_names)
    return [
        name
        for name in ch_names
        if name.lower() not in standard_names() or (inputs and re.fullmatch(r"[A-Za-z]\d+", name))
    ]


def electrode_positions(ch_names: Sequence[str]) -> np.ndarray:
    """Return where electrodes sit on the template head of the 10-05 system.

    Parameters
    ----------
    ch_names
        Names of the 10-05 system, in any case. The old T3, T4, T5, T6 are known too.

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
    known = _head_positions()
    return np.array([known[name.lower()] for name in ch_names], np.float32).reshape(-1, 3)


def template_montage(ch_names: Iterable[str]) -> mne.channels.DigMontage | None:
    """Return the template's places of those of these channels that it has, None where it has none.

    MNE copies a montage, place by place, each time it sets one; the whole template has 343.
    """
    known = _head_positions()
    places = {name: known[name.lower()] for name in ch_names if name.lower() in known}
    return mne.channels.make_dig_montage(places, **_fiducials()) if places else None


@cache
def _in_head() -> dict[str, Any]:
    return mne.channels.montage.transform_to_head(standard_montage()).get_positions()


@cache
def _head_positions() -> dict[str, np.ndarray]:
    return {name.lower(): place for name, place in _in_head()["ch_pos"].items()}


def _fiducials() -> dict[str, Any]:
    return {name: _in_head()[name] for name in ("nasion", "lpa", "rpa", "coord_frame")}
