"""Events of a recording: of the `events.tsv` beside it, else of what the file holds."""

from __future__ import annotations

import io
import re
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from dreamdiffusion.recordings.formats.csv_table import to_numbers
from dreamdiffusion.recordings.formats.text import decode_text


def read_events_table(path: Path) -> pd.DataFrame | None:
    """Events of the `events.tsv` beside a recording; None: there is none."""
    table = path.with_name(re.sub(r"_i?eeg$", "", path.name.split(".")[0]) + "_events.tsv")
    if not table.is_file():
        return None
    try:
        text = io.StringIO(decode_text(table.read_bytes()))
        events = pd.read_csv(text, sep="\t", na_values=["n/a"], keep_default_na=False)
    except ValueError as error:
        raise ValueError(f"{table} cannot be read: {error}") from error
    missing = [name for name in ("onset", "duration") if name not in events]
    if missing:
        raise ValueError(f"{table} lacks the column {missing[0]}; BIDS requires it")
    to_numbers(events, ["onset", "duration"], str(table))
    if bool(events["onset"].isna().any()):
        row = int(np.flatnonzero(events["onset"].isna())[0])
        raise ValueError(f"{table}, data row {row} has no onset; BIDS requires it")
    events = events.rename(columns={"trial_type": "category", "value": "code"})
    if "category" not in events:
        events["category"] = events["code"].astype(str) if "code" in events else ""
    for name in ("category", "stim_file"):
        if name in events:
            events[name] = events[name].fillna("").astype(str)
    return events


def events_in(raw: mne.io.BaseRaw) -> pd.DataFrame | None:
    """Events of a stim channel, else of the annotations; None: there are none."""
    if "stim" in raw.get_channel_types():
        found = mne.find_events(raw, shortest_event=1, verbose="ERROR")
        if len(found):
            codes = found[:, 2]
            onsets = (found[:, 0] - raw.first_samp) / raw.info["sfreq"]
            return _table(onsets, np.zeros(len(found)), [str(code) for code in codes], code=codes)
    notes = [
        (note, extra or {})
        for note, extra in zip(raw.annotations, raw.annotations.extras, strict=True)
        if not str(note["description"]).lower().startswith(("bad", "edge"))
    ]
    if not notes:
        return None
    events = _table(
        np.array([note["onset"] for note, _ in notes]) - raw.first_time,
        np.array([note["duration"] for note, _ in notes]),
        [str(note["description"]) for note, _ in notes],
    )
    # MNE keeps further columns of an event, such as the picture, as extras of its annotation.
    more = pd.DataFrame([extra for _, extra in notes], index=events.index)
    return events.join(more[[name for name in more if name not in events]])


def _table(
    onset: np.ndarray, duration: np.ndarray, category: list[str], **more: np.ndarray
) -> pd.DataFrame:
    return pd.DataFrame({"onset": onset, "duration": duration, "category": category, **more})
