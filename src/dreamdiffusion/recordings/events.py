"""Events of a recording: of the `events.tsv` beside it, else of what the file holds."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from dreamdiffusion.recordings.channels import LABEL_HELD
from dreamdiffusion.recordings.formats.csv_table import to_numbers
from dreamdiffusion.recordings.formats.text import decode_text
from dreamdiffusion.recordings.gaps import is_boundary, mark_boundaries

logger = logging.getLogger(__name__)

_CODE = re.compile(r"(?:S *)?(\d{1,9})")


def read_events_table(path: Path) -> pd.DataFrame | None:
    """Events of the `events.tsv` beside a recording; None: there is none."""
    table = path.with_name(re.sub(r"_i?eeg$", "", path.name.split(".")[0]) + "_events.tsv")
    if not table.is_file():
        return None
    text = decode_text(table.read_bytes())
    _check_fields(text, table)
    try:
        events = pd.read_csv(
            io.StringIO(text), sep="\t", na_values=["n/a"], keep_default_na=False, index_col=False
        )
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


def _check_fields(text: str, table: Path) -> None:
    """Raise where a row has more or fewer fields than the first line: pandas would shift them."""
    lines = text.splitlines()
    expected = lines[0].count("\t") if lines else 0
    for row, line in enumerate(lines[1:]):
        if line.strip() and line.count("\t") != expected and '"' not in line:
            raise ValueError(
                f"{table}, data row {row} has {line.count(chr(9)) + 1} fields, expected "
                f"{expected + 1} as in the first line; correct or delete that row"
            )


def events_in(raw: mne.io.BaseRaw, notes: pd.DataFrame, name: Path | str) -> pd.DataFrame | None:
    """Return the events of the annotations, else of the stim channels; None: there are none.

    A stim channel that never rests (an analogue trigger, a counter) is none: it becomes misc, and a
    warning says so. Where both have events a warning says how many are not used.

    Parameters
    ----------
    raw
        The signal.
    notes
        From `notes_in`, or what the file's format says better.
    name
        What the warnings call the recording.

    Returns
    -------
    events
        `onset` (s from the first sample), `duration` (s), `category`, `code` where the events are
        a stim channel's, and further columns that the annotations have.
    """
    triggers = _triggers(raw, name)
    if len(notes):
        named = notes["category"].str.lower().str.startswith(("bad", "edge"))
        notes = notes.iloc[np.flatnonzero(~named)].reset_index(drop=True)
    if not len(notes):
        return triggers
    if triggers is not None:
        logger.warning(
            "%s: its events are its %d annotations; %d events of its stim channel are not used "
            "(to use them, list them in an events.tsv beside the file)",
            name,
            len(notes),
            len(triggers),
        )
    return notes


def event_names(said: object) -> list[str]:
    """Return what an event may be called, as the file says it first.

    BrainVision and MNE-Python put a marker's kind before its text: `Stimulus/face` is `face` too,
    and `Stimulus/S  1` is `S  1` and the code `1`. Answers (`Response/R  1`) have no such code.

    Parameters
    ----------
    said
        Text or number.
    """
    if isinstance(said, float) and said.is_integer():
        said = int(said)
    names = [str(said).strip()]
    kind, slash, rest = names[0].partition("/")
    if slash and kind in ("Stimulus", "Comment"):
        names.append(rest.strip())
    if code := _CODE.fullmatch(names[-1]):
        names.append(str(int(code[1])))
    return list(dict.fromkeys(names))


def _triggers(raw: mne.io.BaseRaw, name: Path | str) -> pd.DataFrame | None:
    channels = []
    for place, kind in enumerate(raw.get_channel_types()):
        if kind != "stim":
            continue
        values = raw.get_data(picks=np.array([place]))[0]
        changes = float(np.mean(values[1:] != values[:-1])) if len(values) > 1 else 0.0
        if changes <= 1 - LABEL_HELD:
            channels.append(raw.ch_names[place])
            continue
        logger.warning(
            "%s: channel %s changes at %.0f %% of its samples and never rests: it is no channel of "
            "triggers",
            name,
            raw.ch_names[place],
            100 * changes,
        )
        raw.set_channel_types({raw.ch_names[place]: "misc"}, on_unit_change="ignore")
    if not channels:
        return None
    found = mne.find_events(raw, channels, shortest_event=1, verbose="ERROR")
    if not len(found):
        return None
    codes = found[:, 2]
    return pd.DataFrame(
        {
            "onset": (found[:, 0] - raw.first_samp) / raw.info["sfreq"],
            "duration": np.zeros(len(found)),
            "category": [str(code) for code in codes],
            "code": codes,
        }
    )


def notes_in(annotations: mne.Annotations, start: float) -> pd.DataFrame:
    """Return annotations as a table: `onset`, `duration` (both s), `category`, and their extras.

    Parameters
    ----------
    annotations
        Of a recording or of its file.
    start
        Onset that the first sample has among them, s.
    """
    table = pd.DataFrame(
        {
            "onset": annotations.onset - start,
            "duration": annotations.duration,
            "category": [str(text) for text in annotations.description],
        }
    )
    # MNE keeps further columns of an event, such as the picture, as extras of its annotation.
    more = pd.DataFrame([extra or {} for extra in annotations.extras], index=table.index)
    return table.join(more[[name for name in more if name not in table]])


def take_boundaries(raw: mne.io.BaseRaw, events: pd.DataFrame) -> pd.DataFrame:
    """Return the events that are neither boundaries nor bad stretches; mark those in `raw`.

    EEGLAB, BrainVision and others list among the events where time jumps; a row with a picture
    is an event, whatever its name.
    """
    named = np.array([is_boundary(text) for text in events["category"]], bool)
    bad = np.array([str(text).upper().startswith("BAD_") for text in events["category"]], bool)
    if "stim_file" in events:
        shown = (events["stim_file"].fillna("") != "").to_numpy(bool)
        named, bad = named & ~shown, bad & ~shown & ~named
    mark_boundaries(raw, events["onset"].to_numpy(float)[named])
    for onset, duration, text in events.loc[bad, ["onset", "duration", "category"]].to_numpy():
        marked = raw.annotations.description == text  # mne-bids marks them too
        if not np.isclose(raw.annotations.onset[marked] - raw.first_time, onset, atol=1e-3).any():
            raw.annotations.append(onset + raw.first_time, duration, text)
    return events.iloc[np.flatnonzero(~(named | bad))].reset_index(drop=True)
