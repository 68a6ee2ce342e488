"""The stage `bids`: recordings of any format, and what was shown -> a BIDS data set."""

from __future__ import annotations

import json
import logging
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import mne
import mne_bids
import numpy as np
import pandas as pd

from dreamdiffusion.datasets.config import BidsConfig
from dreamdiffusion.datasets.own.shown import Shown, match_folders, match_table, read_shown_table
from dreamdiffusion.files.output import writes_output
from dreamdiffusion.files.pictures import SUFFIXES, open_picture
from dreamdiffusion.files.progress import progress
from dreamdiffusion.files.whole import is_unused, naming, write_json, write_text
from dreamdiffusion.recordings.electrodes import electrode_positions
from dreamdiffusion.recordings.find import find_recordings
from dreamdiffusion.recordings.gaps import is_boundary
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.recordings.recording import Recording, eeg_names

logger = logging.getLogger(__name__)

TASK = "viewing"
_COLUMNS = {
    "onset": "s from the first sample; a gap takes no time",
    "trial_type": "Class of the picture that was shown",
    "stim_file": "Picture that was shown, relative to /stimuli; n/a: only its class is known",
    "value": "Code of the event in the recording",
}


@writes_output("{output} is not complete, delete it")
def bids(config: BidsConfig) -> dict[str, Any]:
    """Write recordings, their events and the pictures that were shown as a BIDS data set.

    Every event that showed a picture (or a class of pictures) is in `events.tsv`. The others are
    counted, and kept in `code/events_without_picture.tsv`.

    Returns
    -------
    dict
        `output`; per recording its file and counts; the pictures; the command that reads it.

    Raises
    ------
    ValueError, FileNotFoundError
        As `read_recording`, `read_shown_table`, `match_table`, `match_folders`; for no recording,
        neither pictures nor table, a picture that cannot be opened, or an output that is used.
    """
    if not config.recordings:
        raise ValueError("bids has no recording; give the files: dreamdiffusion bids my.csv ...")
    if config.pictures is None and config.events is None:
        raise ValueError("bids knows no picture; give --pictures FOLDER, --events TABLE or both")
    if config.pictures is not None and not config.pictures.is_dir():
        raise FileNotFoundError(f"picture folder {config.pictures} does not exist")
    root = config.output
    if root.exists() and not (root.is_dir() and is_unused(root)):
        raise FileExistsError(f"output {root} is there already; name an empty folder, or delete it")
    table = None
    if config.events is not None:
        if not config.events.is_file():
            raise FileNotFoundError(f"table of events {config.events} does not exist")
        table = read_shown_table(config.events, config.pictures)
    paths = find_recordings(config.recordings)
    _check_rows(table, paths, config)
    rows: dict[str, dict[str, Any]] = {}
    simulated = False
    used: set[tuple[str, str, str]] = set()
    left: list[pd.DataFrame] = []
    pictures: set[str] = set()
    some_unknown = False
    for path in progress(paths, "BIDS", unit="recording"):
        recording = read_recording(path, **config.stated())
        simulated |= recording.simulated
        shown = _match(recording, table, config)
        place = _place(recording, used, root)
        _write(recording, shown, place)
        left.append(shown.left.assign(recording=path.name))
        known = shown.events["stim_file"]
        pictures |= set(known[known != "n/a"])
        some_unknown |= bool((known == "n/a").any())
        rows[str(path)] = _row(place, shown)
        for number in shown.unused:
            where = f"{config.events}, data row {number}"
            logger.warning("%s: no event of %s has its code", where, path.name)
    _describe(root, simulated)
    by_class = some_unknown or not pictures
    n_pictures = _copy_pictures(config.pictures, root / "stimuli", None if by_class else pictures)
    if sum(len(part) for part in left):
        (root / "code").mkdir()
        text = pd.concat(left).to_csv(sep="\t", index=False, na_rep="n/a")
        write_text(root / "code" / "events_without_picture.tsv", text)
    write_text(root / "README", _readme(rows, by_class))
    stimuli = shlex.quote(str(root / "stimuli"))
    how = f" --pair_by category --stimuli {stimuli}" if by_class else ""
    how = how if n_pictures else " --pair_by none"
    return {
        "output": str(root),
        "recordings": rows,
        "pictures": n_pictures,
        "only_classes": by_class,  # which picture of a class was shown is not known
        "next": f"dreamdiffusion prepare --input {shlex.quote(str(root))}{how}",
    }


def _describe(root: Path, simulated: bool) -> None:
    """Name the data set; one of simulated recordings says so."""
    mne_bids.make_dataset_description(
        path=root,
        name="SIMULATED EEG" if simulated else "EEG of people who looked at pictures",
        dataset_type="raw",
        overwrite=True,
        verbose="error",
    )


def _check_rows(table: pd.DataFrame | None, paths: list[Path], config: BidsConfig) -> None:
    """A table without codes is of one recording, unless it says which row is of which."""
    if table is None or "recording" in table or len(paths) == 1:
        return
    if "code" not in table or "onset" in table:
        raise ValueError(
            f"{config.events} is of {len(paths)} recordings and does not say which row is of "
            "which; add a column recording with the file's name"
        )


def _match(recording: Recording, table: pd.DataFrame | None, config: BidsConfig) -> Shown:
    if table is not None:
        return match_table(recording, table, Path(config.events or ""))
    return match_folders(recording, Path(config.pictures or "."), config.codes)


def _place(recording: Recording, used: set[tuple[str, str, str]], root: Path) -> mne_bids.BIDSPath:
    """Name a recording: who and when as its path says, runs numbered where it does not."""
    who = "01" if recording.subject == "unknown" else _word(recording.subject)
    session, run = _word(recording.session), recording.run
    run = run if run.isdigit() else "1"
    while (who, session, run) in used:
        run = str(int(run) + 1)
    used.add((who, session, run))
    return mne_bids.BIDSPath(
        subject=who, session=session, run=run, task=TASK, datatype="eeg", root=root
    )


def _word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", text) or "1"


def _write(recording: Recording, shown: Shown, place: mne_bids.BIDSPath) -> None:
    raw = recording.raw.copy()
    notes = raw.annotations.copy()
    raw.set_annotations(None)
    if _has_template_places(recording):
        raw.set_montage(None)  # a reader finds them by the names again
    with naming(place.copy().update(suffix="eeg", extension=".bdf").fpath):
        # 24 bits: an electrode without contact does not cost the others their resolution.
        mne_bids.write_raw_bids(
            raw, place, format="BDF", allow_preload=True, readme=False, verbose="error"
        )
    channels = place.copy().update(suffix="channels", extension=".tsv").fpath
    # mne-bids 0.20 says V of a BDF, in which it writes microvolts.
    rows = pd.read_csv(channels, sep="\t", dtype=str, keep_default_na=False)
    rows["units"] = rows["units"].replace("V", "\u00b5V")
    write_text(channels, rows.to_csv(sep="\t", index=False))
    events = pd.concat([shown.events, _notes(raw, notes)])
    events = events.sort_values("onset", kind="stable")
    events["onset"] = events["onset"].round(6)
    table = place.copy().update(suffix="events", extension=".tsv").fpath
    write_text(table, events.to_csv(sep="\t", index=False, na_rep="n/a"))
    described = {name: {"Description": _COLUMNS[name]} for name in _COLUMNS if name in events}
    write_json(table.with_suffix(".json"), described, indent=4)
    sidecar = place.copy().update(suffix="eeg", extension=".json").fpath
    content = json.loads(sidecar.read_text("utf-8"))
    content |= {"SourceFile": recording.source.name, "SourceFormat": recording.format}
    write_json(sidecar, content, indent=4)


def _has_template_places(recording: Recording) -> bool:
    try:
        template = electrode_positions(eeg_names(recording.raw))
    except ValueError:
        return True  # no place is known, or not of all
    return np.allclose(recording.positions, template, atol=1e-4)


def _notes(raw: mne.io.BaseRaw, notes: mne.Annotations) -> pd.DataFrame:
    """Return what the reader found of gaps and bad stretches, as events of BIDS."""
    onsets = notes.onset - raw.first_time
    texts = [str(text) for text in notes.description]
    gaps = [n for n, text in enumerate(texts) if text == "EDGE boundary"]
    bad = [n for n, text in enumerate(texts) if text.startswith("BAD") and not is_boundary(text)]
    return pd.DataFrame(
        {
            "onset": onsets[[*gaps, *bad]],
            "duration": notes.duration[[*gaps, *bad]],
            "trial_type": ["boundary"] * len(gaps) + [texts[n] for n in bad],
            "stim_file": "n/a",
        }
    )


def _copy_pictures(source: Path | None, target: Path, names: set[str] | None) -> int:
    """Copy pictures that can be opened, below the same names; None: all of the class folders."""
    if source is None:
        return 0
    if names is None:
        files = sorted(p for p in source.glob("*/*") if p.suffix.lower() in SUFFIXES)
        names = {p.relative_to(source).as_posix() for p in files}
    for name in sorted(names):
        open_picture(source / name)
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
    return len(names)


def _row(place: mne_bids.BIDSPath, shown: Shown) -> dict[str, Any]:
    return {
        "as": place.copy().update(suffix="eeg", extension=".bdf").basename,
        "events": len(shown.events),
        "classes": len(set(shown.events["trial_type"])),
        "events_without_picture": len(shown.left),
        "rows_without_event": len(shown.unused),
        "events_in_gaps": int(np.isnan(shown.events["onset"].to_numpy(float)).sum()),
    }


def _readme(rows: dict[str, dict[str, Any]], by_class: bool) -> str:
    known = "Which picture was shown is not known, only its class." if by_class else ""
    lines = [
        f"- {row['as']}: {Path(file).name}, {row['events']} events" for file, row in rows.items()
    ]
    return "EEG of people who looked at pictures. " + known + "\n\n" + "\n".join(lines) + "\n"
