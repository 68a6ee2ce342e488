"""Any folder in BIDS: OpenNeuro's data sets, and a person's own recordings."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from dreamdiffusion.datasets.base import PublicDataset, need
from dreamdiffusion.recordings.find import find_recordings
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.recordings.recording import Recording

logger = logging.getLogger(__name__)


class Bids(PublicDataset):
    """A BIDS folder: `trial_type` and `stim_file` of its events, pictures in `stimuli/`."""

    name = "bids"
    title = "any OpenNeuro data set or BIDS folder"
    licence = "as `License` of its dataset_description.json says; most of OpenNeuro is CC0"
    doi = "none: one per data set, `DatasetDOI` of its dataset_description.json"
    url = "https://openneuro.org"
    device = "as its *_eeg.json say"
    n_subjects = 0
    n_chans = 0
    sfreq = 0.0
    shown = "as its events.tsv say"
    caveat = "depends on the data set: run the audit on it before any score is believed"
    citation = "as `HowToAcknowledge` of its dataset_description.json says"
    layout = (
        "dataset_description.json",
        "sub-<label>/[ses-<label>/]eeg/sub-<label>_..._eeg.<format>",
        "sub-<label>/[ses-<label>/]eeg/sub-<label>_..._events.tsv",
        "stimuli/<stim_file>",
    )
    by_hand = (
        "Download it with `pip install openneuro-py; openneuro-py download --dataset=dsNNNNNN`, or "
        "`aws s3 sync --no-sign-request s3://openneuro.org/dsNNNNNN FOLDER`; pictures that its "
        "licence does not allow it to hold go into stimuli/."
    )

    def recordings(self, root: Path, subjects: Sequence[str]) -> Iterator[Recording]:
        """Yield the recordings of these people in the order of their names."""
        text = need(root / "dataset_description.json", self).read_text("utf-8")
        try:
            description = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{root / 'dataset_description.json'} is not JSON: {error}") from error
        if isinstance(description, dict):
            licence = description.get("License", "not stated")
            logger.info("%s: licence %s", description.get("Name", root), licence)
        folders = [need(root / f"sub-{subject}", self) for subject in subjects] or [root]
        for path in find_recordings(folders):
            yield read_recording(path)
