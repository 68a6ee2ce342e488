"""`Recording`: one continuous recording, its signal in volts, events, who and when."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from dreamdiffusion.recordings.config import Unit
from dreamdiffusion.recordings.electrodes import electrode_positions


@dataclass
class Cut:
    """How another program cut the trials that a file holds.

    Attributes
    ----------
    tmin
        Time of a trial's first sample, s from its event.
    n_times
        Samples of a trial.
    l_freq, h_freq
        Edges of its filter as far as the file says, Hz; None: none, or not said.
    n_dropped
        Trials that it left out, where the file counts them.
    """

    tmin: float
    n_times: int
    l_freq: float | None = None
    h_freq: float | None = None
    n_dropped: int = 0


@dataclass
class Recording:
    """One recording: continuous, or trials that were cut elsewhere, end to end.

    Attributes
    ----------
    raw
        Loaded signal, volts.
    subject, session, run
        Who and when; from the BIDS name or from the folders' names. "unknown" where none says.
    source
        The file.
    events
        Columns `onset`, `duration` (both s), `category`, `stim_file` ("" where unknown), `code`
        where a marker has one, and the source's other columns. An onset counts samples from the
        first, so a gap takes no time; NaN: the event lies in a gap, where nothing was recorded.
    sha256
        Of the samples rounded to 0.01 microvolt.
    stimuli_root
        The folder that `stim_file` is relative to.
    format
        Such as "EDF" or "Muse csv".
    simulated
        True where the data set says that it is simulated.
    renamed
        The file's name -> the 10-05 name, for the channels that got one.
    label_channels
        Channels found to hold labels and not EEG; their type is misc.
    cut
        Of trials that were cut elsewhere: how. None: the recording is continuous.
    unit
        The unit of the file's numbers that was stated at reading (V, mV, uV, nV); None: none was.
    unit_from
        Who named the unit of the EEG: `file`, `channels.tsv` or `stated`.
    unit_problem
        What is wrong with the unit, empty where nothing is; reading refuses such a file, unless
        it is to be described only.

    Examples
    --------
    >>> from dreamdiffusion import read_recording
    >>> path = "people/sub-01/ses-01/eeg/sub-01_ses-01_task-viewing_run-01_eeg.edf"
    >>> recording = read_recording(path)
    >>> recording.subject, recording.run, recording.simulated
    ('01', '01', True)
    >>> recording.positions.shape  # metres, MNE's head frame
    (4, 3)
    """

    raw: mne.io.BaseRaw
    subject: str
    session: str
    run: str
    source: Path
    events: pd.DataFrame | None
    sha256: str
    stimuli_root: Path | None = None
    format: str = ""
    simulated: bool = False
    renamed: dict[str, str] = field(default_factory=dict)
    label_channels: list[str] = field(default_factory=list)
    cut: Cut | None = None
    unit: Unit | None = None
    unit_from: str = "file"
    unit_problem: str = ""

    @property
    def positions(self) -> np.ndarray:
        """Where the EEG channels sit: float32 (n_chans, 3), metres, MNE's head frame.

        Those that the file brings, if it brings them for every EEG channel; else those of the
        10-05 template for all of them. A ValueError lists the names that have none.
        """
        names = eeg_names(self.raw)
        places = [self.raw.info["chs"][self.raw.ch_names.index(name)]["loc"][:3] for name in names]
        own = np.array(places, np.float32).reshape(-1, 3)
        if np.isfinite(own).all() and own.any(axis=1).all():
            return own
        try:
            return electrode_positions(names)
        except ValueError as error:
            raise ValueError(f"{self.source}: {error}") from error


def eeg_names(raw: mne.io.BaseRaw) -> list[str]:
    """Names of the channels of type eeg, those declared bad included."""
    types = zip(raw.ch_names, raw.get_channel_types(), strict=True)
    return [name for name, kind in types if kind == "eeg"]


def hash_samples(raw: mne.io.BaseRaw) -> str:
    """Return the sha256 of the samples, rounded to 0.01 microvolt, so of the signal not the file.

    Two files of one recording in different formats agree where both store it to that precision;
    `dreamdiffusion.trials.duplicates.DuplicateCheck` also finds those that do not.
    """
    data = np.asarray(raw.get_data(), dtype=np.float64)
    digest = hashlib.sha256(repr(data.shape).encode())
    for row in data:  # one at a time: it stays in the processor's cache
        if not np.isfinite(row).all():
            row = np.nan_to_num(row, nan=-1.0)
        digest.update(np.rint(row * 1e8).astype("<i8").data)
    return digest.hexdigest()
