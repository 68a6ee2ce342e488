"""From an order to its answer: read the recording, cut it, decode it, draw it beside a control."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dreamdiffusion.cli.app.figures import TRACES_S, Plot, draw_evoked, draw_traces
from dreamdiffusion.cli.app.jobs import Order, Tell
from dreamdiffusion.cli.app.models import Model, Models
from dreamdiffusion.cli.app.pages import Moment, Row, fill, png_uri
from dreamdiffusion.cli.app.samples import Samples
from dreamdiffusion.cli.app.verdict import judge_recording
from dreamdiffusion.decoders.generate import to_pil
from dreamdiffusion.files.pictures import open_picture, picture_path
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.recordings.recording import Recording, eeg_names
from dreamdiffusion.trials.cut import cut_trials
from dreamdiffusion.trials.trials import Trials

N_IMAGES = 4
WIDTH = 128
"""Pixels of an image on the page."""
DRAWN = "Drawn from the EEG of this moment"
BY_PROBABILITY = "Drawn by how likely this EEG makes them"
CONTROL = "Control: the EEG of another moment"


class Drawing:
    """What the queue works with.

    Parameters
    ----------
    models, samples
        Those that the page offers.
    """

    def __init__(self, models: Models, samples: Samples) -> None:
        self._models, self._samples = models, samples

    def __call__(self, order: Order, tell: Tell) -> str:
        """Do an order and return the HTML of its answer.

        Raises
        ------
        FileNotFoundError, ValueError
            If the recording cannot be read, says nothing of pictures, or does not fit the model.
        """
        tell("Reading the recording.")
        path = order.upload or self._samples.path(order.sample)
        recording = read_recording(path)
        tell("Opening the model.")
        model = self._models.open(order.model)
        tell("Cutting the recording where pictures came on.")
        trials = cut_trials([recording], model.cut_settings())
        figures = [_traces(recording, trials), *draw_evoked(trials)]
        tell("Naming what was seen.")
        rng = np.random.default_rng(0)
        named, known = model.name(trials)
        seen = trials.metadata["category"].astype(str).tolist()
        verdict = judge_recording(named, seen, known, rng)
        tell("Drawing the images.")
        moments = self._moments(order, model, trials, recording.stimuli_root, rng)
        tell("Writing the page.")
        return fill(
            "result",
            title=order.name if order.upload else self._samples.title(order.sample),
            simulated=recording.simulated,
            verdict=verdict,
            moments=moments,
            text=order.text,
            text_images=model.draw_text(order.text, order.dial) if order.text else [],
            figures=figures,
            facts=_facts(recording, trials, model),
            width=WIDTH,
        )

    def _moments(
        self,
        order: Order,
        model: Model,
        trials: Trials,
        stimuli: Path | None,
        rng: np.random.Generator,
    ) -> list[Moment]:
        places = np.sort(rng.permutation(len(trials))[: order.moments])
        shuffled = another_of_each(len(trials), places, rng)
        chosen = trials.select(places)
        draws = model.draw_by_probability(chosen, order.dial)
        # Where images are drawn by their probability beside it, one best guess is enough.
        n_images = N_IMAGES if draws is None else 1
        answer = model.draw(chosen, order.dial, n_images)
        # The same random numbers, another moment's EEG: what differs is due to the EEG.
        control = None
        if shuffled is not None:
            control = model.draw(trials.select(shuffled), order.dial, n_images)
        words = model.confidence(chosen, answer, draws)
        images = {
            DRAWN: answer.images,
            BY_PROBABILITY: draws,
            CONTROL: None if control is None else control.images,
        }
        return [
            _moment(trials, int(place), number, images, stimuli, words[number])
            for number, place in enumerate(places)
        ]


def another_of_each(
    n_trials: int, places: np.ndarray, rng: np.random.Generator
) -> np.ndarray | None:
    """Return for each place another one, int ``(n,)``; None: there is no other."""
    if n_trials < 2:
        return None
    steps = rng.integers(1, n_trials, size=len(places))
    return (places + steps) % n_trials


def _moment(
    trials: Trials,
    place: int,
    number: int,
    images: Mapping[str, torch.Tensor | None],
    stimuli: Path | None,
    words: str,
) -> Moment:
    row = trials.metadata.iloc[place]
    seen = str(row["category"])
    rows = []
    if stimuli is not None and row["stim_file"]:
        picture = open_picture(picture_path(stimuli, str(row["stim_file"])))
        caption = "The picture that was shown"
        rows.append(Row(caption, f"{caption}: {seen}", [_image(picture)]))
    rows += [_row(kind, drawn[number]) for kind, drawn in images.items() if drawn is not None]
    return Moment(float(row["onset"]), seen, rows, words)


def _row(caption: str, images: torch.Tensor) -> Row:
    return Row(caption, caption, [_image(to_pil(image)) for image in images])


def _image(picture: Image.Image) -> str:
    small = picture.convert("RGB")
    small.thumbnail((WIDTH * 2, WIDTH * 2))
    return png_uri(small)


def _traces(recording: Recording, trials: Trials) -> Plot:
    raw = recording.raw
    sfreq = float(raw.info["sfreq"])
    onsets = trials.metadata["onset"].to_numpy(float)
    start = max(0, min(round((onsets[0] - 0.5) * sfreq), raw.n_times - 1))
    stop = min(raw.n_times, start + round(TRACES_S * sfreq))
    names = eeg_names(raw)
    picks = np.array([raw.ch_names.index(name) for name in names])
    data = np.asarray(raw.get_data(picks=picks, start=start, stop=stop))
    return draw_traces(data, names, sfreq, start / sfreq, onsets)


def _facts(recording: Recording, trials: Trials, model: Model) -> Mapping[str, Any]:
    raw = recording.raw
    lost = {name: n for name, n in trials.rejected.items() if n}
    return {
        "Format": recording.format,
        "Length": f"{raw.n_times / raw.info['sfreq']:.0f} s at {raw.info['sfreq']:g} Hz",
        "EEG channels": len(eeg_names(raw)),
        "Pictures": len(trials),
        "Left out": ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in lost.items())
        or "none",
        "Model": model.folder.name,
    }
