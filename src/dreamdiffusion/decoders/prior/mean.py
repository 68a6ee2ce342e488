"""The mean of a reader's answers for its training trials, beside a prior: for a control."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F

from dreamdiffusion.decoders.base import Answer
from dreamdiffusion.files.whole import write_json

MEAN = "training_mean.json"


def mean_answer(answer: Answer) -> Answer:
    """Return the mean of an answer over its trials, of one row."""
    assert answer.embeddings is not None and answer.probabilities is not None
    mean = F.normalize(answer.embeddings.mean(dim=0, keepdim=True), dim=1)
    tables = {name: table.mean().to_frame().T for name, table in answer.probabilities.items()}
    return Answer(embeddings=mean, probabilities=tables)


def save_answer(answer: Answer, path: Path) -> None:
    """Write embeddings and probabilities of a few trials as JSON."""
    assert answer.embeddings is not None and answer.probabilities is not None
    tables = {name: table.to_dict("list") for name, table in answer.probabilities.items()}
    write_json(path, {"embeddings": answer.embeddings.tolist(), "probabilities": tables})


def load_answer(path: Path) -> Answer:
    """Read what `save_answer` wrote.

    Raises
    ------
    ValueError
        If the file is something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        tables = {name: pd.DataFrame(of) for name, of in content["probabilities"].items()}
        return Answer(embeddings=torch.tensor(content["embeddings"]), probabilities=tables)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not an answer of a reader: {error!r}") from error
