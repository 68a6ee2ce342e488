"""Which events are stimuli, and the pictures that they showed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dreamdiffusion.files.pictures import open_picture, picture_path, pictures_in
from dreamdiffusion.files.progress import progress
from dreamdiffusion.recordings.events import event_names, read_events_table
from dreamdiffusion.recordings.find import bids_root
from dreamdiffusion.trials.config import PrepareConfig


def choose_events(
    events: pd.DataFrame | None, wanted: dict[str, int] | None, source: Path
) -> pd.DataFrame:
    """Return the events that are stimulus onsets, with `category` named as in `wanted`.

    Events whose category, or code, is not in `wanted` are not stimuli and are left out; a text such
    as `Stimulus/S  1` has the code 1 (`event_names`). With `wanted` None every event is one.

    Parameters
    ----------
    events
        Of one recording, None where it has none; columns as `Recording.events`.
    wanted
        Category -> marker code.
    source
        The recording's file, for errors.

    Raises
    ------
    ValueError
        If none is left.
    """
    if events is None or not len(events):
        raise ValueError(
            f"{source} has no events (markers, stim channel, annotations or events.tsv); "
            'labelled trials need them: for unlabelled data use kind "windows"'
        )
    chosen = events.copy()
    if wanted:
        is_stimulus = np.isin(chosen["category"].to_numpy(dtype=object), list(wanted))
        for column in ("code", "category"):
            if column in events and not is_stimulus.any():
                chosen["category"] = [_wanted_name(said, wanted) for said in events[column]]
                is_stimulus = (chosen["category"] != "").to_numpy(dtype=bool)
        chosen = chosen.iloc[np.flatnonzero(is_stimulus)]
        if not len(chosen):
            found = sorted(set(events["code" if "code" in events else "category"].astype(str)))
            raise ValueError(f"{source} has no event of {wanted}; it has {', '.join(found[:20])}")
    return chosen.reset_index(drop=True)


def _wanted_name(said: object, wanted: dict[str, int]) -> str:
    """Return the category that an event's text or code stands for; empty: for none."""
    of_code = {str(code): name for name, code in wanted.items()}
    names = [name if name in wanted else of_code.get(name, "") for name in event_names(said)]
    return next(filter(None, names), "")


def class_folders(categories: list[str], root: Path | None) -> list[str]:
    """Name the class folder of every category: one of its names (`event_names`), or with an s."""
    if root is None or not Path(root).is_dir():
        raise FileNotFoundError(
            f'picture folder {root} does not exist; pair_by "category" needs stimuli, a folder '
            "with one folder of pictures per category"
        )
    folders = {p.name.lower(): p.name for p in Path(root).iterdir() if p.is_dir()}
    found: dict[str, str] = {}
    for category in dict.fromkeys(categories):
        names = [name.lower() for name in event_names(category)]
        fits = [folders[n] for name in names for n in (name, f"{name}s") if n in folders]
        if not fits:
            raise FileNotFoundError(
                f"{root} has no folder {category} or {category}s; it has "
                f"{', '.join(sorted(folders.values())) or 'none'}; choose the events that showed a "
                "picture, and name them after the folders, with --events NAME CODE"
            )
        name = fits[0]
        found[category] = name
    return [found[category] for category in categories]


def check_shown(paths: Sequence[Path], config: PrepareConfig) -> None:
    """Open what is known to be shown, so that a long cutting does not end at a picture.

    That is every picture that an `events.tsv` names beside one of the recordings, or with
    ``pair_by="category"`` the class folders of `config.events`. Pictures that only the recordings
    themselves name are checked when the trials are cut.

    Parameters
    ----------
    paths
        The recordings.
    config
        `stimuli`, `pair_by` and `events` are used.

    Raises
    ------
    FileNotFoundError, ValueError
        For a folder or a picture that does not exist, cannot be read or lies outside its folder.
    """
    if config.pair_by == "none":
        return
    if config.stimuli is not None and not config.stimuli.is_dir():
        raise FileNotFoundError(
            f"picture folder {config.stimuli} does not exist; --stimuli names the folder of the "
            "pictures that were shown (--pair_by none: go without)"
        )
    if config.pair_by == "category":
        folders = class_folders(list(config.events or []), config.stimuli)
        for folder in dict.fromkeys(folders):
            for picture in pictures_in(Path(config.stimuli or "."), folder):
                open_picture(picture)
        return
    wanted: dict[Path, str] = {}
    for path in paths:
        table, root = read_events_table(path), config.stimuli
        if root is None and (bids := bids_root(path)) is not None:
            root = bids / "stimuli"
        if table is None or root is None or "stim_file" not in table:
            continue
        events = choose_events(table, config.events, path)
        for name, onset in zip(events["stim_file"], events["onset"], strict=True):
            if name:
                wanted.setdefault(picture_path(root, name), f"{path}, event at {onset:g} s")
    for picture, place in progress(wanted.items(), "pictures", unit="picture"):
        if not picture.is_file():
            raise FileNotFoundError(f"picture {picture} does not exist ({place})")
        open_picture(picture)
