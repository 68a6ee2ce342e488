"""Standard electrode names and positions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import mne
import numpy as np


@cache
def standard_montage() -> mne.channels.DigMontage:
    """Return MNE's template of the 10-05 system, under whichever name this MNE version has it.

    In head coordinates: MNE otherwise transforms the template again for every recording.
    """
    names = mne.channels.get_builtin_montages()
    template = mne.channels.make_standard_montage(
        "colin27_1005" if "colin27_1005" in names else "standard_1005"
    )
    return mne.channels.transform_to_head(template)


@cache
def standard_names() -> dict[str, str]:
    """Return lower-case name -> name of every position of the 10-05 system."""
    return {name.lower(): name for name in standard_montage().ch_names}


@cache
def _standard_positions() -> dict[str, np.ndarray]:
    return standard_montage().get_positions()["ch_pos"]


def electrode_positions(ch_names: Sequence[str]) -> np.ndarray:
    """Return the template's position of each electrode.

    Returns
    -------
    positions
        float32 (n_chans, 3), metres, head coordinates (x to the right, y to the front, z up).

    Raises
    ------
    ValueError
        If the 10-05 system does not know some of the names; the message lists them all.
    """
    known = _standard_positions()
    unknown = [name for name in ch_names if name not in known]
    if unknown:
        raise ValueError(
            f"no position is known for {', '.join(unknown)}; expected names of the 10-05 system "
            "such as Fp1 or TP9: rename these channels, or leave them out (signal.picks)"
        )
    return np.array([known[name] for name in ch_names], dtype=np.float32).reshape(-1, 3)
