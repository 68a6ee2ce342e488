"""Spectrum, line noise and bad channels of a recording.

The rules are few and fixed, after the robust deviation of PREP (Bigdely-Shamlo et al. 2015,
Frontiers in Neuroinformatics 9): they say what to look at, and nothing is left out because of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import mne
import numpy as np
from scipy import signal

from dreamdiffusion.recordings.clipping import clipped_samples, clipped_shares
from dreamdiffusion.recordings.gaps import stretches
from dreamdiffusion.recordings.recording import eeg_names

SEGMENT_S = 4.0
MAX_SEGMENTS = 200
"""Spread evenly over the recording, so that hours take no longer than minutes."""
BAND_HZ = (1.0, 40.0)
"""Where a channel's amplitude is compared with the others': above drifts, below line noise."""
MAX_Z = 5.0
LEAST_SPREAD = 0.1
"""Of the decimal logarithm of amplitudes: a channel within a factor of 3.2 is never far outside."""
CLIPPED_SHARE = 0.01
"""Of its samples: a channel that is clipped in more is bad."""
LINE_RATIO = 4.0
LINE_SHARE = 0.5
MAX_PEAKS = 6


class Spectrum(NamedTuple):
    """Power of the EEG channels."""

    ch_names: list[str]
    freqs: np.ndarray
    """(n_freqs,), Hz."""
    power: np.ndarray
    """(n_chans, n_freqs), V^2/Hz; NaN for a channel without a whole segment."""
    n_segments: int
    """That the power is the median of."""


def spectrum(raw: mne.io.BaseRaw) -> Spectrum:
    """Return the power spectrum of every EEG channel, which single artefacts do not move.

    The median over segments of up to 4 s (Hann window, line removed), none across a boundary.
    """
    sfreq, names = float(raw.info["sfreq"]), eeg_names(raw)
    parts = stretches(raw)
    typical = int(np.median([stop - start for start, stop in parts])) if parts else raw.n_times
    length = max(2, min(round(SEGMENT_S * sfreq), typical))
    starts = np.array([s for a, b in parts for s in range(a, b - length + 1, length)], int)
    if len(starts) > MAX_SEGMENTS:
        starts = starts[np.linspace(0, len(starts) - 1, MAX_SEGMENTS).astype(int)]
    freqs = np.fft.rfftfreq(length, 1 / sfreq)
    power = np.full((len(names), len(freqs)), np.nan)
    for row, name in enumerate(names):
        samples = raw.get_data(picks=np.array([raw.ch_names.index(name)]))[0]
        pieces = samples[starts[:, None] + np.arange(length)]
        pieces = pieces[np.isfinite(pieces).all(axis=1)]
        if len(pieces):
            _, density = signal.periodogram(pieces, sfreq, window="hann", detrend="linear")
            power[row] = np.median(density, axis=0) / np.log(2)  # the median of an exponential
    return Spectrum(names, freqs, power, len(starts))


def spectrum_peaks(spectrum: Spectrum) -> list[float]:
    """Return the frequencies, in Hz, of the most prominent peaks of the median channel at 1-100 Hz.

    A peak's power stands out of what surrounds it by a factor of 2, and by more than chance does in
    a short recording: the decimal logarithm of a median over n segments scatters by 0.63 / sqrt(n),
    and the highest and lowest of hundreds of frequencies lie about six times that apart. At most
    `MAX_PEAKS`, in the order of frequency.
    """
    usable = np.isfinite(spectrum.power).all(axis=1) & (spectrum.power > 0).any(axis=1)
    keep = (spectrum.freqs >= BAND_HZ[0]) & (spectrum.freqs <= 100)
    if not usable.any() or keep.sum() < 3:
        return []
    level = np.log10(np.maximum(np.median(spectrum.power[usable][:, keep], axis=0), 1e-30))
    least = max(np.log10(2), 6 * 0.63 / np.sqrt(spectrum.n_segments))
    places, found = signal.find_peaks(level, prominence=least)
    chosen = places[np.argsort(-found["prominences"])[:MAX_PEAKS]]
    return [round(float(freq), 2) for freq in np.sort(spectrum.freqs[keep][chosen])]


def line_frequency(spectrum: Spectrum) -> tuple[float, float] | None:
    """Return the frequency of the mains in the EEG, 50 or 60 Hz, and its power over its neighbours.

    None where neither stands out by a factor of 4, in the median over channels.
    """
    freqs, found = spectrum.freqs, []
    for line in (50.0, 60.0):
        around = np.abs(freqs - line)
        peak, beside = around <= 1, (around > 2) & (around <= 6)
        usable = np.isfinite(spectrum.power).all(axis=1) & (spectrum.power > 0).any(axis=1)
        if freqs[-1] < line + 2 or not (peak.any() and beside.any() and usable.any()):
            continue
        power = spectrum.power[usable]
        floor = np.maximum(np.median(power[:, beside], axis=1), 1e-30)
        found.append((float(np.median(power[:, peak].max(axis=1) / floor)), line))
    if not found or max(found)[0] < LINE_RATIO:
        return None
    ratio, line = max(found)
    return line, ratio


def without(spectrum: Spectrum, names: Iterable[str]) -> Spectrum:
    """Return a spectrum whose channels of these names count as having none."""
    power = spectrum.power.copy()
    power[[spectrum.ch_names.index(name) for name in names]] = np.nan
    return spectrum._replace(power=power)


def flat_or_missing(raw: mne.io.BaseRaw, flat_uv: float) -> dict[str, str]:
    """Return channel -> reason for channels that are mostly missing or constant.

    Parameters
    ----------
    raw
        Volts; every channel of it is looked at.
    flat_uv
        A channel whose samples all lie within so many microvolts is flat.
    """
    reasons = {}
    for place, name in enumerate(raw.ch_names):
        row = raw.get_data(picks=np.array([place]))[0]
        finite = row[np.isfinite(row)]
        if len(finite) < len(row) / 2:
            reasons[name] = f"{len(row) - len(finite)} of {len(row)} samples missing"
        elif np.ptp(finite) * 1e6 < flat_uv:
            reasons[name] = f"flat ({np.ptp(finite) * 1e6:.3g} uV peak to peak)"
    return reasons


def _ends(raw: mne.io.BaseRaw, name: str) -> str:
    """Say at which values a channel is clipped."""
    row = raw.get_data(picks=np.array([name]))[0]
    found = np.unique(row[clipped_samples(row)]) * 1e6
    return " and ".join(f"{value:.4g} uV" for value in (found[0], found[-1])[: len(found)])


def find_bad_channels(
    raw: mne.io.BaseRaw,
    spectrum: Spectrum,
    flat_uv: float = 0.5,
    clipped: Mapping[str, float] | None = None,
) -> dict[str, str]:
    """Return EEG channel -> why it looks bad, in the order of the channels.

    - mostly missing, or flat (`flat_or_missing`);
    - clipped, or railed by an electrode without contact, in more than 1 % of its samples; what
      else its spectrum shows is of the clipping (`clipped`: from `clipping.clipped_shares`);
    - far outside: the logarithm of its amplitude at 1 to 40 Hz is more than 5 robust standard
      deviations (and a factor of 3.2) from the median of the channels; needs four channels;
    - line noise: more than half of its power above 1 Hz lies within 1.5 Hz of the mains'
      frequency.
    """
    names = spectrum.ch_names
    reasons = flat_or_missing(raw.copy().pick(names), flat_uv) if names else {}
    clipped = clipped_shares(raw, names) if clipped is None else clipped
    for name, share in clipped.items():
        if share > CLIPPED_SHARE and name not in reasons:
            reasons[name] = f"{share:.0%} of its samples are clipped, at {_ends(raw, name)}"
    usable = [i for i, name in enumerate(names) if name not in reasons]
    spectrum = without(spectrum, clipped)
    freqs, power = spectrum.freqs, spectrum.power
    above = freqs >= BAND_HZ[0]
    line = line_frequency(spectrum)
    if line is not None:
        near = above & (np.abs(freqs - line[0]) <= 1.5)
        for i in usable:
            share = power[i, near].sum() / max(power[i, above].sum(), 1e-30)
            if share > LINE_SHARE:
                reasons[names[i]] = f"{share:.0%} of its power is {line[0]:g} Hz line noise"
    band = above & (freqs <= BAND_HZ[1])
    amplitude = np.sqrt(power[:, band].sum(axis=1) * (freqs[1] if len(freqs) > 1 else 1.0))
    usable = [i for i in usable if np.isfinite(amplitude[i]) and amplitude[i] > 0]
    if len(usable) >= 4:
        logs = np.log10(amplitude[usable])
        centre = np.median(logs)
        spread = max(1.4826 * float(np.median(np.abs(logs - centre))), LEAST_SPREAD)
        for i, z in zip(usable, (logs - centre) / spread, strict=True):
            if abs(z) > MAX_Z and names[i] not in reasons:
                reasons[names[i]] = (
                    f"{amplitude[i] * 1e6:.3g} uV at 1-40 Hz, the median channel "
                    f"{10**centre * 1e6:.3g} uV (robust z {z:+.1f})"
                )
    return {name: reasons[name] for name in names if name in reasons}
