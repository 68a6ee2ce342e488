"""Alljoined-1.6M (Xu et al. 2025): 20 people, a consumer headset, the pictures of THINGS-EEG2."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from dreamdiffusion.datasets.base import PublicDataset, need
from dreamdiffusion.files.download import unpack
from dreamdiffusion.recordings.amplitude import check_amplitude
from dreamdiffusion.recordings.electrodes import standard_names
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.recordings.recording import Recording, eeg_names, hash_samples

REPOSITORY = "Alljoined/Alljoined-1.6M"
_COLUMNS = ["onset", "duration", "category", "stim_file", "partition"]


class Alljoined(PublicDataset):
    """Alljoined-1.6M, its raw EDF files.

    An annotation `stim_train,16641,...` is the onset of picture `images/16641.jpg`; `partition` is
    `train` or `test`. `category` is the concept where
    `preprocessed_eeg/sub-XX/experiment_metadata_categories.parquet` is there (reading it needs
    pyarrow), else the number of the picture.
    """

    name = "alljoined-1.6m"
    title = "Alljoined-1.6M: a consumer headset, 16,740 object pictures in rapid sequence"
    licence = "CC BY-NC-ND 4.0"
    doi = "10.82901/nemar.nm000134"
    url = "https://huggingface.co/datasets/Alljoined/Alljoined-1.6M"
    device = "EMOTIV FLEX 2, 32 gel electrodes"
    n_subjects = 20
    n_chans = 32
    sfreq = 256.0
    shown = (
        "pictures of objects for 0.1 s at 5 per second, those of THINGS-EEG2: 16,540 for training, "
        "200 for test"
    )
    caveat = (
        "Five pictures a second, so responses overlap. In every session the test pictures fill the "
        "first 4 of 19 blocks: training and test differ in time. A consumer headset, so the "
        "signal-to-noise ratio is far below that of THINGS-EEG2."
    )
    citation = (
        "Xu et al. 2025, Alljoined-1.6M: A Million-Trial EEG-Image Dataset for Evaluating "
        "Affordable Brain-Computer Interfaces, arXiv 2508.18571"
    )
    unverified = "licence and DOI (those of the copy on NEMAR)"
    subjects = tuple(f"{i:02d}" for i in range(1, 21))
    pictures = "images"
    layout = (
        "raw_eeg/sub-{subject}/session_<nn>/block_<nn>/<any>.edf",
        "preprocessed_eeg/sub-{subject}/experiment_metadata_categories.parquet",
        "images/<nnnnn>.jpg",
    )

    def fetch(self, folder: Path, subjects: Sequence[str]) -> None:
        """Download from the hub, whose client resumes and checks; unpack the pictures.

        Raises
        ------
        OSError
            If the hub cannot be reached or the transfer breaks off.
        """
        from huggingface_hub import snapshot_download

        wanted = ["stimuli.zip"]
        for subject in self.choose(subjects):
            wanted += [f"raw_eeg/sub-{subject}/*", f"preprocessed_eeg/sub-{subject}/*.parquet"]
        try:
            snapshot_download(
                REPOSITORY, repo_type="dataset", local_dir=folder, allow_patterns=wanted
            )
        except Exception as error:  # what comes through depends on the version of the hub's client
            raise OSError(
                f"{self.url} cannot be downloaded: {error}; the same command goes on where it "
                f"stopped. By hand: get {', '.join(wanted)} from there to {folder} and unpack "
                "stimuli.zip in it"
            ) from error
        unpack(need(folder / "stimuli.zip", self), folder)

    def recordings(self, root: Path, subjects: Sequence[str]) -> Iterator[Recording]:
        """Yield one recording per block."""
        for subject in self.people(root, subjects, "raw_eeg/sub-{subject}"):
            person = root / "raw_eeg" / f"sub-{subject}"
            paths = sorted(person.glob("session_*/block_*/*.edf"))
            if not paths:
                raise FileNotFoundError(f"{person} holds no session_<nn>/block_<nn>/<any>.edf")
            concepts = _concepts(root / self.layout[1].format(subject=subject))
            for path in paths:
                yield _with_pictures(path, subject, concepts)


def _with_pictures(path: Path, subject: str, concepts: dict[int, str]) -> Recording:
    # The EDF has counters and contact quality beside the EEG, none of them marked as such.
    recording = read_recording(path, check_units=False)
    raw = recording.raw
    raw.pick([name for name in eeg_names(raw) if name.lower() in standard_names()])
    check_amplitude(raw, path)
    rows = []
    for event in [] if recording.events is None else recording.events.to_dict("records"):
        found = re.match(r"stim_(train|test),\s*(\d+)", str(event["category"]))
        if found:
            number = int(found[2])
            row = {"onset": event["onset"], "duration": event["duration"], "partition": found[1]}
            row["category"] = concepts.get(number, f"{number:05d}")
            rows.append({**row, "stim_file": f"{number:05d}.jpg"})
    return replace(
        recording,
        subject=subject,
        session=path.parents[1].name.removeprefix("session_"),
        run=path.parent.name.removeprefix("block_"),
        events=pd.DataFrame(rows, columns=_COLUMNS),
        sha256=hash_samples(raw),
    )


def _concepts(path: Path) -> dict[int, str]:
    """Number of a picture -> its concept, where the release's table is there."""
    if not path.is_file():
        return {}
    try:
        table = pd.read_parquet(path, columns=["image_path", "category_name"])
    except ImportError as error:
        raise ValueError(f"{path} needs pyarrow: pip install pyarrow, or remove it") from error
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    numbers = table["image_path"].astype(str).str.extract(r"(\d+)\.\w+$")[0]
    pairs = zip(numbers, table["category_name"], strict=True)
    return {int(number): str(concept) for number, concept in pairs if isinstance(number, str)}
