"""What was understood of a recording, in plain values."""

from __future__ import annotations

from typing import Any

import numpy as np

from dreamdiffusion.recordings.amplitude import check_amplitude
from dreamdiffusion.recordings.bad_channels import (
    Spectrum,
    find_bad_channels,
    line_frequency,
    spectrum,
    spectrum_peaks,
    without,
)
from dreamdiffusion.recordings.clipping import clipped_shares
from dreamdiffusion.recordings.electrodes import derivation, unknown_electrodes
from dreamdiffusion.recordings.formats.edf import recording_equipment
from dreamdiffusion.recordings.formats.extensions import TEXT_FORMATS
from dreamdiffusion.recordings.gaps import stretches
from dreamdiffusion.recordings.recording import Recording, eeg_names

MAX_CATEGORIES = 40
"""Listed one by one; a data set can have thousands."""


def describe_recording(recording: Recording, power: Spectrum | None = None) -> dict[str, Any]:
    """Return what was understood of a recording, in plain values that JSON can hold.

    Keys: `holds`, `format`, `device` (None where the file names none), `subject`, `session`,
    `run`, `sfreq` (Hz), `duration_s`, `n_stretches` (recorded in one go), `n_chans`, `ch_names`
    (of the EEG), `file_units` (of the EEG, as the file names them), `unit_from` (who named the
    unit: `file`, `channels.tsv` or `stated`), `other_channels` (name -> type), `renamed` (in the
    file -> here), `label_channels`, `bipolar_channels` (of the EEG), `amplitude_uv` and `offset_uv`
    (of EEG channels: lowest, median, highest standard deviation, robust; and median),
    `spectrum_peaks_hz`, `line_noise_hz`, `clipped` (name -> share of samples, 0 to 1),
    `bad_channels` (name -> reason; found, or declared by the file), `positions`, `problems`, and
    with events `n_events` and `events` (category -> count; the most frequent).
    """
    raw = recording.raw
    sfreq, names = float(raw.info["sfreq"]), [str(name) for name in eeg_names(raw)]
    power = spectrum(raw) if power is None else power
    clipped = clipped_shares(raw, names)
    line = line_frequency(without(power, clipped))
    bad = dict.fromkeys(map(str, raw.info["bads"]), "declared bad by the file")
    bad |= find_bad_channels(raw, power, clipped=clipped)
    amplitude, offset = _levels(recording, names)
    types = zip(raw.ch_names, raw.get_channel_types(), strict=True)
    found: dict[str, Any] = {
        "holds": "a recording" + (" (SIMULATED)" if recording.simulated else ""),
        "format": recording.format,
        "device": _device(recording),
        "subject": recording.subject,
        "session": recording.session,
        "run": recording.run,
        "sfreq": sfreq,
        "duration_s": round(raw.n_times / sfreq, 3),
        "n_stretches": len(stretches(raw)),
        "n_chans": len(names),
        "ch_names": names,
        "file_units": _file_units(recording, names),
        "unit_from": recording.unit_from + (f" ({recording.unit})" if recording.unit else ""),
        "other_channels": {str(name): kind for name, kind in types if kind != "eeg"},
        "renamed": dict(recording.renamed),
        "label_channels": list(recording.label_channels),
        "bipolar_channels": [name for name in names if derivation(name) is not None],
        "amplitude_uv": amplitude,
        "offset_uv": offset,
        "spectrum_peaks_hz": spectrum_peaks(power),
        "line_noise_hz": line[0] if line else None,
        "clipped": {name: round(share, 4) for name, share in clipped.items()},
        "bad_channels": bad,
        "positions": _positions(recording, names),
        "problems": _problems(recording, names),
    }
    if recording.events is not None:
        counts = recording.events["category"].astype(str).value_counts()
        shown = counts.head(MAX_CATEGORIES).sort_index()
        found["n_events"] = len(recording.events)
        found["events"] = {str(category): int(count) for category, count in shown.items()}
        if len(counts) > len(shown):
            left = counts.iloc[MAX_CATEGORIES:]
            found["events"][f"({len(left)} other categories)"] = int(left.sum())
    return found


def _problems(recording: Recording, names: list[str]) -> list[str]:
    """What has to be mended before this recording can be used."""
    raw = recording.raw
    problems = [recording.unit_problem] if recording.unit_problem else []
    try:
        check_amplitude(raw, recording.source)
    except ValueError as error:
        problems.append(str(error).removeprefix(f"{recording.source}: "))
    if not names:
        problems.append("no channel is EEG")
    if recording.events is None:
        return problems
    onsets, lasts = recording.events["onset"], raw.n_times / float(raw.info["sfreq"])
    if outside := int(np.sum((onsets < 0) | (onsets > lasts))):
        problems.append(
            f"{outside} of {len(onsets)} events lie outside the recording (0 to {lasts:g} s)"
        )
    if lost := int(np.sum(onsets.isna())):
        problems.append(f"{lost} of {len(onsets)} events lie in a gap, where nothing was recorded")
    return problems


def _device(recording: Recording) -> str | None:
    """The device, only where the file names it."""
    named = recording.raw.info.get("device_info") or {}
    words = [str(named[key]) for key in ("type", "model") if named.get(key)]
    if words:
        return " ".join(words)
    return recording_equipment(recording.source) if recording.format in ("EDF", "BDF") else None


def _file_units(recording: Recording, names: list[str]) -> list[str]:
    """Units of the EEG channels as the file names them, or as its format is defined."""
    # MNE keeps what EDF, BDF, GDF and BrainVision say only here.
    named: dict[str, str] = getattr(recording.raw, "_orig_units", {})
    defined = {"FIF": "V", "EEGLAB": "µV"} | dict.fromkeys(TEXT_FORMATS, "µV")
    found = {str(named[name]) for name in names if named.get(name)}
    return sorted(found) or [unit for form, unit in defined.items() if form == recording.format]


def _levels(recording: Recording, names: list[str]) -> tuple[dict[str, float], float | None]:
    """Robust standard deviations (lowest, median, highest channel) and the median offset, uV."""
    widths, centres = [], []
    for name in names:
        place = recording.raw.ch_names.index(name)
        row = recording.raw.get_data(picks=np.array([place]))[0]
        row = row[np.isfinite(row)]
        if len(row):
            centres.append(float(np.median(row)))
            widths.append(1.4826 * float(np.median(np.abs(row - centres[-1]))))
    if not widths:
        return {}, None
    figures = {"lowest": min(widths), "median": float(np.median(widths)), "highest": max(widths)}
    shown = {key: float(f"{value * 1e6:.4g}") for key, value in figures.items()}
    return shown, float(f"{np.median(centres) * 1e6:.4g}")


def _positions(recording: Recording, names: list[str]) -> str:
    if not names:
        return "none: no channel is EEG"
    try:
        n_known = len(recording.positions)
    except ValueError:
        unknown = unknown_electrodes(names)
        shown = ", ".join(unknown[:12]) + (", ..." if len(unknown) > 12 else "")
        return f"known for {len(names) - len(unknown)} of {len(names)} channels; not for {shown}"
    return f"known for all {n_known} channels"
