"""docs/known-pictures.md as it is written, from the recording to the report, at small sizes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from tiny import SIZES, write_generator

from dreamdiffusion.cli.commands import main

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng

PAGE = Path(__file__).parents[2] / "docs" / "known-pictures.md"
SMALLER = {
    "simulate": ["--montage", "muse4", "--trials_per_run", "40"],
    "prepare": [],
    "audit": [],
    "finetune": [
        "--generator", "GENERATOR", "--steps", "2", "--batch_size", "8",
        "--n_condition_tokens", "4", "--runtime.device", "cpu", "--runtime.precision", "fp32",
        *(f"--encoder.{name}={value}" for name, value in SIZES.model_dump().items()),
    ],
    "evaluate": [
        "--sample.num_inference_steps", "1", "--n_permutations", "199", "--n_bootstrap", "199",
        "--controls", "no_eeg_prior", "--no-occlusion", "--runtime.device", "cpu",
    ],
}  # fmt: skip
"""What is typed behind the commands of the page; the last of an option counts."""


def walk() -> list[list[str]]:
    """Return the commands of the page's walk."""
    text = PAGE.read_text("utf-8").partition("## One walk")[2]
    block = re.findall(r"```bash\n(.*?)```", text, flags=re.S)[0].replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in block.splitlines() if line]


def test_the_walk_goes_to_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_generator(tmp_path / "generator")
    commands = walk()
    assert [command[0] for command in commands] == list(SMALLER)
    for command in commands:
        smaller = [word.replace("GENERATOR", "generator") for word in SMALLER[command[0]]]
        assert main([*command, *smaller]) == 0, capsys.readouterr().err
    scores = json.loads((tmp_path / "runs/known-scores/scores.json").read_text("utf-8"))
    assert "20 pictures on two sides" in scores["split"]
    headline = scores["headline"]
    assert headline["verdict"] == "not above" and headline["reasons"] == []
    assert headline["known_pictures"] and headline["metric"] == "clip_retrieval_top1"
    assert set(scores["not_scored"]) == {"category_top1", "color_top1", "confidence"}
    assert {score["n"] for score in scores["scores"]} == {160}
    assert scores["scores"][0]["chance"] == pytest.approx(1 / 20, abs=0.001)
    audit = {finding["name"]: finding["severity"] for finding in scores["audit"]["findings"]}
    assert audit["shared_stimuli"] == "note" and "severe" not in audit.values()
    page = (tmp_path / "runs/known-scores/report.html").read_text("utf-8")
    assert "The claim is which of the known pictures was seen" in page
    assert "there is no judge that knows the categories" in page
    assert "No score of this evaluation may be quoted" not in page
