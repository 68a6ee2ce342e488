"""Channels as a file names them -> 10-05 names, types and positions; labels left in are found."""

from __future__ import annotations

import re
from collections.abc import Sequence

import mne
import numpy as np

from dreamdiffusion.recordings.electrodes import (
    EARS,
    REPLACED,
    are_amplifier_inputs,
    derivation,
    standard_names,
    template_montage,
)

_REFERENCE = r"[-_ :](ref|re|le|avg|av|car|ar|a1|a2|m1|m2|a1\+?a2|m1\+?m2|ears|linked)$"
_MISC = (
    r"AUX|STATUS|TRIG|MARKER|EVENT|LABEL|COUNTER|TIMESTAMP|BATTERY|ACCEL|\bACC|GYRO|RESP|GSR|\bEDA\b|PPG|"
    r"S[AP]O2|TEMP|PHOT|DIODE|LIGHT|STIMTRAK|\bPD\d?\b|AUDIO|MICROPH|\bMIC\d?\b|BUTTON|PUPIL|GAZE|"
    r"\bERG|PLET|OPTIC|FNIRS|\bDC\d+|^INDEX$|^[A-Z]\d?-[A-Z]\d?$"
)
_TYPES = (
    ("ecg", r"ECG|EKG"),
    ("eog", r"EOG|^[HV]EO[GLRUD]?$|^(LOC|ROC)\b"),
    ("emg", r"EMG"),
    ("misc", _MISC),
)
LABEL_VALUES = 100
"""A channel of labels has at most so many distinct values."""
LABEL_HELD = 0.95
"""and keeps its value from one sample to the next at least so often; EEG does not."""


def standard_name(name: str) -> str | None:
    """Return the 10-05 name that a channel's name means, None where it means none.

    Understood are a leading `EEG`, trailing dots, any case, the suffix of a reference common to all
    channels (`-Ref`, `-LE`, `-A2`, ...), and T3, T4, T5, T6 for T7, T8, P7, P8. A bipolar channel
    (`FP1-T3`) is named after its two electrodes (`Fp1-T7`); `A2-A1` means no place.
    """
    short = _strip(name)
    if (pair := derivation(short)) is not None:
        return "-".join(pair)
    base = re.sub(_REFERENCE, "", short, flags=re.IGNORECASE)
    if base != short and base.lower() in EARS and short[len(base) + 1 :].lower() in EARS:
        return None
    return REPLACED.get(base.lower()) or standard_names().get(base.lower())


def standard_renames(ch_names: Sequence[str]) -> dict[str, str]:
    """Return file's name -> 10-05 name of the channels to rename.

    Two channels never become one: where several mean the same place, all keep their names. In a
    file whose names are amplifier inputs (A1 to A32, B1, ...) these keep theirs too. Where three or
    more channels are derivations, all against one electrode (`Fp1-Cz`, `F3-Cz`, `O1-Cz`), that is a
    common reference, and each is named after its first electrode.
    """
    inputs = are_amplifier_inputs(_strip(name) for name in ch_names)
    pairs = [pair for name in ch_names if (pair := derivation(_strip(name))) is not None]
    common = len(pairs) >= 3 and len({second for _, second in pairs}) == 1
    new = {}
    for name in ch_names:
        pair = derivation(_strip(name))
        if inputs and re.fullmatch(r"[A-Za-z]\d+", _strip(name)):
            new[name] = name
        else:
            new[name] = pair[0] if common and pair else standard_name(name) or name
    names = list(new.values())
    return {old: name for old, name in new.items() if old != name and names.count(name) == 1}


def name_channels(raw: mne.io.BaseRaw) -> tuple[dict[str, str], list[str]]:
    """Give channels their 10-05 names, positions where the file brings none, and their types.

    Returns
    -------
    renamed
        File's name -> new name.
    labels
        Channels that hold labels and not EEG; they get the type misc.
    """
    renamed = standard_renames(raw.ch_names)
    raw.rename_channels(renamed)
    types: dict[str, str] = {}
    labels = []
    kinds = raw.get_channel_types()
    for place, (name, kind) in enumerate(zip(raw.ch_names, kinds, strict=True)):
        word = _strip(name).upper()
        if kind != "eeg" or word.lower() in standard_names() or derivation(word) is not None:
            continue
        other = next((other for other, words in _TYPES if re.search(words, word)), None)
        if other in (None, "misc") and holds_labels(raw.get_data(picks=np.array([place]))[0]):
            labels.append(name)
            other = "misc"
        if other is not None:
            types[name] = other
    raw.set_channel_types(types, on_unit_change="ignore", verbose="ERROR")
    if raw.get_montage() is None and not are_amplifier_inputs(raw.ch_names):
        montage = template_montage(raw.ch_names)
        if montage is not None:
            raw.set_montage(montage, on_missing="ignore", verbose="ERROR")
    return renamed, labels


def holds_labels(samples: np.ndarray) -> bool:
    """Whether a channel, (n_times,) in volts, holds labels or triggers left in among the EEG.

    Those are whole numbers (in volts, or in microvolts where a reader took them for EEG), few
    different ones (2 to `LABEL_VALUES`), each held for many samples (`LABEL_HELD`).
    """
    for part in (samples[:10_000], samples):  # the first samples suffice for most channels
        if not len(part) or not np.isfinite(part).all():
            return False
        if np.mean(part[1:] == part[:-1]) < LABEL_HELD:
            return False
    for scale in (1.0, 1e6):
        values = samples * scale
        whole = np.round(values)
        if np.abs(values - whole).max() < 0.01 and 2 <= len(np.unique(whole)) <= LABEL_VALUES:
            return True
    return False


def _strip(name: str) -> str:
    """Return a name without a leading EEG and trailing dots."""
    return re.sub(r"^EEG[ _:-]*", "", name.strip(), flags=re.IGNORECASE).rstrip(". ")
