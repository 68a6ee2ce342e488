"""Sample recordings, SIMULATED: what the page offers to somebody who has none."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamdiffusion.cli.app.pages import About
from dreamdiffusion.datasets.config import SimulateConfig
from dreamdiffusion.datasets.simulation.bids import simulate
from dreamdiffusion.recordings.find import find_recordings

N_TRIALS = 40


@dataclass(frozen=True)
class Sample:
    """A recording that is simulated when it is first asked for: what differs from the recipe."""

    about: About
    changed: dict[str, Any]


SAMPLES = (
    Sample(
        About(
            "known",
            "A person the model knows (SIMULATED).",
            f"{N_TRIALS} pictures, a run the model has not seen; the noise is a third of a real "
            "recording's.",
        ),
        {},
    ),
    Sample(
        About(
            "noisy",
            "The same person, as noisy as a real recording (SIMULATED).",
            f"{N_TRIALS} pictures. Expect most of the images to be wrong.",
        ),
        {"noise_level": 1.0},
    ),
    Sample(
        About(
            "stranger",
            "A person the model does not know (SIMULATED).",
            f"{N_TRIALS} pictures, with little noise. Heads differ: it is right less often.",
        ),
        {"first_subject": 7, "first_run": 1},
    ),
)


class Samples:
    """Makes each recording once, in a private folder.

    Parameters
    ----------
    folder
        Where they lie until the program ends.
    model
        Whose ``recording.json`` says how the person that it knows was simulated.
    """

    def __init__(self, folder: Path, model: Path) -> None:
        self._folder, self._recipe = folder, model / "recording.json"
        self._simulating = threading.Lock()
        self.offered = [sample.about for sample in SAMPLES] if self._recipe.is_file() else []

    def title(self, name: str) -> str:
        """Return what the page calls a sample."""
        (title,) = (sample.about.title for sample in SAMPLES if sample.about.name == name)
        return title.rstrip(".")

    def path(self, name: str) -> Path:
        """Return the file of a sample, which is simulated where it is not there yet."""
        (sample,) = [one for one in SAMPLES if one.about.name == name]
        folder = self._folder / name
        with self._simulating:  # the other worker may want it too
            if not folder.is_dir():
                self._simulate(folder, sample)
        return find_recordings([folder])[0]

    def _simulate(self, folder: Path, sample: Sample) -> None:
        recipe = SimulateConfig(**json.loads(self._recipe.read_text(encoding="utf-8")))
        own = {
            "output": folder,
            "n_runs": 1,
            "first_run": recipe.first_run + recipe.n_runs,
            "trials_per_run": N_TRIALS,
            **sample.changed,
        }
        simulate(recipe.model_copy(update=own))
