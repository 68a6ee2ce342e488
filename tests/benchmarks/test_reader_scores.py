"""Scores of the benchmark of reader and prior: differences to the final row, retrieval in a run."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from dreamdiffusion.evidence.statistics.exchange import Exchange

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from reader_scores import Side, edges, summary  # type: ignore[import-not-found]


def test_every_row_is_compared_with_the_final_one() -> None:
    rng = np.random.default_rng(0)
    final = (rng.random(200) < 0.8).astype(float)
    rows = {
        "short cut": {"category": final * (rng.random(200) < 0.9)},
        "final": {"category": final, "pcc": rng.random(200)},
    }
    found = summary(rows, Exchange.one_run(200), "final")
    short = found["short cut"]["category"]
    assert short["final_minus_this"] == pytest.approx(final.mean() - short["value"])
    low, high = short["difference_ci95"]
    assert 0 < low < short["final_minus_this"] < high
    assert "final_minus_this" not in found["final"]["category"]
    assert found["final"]["pcc"]["value"] == pytest.approx(rows["final"]["pcc"].mean())


def test_a_picture_is_looked_for_among_those_of_its_run() -> None:
    seen = torch.eye(3)[[0, 1, 0, 2]]
    side = SimpleNamespace(seen=seen, trials=SimpleNamespace())
    side.trials.metadata = pd.DataFrame({"run": ["1", "1", "2", "2"]})
    guesses = torch.eye(3)[[0, 0, 0, 2]]
    assert Side.retrieval(side, guesses).tolist() == [1, 0, 1, 1]  # type: ignore[arg-type]


def test_edges_lie_where_the_thing_is() -> None:
    image = torch.zeros(1, 3, 64, 64)
    image[:, :, 8:24, 40:56] = 1
    fields = edges(image).reshape(16, 16)
    assert fields[1:7, 9:15].sum() == pytest.approx(fields.sum()) and fields.sum() > 0
