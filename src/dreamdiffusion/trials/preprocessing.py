"""Raw -> clean, comparable raw: channels, checks, filters, rate, reference.

Trials and pre-training windows go through the same function, so that both see one kind of signal.
"""

from __future__ import annotations

import logging
from fractions import Fraction
from typing import cast

import mne
import numpy as np
from scipy.fft import next_fast_len

from dreamdiffusion.files.keywords import with_keywords
from dreamdiffusion.recordings.bad_channels import flat_or_missing
from dreamdiffusion.recordings.clipping import mark_clipped
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.recordings.electrodes import derivation
from dreamdiffusion.recordings.gaps import stretches
from dreamdiffusion.recordings.recording import Recording, eeg_names

logger = logging.getLogger(__name__)

_REASONS = {"bad_nan": "nan", "bad_clipped": "clipped"}


@with_keywords(SignalConfig, "signal")
def preprocess(recording: Recording, signal: SignalConfig) -> mne.io.BaseRaw:
    """Return a cleaned copy of a recording's signal; the recording stays as it was.

    In order: pick channels; name flat and empty channels; line filter; resample; band-pass (FIR,
    zero phase, MNE's defaults); reference. A recording that is resampled upwards is band-passed
    first: the filter costs less at the lower rate, and the results agree (away from the ends, to
    0.03 % of the signal's standard deviation). Filters do not cross a gap; with a high-pass, each
    stretch between gaps first loses its mean. Trials that were cut elsewhere are not filtered: they
    are too short for it, and were filtered before. Stretches of missing
    samples are bridged linearly for the filters' sake and annotated `BAD_nan`, and samples at the
    end of a channel's range `BAD_clipped` (`clipping`), so that every trial or window that overlaps
    one is rejected and counted.

    Parameters
    ----------
    recording
        Signal in volts.
    signal
        What to do, or its fields as keywords; see `dreamdiffusion.recordings.config.SignalConfig`.

    Returns
    -------
    raw
        Only the picked channels, in order, at `signal.sfreq`, volts.

    Raises
    ------
    ValueError
        For a missing or bad channel, a rate below the need, a recording shorter than the filter.

    Examples
    --------
    >>> from dreamdiffusion import preprocess, read_recording
    >>> path = "people/sub-01/ses-01/eeg/sub-01_ses-01_task-viewing_run-01_eeg.edf"
    >>> recording = read_recording(path)
    >>> raw = preprocess(recording, l_freq=1.0, h_freq=40.0, sfreq=128.0, reference="average")
    >>> raw.info["sfreq"], raw.info["highpass"]
    (128.0, 1.0)
    """
    name, raw = recording.source, recording.raw
    if recording.cut is not None:
        signal = signal.model_copy(update={"l_freq": None, "h_freq": None, "notch": []})
    sfreq = float(raw.info["sfreq"])
    _check_settings(recording, signal)
    raw = raw.copy().pick(_pick(recording, signal.picks))
    if signal.picks is not None:
        raw.reorder_channels(signal.picks)
    _check_reference(raw, signal.reference, name)
    if signal.l_freq:
        # MNE's FIR length: 3.3 / transition width, which is min(max(l / 4, 2), l).
        needed = 3.3 / min(max(signal.l_freq / 4, 2.0), signal.l_freq)
        lasts = raw.n_times / sfreq
        if lasts < needed:
            raise ValueError(
                f"{name}: the recording lasts {lasts:.1f} s, and the {signal.l_freq:g} Hz "
                f"high-pass needs {needed:.1f} s; raise signal.l_freq or leave it empty"
            )
    _treat_bad_channels(raw, recording, signal)
    if shares := mark_clipped(raw):
        shown = ", ".join(f"{channel} {share:.2%}" for channel, share in shares.items())
        logger.warning("%s: clipped samples (%s); trials and windows go without them", name, shown)
    _bridge_missing(raw)
    with mne.utils.use_log_level("ERROR"):
        if signal.notch:
            raw.notch_filter(np.array(signal.notch), picks="all")
        if signal.l_freq:
            _remove_offsets(raw)
        if sfreq > signal.sfreq + 1e-6:
            raw.resample(signal.sfreq, npad=fast_padding(raw.n_times, sfreq, signal.sfreq))
        if signal.l_freq or signal.h_freq:
            raw.filter(signal.l_freq or None, signal.h_freq, picks="all", fir_design="firwin")
        if sfreq < signal.sfreq - 1e-6:
            raw.resample(signal.sfreq, npad=fast_padding(raw.n_times, sfreq, signal.sfreq))
        _set_reference(raw, signal.reference)
    return raw


def _check_settings(recording: Recording, signal: SignalConfig) -> None:
    """Raise where a recording cannot be treated as the settings say."""
    name = recording.source
    if signal.unit != recording.unit:
        raise ValueError(
            f"{name} was read with the unit {recording.unit or 'of the file'}, and signal.unit is "
            f"{signal.unit or 'empty'}; pass the same to read_recording (prepare does for --input, "
            "not for the recordings of a public --dataset)"
        )
    sfreq = float(recording.raw.info["sfreq"])
    if sfreq < signal.sfreq * (1 - 1e-6) and not signal.resample_up:
        raise ValueError(
            f"{name}: the recording has {sfreq:g} Hz, expected at least {signal.sfreq:g} Hz; "
            "lower signal.sfreq, or set signal.resample_up to accept it"
        )
    if signal.h_freq is not None and signal.h_freq >= min(sfreq, signal.sfreq) / 2:
        raise ValueError(
            f"{name}: signal.h_freq is {signal.h_freq:g} Hz, expected below half of "
            f"{min(sfreq, signal.sfreq):g} Hz"
        )


def bipolar_names(raw: mne.io.BaseRaw) -> list[str]:
    """Return the channels that are the difference of two electrodes (`electrodes.derivation`)."""
    return [name for name in raw.ch_names if derivation(name) is not None]


def fast_padding(n_times: int, sfreq: float, target: float) -> int | str:
    """Return how many samples MNE's resampling shall add at each end.

    With `target / sfreq` = p / q in lowest terms, the padded length becomes a multiple k of q, so
    that k p samples take its place exactly; and k has small factors only. MNE's own choice, the
    next power of two, can nearly double the work, and the length it is mapped to is rounded, and
    often has a large prime factor, for which the Fourier transform is slow.

    Returns
    -------
    npad
        At least 100; "auto", MNE's own choice, where p or q has a large factor itself.
    """
    ratio = Fraction(target / sfreq).limit_denominator(10_000)
    p, q = ratio.numerator, ratio.denominator
    exact = abs(p * sfreq / (q * target) - 1) < 1e-12
    if not exact or next_fast_len(p) != p or next_fast_len(q) != q:
        return "auto"
    k = cast(int, next_fast_len(-(-(n_times + 200) // q)))
    while (k * q - n_times) % 2:  # both ends get the same
        if n_times % 2 and not q % 2:
            return "auto"
        k = cast(int, next_fast_len(k + 1))
    return (k * q - n_times) // 2


def _pick(recording: Recording, picks: list[str] | None) -> list[str]:
    raw = recording.raw
    if picks is None:
        chosen = eeg_names(raw)
        if not chosen:
            raise ValueError(f"{recording.source} has no EEG channel among {raw.ch_names}")
        return chosen
    missing = [pick for pick in picks if pick not in raw.ch_names]
    if missing:
        raise ValueError(
            f"{recording.source} has no channel {', '.join(missing)} (signal.picks); "
            f"it has {', '.join(raw.ch_names)}"
        )
    if len(set(picks)) != len(picks):
        raise ValueError(f"signal.picks names a channel twice: {picks}")
    return list(picks)


def _treat_bad_channels(raw: mne.io.BaseRaw, recording: Recording, signal: SignalConfig) -> None:
    """Raise for, or interpolate, channels that are flat, empty or declared bad."""
    reasons: dict[str, str] = dict.fromkeys(raw.info["bads"], "declared bad")
    reasons |= flat_or_missing(raw, signal.flat_uv)
    if not reasons:
        return
    shown = "; ".join(f"{name}: {why}" for name, why in reasons.items())
    if signal.bad_channels == "raise":
        raise ValueError(
            f"{recording.source} has bad channels ({shown}); leave them out of signal.picks or set "
            "signal.bad_channels to interpolate"
        )
    good = [name for name in raw.ch_names if name not in reasons]
    if paired := bipolar_names(raw):
        raise ValueError(
            f"{recording.source} has bad channels ({shown}) that cannot be interpolated: "
            f"{', '.join(paired)} are bipolar, differences whose direction no neighbour knows; "
            "leave the bad ones out of signal.picks"
        )
    located = {
        ch["ch_name"] for ch in raw.info["chs"]
        if np.isfinite(ch["loc"][:3]).all() and np.any(ch["loc"][:3])
    }  # fmt: skip
    lost = [name for name in raw.ch_names if name not in located]
    if lost or len(good) < 4:
        raise ValueError(
            f"{recording.source} has bad channels ({shown}) that cannot be interpolated: "
            + (f"no position is known for {', '.join(lost)}" if lost else f"{len(good)} are good")
        )
    logger.warning("%s: interpolated bad channels (%s)", recording.source, shown)
    data = _samples(raw)
    for name in reasons:
        data[raw.ch_names.index(name)] = 0.0  # missing samples must not reach the interpolation
    raw.info["bads"] = list(reasons)
    with mne.utils.use_log_level("ERROR"):
        raw.set_channel_types(dict.fromkeys(raw.ch_names, "eeg"))
        raw.interpolate_bads(reset_bads=True)


def _bridge_missing(raw: mne.io.BaseRaw) -> None:
    data = _samples(raw)
    missing = ~np.isfinite(data)
    if not missing.any():
        return
    sfreq = float(raw.info["sfreq"])
    edges = np.diff(np.concatenate([[0], missing.any(axis=0).astype(int), [0]]))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    positions = np.arange(data.shape[1])
    for row, gone in zip(data, missing, strict=True):
        row[gone] = np.interp(positions[gone], positions[~gone], row[~gone])
    for start, stop in zip(starts, stops, strict=True):
        raw.annotations.append(raw.first_time + start / sfreq, (stop - start) / sfreq, "BAD_nan")


def _remove_offsets(raw: mne.io.BaseRaw) -> None:
    """Subtract its mean from every stretch of a recording that has several.

    MNE pads a stretch that is shorter than the filter with zeros. An electrode offset of
    millivolts, which the high-pass is to remove, would be a step there, and ring into the trial.
    """
    parts, data = stretches(raw), _samples(raw)
    for start, stop in parts if len(parts) > 1 else []:
        data[:, start:stop] -= data[:, start:stop].mean(axis=1, keepdims=True)


def _check_reference(raw: mne.io.BaseRaw, reference: str | list[str], name: object) -> None:
    if reference == "none":
        return
    if paired := bipolar_names(raw):
        raise ValueError(
            f"{name}: signal.reference is {reference}, and {', '.join(paired)} are bipolar: they "
            "have no common reference to take off; set signal.reference to none, or leave them out "
            "of signal.picks"
        )
    missing = [channel for channel in reference if channel not in raw.ch_names]
    if missing and reference != "average":
        raise ValueError(
            f"{name} has no reference channel {', '.join(missing)} among its picked channels "
            f"{', '.join(raw.ch_names)}"
        )


def _set_reference(raw: mne.io.BaseRaw, reference: str | list[str]) -> None:
    if reference == "none":
        return
    data = _samples(raw)
    channels = raw.ch_names if reference == "average" else reference
    data -= data[[raw.ch_names.index(channel) for channel in channels]].mean(axis=0)


def _samples(raw: mne.io.BaseRaw) -> np.ndarray:
    """Return the loaded samples themselves, to be changed in place."""
    data = raw._data
    if data is None:
        raise ValueError("the recording is not loaded into memory; call raw.load_data()")
    return data


def bad_spans(raw: mne.io.BaseRaw) -> list[tuple[int, int, str]]:
    """Return (first sample, sample after the last, reason) of every annotation that says bad.

    A gap that lasts 0 s lies between two samples: both numbers are then that of the second, and
    only a piece that holds both samples overlaps it. Reasons: `gap` (samples lost), `nan` (samples
    missing), `clipped` (samples at the end of a channel's range), `bad_annotation` (anything else).
    """
    sfreq, spans = float(raw.info["sfreq"]), []
    notes = raw.annotations
    for onset, duration, text in zip(notes.onset, notes.duration, notes.description, strict=True):
        text = str(text).lower()
        if not text.startswith("bad"):
            continue
        start = (onset - raw.first_time) * sfreq
        stop = start + duration * sfreq
        first = int(np.floor(start + 1e-6))
        is_gap = any(word in text for word in ("gap", "acq_skip", "bad boundary"))
        reason = _REASONS.get(text, "gap" if is_gap else "bad_annotation")
        least = first if is_gap and duration == 0 else first + 1
        spans.append((first, max(int(np.ceil(stop - 1e-6)), least), reason))
    return spans


def reject_reason(
    piece: np.ndarray,
    start: int,
    spans: list[tuple[int, int, str]],
    signal: SignalConfig,
) -> str | None:
    """`reject_reasons` of one piece (n_chans, n_times); None: it is kept."""
    return reject_reasons(piece[None], np.array([start]), spans, signal)[0]


def reject_reasons(
    pieces: np.ndarray,
    starts: np.ndarray,
    spans: list[tuple[int, int, str]],
    signal: SignalConfig,
) -> np.ndarray:
    """Say why pieces of signal are rejected.

    Parameters
    ----------
    pieces
        (n, n_chans, n_times), volts.
    starts
        int (n,), their first samples in the recording.
    spans
        From `bad_spans`; of several that overlap a piece, the first gives the reason.

    Returns
    -------
    reasons
        object (n,): `gap`, `nan`, `clipped`, `bad_annotation`, `flat`, `peak_to_peak`, or None: it
        is kept.
    """
    with np.errstate(invalid="ignore"):  # missing and infinite samples make a height of nan
        height = np.ptp(pieces, axis=-1) * 1e6
    reasons = np.full(len(pieces), None, dtype=object)
    if signal.reject_uv is not None:
        reasons[height.max(axis=1) > signal.reject_uv] = "peak_to_peak"
    reasons[height.min(axis=1) < signal.flat_uv] = "flat"
    reasons[~np.isfinite(height).all(axis=1)] = "nan"
    stops = starts + pieces.shape[-1]
    for first, last, reason in reversed(spans):
        reasons[(first < stops) & (last > starts)] = reason
    return reasons
