"""What a decoder expects of a window, and its answer for one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from dreamdiffusion.decoders.base import Decoder
from dreamdiffusion.decoders.config import SampleConfig
from dreamdiffusion.decoders.fit import load_decoder
from dreamdiffusion.decoders.generate import to_pil
from dreamdiffusion.decoders.images import ImageDecoder
from dreamdiffusion.files.progress import hidden
from dreamdiffusion.models.encoders.processor import EEGProcessor
from dreamdiffusion.models.judge.judge import Judge, load_judge
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.trials.trials import COLUMNS, Trials


@dataclass(frozen=True)
class Expected:
    """The windows that a decoder was fitted on.

    Attributes
    ----------
    ch_names
        Channels, in order.
    tmin
        s from a picture's onset to the first sample.
    n_times
        Samples.
    signal
        Filters, rate and reference.
    """

    ch_names: list[str]
    tmin: float
    n_times: int
    signal: SignalConfig

    @property
    def seconds(self) -> float:
        """How long a window lasts, s."""
        return self.n_times / self.signal.sfreq


@dataclass(frozen=True)
class Named:
    """What a decoder says of one window; empty where it says nothing."""

    images: list[Image.Image]
    label: str = ""
    probability: float = 0.0
    shows: str = ""
    """What the judge sees in the first image."""


class LiveModel:
    """A decoder of any kind, one window at a time.

    Parameters
    ----------
    folder
        Of the decoder.
    judge
        Of a judge that names what the images show; None: nobody does.
    sample
        How images are drawn, where the decoder gives any.
    device
        As `Decoder.to`.

    Raises
    ------
    FileNotFoundError, ValueError
        If a folder holds no model, or one that does not say what it was fitted on.
    """

    def __init__(self, folder: Path, judge: Path | None, sample: SampleConfig, device: str) -> None:
        self.decoder = load_decoder(folder).to(device)
        self.expected = expected_of(self.decoder, folder)
        self._judge: Judge | None = None if judge is None else load_judge(judge)
        self._sample = sample

    def decode(self, window: np.ndarray, number: int) -> Named:
        """Answer for one window, volts ``(n_chans, n_times)``."""
        expected = self.expected
        trials = Trials(
            data=window[None].astype(np.float32),
            ch_names=expected.ch_names,
            sfreq=expected.signal.sfreq,
            tmin=expected.tmin,
            metadata=pd.DataFrame([dict.fromkeys(COLUMNS, "") | {"onset": 0.0}]),
            signal=expected.signal.model_dump(mode="json"),
        )
        with hidden():
            if isinstance(self.decoder, ImageDecoder):
                answer = self.decoder.decode(trials, self._sample, np.array([number]))
            else:
                answer = self.decoder.decode(trials)
        label, probability, shows = "", 0.0, ""
        if answer.labels is not None and answer.probabilities is not None:
            label = answer.labels[0]
            probability = float(answer.probabilities["category"].iloc[0].max())
        images: list[Image.Image] = []
        if answer.images is not None:
            images = [to_pil(image) for image in answer.images[0]]
            if self._judge is not None:
                named = self._judge.predict(answer.images[0, :1])["category"]
                shows = self._judge.categories[int(named.argmax())]
        return Named(images, label, probability, shows)

    def warm_up(self) -> None:
        """Answer once for noise: the first answer takes longer than those that follow."""
        noise = np.random.default_rng(0).normal(0, 1e-5, self.shape)
        self.decode(noise, 0)

    @property
    def shape(self) -> tuple[int, int]:
        """Channels and samples of a window."""
        return len(self.expected.ch_names), self.expected.n_times


def expected_of(decoder: Decoder, folder: Path) -> Expected:
    """Return the windows that a decoder was fitted on, as the part that scales its EEG says.

    Raises
    ------
    ValueError
        If it has no such part.
    """
    processor = getattr(decoder, "processor", None)
    if not isinstance(processor, EEGProcessor):
        raise ValueError(
            f"{folder} holds the decoder {decoder.name!r}, which does not say which channels, "
            "window and filters it was fitted on; give one of dreamdiffusion, prior or reader"
        )
    settings = processor.config
    signal = SignalConfig(**(settings["signal"] or {}))
    signal = signal.model_copy(update={"sfreq": settings["sfreq"], "picks": None, "unit": None})
    return Expected(
        list(settings["ch_names"]), float(settings["tmin"]), int(settings["n_times"]), signal
    )


def free_threads() -> None:
    """Leave a core to the acquisition, where there are several."""
    if torch.get_num_threads() > 1:
        torch.set_num_threads(torch.get_num_threads() - 1)
