"""Which picture each event of a recording showed: by a table, by class folders, by its own name."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from dreamdiffusion.files.pictures import SUFFIXES, picture_path
from dreamdiffusion.recordings.events import event_names
from dreamdiffusion.recordings.formats.csv_table import read_table, separator_of, to_numbers
from dreamdiffusion.recordings.formats.text import decode_text
from dreamdiffusion.recordings.recording import Recording

logger = logging.getLogger(__name__)

NEAR_S = 0.1
"""An event of the recording within so many seconds of a row's onset is that row's."""
_WORDS = {
    "onset": ("onset", "time", "latency"),
    "code": ("code", "marker", "event", "value", "trigger"),
    "picture": ("picture", "stim_file", "image", "file", "stimulus"),
    "label": ("label", "category", "class", "trial_type", "type"),
    "recording": ("recording", "run", "source"),
}


@dataclass
class Shown:
    """The events of one recording that showed a picture, and what was left.

    Attributes
    ----------
    events
        Columns `onset`, `duration`, `trial_type`, `stim_file` ("n/a": only the class is known),
        `value`.
    left
        The recording's events that showed none, as it holds them.
    unused
        Rows of the table that no event belongs to, counted from 0.
    """

    events: pd.DataFrame
    left: pd.DataFrame
    unused: list[int] = field(default_factory=list)


def read_shown_table(path: Path, pictures: Path | None) -> pd.DataFrame:
    """Read a table that says what was shown: csv or tsv, one row a picture or a trial.

    Parameters
    ----------
    path
        Columns `picture` (its file) and `label` (its class; without it the picture's folder), one
        of them at least; and `onset` (s from the first sample) or `code` (of the recording's
        event), else its rows are the recording's events in order. `recording`: the file that a row
        belongs to. `_WORDS` lists the other names that are understood.
    pictures
        The folder that pictures are named relative to; None: no picture is looked for.

    Returns
    -------
    table
        With those columns that it has, under these names.

    Raises
    ------
    ValueError, FileNotFoundError
        For a missing column, an empty cell, an onset that is no number, two rows of one code, or a
        picture that does not exist or lies outside the folder. Rows are counted from 0.
    """
    content = path.read_bytes()
    separator = separator_of(decode_text(content[:4096]).split("\n", 1)[0])
    table = read_table(content, str(path), separator)
    named = {column.lower(): column for column in table.columns}
    found = {
        key: next((named[word] for word in words if word in named), None)
        for key, words in _WORDS.items()
    }
    own = {column: key for key, column in found.items() if column}
    table = pd.DataFrame({key: table[column] for column, key in own.items()})
    if "picture" not in table and "label" not in table:
        raise ValueError(
            f"{path} has the columns {', '.join(named.values())}; expected `picture` or `label`, "
            "and `onset` or `code` (without either its rows are the events in order)"
        )
    if not len(table):
        raise ValueError(f"{path} has no row")
    _check_cells(table, path)
    if "onset" in table:
        to_numbers(table, ["onset"], str(path))
    if "picture" in table:
        table["picture"] = [
            _find_picture(str(name), pictures, f"{path}, data row {row}")
            for row, name in enumerate(table["picture"])
        ]
        if "label" not in table:
            folders = [Path(str(name)).parent.as_posix() for name in table["picture"]]
            stems = [Path(str(name)).stem for name in table["picture"]]
            table["label"] = [s if f == "." else f for f, s in zip(folders, stems, strict=True)]
    return table


def _check_cells(table: pd.DataFrame, path: Path) -> None:
    for column in table.columns:
        empty = table[column].isna() | (table[column].astype(str).str.strip() == "")
        if bool(empty.any()):
            row = int(np.flatnonzero(empty)[0])
            raise ValueError(
                f"{path}, data row {row}, column {column} is empty; fill it, or delete the row"
            )
        if column != "onset":
            table[column] = [_plain(cell) for cell in table[column]]
    keys = [name for name in ("recording", "code") if name in table]
    if "code" in table and "onset" not in table and bool(table.duplicated(keys).any()):
        row = int(np.flatnonzero(table.duplicated(keys))[0])
        raise ValueError(
            f"{path}, data row {row}: the code {table['code'].iloc[row]!r} stands in an earlier "
            "row too; one code means one picture (rows in the order of the trials need no code)"
        )


def _plain(cell: object) -> str:
    return event_names(cell)[0]


def _find_picture(name: str, root: Path | None, place: str) -> str:
    if root is None:
        raise ValueError(f"{place} names the picture {name}; name its folder with --pictures")
    path = picture_path(root, name)
    if not path.is_file():
        raise FileNotFoundError(f"{place}: picture {path} does not exist")
    return Path(name).as_posix()


def match_table(recording: Recording, table: pd.DataFrame, name: Path) -> Shown:
    """Say by a table which events of a recording showed which picture.

    Raises
    ------
    ValueError
        For an onset outside the recording or in a gap, rows in order that are not as many as the
        events, codes none of which the recording has.
    """
    source, raw = recording.source, recording.raw
    if "recording" in table:
        own = [Path(str(cell)).name in (source.name, source.stem) for cell in table["recording"]]
        table = table.iloc[np.flatnonzero(own)]
        if not len(table):
            raise ValueError(f"{name} has no row whose column recording names {source.name}")
    events = recording.events if recording.events is not None else pd.DataFrame({"onset": []})
    if "onset" in table:
        outside = ~table["onset"].between(0, raw.times[-1]).to_numpy(bool)
        if outside.any():
            row = int(table.index[np.flatnonzero(outside)[0]])
            raise ValueError(
                f"{name}, data row {row}: onset {table['onset'].loc[row]:g} s lies outside "
                f"{source.name} (0 to {raw.times[-1]:.3f} s); onsets count from its first sample"
            )
        onsets = table["onset"].to_numpy(float)
        of_file = events["onset"].to_numpy(float)
        near = np.abs(of_file[:, None] - onsets[None]).min(axis=1, initial=np.inf) <= NEAR_S
        return Shown(_events(onsets, table), events.iloc[np.flatnonzero(~near)])
    if "code" in table:
        return _match_codes(events, table, source, name)
    if len(events) != len(table):
        raise ValueError(
            f"{name} has {len(table)} rows for {source.name}, which has {len(events)} events "
            f"({_counts(events)}); rows without onset or code are the events in order: give as "
            "many, or add a column onset or code"
        )
    return Shown(_events(events["onset"].to_numpy(float), table, events), events.iloc[:0])


def _match_codes(events: pd.DataFrame, table: pd.DataFrame, source: Path, name: Path) -> Shown:
    said = _codes(events)
    row_of = {str(code): place for place, code in enumerate(table["code"])}
    rows = np.array(
        [next((row_of[n] for n in event_names(code) if n in row_of), -1) for code in said], int
    )
    if not (rows >= 0).any():
        raise ValueError(
            f"{name} has the codes {', '.join(list(row_of)[:12])}, and none of them is an event of "
            f"{source.name} ({_counts(events)})"
        )
    matched = np.flatnonzero(rows >= 0)
    chosen = table.iloc[rows[matched]]
    onsets = events["onset"].to_numpy(float)[matched]
    unused = sorted(set(range(len(table))) - set(rows.tolist()))
    return Shown(
        _events(onsets, chosen, events.iloc[matched]),
        events.iloc[np.flatnonzero(rows < 0)],
        [int(table.index[place]) for place in unused],
    )


def pictures_by_name(folder: Path) -> dict[str, list[str]]:
    """Return what each text in small letters may mean: a picture's path, its name, its stem.

    The pictures are named relative to the folder, with slashes; several may have one name.
    """
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    by_name: dict[str, list[str]] = {}
    for path in (p.relative_to(folder).as_posix() for p in files):
        for key in dict.fromkeys((path, Path(path).name, Path(path).stem)):
            by_name.setdefault(key.lower(), []).append(path)
    return by_name


def class_of_picture(name: str) -> str:
    """Return the class of a picture of a folder: its class folder, else its own name."""
    return name.rpartition("/")[0] or Path(name).stem


def match_folders(recording: Recording, pictures: Path, codes: Mapping[str, int] | None) -> Shown:
    """Say by the names of class folders and pictures what the events of a recording showed.

    An event whose `stim_file` or text is a picture's name (`cats/tom.jpg`, `tom.jpg`, `tom`) showed
    that picture; numbers are names only where all of them are, and no codes are given. One whose
    text, or whose code by `codes`, is a class folder (`cat` or `cats`) showed a picture of that
    class; which one, is known where the folder holds one. A text's names are `event_names`.

    Raises
    ------
    ValueError
        If no event is one of these, or some numbers are names of pictures and others are not; the
        message names the events and the folders.
    """
    events = recording.events if recording.events is not None else pd.DataFrame({"onset": []})
    by_name = pictures_by_name(pictures)
    paths = sorted({path for found in by_name.values() for path in found})
    folders = {p.name: [f for f in paths if f.startswith(f"{p.name}/")] for p in _folders(pictures)}
    classes = {name.lower(): name for name in folders}
    named = {str(code): name for name, code in (codes or {}).items()}
    unknown = [name for name in named.values() if _class_of(name, classes) is None]
    if unknown:
        raise ValueError(
            f"codes names the class {unknown[0]!r}, and {pictures} has the folders "
            f"{', '.join(folders) or 'none'}"
        )
    said = _names_of(events, codes_first=bool(named))
    numbers = [names[-1] for names in said if not any(_folder_of(names[:-1], by_name, classes, {}))]
    _check_numbers(numbers, by_name, named, recording.source)
    for code in named.keys() - {name for names in said for name in names}:
        logger.warning("%s: no event has the code %s (%s)", recording.source, code, named[code])
    labels, shown = [], []
    for names in said:
        picture, known = _folder_of(names, by_name, classes, named)
        if len(picture) == 1:
            labels.append(class_of_picture(picture[0]))
            shown.append(picture[0])
        else:
            labels.append(known or "")
            shown.append(folders[known][0] if known and len(folders[known]) == 1 else "n/a")
    matched = np.flatnonzero(np.array(labels, dtype=object) != "") if labels else np.array([], int)
    if not len(matched):
        raise ValueError(
            f"{recording.source}: no event is a picture or a class of {pictures} (events: "
            f"{_counts(events)}; class folders: {', '.join(folders) or 'none'}); say which code is "
            f"which class (--codes {next(iter(folders), 'NAME')} 1 ...), or give a table (--events)"
        )
    table = pd.DataFrame({"label": labels, "picture": shown}).iloc[matched]
    onsets = events["onset"].to_numpy(float)[matched]
    left = np.setdiff1d(np.arange(len(events)), matched)
    return Shown(_events(onsets, table, events.iloc[matched]), events.iloc[left])


def _names_of(events: pd.DataFrame, codes_first: bool) -> list[list[str]]:
    """Return what each event may be called: its picture, then text and number."""
    found = []
    for _, row in events.iterrows():
        names = [
            name for key in ("category", "code") if key in row for name in event_names(row[key])
        ]
        names = sorted(dict.fromkeys(names), key=lambda name: name.isdecimal() != codes_first)
        picture = str(row.get("stim_file", ""))
        found.append(([picture, Path(picture).name] if picture else []) + names)
    return found


def _folder_of(
    names: list[str],
    by_name: Mapping[str, list[str]],
    classes: Mapping[str, str],
    codes: Mapping[str, str],
) -> tuple[list[str], str | None]:
    """Return the pictures and the class folder that the first of an event's names means."""
    for name in names:
        text = codes.get(name, name).lower()
        picture = by_name.get(text, []) if not (codes and name.isdecimal()) else []
        known = _class_of(text, classes)
        if len(picture) == 1 or known:
            return picture, known
    return [], None


def _check_numbers(
    said: list[str], by_name: Mapping[str, list[str]], codes: Mapping[str, str], source: Path
) -> None:
    """Raise where some of the numbers are names of pictures by chance: 12 of class 12, 12.png."""
    numbers = sorted({text for text in said if text.isdecimal()}, key=int)
    named = [text for text in numbers if text in by_name]
    if codes or not named or len(named) == len(numbers):
        return
    others = [text for text in numbers if text not in by_name]
    raise ValueError(
        f"{source}: the events {', '.join(named[:6])} are names of pictures "
        f"({by_name[named[0]][0]}), and {', '.join(others[:6])} are none; say which code is which "
        "class (--codes NAME 1 ...), or give a table of code and picture (--events)"
    )


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _class_of(text: str, classes: Mapping[str, str]) -> str | None:
    return classes.get(text.lower()) or classes.get(f"{text.lower()}s")


def _codes(events: pd.DataFrame) -> list[str]:
    column = "code" if "code" in events else "category"
    return [] if column not in events else [_plain(cell) for cell in events[column]]


def _counts(events: pd.DataFrame) -> str:
    counts = pd.Series(_codes(events), dtype=object).value_counts()
    shown = ", ".join(f"{name!r} {n} times" for name, n in counts.head(8).items())
    return shown + (f", {len(counts) - 8} more" if len(counts) > 8 else "") or "none"


def _events(
    onsets: np.ndarray, rows: pd.DataFrame, of_file: pd.DataFrame | None = None
) -> pd.DataFrame:
    found = pd.DataFrame({"onset": onsets, "duration": 0.0})
    found["trial_type"] = rows["label"].to_numpy(object)
    found["stim_file"] = rows["picture"].to_numpy(object) if "picture" in rows else "n/a"
    if of_file is not None and "code" in of_file:
        found["value"] = of_file["code"].to_numpy()
    return found.sort_values("onset", kind="stable", ignore_index=True)
