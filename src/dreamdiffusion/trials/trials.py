"""`Trials`: labelled pieces of EEG with their metadata, in memory and on disk."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dreamdiffusion.files.pictures import open_picture, picture_path, pictures_in, read_images
from dreamdiffusion.files.schema import PictureFit
from dreamdiffusion.files.whole import LOOK_LOG, new_folder, open_array, read_info, write_json

COLUMNS = ["subject", "session", "run", "onset", "category", "stim_file"]
WORDS = [name for name in COLUMNS if name != "onset"] + ["pool"]

NO_PICTURE = (
    "Where the recordings name none: `dreamdiffusion bids` brings pictures and events together, "
    "--events NAME CODE chooses the events that showed one, --pair_by category needs classes "
    "alone, --pair_by none no pictures"
)


@dataclass
class Trials:
    """Pieces of EEG around stimulus onsets, and which picture was shown at each.

    Attributes
    ----------
    data
        float32 (n_trials, n_chans, n_times), volts; memory-mapped when loaded from disk.
    ch_names
        n_chans names.
    sfreq
        Hz.
    tmin
        Time of the first sample, s from stimulus onset.
    metadata
        One row per trial, index 0..n-1; columns `subject`, `session`, `run`, `onset` (s; NaN
        where unknown), `category`, `stim_file` ("" where unknown), `pool` where only the class is
        known, and whatever else the events say.
    stimuli_root
        Folder that `stim_file` and `pool` are relative to; no picture outside it is read.
    picture_fit
        How pictures become squares.
    rejected
        Reason -> number of trials left out.
    simulated
        True where any of the EEG is simulated.
    signal
        The `SignalConfig` that made the data.
    source
        Where they come from: `dataset`, the name of a public data set or None, and `prepare`, the
        settings that cut them. Empty where that was not recorded.

    Examples
    --------
    >>> from dreamdiffusion import Trials
    >>> trials = Trials.load("trials")
    >>> len(trials), trials.n_chans, trials.sfreq
    (48, 4, 256.0)
    >>> trials.metadata["run"].unique().tolist()
    ['01', '02']
    """

    data: np.ndarray
    ch_names: list[str]
    sfreq: float
    tmin: float
    metadata: pd.DataFrame
    stimuli_root: Path | None = None
    picture_fit: PictureFit = "crop"
    rejected: dict[str, int] = field(default_factory=dict)
    simulated: bool = False
    signal: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.data.ndim != 3:
            raise ValueError(f"trials have shape {self.data.shape}, expected 3 dimensions")
        if self.data.shape[1] != len(self.ch_names):
            raise ValueError(
                f"trials have {self.data.shape[1]} channels and {len(self.ch_names)} names"
            )
        if len(self.metadata) != len(self.data):
            raise ValueError(f"{len(self.data)} trials have {len(self.metadata)} rows of metadata")
        missing = [name for name in COLUMNS if name not in self.metadata]
        if missing:
            raise ValueError(f"the metadata lack the columns {', '.join(missing)}")
        try:
            self.metadata["onset"].astype(float)
        except (TypeError, ValueError) as error:
            raise ValueError(f"the onsets of the metadata are no seconds: {error}") from error
        texts = [name for name in WORDS if name in self.metadata]
        if self.metadata[texts].isna().to_numpy().any():  # unknown is "", here as on the disk
            self.metadata = self.metadata.assign(**self.metadata[texts].fillna(""))

    def __len__(self) -> int:
        return len(self.data)

    @property
    def n_chans(self) -> int:
        """Number of channels."""
        return self.data.shape[1]

    @property
    def n_times(self) -> int:
        """Number of time points of a trial."""
        return self.data.shape[2]

    @property
    def digest(self) -> str:
        """Twelve letters that are others where the trials are, or how they were made.

        Of the samples it takes those of the first and the last trial.
        """
        made = [self.ch_names, self.sfreq, self.tmin, self.picture_fit, self.signal, self.source]
        parts = [
            json.dumps(made, default=str).encode("utf-8"),
            self.metadata.to_csv().encode("utf-8"),
        ]
        parts += [np.asarray(self.data[place], np.float32).tobytes() for place in (0, -1)]
        return hashlib.sha256(b"".join(parts)).hexdigest()[:12]

    @property
    def times(self) -> np.ndarray:
        """Seconds from stimulus onset, (n_times,)."""
        return self.tmin + np.arange(self.n_times) / self.sfreq

    @property
    def pairing(self) -> str:
        """`stim_file` where the picture of each trial is known, `category` where its class is."""
        return "category" if "pool" in self.metadata else "stim_file"

    def select(self, which: np.ndarray) -> Trials:
        """Return the trials of a boolean mask (n_trials,) or of indices, in that order."""
        which = np.asarray(which)
        if which.dtype == bool and which.shape != (len(self),):
            raise ValueError(f"the mask has shape {which.shape}, expected ({len(self)},)")
        rows = np.flatnonzero(which) if which.dtype == bool else which.astype(int)
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self)):
            raise ValueError(
                f"trial indices run from {rows.min()} to {rows.max()}; there are {len(self)} trials"
            )
        metadata = self.metadata.iloc[rows].reset_index(drop=True)
        return replace(self, data=np.asarray(self.data[rows]), metadata=metadata)

    def images(self) -> list[Path]:
        """Return the picture of every trial, in order.

        Raises
        ------
        ValueError
            If only the class of the pictures is known, a trial names none, or one that lies
            outside the folder.
        FileNotFoundError
            If a picture or its folder does not exist; the message names the file and the trial.
        """
        if self.pairing == "category":
            raise ValueError(
                "which picture was shown is not recorded in these trials, only its class "
                '(pairing "category"); draw from image_pools() instead'
            )
        unpaired = np.flatnonzero(self.metadata["stim_file"] == "")
        if len(unpaired):
            raise ValueError(
                f"{len(unpaired)} of {len(self)} trials have no stim_file, the first is trial "
                f"{unpaired[0]} ({self._place(unpaired[0])}); every trial needs the picture that "
                f"was shown. {NO_PICTURE}"
            )
        root = self._root()
        names = self.metadata["stim_file"].tolist()
        known: dict[str, Path] = {}
        for trial, name in enumerate(names):
            if name in known:
                continue
            known[name] = picture_path(root, name)
            if not known[name].is_file():
                raise FileNotFoundError(
                    f"picture {known[name]} of trial {trial} ({self._place(trial)}) does not exist"
                )
        return [known[name] for name in names]

    def image_pools(self) -> dict[str, list[Path]]:
        """Return the pictures of each class folder, by the values of `metadata.pool`, sorted.

        Raises
        ------
        ValueError
            If the picture of each trial is known: then `images` is the right call.
        FileNotFoundError
            If a class folder does not exist or holds no picture.
        """
        if self.pairing != "category":
            raise ValueError("the picture of each trial is known; use images()")
        names = sorted(self.metadata["pool"].unique())
        return {name: pictures_in(self._root(), name) for name in names}

    def check_images(self) -> None:
        """Open every picture once.

        Raises
        ------
        FileNotFoundError, ValueError
            As `images` and `image_pools`; also for a picture that cannot be read.
        """
        if self.pairing == "category":
            paths = [path for pool in self.image_pools().values() for path in pool]
        else:
            paths = self.images()
        for path in dict.fromkeys(paths):
            open_picture(path)

    def read_pictures(self, paths: list[Path], size: int) -> np.ndarray:
        """Read pictures of these trials as uint8 ``(n, size, size, 3)``, cut to squares alike."""
        return read_images(paths, size, self.picture_fit)

    def save(self, folder: Path | str) -> Path:
        """Write `trials.npy`, `metadata.csv` and `info.json`; the folder appears whole or not.

        Older trials there are replaced; the log of looks at them (`looks.jsonl`) stays.

        Raises
        ------
        FileExistsError
            If the folder exists and holds something else than trials.
        """
        folder = Path(folder)
        root = self.stimuli_root
        info = {
            "kind": "trials",
            "n_trials": len(self),
            "ch_names": self.ch_names,
            "sfreq": self.sfreq,
            "tmin": self.tmin,
            "unit": "V",
            "pairing": self.pairing,
            # Relative, so that the trials and their pictures can move together.
            "stimuli_root": None if root is None else os.path.relpath(root, folder),
            "picture_fit": self.picture_fit,
            "rejected": self.rejected,
            "simulated": self.simulated,
            "signal": self.signal,
            "source": self.source,
        }
        with new_folder(folder, "trials", keep=(LOOK_LOG,)) as inside:
            np.save(inside / "trials.npy", np.ascontiguousarray(self.data, dtype=np.float32))
            self.metadata.to_csv(inside / "metadata.csv", index=False)
            write_json(inside / "info.json", info)
        return folder

    @classmethod
    def load(cls, folder: Path | str) -> Trials:
        """Read a folder that `save` wrote; the data stay on disk, memory-mapped.

        Raises
        ------
        FileNotFoundError
            If the folder or one of its files is missing.
        ValueError
            If the folder holds something else than trials.
        """
        folder = Path(folder)
        info = read_info(folder, "trials")
        metadata = pd.read_csv(
            folder / "metadata.csv",
            dtype=dict.fromkeys(WORDS, str),
            keep_default_na=False,  # "NA" and "n/a" may be names
            na_values=[""],
        )
        root = info["stimuli_root"]
        return cls(
            data=open_array(folder / "trials.npy"),
            ch_names=list(info["ch_names"]),
            sfreq=float(info["sfreq"]),
            tmin=float(info["tmin"]),
            metadata=metadata,
            stimuli_root=None if root is None else Path(os.path.normpath(folder / root)),
            # Trials prepared before it was a setting had theirs squashed.
            picture_fit=info.get("picture_fit", "squash"),
            rejected=dict(info["rejected"]),
            simulated=bool(info["simulated"]),
            signal=dict(info["signal"]),
            source=dict(info.get("source", {})),  # trials prepared before it was recorded
        )

    def _root(self) -> Path:
        if self.stimuli_root is None:
            raise FileNotFoundError(
                f"these trials know no folder of pictures; prepare them with --stimuli FOLDER. "
                f"{NO_PICTURE}"
            )
        if not self.stimuli_root.is_dir():
            raise FileNotFoundError(f"picture folder {self.stimuli_root} does not exist")
        return self.stimuli_root

    def _place(self, trial: int) -> str:
        row = self.metadata.iloc[trial]
        return f"subject {row['subject']}, run {row['run']}, onset {row['onset']:.3f} s"
