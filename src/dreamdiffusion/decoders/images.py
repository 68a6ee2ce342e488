"""What a decoder that gives images keeps beside the contract of `base`: `ImageDecoder`.

Evaluation, `generate` and controls go through this alone, so that whatever keeps it is scored like
the paper's own decoder.
"""

from __future__ import annotations

import contextlib
import difflib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from torch import Tensor

from dreamdiffusion.decoders.base import Answer, Decoder
from dreamdiffusion.files.schema import Schema
from dreamdiffusion.models.encoders.processor import EEGProcessor
from dreamdiffusion.trials.trials import Trials


class NotDrawnError(Exception):
    """Images of a control cannot be drawn; the message says why."""


class ImageDecoder(Decoder):
    """A decoder that gives images and the EEG's embedding in a CLIP's image space.

    A subclass writes `draw`, `read`, and what says where things are. The other ``draw_...`` are for
    controls; one that a decoder cannot draw raises `NotDrawnError` with the reason.

    Attributes
    ----------
    sample_schema
        How its images are drawn: a schema with at least ``num_images_per_prompt`` and ``seed``.
    other_drawings
        Controls that draw the same EEG otherwise (`evidence.controls`) -> the settings that differ.
    """

    sample_schema: ClassVar[type[Schema]]
    other_drawings: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def decode(
        self,
        trials: Trials,
        sample: Schema | None = None,
        numbers: np.ndarray | None = None,
        **settings: Any,
    ) -> Answer:
        """Draw images of trials, and give the embedding of their EEG.

        Parameters
        ----------
        trials
            Their metadata are not looked at.
        sample
            How images are drawn: of `sample_schema`, or a `SampleConfig` whose empty fields become
            the decoder's own.
        numbers
            Number of each trial, int ``(n_trials,)``; by default its place. An image depends on the
            EEG, the seed, the number of its trial and its own number alone: a selection of trials
            that keep their numbers gets the same images as all of them.
        **settings
            Fields of ``sample``, in place of it.

        Raises
        ------
        ValueError
            If the decoder does not have a setting of the sample, or channels, sampling rate or
            window are not those it was fitted on.
        """
        if numbers is None:
            numbers = np.arange(len(trials))
        if len(numbers) != len(trials):
            raise ValueError(
                f"{len(numbers)} numbers of {len(trials)} trials, expected one of each"
            )
        return self.draw(trials, self.settings(sample, **settings), numbers)

    @classmethod
    def settings(cls, sample: Schema | None = None, **fields: Any) -> Any:
        """Return how this decoder draws, of its `sample_schema`, from what was asked for.

        Raises
        ------
        TypeError
            For a keyword that is no setting of this decoder, and for keywords beside a sample.
        ValueError
            If the sample has a setting that this decoder does not have, or a value is not valid.
        """
        if sample is not None and fields:
            raise TypeError(
                f"got a sample and {', '.join(fields)} beside it; give one or the other"
            )
        if isinstance(sample, cls.sample_schema):
            return sample
        wrong = TypeError if sample is None else ValueError
        if sample is not None:
            fields = sample.model_dump(exclude_none=True)
        known = cls.sample_schema.model_fields
        unknown = [name for name in fields if name not in known]
        if unknown:
            near = difflib.get_close_matches(unknown[0], known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
            raise wrong(
                f"the decoder {cls.name!r} has no setting {unknown[0]!r} of how images are drawn; "
                f"{hint}"
            )
        return cls.sample_schema(**fields)

    @abstractmethod
    def draw(self, trials: Trials, sample: Any, numbers: np.ndarray) -> Answer:
        """Do what `decode` says; every argument is given and fits."""

    @abstractmethod
    def read(self, trials: Trials) -> Answer:
        """Give what `decode` gives beside the images, and draw none."""

    @contextlib.contextmanager
    def repairing_before(self) -> Iterator[Callable[[Trials], Trials]]:
        """Within the block, replace no loose channel, and give what replaces them beforehand.

        For analyses that cover channels: a covered channel departs from the others, and would be
        replaced by what they say of it.
        """
        yield lambda trials: trials

    @abstractmethod
    def to(self, device: str, precision: str = "auto") -> Self:
        """Compute on a device (``auto``: the best there is), and draw in a precision of it."""

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Pixels of an image."""

    @property
    @abstractmethod
    def processor(self) -> EEGProcessor:
        """Checks and scales the EEG; it also says how a recording has to be cut."""

    @abstractmethod
    def clip_source(self) -> str | Path:
        """Return folder or hub id of the CLIP that embeddings are in the space of.

        Raises
        ------
        FileNotFoundError
            If there is none.
        """

    @abstractmethod
    def generator_source(self) -> str | Path | None:
        """Return folder or hub id of the generator that draws; None where it is not known."""

    def scale_again(self, trials: Trials, train: np.ndarray) -> EEGProcessor:
        """Fit the scale as `fit` does, on the places ``train`` of trials of its channels.

        A decoder whose scale is another was fitted on other trials.
        """
        own = self.processor
        return EEGProcessor.fit(trials, train, own.config["scale"], own.n_chans)

    def describe(self, sample: Any) -> str:
        """Say in a sentence how images are drawn."""
        fields = sample.model_dump(exclude={"seed", "num_images_per_prompt"})
        return f"{self.name}: " + ", ".join(f"{name} {value}" for name, value in fields.items())

    def prototypes(self) -> dict[str, Tensor]:
        """Return what the decoder takes for the typical picture of each category.

        CLIP embeddings ``(clip_dim,)`` by category; empty where it has none.
        """
        return {}

    def picture_files(self) -> list[Path]:
        """Return the picture files that images may start from."""
        return []

    def draw_texts(self, texts: list[str], sample: Any, numbers: np.ndarray) -> Tensor:
        """Draw n texts by the generator alone, as it was before the EEG, ``(n, k, 3, H, W)``."""
        raise NotDrawnError(f"the decoder {self.name} draws from no text")

    def draw_mean(self, sample: Any, numbers: np.ndarray) -> Tensor:
        """Draw from what the training trials say on average, ``(n, k, 3, H, W)``."""
        raise NotDrawnError(f"the decoder {self.name} keeps no mean of its training trials")

    def draw_without_eeg(self, sample: Any, numbers: np.ndarray) -> Tensor:
        """Draw as if the EEG said nothing, ``(n, k, 3, H, W)``."""
        raise NotDrawnError(f"the decoder {self.name} draws nothing without EEG")
