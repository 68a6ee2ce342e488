"""``dreamdiffusion inspect``: what was understood of a recording, as figures and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .bad_channels import Spectrum, find_bad_channels, line_frequency, spectrum
from .boundaries import stretches
from .config_data import InspectConfig
from .edf_header import recording_equipment
from .electrodes import unknown_electrodes
from .recordings import Recording, check_amplitude, eeg_names, read_recording
from .uci import TRIAL, is_trial_folder


def inspect(config: InspectConfig) -> dict[str, Any]:
    """Read `config.path`, describe it, and draw it to `config.output`.

    A recording whose amplitudes cannot be EEG is described as well: `problems` says so.

    Returns
    -------
    dict
        As `describe`, and `picture`: the path of the PNG.

    Raises
    ------
    ValueError, FileNotFoundError
        As `read_recording`.
    """
    if config.path is None:
        raise ValueError("inspect has no recording; pass the path of one")
    from .inspection_picture import draw

    recording = read_recording(config.path, check_units=False)
    power = spectrum(recording.raw)
    found = describe(recording, power)
    name = "_".join(config.path.absolute().parts[-2:]).replace(".", "_")
    output = config.output or Path("runs/inspect") / f"{name}.png"
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}")
    draw(recording, power, found).savefig(partial, dpi=130, format="png")
    partial.replace(output)
    return {**found, "picture": str(output)}


def describe(recording: Recording, power: Spectrum | None = None) -> dict[str, Any]:
    """Return what was understood of a recording, in plain values that JSON can hold.

    Keys: `holds`, `format`, `device` (None where the file names none), `subject`, `session`,
    `run`, `sfreq` (Hz), `duration_s`, `n_stretches` (recorded in one go), `n_chans`, `ch_names`
    (of the EEG), `other_channels` (name -> type), `renamed` (in the file -> here),
    `label_channels`, `amplitude_uv` and `offset_uv` (of EEG channels: lowest, median, highest
    standard deviation, robust; and mean), `line_noise_hz`, `bad_channels` (name -> reason; found,
    or declared by the file), `positions`, `events` (category -> count), `problems`.
    """
    raw, source = recording.raw, recording.source
    sfreq, names = float(raw.info["sfreq"]), [str(name) for name in eeg_names(raw)]
    power = spectrum(raw) if power is None else power
    line = line_frequency(power)
    bad = dict.fromkeys(map(str, raw.info["bads"]), "declared bad by the file")
    bad |= find_bad_channels(raw, power)
    amplitude, offset = _levels(recording, names)
    problems = []
    try:
        check_amplitude(raw, source)
    except ValueError as error:
        problems.append(str(error).removeprefix(f"{source}: "))
    if not names:
        problems.append("no channel is EEG")
    types = zip(raw.ch_names, raw.get_channel_types(), strict=True)
    is_trials = is_trial_folder(source) or TRIAL.fullmatch(source.name) is not None
    found: dict[str, Any] = {
        "holds": "a recording" + (" (SIMULATED)" if recording.simulated else ""),
        "format": "UCI EEG Database" if is_trials else source.suffix[1:].upper(),
        "device": _device(recording),
        "subject": recording.subject,
        "session": recording.session,
        "run": recording.run,
        "sfreq": sfreq,
        "duration_s": round(raw.n_times / sfreq, 3),
        "n_stretches": len(stretches(raw)),
        "n_chans": len(names),
        "ch_names": names,
        "other_channels": {str(name): kind for name, kind in types if kind != "eeg"},
        "renamed": dict(recording.renamed),
        "label_channels": list(recording.label_channels),
        "amplitude_uv": amplitude,
        "offset_uv": offset,
        "line_noise_hz": line[0] if line else None,
        "bad_channels": bad,
        "positions": _positions(recording, names),
        "problems": problems,
    }
    if recording.events is not None:
        counts = recording.events["category"].value_counts().sort_index()
        found["events"] = {str(category): int(count) for category, count in counts.items()}
    return found


def _device(recording: Recording) -> str | None:
    """The device, only where the file tells it."""
    told = recording.raw.info.get("device_info") or {}
    words = [str(told[key]) for key in ("type", "model") if told.get(key)]
    if words:
        return " ".join(words)
    is_edf = recording.source.suffix.lower() in (".edf", ".bdf")
    return recording_equipment(recording.source) if is_edf else None


def _levels(recording: Recording, names: list[str]) -> tuple[dict[str, float], float | None]:
    """Robust standard deviations (lowest, median, highest channel) and the median offset, uV."""
    widths, centres = [], []
    for name in names:
        row = recording.raw.get_data(picks=recording.raw.ch_names.index(name))[0]
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
    try:
        n_known = len(recording.positions)
    except ValueError:
        unknown = unknown_electrodes(names)
        told = ", ".join(unknown[:12]) + (", ..." if len(unknown) > 12 else "")
        return f"known for {len(names) - len(unknown)} of {len(names)} channels; not for {told}"
    return f"known for all {n_known} channels"
