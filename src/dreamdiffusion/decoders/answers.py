"""The stage `decode`: what any decoder says of prepared trials, as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dreamdiffusion.decoders.base import Answer
from dreamdiffusion.decoders.config import DecodeConfig
from dreamdiffusion.decoders.fit import load_decoder
from dreamdiffusion.decoders.generate import to_pil
from dreamdiffusion.decoders.images import ImageDecoder
from dreamdiffusion.files.output import writes_output
from dreamdiffusion.files.schema import write_yaml
from dreamdiffusion.files.whole import write_picture, write_tensors, write_text
from dreamdiffusion.trials.trials import Trials


@writes_output()
def write_answers(config: DecodeConfig) -> Path:
    """Answer for trials with a fitted decoder, and write what it gives.

    Returns
    -------
    Path
        ``config.output`` with ``answers.csv`` (the most probable value of every attribute, its
        probability, and what the images were drawn from; one row a trial),
        ``embeddings.safetensors`` ``(n, clip_dim)`` and ``images/trial-0000-0.png`` (trial,
        image), each where the decoder gives them.

    Raises
    ------
    FileNotFoundError, ValueError
        If decoder or trials are missing, or the trials do not fit the decoder.
    """
    decoder = load_decoder(config.model).to(config.device)
    trials = Trials.load(config.data)
    trials = trials.select(np.arange(len(trials))[: config.limit])
    if isinstance(decoder, ImageDecoder):
        answer = decoder.decode(trials, config.sample)
    else:
        answer = decoder.decode(trials)
    output = config.output
    output.mkdir(parents=True, exist_ok=True)
    write_yaml(config, output / "config.yaml")
    write_text(output / "answers.csv", _table(trials, answer).to_csv(index_label="trial"))
    if answer.embeddings is not None:
        write_tensors(output / "embeddings.safetensors", {"embeddings": answer.embeddings})
    if answer.images is not None:
        (output / "images").mkdir(exist_ok=True)
        for number, images in enumerate(answer.images):
            for j, image in enumerate(images):
                write_picture(output / "images" / f"trial-{number:04d}-{j}.png", to_pil(image))
    return output


def _table(trials: Trials, answer: Answer) -> pd.DataFrame:
    """Return which trials these are, and the most probable values."""
    table = pd.DataFrame(trials.metadata[["subject", "session", "run", "onset"]])
    for name, chances in (answer.probabilities or {}).items():
        values = chances.to_numpy()
        table[f"decoded_{name}"] = chances.columns.to_numpy()[values.argmax(axis=1)]
        table[f"probability_{name}"] = values.max(axis=1).round(4)
    if answer.drawn_from is not None:
        table["drawn_from"] = ["; ".join(row) for row in answer.drawn_from]
    return table
