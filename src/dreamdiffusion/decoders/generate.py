"""The stage `generate`: images from prepared trials, or straight from a recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dreamdiffusion.decoders.config import GenerateConfig
from dreamdiffusion.decoders.dreamdiffusion.pipeline import EEGToImagePipeline
from dreamdiffusion.decoders.sampling import collect, draw_trials, eeg_of
from dreamdiffusion.files.output import writes_output
from dreamdiffusion.files.schema import write_yaml
from dreamdiffusion.files.whole import replacing, write_picture
from dreamdiffusion.models.generator.generator import change_scheduler
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.recordings.find import find_recordings
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.training.device import autocast, choose_device, is_main_process
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
    device = choose_device(config.runtime)
    pipe = EEGToImagePipeline.from_pretrained(config.model).to(device)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = change_scheduler(pipe.scheduler, config.sample.scheduler)
    trials = load_trials(config, pipe)
    chosen = np.arange(len(trials))[: config.limit]
    folder = config.output / "images"
    folder.mkdir(parents=True, exist_ok=True)
    write_yaml(config, config.output / "config.yaml")
    sample = config.sample
    given = eeg_of(np.asarray(trials.data[chosen]), trials.ch_names, trials.sfreq)
    parts: list[tuple[np.ndarray, torch.Tensor]] = []
    with autocast(device, config.runtime.precision, pipe.unet.config.sample_size**2):
        for places, images in draw_trials(
            pipe, given, chosen, sample, config.batch_size, "generating"
        ):
            for place, of_trial in zip(places, images, strict=True):
                for j, image in enumerate(of_trial):
                    write_picture(folder / f"trial-{chosen[place]:04d}-{j}.png", to_pil(image))
            shown = int((places < ROWS).sum())
            parts.append((places[:shown], images[:shown]))
    first = collect(parts)
    if not is_main_process():
        return config.output
    with replacing(config.output / "trials.csv") as file:
        trials.metadata.iloc[chosen].to_csv(file, index_label="trial")
    overview = _grid([[to_pil(image) for image in row] for row in first])
    write_picture(config.output / "overview.png", overview)
    return config.output


def load_trials(config: GenerateConfig, pipe: EEGToImagePipeline) -> Trials:
    """Open prepared trials, or cut a recording the way the model's trials were cut."""
    if (config.data / "info.json").is_file():
        return Trials.load(config.data)
    settings = pipe.eeg_processor.config
    signal = SignalConfig(**(settings["signal"] or {}))
    tmin = float(settings["tmin"])
    prepare = PrepareConfig(
        signal=signal.model_copy(update={"picks": list(settings["ch_names"]), "unit": config.unit}),
        tmin=tmin,
        tmax=tmin + settings["n_times"] / settings["sfreq"],
        events=config.events,
        pair_by="none",
    )
    paths = find_recordings([config.data])
    stated = prepare.signal.stated()
    return cut_trials((read_recording(path, **stated) for path in paths), prepare)


def to_pil(image: torch.Tensor) -> Image.Image:
    return Image.fromarray((image.permute(1, 2, 0) * 255).round().byte().numpy())


def _grid(rows: list[list[Image.Image]]) -> Image.Image:
    width, height = rows[0][0].size
    grid = Image.new("RGB", (len(rows[0]) * width, len(rows) * height), "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            grid.paste(image, (x * width, y * height))
    return grid
