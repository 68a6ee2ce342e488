"""Standard electrode names and positions."""

from __future__ import annotations

from functools import cache

import mne


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
