"""The contract that every way from trials to an answer keeps: `Decoder`, and its `Answer`.

A decoder is fitted on the training trials of a split, answers for any other trials, and is saved
in a folder. What it needs beside the EEG and what its answers hold it declares, so that an
evaluation knows what to give it and what to score. ``tests/decoders/test_contract.py`` holds every
decoder of `registry` to this.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd

from dreamdiffusion.files.whole import parse_json, write_json
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

if TYPE_CHECKING:
    from torch import Tensor

Need = Literal["labels", "pictures", "generator", "clip", "pretraining"]
"""What `fit` uses beside the EEG: the trials' category, the pictures that were shown, an image
generator, a CLIP that embeds pictures, an encoder that was pre-trained without labels."""

Part = Literal["images", "embeddings", "labels"]
"""What an answer may hold."""

RECORD = "decoder.json"
MODEL = "model"
"""Folder below the output of a fit that holds the decoder."""
CATEGORY = "category"


@dataclass(frozen=True)
class Answer:
    """What a decoder says of n trials; a part that it does not give is None.

    Attributes
    ----------
    images
        ``(n, k, 3, height, width)`` in [0, 1]: k images of each trial.
    embeddings
        In CLIP's image space, unit norm ``(n, clip_dim)``.
    probabilities
        By attribute, ``category`` among them: one row for each trial and one column for each value
        that the attribute has, ``(n, n_values)``; a row sums to 1.
    drawn_from
        What each image was drawn from beside the EEG, in words, n rows of k: a picture of a bank,
        a text. Goes with images, where a decoder has such.
    """

    images: Tensor | None = None
    embeddings: Tensor | None = None
    probabilities: dict[str, pd.DataFrame] | None = None
    drawn_from: list[list[str]] | None = None

    @property
    def labels(self) -> list[str] | None:
        """The most probable category of each trial, n names."""
        if self.probabilities is None or CATEGORY not in self.probabilities:
            return None
        table = self.probabilities[CATEGORY]
        return [str(table.columns[place]) for place in table.to_numpy().argmax(axis=1)]

    @property
    def parts(self) -> set[Part]:
        """Names of the parts that this answer holds."""
        found: dict[Part, Any] = {
            "images": self.images,
            "embeddings": self.embeddings,
            "labels": self.labels,
        }
        return {name for name, value in found.items() if value is not None}


class Decoder(ABC):
    """A way from trials to an answer; a subclass is entered in `registry` by its name.

    Attributes
    ----------
    name
        In the registry, and in the ``decoder.json`` of a saved folder.
    needs
        What `fit` uses beside the EEG.
    gives
        What every `Answer` of it holds.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[Need]]
    gives: ClassVar[frozenset[Part]]

    @classmethod
    @abstractmethod
    def fit(cls, trials: Trials, split: Split, config: Any) -> Self:
        """Fit on the training trials; validation trials may be used to choose, test trials never.

        Parameters
        ----------
        trials
            All trials of the folder, EEG in volts.
        split
            Which of them train, validate and test.
        config
            Of the schema that `registry` names for this decoder.

        Raises
        ------
        FileNotFoundError, ValueError
            If something that the decoder needs is missing, or the trials do not fit it.
        """

    @abstractmethod
    def decode(self, trials: Trials, **settings: Any) -> Answer:
        """Answer for trials, from their EEG alone; their metadata are not looked at.

        Settings are how it answers, where a decoder has such; for one that gives images see
        `images.ImageDecoder.decode`.

        Raises
        ------
        ValueError
            If channels, sampling rate or window are not those it was fitted on.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write everything that `load` needs; weights as safetensors."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; nothing in the folder is executed.

        Raises
        ------
        FileNotFoundError, ValueError
            If the folder does not hold such a decoder.
        """

    def to(self, device: str) -> Self:
        """Compute on a device (``auto``: the best there is); one that needs none stays."""
        return self

    def facts(self) -> dict[str, Any]:
        """Return what ``about.json`` says of the fitted decoder, beside trials and split."""
        return {}


def write_record(folder: Path, name: str, **content: Any) -> None:
    """Write ``decoder.json``: the decoder's name, and what else it keeps as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RECORD, {"decoder": name, **content})


def no_decoder(folder: Path) -> FileNotFoundError:
    """Return the error of a folder that is no decoder's; it names the one inside, of a fit."""
    if not folder.exists():
        return FileNotFoundError(f"there is no model folder {folder}; give that of a fit")
    if (folder / MODEL / RECORD).is_file():
        return FileNotFoundError(f"the decoder in {folder} is {folder / MODEL}; give that folder")
    return FileNotFoundError(f"{folder} holds no decoder; give the model folder of a fit")


def read_record(folder: Path, name: str | None = None) -> dict[str, Any]:
    """Read ``decoder.json``.

    Parameters
    ----------
    name
        The decoder that is expected; None: any.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is something else, or of another decoder.
    """
    path = Path(folder) / RECORD
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no decoder ({RECORD}); give the folder of a fit")
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
        found = record["decoder"]
    except (ValueError, KeyError, TypeError) as error:
        why = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} is not the record of a decoder: {why}") from error
    if name is not None and found != name:
        raise ValueError(f"{folder} holds the decoder {found!r}, expected {name!r}")
    return record


def pick_channels(trials: Trials, ch_names: list[str], sfreq: float) -> np.ndarray:
    """Return the trials' EEG in the channels of a decoder and their order.

    Parameters
    ----------
    ch_names, sfreq
        Channels and sampling rate (Hz) that the decoder was fitted on.

    Returns
    -------
    array
        Volts ``(n_trials, len(ch_names), n_times)``.

    Raises
    ------
    ValueError
        If a channel is missing or the rate is another.
    """
    missing = [name for name in ch_names if name not in trials.ch_names]
    if missing:
        raise ValueError(
            f"the EEG lacks the channels {', '.join(missing)}; the decoder was fitted on "
            f"{', '.join(ch_names)}"
        )
    if abs(trials.sfreq - sfreq) > 1e-6 * sfreq:
        raise ValueError(
            f"the EEG has {trials.sfreq:g} Hz, the decoder expects {sfreq:g}; resample it"
        )
    places = [trials.ch_names.index(name) for name in ch_names]
    return np.asarray(trials.data[:, places])
