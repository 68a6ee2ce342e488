"""Simulated recordings as a BIDS folder: EDF files, events, and the pictures that were shown.

What is written says in its name, its README and its sidecars that it is SIMULATED.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import mne
import mne_bids
import numpy as np
from PIL import Image

from dreamdiffusion.datasets.config import SimulateConfig
from dreamdiffusion.datasets.simulation.person import Viewer
from dreamdiffusion.datasets.simulation.scenes import CATEGORIES, Scene, random_scene, render
from dreamdiffusion.datasets.simulation.sources import get_cap
from dreamdiffusion.datasets.simulation.viewer import DEFAULT_NOISE_LEVEL, simulate_run
from dreamdiffusion.files.keywords import with_keywords
from dreamdiffusion.files.output import writes_output
from dreamdiffusion.files.progress import progress
from dreamdiffusion.files.whole import is_unused, naming, write_json, write_picture, write_text

logger = logging.getLogger(__name__)

TASK = "viewing"
STAYS = "{output} is not complete, delete it"
"""Of a full disk: a folder that holds one of the people is not written to again."""

_COLUMNS = {
    "stim_file": "Picture that was shown, relative to /stimuli",
    "color": "Colour of the object in the picture",
    "place": "Where in the picture the object was",
    "background": "What was behind the object",
    "caption": "The picture in words",
}

_README = """SIMULATED: no person was recorded.

This is EEG that a model of the visual system produces for drawn pictures, written by
`dreamdiffusion simulate`. It is meant for demonstrations and tests of software; nothing found in it
is a finding about brains.

Pictures (under `stimuli/`) stay on for 0.4 s, in random order, 0.7 to 0.95 s from onset to onset;
{repeats}. `events.tsv` names category (`trial_type`), picture (`stim_file`),
colour, place, background and caption of each. The level of the background (1 is realistic, 0 is
none) is in each recording's sidecar as `SimulatedNoiseLevel`.
"""


def balanced_scenes(rng: np.random.Generator, n_trials: int) -> list[Scene]:
    """Random scenes in random order, with every category equally often (or one time more)."""
    order = rng.permutation(len(CATEGORIES))
    categories = rng.permutation(np.resize(order, n_trials))
    return [random_scene(rng, category=CATEGORIES[i]) for i in categories]


@with_keywords(SimulateConfig)
@writes_output(STAYS)
def simulate(config: SimulateConfig) -> Path:
    """Write simulated recordings of people who look at drawn pictures.

    Each run depends only on the seed and on the numbers of the person, of the session and of the
    run, so a larger data set begins with the smaller one. A person is the same in every session.

    Parameters
    ----------
    config : SimulateConfig
        ``noise_level`` None means ``DEFAULT_NOISE_LEVEL`` of ``viewer``.

    Returns
    -------
    pathlib.Path
        The BIDS folder, ``config.output``.

    Raises
    ------
    FileExistsError
        If the folder already holds one of the people, or is no BIDS folder.

    Examples
    --------
    >>> from dreamdiffusion import simulate
    >>> simulate(output="people-2", montage="muse4", n_runs=1, trials_per_run=24)
    PosixPath('people-2')
    """
    root = Path(config.output)
    noise = DEFAULT_NOISE_LEVEL if config.noise_level is None else config.noise_level
    subjects = range(config.first_subject, config.first_subject + config.n_subjects)
    _check_free(root, subjects)
    _describe_data_set(root, config.n_pictures)
    known = _known_scenes(root, config)
    sessions = range(1, config.n_sessions + 1)
    numbers = range(config.first_run, config.first_run + config.n_runs)
    runs = list(itertools.product(subjects, sessions, numbers))
    viewer: Viewer | None = None
    for subject, session, run in progress(runs, "simulating EEG", unit="run"):
        if viewer is None or viewer.subject != subject:
            viewer = Viewer.create(subject, config.montage, config.seed)
            logger.info("simulated person %d of %d", subject - subjects[0] + 1, len(subjects))
        # Session 1 as it was before there were others.
        of_session = [session] if session > 1 else []
        rng = np.random.default_rng([config.seed, subject, run, 2, *of_session])
        if known:
            order = rng.permutation(np.resize(rng.permutation(len(known)), config.trials_per_run))
            scenes, pictures, names = zip(*(known[i] for i in order), strict=True)
        else:
            scenes = balanced_scenes(rng, config.trials_per_run)
            pictures = [render(scene, config.image_size) for scene in scenes]
            names = _write_pictures(root, pictures, subject, session, run)
        raw, _ = simulate_run(
            viewer, scenes, sfreq=config.sfreq, noise_level=noise, rng=rng,
            stim_files=names, pictures=pictures,
        )  # fmt: skip
        _write_recording(root, raw, viewer, session, run, noise)
    return root


def _known_scenes(root: Path, config: SimulateConfig) -> list[tuple[Scene, Image.Image, str]]:
    """Draw and write the pictures that every run shows; none where each is shown but once.

    They depend on the seed alone, so that people who are added later see the same.
    """
    if config.n_pictures is None:
        return []
    if config.n_pictures > config.trials_per_run:
        raise ValueError(
            f"n_pictures is {config.n_pictures}, more than the {config.trials_per_run} trials of "
            "a run; expected at most --trials_per_run, so that every run shows all of them"
        )
    scenes = balanced_scenes(np.random.default_rng([config.seed, 3]), config.n_pictures)
    (root / "stimuli").mkdir(exist_ok=True)
    found = []
    for number, scene in enumerate(scenes, start=1):
        picture, name = render(scene, config.image_size), f"picture-{number:03d}.png"
        write_picture(root / "stimuli" / name, picture, compress_level=3)
        found.append((scene, picture, name))
    return found


def _check_free(root: Path, subjects: Sequence[int]) -> None:
    if root.exists() and not root.is_dir():
        raise FileExistsError(f"output {root} is a file, expected a folder")
    described = (root / "dataset_description.json").is_file()
    if root.is_dir() and not is_unused(root) and not described:
        raise FileExistsError(
            f"output {root} holds something else than a BIDS folder; name an empty folder"
        )
    for subject in subjects:
        if (root / f"sub-{subject:02d}").exists():
            raise FileExistsError(
                f"output {root} already holds sub-{subject:02d}; remove the folder, name another "
                "one, or set first_subject to add people"
            )


def _describe_data_set(root: Path, n_pictures: int | None) -> None:
    root.mkdir(parents=True, exist_ok=True)
    mne_bids.make_dataset_description(
        path=root,
        name="SIMULATED EEG of people looking at drawn pictures",
        dataset_type="raw",
        data_license="CC0",
        authors=["SIMULATED by dreamdiffusion; no person was recorded"],
        overwrite=True,
        verbose="error",
    )
    repeats = "no picture is shown twice"
    if n_pictures is not None:
        repeats = f"every run shows the same {n_pictures} pictures"
    write_text(root / "README", _README.format(repeats=repeats))


def _write_pictures(
    root: Path, pictures: Sequence[Image.Image], subject: int, session: int, run: int
) -> list[str]:
    """Write the pictures of a run as PNG; return their paths below ``stimuli``."""
    folder = root / "stimuli" / f"sub-{subject:02d}"
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for trial, picture in enumerate(pictures, start=1):
        place = f"_ses-{session:02d}" if session > 1 else ""
        name = f"sub-{subject:02d}{place}_run-{run:02d}_trial-{trial:03d}.png"
        write_picture(folder / name, picture, compress_level=3)
        names.append(f"{folder.name}/{name}")
    return names


def _write_recording(
    root: Path, raw: mne.io.RawArray, viewer: Viewer, session: int, run: int, noise_level: float
) -> None:
    """Write one run and complete its sidecar."""
    path = mne_bids.BIDSPath(
        subject=f"{viewer.subject:02d}", session=f"{session:02d}", task=TASK, run=f"{run:02d}",
        datatype="eeg", root=root,
    )  # fmt: skip
    with naming(path.copy().update(suffix="eeg", extension=".edf").fpath):
        mne_bids.write_raw_bids(
            raw,
            path,
            event_id={category: code for code, category in enumerate(CATEGORIES, start=1)},
            extra_columns_descriptions=_COLUMNS,
            format="EDF",
            allow_preload=True,
            readme=False,
            verbose="error",
        )
    sidecar = path.copy().update(suffix="eeg", extension=".json").fpath
    content = json.loads(sidecar.read_text("utf-8"))
    content |= {
        "TaskDescription": "SIMULATED: looking at drawn pictures",
        "Manufacturer": "none (SIMULATED)",
        "EEGReference": get_cap(viewer.montage).reference or "average",
        "SimulatedNoiseLevel": noise_level,
        "SimulatedMontage": viewer.montage,
    }
    write_json(sidecar, content, indent=4)
