"""Whether a recording's amplitudes can be EEG in volts; where not, its unit is wrong."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np

from dreamdiffusion.recordings.recording import eeg_names

LOWEST_V, HIGHEST_V = 1e-7, 5e-3
"""Median absolute amplitude that scalp EEG can have, volts."""


def check_amplitude(raw: mne.io.BaseRaw, source: Path | str) -> None:
    """Raise a ValueError where the EEG channels' amplitude cannot be EEG in volts.

    The median over channels of the median absolute deviation (an offset does not count) must lie
    within 0.1 microvolt and 5 millivolts. Constant and empty channels do not take part: they are
    another fault, which `preprocess` names.
    """
    names = eeg_names(raw)
    if not names:
        return
    data = np.asarray(raw.get_data(picks=np.array(names)))
    data = data[:, :: max(1, data.shape[1] // 2048)]  # enough for a median
    with np.errstate(invalid="ignore"), mne.utils.use_log_level("ERROR"):
        usable = [row[np.isfinite(row)] for row in data]
        usable = [row for row in usable if len(row) and np.ptp(row) > 0]
    if not usable:
        return
    level = float(np.median([np.median(np.abs(row - np.median(row))) for row in usable]))
    if LOWEST_V <= level <= HIGHEST_V:
        return
    if Path(source).suffix.lower() in (".csv", ".zip"):
        fix = "a csv must hold microvolts: convert its columns"
    else:
        fix = "correct the unit in the file's header (EDF: physical dimension uV), or rescale it"
    raise ValueError(
        f"{source}: the median absolute amplitude is {level * 1e6:.4g} uV, which is not EEG "
        f"(expected {LOWEST_V * 1e6:g} to {HIGHEST_V * 1e6:g} uV); {fix}"
    )
