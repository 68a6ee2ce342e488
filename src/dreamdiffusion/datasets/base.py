"""The contract of a public data set: what it declares, which files it has, how it becomes trials.

A class that does not declare its licence, DOI, URL and device cannot be defined.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from dreamdiffusion.files.download import RemoteFile, download
from dreamdiffusion.files.progress import progress
from dreamdiffusion.files.schema import Schema
from dreamdiffusion.recordings.recording import Recording
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.cut import cut_trials
from dreamdiffusion.trials.trials import Trials

logger = logging.getLogger(__name__)

_WORDS = ("name", "title", "licence", "doi", "url", "device", "shown", "caveat", "citation")
_NUMBERS = ("n_subjects", "n_chans", "sfreq")
_DOI = re.compile(r"10\.\d{4,9}/\S+|none: .+")
AnySchema = TypeVar("AnySchema", bound=Schema)


class PublicDataset:
    """A public data set, and how its published files become `Trials`.

    A subclass declares every attribute below that has no value here, and gives either
    `recordings` (raw recordings, which then go the way of a person's own) or `load`.

    Attributes
    ----------
    name
        As it is typed: lower case, hyphens.
    title
        One line.
    licence
        Of the EEG; begins with "not stated" where its authors name none.
    doi
        Of the data, else of its paper; "none: reason" where there is none.
    url
        Where its authors publish it.
    device
        Headset or amplifier.
    n_subjects, n_chans, sfreq
        People, EEG channels, Hz; 0 where the folder tells.
    shown
        What people looked at, and how.
    caveat
        What in the design can make a score mean less than it seems.
    citation
        What to cite.
    unverified
        What is declared above and could not be confirmed at its source.
    subjects
        Names of the people; empty where the folder tells.
    pictures
        Folder below the root that `stim_file` is relative to.
    layout
        Files below the root, as messages name them; `{subject}` stands for each person.
    by_hand
        Where to get what `fetch` cannot download, and where to put it; empty: it gets everything.
    settings
        Fields of `PrepareConfig` for this data set, where the user gives none.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    licence: ClassVar[str]
    doi: ClassVar[str]
    url: ClassVar[str]
    device: ClassVar[str]
    n_subjects: ClassVar[int]
    n_chans: ClassVar[int]
    sfreq: ClassVar[float]
    shown: ClassVar[str]
    caveat: ClassVar[str]
    citation: ClassVar[str]
    layout: ClassVar[tuple[str, ...]]
    unverified: ClassVar[str] = ""
    subjects: ClassVar[tuple[str, ...]] = ()
    pictures: ClassVar[str] = ""
    by_hand: ClassVar[str] = ""
    settings: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        for word in _WORDS:
            if not isinstance(getattr(cls, word, None), str) or not getattr(cls, word).strip():
                raise TypeError(f"data set {cls.__name__} does not declare its {word}")
        for number in _NUMBERS:
            if not isinstance(getattr(cls, number, None), int | float):
                raise TypeError(f"data set {cls.__name__} does not declare its {number}")
        if not getattr(cls, "layout", ()):
            raise TypeError(f"data set {cls.__name__} does not declare its layout")
        if cls.load is PublicDataset.load and cls.recordings is PublicDataset.recordings:
            raise TypeError(f"data set {cls.__name__} gives neither recordings nor trials")
        if not _DOI.fullmatch(cls.doi):
            raise TypeError(
                f"data set {cls.__name__} has the DOI {cls.doi!r}; expected 10.xxxx/... or "
                '"none: reason"'
            )
        if not cls.url.startswith("https://"):
            raise TypeError(f"data set {cls.__name__} has the URL {cls.url!r}, expected https")

    def choose(self, subjects: Sequence[str]) -> list[str]:
        """Return the named people, or all there can be; a ValueError for one it has not."""
        known = self.subjects
        unknown = [subject for subject in subjects if known and subject not in known]
        if unknown:
            raise ValueError(
                f"{self.name} has no subject {', '.join(unknown)}; it has {', '.join(known)}"
            )
        return list(subjects or self.subjects)

    def people(self, root: Path, subjects: Sequence[str], path: str) -> list[str]:
        """Return the named people, else those whose `path` below the root is there.

        Raises
        ------
        ValueError, FileNotFoundError
            For a person that the data set has not, or whose `path` is not there; where nobody is
            named, if nobody is there.
        """
        chosen = self.choose(subjects)
        if not subjects:
            there = [person for person in chosen if (root / path.format(subject=person)).exists()]
            chosen = there or chosen[:1]
        for person in chosen:
            need(root / path.format(subject=person), self)
        return chosen

    def recordings(self, root: Path, subjects: Sequence[str]) -> Iterator[Recording]:
        """Yield the raw recordings of these people, one at a time; none: all that are there.

        A data set that publishes trials alone yields nothing, and has a `load` of its own.
        """
        yield from ()

    def load(self, root: Path, subjects: Sequence[str], config: PrepareConfig) -> Trials:
        """Read the published files below `root` into trials.

        Parameters
        ----------
        root
            Folder of the data set.
        subjects
            People; none: all that are there.
        config
            As `resolve` returned it: `tmin`, `tmax`, `signal`, `stimuli` and, for recordings,
            everything else that `cut_trials` knows.

        Returns
        -------
        trials
            Volts, or what the release's own unit is taken for (its docstring says so).

        Raises
        ------
        FileNotFoundError, ValueError
            For files that are missing or not as published; otherwise as `cut_trials`.
        """
        bar = progress(self.recordings(root, subjects), self.name, unit="recording")
        return cut_trials(bar, config)

    def resolve(self, config: PrepareConfig, root: Path) -> PrepareConfig:
        """Fill what the user has not given with the data set's own settings."""
        config, filled = _fill(config, self.settings)
        if filled:
            logger.info("%s: %s", self.name, ", ".join(filled))
        if config.stimuli is None and self.pictures:
            config = config.model_copy(update={"stimuli": root / self.pictures})
        return config

    def remote_files(self, subjects: Sequence[str]) -> list[RemoteFile]:
        """Return the files that `fetch` downloads; none: they have to be got by hand."""
        return []

    @property
    def fetched(self) -> str:
        """What `fetch` downloads: `yes` (all of it), `in part` or `by hand` (nothing)."""
        own = type(self).fetch is not PublicDataset.fetch
        if not own and not self.remote_files(self.subjects):
            return "by hand"
        return "in part" if self.by_hand else "yes"

    @property
    def how_to_get(self) -> str:
        """What a person does to get the files."""
        if self.fetched == "by hand":
            return self.by_hand
        command = f"dreamdiffusion datasets fetch {self.name}"
        if self.fetched == "in part":
            return f"{command} downloads a part of it. {self.by_hand}"
        return f"{command} downloads it."

    def fetch(self, folder: Path, subjects: Sequence[str]) -> None:
        """Download the files of these people (none: all) to `folder`.

        Raises
        ------
        ValueError
            Where nothing can be downloaded without a person: where to go, what to put where.
        OSError
            As `download`.
        """
        files = self.remote_files(self.choose(subjects))
        if not files:
            raise ValueError(f"{self.name} has to be got by hand. {self.by_hand}")
        for file in progress(files, self.name, unit="file", disable=len(files) == 1):
            download(file, folder)


def need(path: Path, dataset: PublicDataset) -> Path:
    """Return `path`, or raise a FileNotFoundError that says what is expected and how to get it."""
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist; {dataset.name} has {', '.join(dataset.layout)}. "
            f"{dataset.how_to_get}"
        )
    return path


def _fill(config: AnySchema, settings: Mapping[str, Any]) -> tuple[AnySchema, list[str]]:
    """Return the configuration with the settings that it does not give, and what has changed."""
    update: dict[str, Any] = {}
    filled: list[str] = []
    for key, value in settings.items():
        current = getattr(config, key)
        if isinstance(current, Schema):
            update[key], inner = _fill(current, value)
            filled += [f"{key}.{text}" for text in inner]
        elif key not in config.model_fields_set and current != value:
            update[key] = value
            filled.append(f"{key} {value}")
    return config.model_copy(update=update), filled
