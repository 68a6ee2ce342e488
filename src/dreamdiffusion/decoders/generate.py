"""The stage `generate`: images from prepared trials, or straight from a recording."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dreamdiffusion.decoders.base import Answer
from dreamdiffusion.decoders.config import GenerateConfig, SampleConfig
from dreamdiffusion.decoders.fit import open_image_decoder
from dreamdiffusion.decoders.sampling import collect, decode_batches
from dreamdiffusion.files.output import writes_output
from dreamdiffusion.files.schema import write_yaml
from dreamdiffusion.files.whole import replacing, write_picture
from dreamdiffusion.models.encoders.processor import EEGProcessor
from dreamdiffusion.recordings.config import SignalConfig, Unit
from dreamdiffusion.recordings.find import find_recordings
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.training.device import is_main_process
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.cut import cut_trials
from dreamdiffusion.trials.trials import Trials

ROWS = 16
"""Trials shown in ``overview.png``."""


@writes_output()
def generate(config: GenerateConfig) -> Path:
    """Draw images for every trial and write them as they are made.

    Returns
    -------
    Path
        ``config.output`` with ``images/trial-0000-0.png`` (trial, sample), ``trials.csv`` (which
        trial is which) and ``overview.png`` (one row a trial, the first 16).

    Raises
    ------
    FileNotFoundError, ValueError
        If model or data are missing, or the EEG does not fit the model.
    """
    decoder = open_image_decoder(config.model).to(config.runtime.device, config.runtime.precision)
    sample = decoder.settings(config.sample)
    trials = load_trials(config, decoder.processor)
    trials = trials.select(np.arange(len(trials))[: config.limit])
    folder = config.output / "images"
    folder.mkdir(parents=True, exist_ok=True)
    used = config.model_copy(update={"sample": SampleConfig(**sample.model_dump())})
    write_yaml(used, config.output / "config.yaml")
    parts: list[tuple[np.ndarray, Answer]] = []
    for places, answer in decode_batches(
        decoder, trials, sample, np.arange(len(trials)), config.batch_size, "generating"
    ):
        images = answer.images
        assert images is not None
        for place, of_trial in zip(places, images, strict=True):
            for j, image in enumerate(of_trial):
                write_picture(folder / f"trial-{place:04d}-{j}.png", to_pil(image))
        # The pictures are on disk: of the others only the words are kept.
        shown = images[: max(0, ROWS - int(places[0]))]
        parts.append((places, replace(answer, images=shown)))
    answer = collect(parts)
    if not is_main_process():
        return config.output
    metadata = trials.metadata.copy()
    if answer.drawn_from is not None:
        metadata["drawn_from"] = ["; ".join(row) for row in answer.drawn_from]
    with replacing(config.output / "trials.csv") as file:
        metadata.to_csv(file, index_label="trial")
    assert answer.images is not None
    overview = _grid([[to_pil(image) for image in row] for row in answer.images])
    write_picture(config.output / "overview.png", overview)
    return config.output


def load_trials(config: GenerateConfig, processor: EEGProcessor) -> Trials:
    """Open prepared trials, or cut a recording the way the decoder's trials were cut."""
    if (config.data / "info.json").is_file():
        return Trials.load(config.data)
    prepare = prepare_settings(processor, config.unit, config.events)
    paths = find_recordings([config.data])
    stated = prepare.signal.stated()
    return cut_trials((read_recording(path, **stated) for path in paths), prepare)


def prepare_settings(
    processor: EEGProcessor, unit: Unit | None = None, events: dict[str, int] | None = None
) -> PrepareConfig:
    """Return how a recording is cut the way a decoder's trials were cut, without pictures.

    Parameters
    ----------
    processor
        Of the decoder.
    unit
        What the EEG's numbers in the file are in, where the file says it wrongly or not at all.
    events
        Category -> marker code, of the events that are used; None: every event.
    """
    settings = processor.config
    signal = SignalConfig(**(settings["signal"] or {}))
    tmin = float(settings["tmin"])
    return PrepareConfig(
        signal=signal.model_copy(update={"picks": list(settings["ch_names"]), "unit": unit}),
        tmin=tmin,
        tmax=tmin + settings["n_times"] / settings["sfreq"],
        events=events,
        pair_by="none",
    )


def to_pil(image: torch.Tensor) -> Image.Image:
    return Image.fromarray((image.permute(1, 2, 0) * 255).round().byte().numpy())


def _grid(rows: list[list[Image.Image]]) -> Image.Image:
    width, height = rows[0][0].size
    grid = Image.new("RGB", (len(rows[0]) * width, len(rows) * height), "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            grid.paste(image, (x * width, y * height))
    return grid
