"""Whether a recording's amplitudes can be EEG in volts; where not, its unit is wrong."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np

from dreamdiffusion.recordings.recording import eeg_names

LOWEST_V, HIGHEST_V = 1e-7, 5e-3
"""Median absolute amplitude that scalp EEG can have, volts."""
STATE_UNIT = "state it (prepare: --signal.unit uV; inspect and generate: --unit uV)"
"""What messages advise where the unit of a file is wrong or missing."""


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
    is_csv = Path(source).suffix.lower() in (".csv", ".zip")
    fix = "convert it: a csv must hold microvolts" if is_csv else "correct the file's header"
    raise ValueError(
        f"{source}: the median absolute amplitude is {level * 1e6:.4g} uV, which is not EEG "
        f"(expected {LOWEST_V * 1e6:g} to {HIGHEST_V * 1e6:g} uV); where the unit is wrong, "
        f"{STATE_UNIT}, or {fix}"
    )
