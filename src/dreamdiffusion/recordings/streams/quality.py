"""What is wrong with each channel of the last seconds of a stream."""

from __future__ import annotations

import numpy as np
from scipy.signal import periodogram

from dreamdiffusion.recordings.clipping import clipped_samples

SECONDS = 4.0
FLAT_UV = 0.5
RAILED_SHARE = 0.01
LINE_SHARE = 0.5
DRIFT_UV = 200.0
"""Between the means of the first and the last second."""


def signal_quality(data: np.ndarray, sfreq: float) -> list[str]:
    """Name what is wrong with each channel.

    Parameters
    ----------
    data
        Volts, unfiltered ``(n_chans, n)``.
    sfreq
        Hz.

    Returns
    -------
    list of str
        ``flat`` (within half a microvolt), ``railed`` (more than 1 % of the samples at the end of
        the channel's range), ``line 63 %`` (of the power above 1 Hz lies within 1.5 Hz of 50 or 60
        Hz, if it is more than half), ``drift 350 uV`` (from the first second to the last, from 200
        on), or an empty text.
    """
    if data.shape[1] < 2 * sfreq:
        return [""] * len(data)
    freqs, power = periodogram(data, sfreq, window="hann", axis=1)
    total = np.maximum(power[:, freqs >= 1].sum(axis=1), 1e-30)
    line = np.max(
        [power[:, np.abs(freqs - hz) <= 1.5].sum(axis=1) / total for hz in (50.0, 60.0)], axis=0
    )
    second = round(sfreq)
    drift = np.abs(data[:, -second:].mean(axis=1) - data[:, :second].mean(axis=1)) * 1e6
    found = []
    for place, row in enumerate(data):
        if np.ptp(row) * 1e6 < FLAT_UV:
            found.append("flat")
        elif clipped_samples(row).mean() > RAILED_SHARE:
            found.append("railed")
        elif line[place] > LINE_SHARE:
            found.append(f"line {line[place]:.0%}".replace("%", " %"))
        elif drift[place] > DRIFT_UV:
            found.append(f"drift {drift[place]:.0f} uV")
        else:
            found.append("")
    return found
