"""THINGS-EEG1 (Grootswagers et al. 2022): 50 people, 22,248 pictures of 1,854 concepts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from dreamdiffusion.datasets.base import PublicDataset, need
from dreamdiffusion.files.download import RemoteFile
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.recordings.recording import Recording


class ThingsEEG1(PublicDataset):
    """THINGS-EEG1, the BIDS folder ds003825 of OpenNeuro.

    Its `events.tsv` has columns of its own: the picture is `stim` (a path with backslashes below
    `stimuli`), targets of the task (`istarget`) are left out, `partition` is `test` for the 200
    pictures that are repeated 12 times.
    """

    name = "things-eeg1"
    title = "THINGS-EEG1: 22,248 object pictures in rapid sequence"
    licence = "CC0"
    doi = "10.18112/openneuro.ds003825.v1.1.0"
    url = "https://openneuro.org/datasets/ds003825"
    device = "64 electrodes, Brain Products actiCHamp"
    n_subjects = 50
    n_chans = 63
    sfreq = 1000.0
    shown = (
        "pictures of objects for 0.05 s at 10 per second: 12 of each of 1,854 concepts once, then "
        "200 other pictures 12 times each"
    )
    caveat = (
        "Ten pictures a second, so responses overlap strongly, and each training picture was seen "
        "once. The 200 test pictures come in the last sequences of the session: training and test "
        "differ in time."
    )
    citation = (
        "Grootswagers et al. 2022, Human EEG recordings for 1,854 concepts presented in rapid "
        "serial visual presentation streams, Scientific Data 9:3, doi 10.1038/s41597-021-01102-7"
    )
    unverified = "device (from the paper, not checked)"
    subjects = tuple(f"{i:02d}" for i in range(1, 51))
    pictures = "stimuli"
    layout = (
        "dataset_description.json",
        "sub-{subject}/eeg/sub-{subject}_task-rsvp_eeg.vhdr",
        "sub-{subject}/eeg/sub-{subject}_task-rsvp_events.tsv",
        "stimuli/<concept>/<file>.jpg",
    )
    by_hand = (
        "The pictures come from THINGS (https://osf.io/jum2f/, with a password that its page "
        "gives): put the concept folders of object_images into stimuli/."
    )

    def remote_files(self, subjects: Sequence[str]) -> list[RemoteFile]:
        """Return the files of OpenNeuro's public bucket; it publishes no sha256."""
        base = "https://s3.amazonaws.com/openneuro.org/ds003825"
        paths = ["dataset_description.json"]
        for subject in subjects:
            stem = f"sub-{subject}/eeg/sub-{subject}_task-rsvp"
            ends = ("_eeg.vhdr", "_eeg.vmrk", "_eeg.eeg", "_events.tsv")
            paths += [stem + end for end in ends]
        return [RemoteFile(f"{base}/{path}", path) for path in paths]

    def recordings(self, root: Path, subjects: Sequence[str]) -> Iterator[Recording]:
        """Yield one recording per person."""
        need(root / self.layout[0], self)
        for person in self.people(root, subjects, self.layout[1]):
            path = root / self.layout[1].format(subject=person)
            yield _with_pictures(read_recording(path))


def _with_pictures(recording: Recording) -> Recording:
    events = recording.events
    columns = ("stim", "istarget")
    if events is None or any(column not in events for column in columns):
        raise ValueError(f"{recording.source}: its events.tsv lacks {' or '.join(columns)}")
    events = events[pd.to_numeric(events["istarget"]) == 0].copy()
    named = pd.Series(events["stim"]).astype(str)
    files = named.str.replace("\\", "/").str.removeprefix("stimuli/")
    events["stim_file"] = files
    events["category"] = files.str.split("/").str[0]
    events["partition"] = "train"
    if "isteststim" in events:  # people without test sequences have no such column
        events.loc[pd.to_numeric(events["isteststim"]) == 1, "partition"] = "test"
    return replace(recording, events=events.reset_index(drop=True))
