"""`decode` as a command: what it writes of each kind of answer."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file
from tiny import prior_config, write_trials

from dreamdiffusion.cli import commands as cli
from dreamdiffusion.decoders.fit import fit_decoder, load_decoder
from dreamdiffusion.trials.trials import Trials

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng


def test_labels_of_the_linear_baseline(tmp_path: Path) -> None:
    trials = write_trials(tmp_path / "trials")
    split = ["--split.by", "run", "--split.test", "3", "--split.validation_fraction", "0"]
    fitted = ["--data", str(trials), "--output", str(tmp_path / "lda")]
    assert cli.main(["fit", "lda", *fitted, *split]) == 0
    model = tmp_path / "lda" / "model"
    given = ["--model", str(model), "--data", str(trials), "--output", str(tmp_path / "out")]
    assert cli.main(["decode", *given, "--limit", "5"]) == 0
    table = pd.read_csv(tmp_path / "out" / "answers.csv", dtype={"run": str})
    expected = load_decoder(model).decode(Trials.load(trials)).labels
    assert table["decoded_category"].tolist() == (expected or [])[:5]
    assert table["probability_category"].between(0.5, 1).all()
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix) == [
        "answers.csv", "config.yaml",
    ]  # fmt: skip


def test_images_and_embeddings_of_the_prior(tmp_path: Path) -> None:
    model = fit_decoder(prior_config(tmp_path))
    given = ["--model", str(model), "--data", str(tmp_path / "trials")]
    few = ["--limit", "2", "--sample.num_images_per_prompt", "3", "--device", "cpu"]
    assert cli.main(["decode", *given, "--output", str(tmp_path / "out"), *few]) == 0
    names = sorted(path.name for path in (tmp_path / "out" / "images").iterdir())
    assert names == [f"trial-000{i}-{j}.png" for i in range(2) for j in range(3)]
    assert load_file(tmp_path / "out" / "embeddings.safetensors")["embeddings"].shape == (2, 8)
