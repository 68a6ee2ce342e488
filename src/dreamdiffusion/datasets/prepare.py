"""The stage `prepare`: files and folders -> a folder of trials or of windows."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import Any

from dreamdiffusion.datasets.registry import load_public
from dreamdiffusion.files.output import UNCHANGED, writes_output
from dreamdiffusion.files.progress import progress
from dreamdiffusion.recordings.find import find_recordings
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.recordings.recording import Recording
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.cut import cut_trials, source_of
from dreamdiffusion.trials.repeats import repeated_runs
from dreamdiffusion.trials.stimuli import check_shown, choose_events, class_folders
from dreamdiffusion.trials.trials import NO_PICTURE, Trials
from dreamdiffusion.trials.windows.cut import build_windows

logger = logging.getLogger(__name__)


@writes_output(UNCHANGED)
def prepare(config: PrepareConfig) -> Path:
    """Read, clean and cut the recordings of `config.input` and write them to `config.output`.

    With kind "trials" every picture is opened once, before the recordings are read where their
    names are known by then, so that a missing or unreadable one ends neither this stage after its
    work nor a training hours later; trials without pictures are an error unless `pair_by` says
    "none".

    Returns
    -------
    folder
        `config.output`; open it with `Trials.load` or `WindowStore.load`.

    Raises
    ------
    ValueError, FileNotFoundError
        As `load_public`, `find_recordings`, `check_shown`, `read_recording`, `cut_trials`,
        `Trials.check_images`, `build_windows`.
    """
    if config.dataset is not None:
        return load_public(config).save(config.output)
    if config.subjects:
        raise ValueError(
            f"--subjects {' '.join(config.subjects)} chooses people of a public data set; name it "
            "with --dataset, or the files of these people with --input"
        )
    if not config.input:
        raise ValueError("prepare has no input; pass --input with files or folders of recordings")
    paths = find_recordings(config.input)
    if config.kind == "windows":
        return build_windows(paths, config)
    check_shown(paths, config)
    bar = progress(paths, "trials", unit="recording")
    stated = config.signal.stated()
    trials = cut_trials((_read(path, config, stated) for path in bar), config)
    if config.pair_by != "none":
        trials.check_images()
    trials.source |= source_of(config)
    folder = trials.save(config.output)
    logger.info("%d trials of %d channels in %s", len(trials), trials.n_chans, folder)
    _warn_of_repeats(trials, folder)
    return folder


def _read(path: Path, config: PrepareConfig, stated: dict[str, Any]) -> Recording:
    """Read a recording; raise before it is cut where its events name no pictures or no folders."""
    recording = read_recording(path, **stated)
    if config.pair_by == "none" or recording.events is None:
        return recording
    events = choose_events(recording.events, config.events, path)
    if config.pair_by == "category":
        class_folders(events["category"].tolist(), config.stimuli or recording.stimuli_root)
    elif not any(events["stim_file"]):
        raise ValueError(
            f"{path}: none of its {len(events)} events names a picture (stim_file); every trial "
            f"needs the one that was shown. {NO_PICTURE}"
        )
    return recording


def _warn_of_repeats(trials: Trials, folder: Path) -> None:
    pairs = repeated_runs(trials.metadata)
    if not pairs:
        return
    named = ", ".join(f"{one} and {other}" for one, other in pairs[:3])
    logger.warning(
        "the same pictures at the same moments in %s%s; if one of a pair is the other, exported "
        "again, leave it out: `dreamdiffusion audit --data %s` compares their EEG",
        named, f" and {len(pairs) - 3} pairs more" if len(pairs) > 3 else "",
        shlex.quote(str(folder)),
    )  # fmt: skip
