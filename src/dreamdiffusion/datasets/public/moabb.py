"""Any data set of MOABB by its name (extra `moabb`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import mne
import pandas as pd

from dreamdiffusion.datasets.base import PublicDataset
from dreamdiffusion.recordings.recording import Recording, hash_samples


class Moabb(PublicDataset):
    """A data set of MOABB, `moabb:<name of its class>`.

    MOABB downloads to a folder of its own (`MNE_DATA`) and gives signals in volts; `input` is not
    needed. Its data sets have no pictures (`pair_by: none`).

    Parameters
    ----------
    class_name
        Such as `BNCI2014_001`.
    """

    name = "moabb"
    title = "any data set of MOABB, moabb:<Name>"
    licence = "one per data set; MOABB's page of the data set and its paper say"
    doi = "none: one per data set, `moabb.datasets.<Name>().doi`"
    url = "https://moabb.neurotechx.com"
    device = "one per data set; MOABB's page of the data set says"
    n_subjects = 0
    n_chans = 0
    sfreq = 0.0
    shown = "mostly no pictures: motor imagery, P300, SSVEP"
    caveat = (
        "Event-locked brain signals without pictures: for pre-training and for decoding classes, "
        "not for drawing what was seen."
    )
    citation = "the paper of the data set, and Jayaram & Barachant 2018, MOABB, J. Neural Eng. 15"
    layout = ("MOABB's own folder",)
    by_hand = (
        "MOABB downloads by itself when the data set is prepared (pip install "
        "'dreamdiffusion[moabb]')."
    )
    settings: ClassVar[Mapping[str, Any]] = {"pair_by": "none"}

    def __init__(self, class_name: str = "") -> None:
        self.class_name = class_name

    def recordings(self, root: Path, subjects: Sequence[str]) -> Iterator[Recording]:
        """Yield one recording per run, session by session."""
        dataset = self._open()
        numbers = {str(number): number for number in dataset.subject_list}
        unknown = [subject for subject in subjects if subject not in numbers]
        if unknown:
            raise ValueError(
                f"{self.class_name} has no subject {', '.join(unknown)}; it has "
                f"{', '.join(numbers)}"
            )
        for number in [numbers[subject] for subject in subjects or numbers]:
            for session, runs in dataset.get_data(subjects=[number])[number].items():
                for run, raw in runs.items():
                    yield _recording(raw, dataset, (str(number), str(session), str(run)))

    def _open(self) -> Any:
        if not re.fullmatch(r"[A-Za-z]\w*", self.class_name):
            raise ValueError(
                f"{self.class_name!r} names no MOABB data set; write moabb:BNCI2014_001, say"
            )
        try:
            from moabb import datasets  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]
        except ImportError as error:
            raise ValueError(
                "MOABB is not installed; pip install 'dreamdiffusion[moabb]', or 'moabb>=1.7'"
            ) from error
        kind = getattr(datasets, self.class_name, None)
        if kind is None or not hasattr(kind, "get_data"):
            raise ValueError(f"MOABB has no data set {self.class_name}; its page lists them")
        return kind()


def _recording(raw: mne.io.BaseRaw, dataset: Any, who: tuple[str, str, str]) -> Recording:
    raw = raw.copy().load_data()
    # MOABB annotates each trial with its class, from where its interval begins (for
    # motor imagery seconds after the cue); other annotations are artefacts.
    notes = [
        (float(onset), float(duration), str(text))
        for onset, duration, text in zip(
            raw.annotations.onset,
            raw.annotations.duration,
            raw.annotations.description,
            strict=True,
        )
        if text in dataset.event_id
    ]
    events = pd.DataFrame(
        {
            "onset": [onset - raw.first_time for onset, _, _ in notes],
            "duration": [duration for _, duration, _ in notes],
            "category": [text for _, _, text in notes],
            "stim_file": "",
        }
    )
    subject, session, run = who
    return Recording(
        raw=raw,
        subject=subject,
        session=session,
        run=run,
        source=Path(f"moabb:{dataset.code}/{subject}/{session}/{run}"),
        events=events,
        sha256=hash_samples(raw),
    )
