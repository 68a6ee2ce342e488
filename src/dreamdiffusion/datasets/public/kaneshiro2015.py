"""Kaneshiro et al. 2015: 10 people, 72 pictures of objects in 6 categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from dreamdiffusion.datasets.base import PublicDataset
from dreamdiffusion.datasets.public.published_trials import assemble, window
from dreamdiffusion.files.download import RemoteFile
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.trials import Trials

CATEGORIES = (
    "human_body", "human_face", "animal_body", "animal_face", "fruit_vegetable",
    "inanimate_object",
)  # fmt: skip
N_TIMES = 32


class Kaneshiro2015(PublicDataset):
    """The object category EEG data set, published as trials in microvolts.

    The pictures are not in the files. `stim_file` is `exemplar01.png` to `exemplar72.png`, so that
    splits by picture work; give the folder of pictures so called with `stimuli` to draw them.
    """

    name = "kaneshiro2015"
    title = "Kaneshiro 2015: 72 object pictures in 6 categories"
    licence = "CC BY 3.0"
    doi = "10.1371/journal.pone.0135697"
    url = "https://purl.stanford.edu/bq914sc3730"
    device = "EGI HydroCel Geodesic Sensor Net 128, Net Amps 300"
    n_subjects = 10
    n_chans = 124
    sfreq = 62.5
    shown = "72 pictures for 0.5 s each, 72 times, in random order"
    caveat = (
        "72 pictures, each shown 72 times: a random split has every picture on both sides. Trials "
        "are cleaned (ICA), band-passed 1-25 Hz and at 62.5 Hz, all sessions in one file, so "
        "neither sessions nor drifts can be examined."
    )
    citation = (
        "Kaneshiro et al. 2015, A Representational Similarity Analysis of the Dynamics of Object "
        "Processing Using Single-Trial EEG Classification, PLoS ONE 10(8):e0135697"
    )
    unverified = "licence and device (from MOABB's record of the data set)"
    subjects = tuple(str(i) for i in range(1, 11))
    layout = ("S{subject}.mat",)
    by_hand = (
        "The pictures are not part of the release: the trials have none unless --stimuli names a "
        "folder with exemplar01.png to exemplar72.png."
    )
    settings: ClassVar[Mapping[str, Any]] = {
        "tmin": 0.0,
        "tmax": 0.512,
        "pair_by": "none",
        "signal": {"l_freq": 1.0, "h_freq": 25.0, "sfreq": 62.5, "reference": "average"},
    }

    def remote_files(self, subjects: Sequence[str]) -> list[RemoteFile]:
        """Return one file per person; Stanford publishes no checksum."""
        base = "https://stacks.stanford.edu/file/bq914sc3730"
        return [RemoteFile(f"{base}/S{subject}.mat", f"S{subject}.mat") for subject in subjects]

    def load(self, root: Path, subjects: Sequence[str], config: PrepareConfig) -> Trials:
        """Read `S<n>.mat`; see `PublicDataset.load`."""
        signal = SignalConfig(**self.settings["signal"])
        ch_names = [f"E{i}" for i in range(1, self.n_chans + 1)]
        part = window(config, signal, ch_names, (0.0, N_TIMES), self.name)
        pieces: list[np.ndarray] = []
        tables: list[pd.DataFrame] = []
        for subject in self.people(root, subjects, self.layout[0]):
            content = _read(root / f"S{subject}.mat", self.n_chans)
            eeg = content["X_3D"][part.channels, part.samples]
            pieces.append((np.moveaxis(eeg, 2, 0) * 1e-6).astype(np.float32))
            exemplars = content["exemplarLabels"]
            tables.append(
                pd.DataFrame(
                    {
                        "subject": subject,
                        "category": [CATEGORIES[i - 1] for i in content["categoryLabels"]],
                        "stim_file": [f"exemplar{i:02d}.png" for i in exemplars],
                    }
                )
            )
        data = np.concatenate(pieces)
        return assemble(config, part, data, pd.concat(tables, ignore_index=True))


def _read(path: Path, n_chans: int) -> dict[str, Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    names = ["X_3D", "categoryLabels", "exemplarLabels", "Fs"]
    try:
        content = loadmat(path, variable_names=names)
    except (MatReadError, ValueError, TypeError, NotImplementedError, OSError) as error:
        raise ValueError(f"{path} cannot be read as MATLAB file: {error}") from error
    missing = [name for name in names if name not in content]
    if missing:
        raise ValueError(f"{path} lacks the variable {missing[0]}")
    eeg = content["X_3D"]
    labels = {name: content[name].ravel().astype(int) for name in names[1:3]}
    if eeg.ndim != 3 or eeg.shape[:2] != (n_chans, N_TIMES):
        raise ValueError(f"{path} has X_3D of the shape {eeg.shape}, expected ({n_chans}, 32, n)")
    if float(content["Fs"].ravel()[0]) != Kaneshiro2015.sfreq:
        raise ValueError(f"{path} has Fs {content['Fs'].ravel()[0]}, expected 62.5")
    for (name, values), highest in zip(labels.items(), (6, 72), strict=True):
        if len(values) != eeg.shape[2] or values.min() < 1 or values.max() > highest:
            raise ValueError(f"{path} has {name} other than 1 to {highest} for every trial")
    return {"X_3D": eeg, **labels}
