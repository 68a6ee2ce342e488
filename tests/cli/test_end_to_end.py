"""The whole path on a small scale, through the command line: from nothing to scored images."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from diffusers import StableDiffusionPipeline
from PIL import Image
from script import load_script

from dreamdiffusion.cli.commands import main

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chain that remakes the weights, rehearsed: every stage once, from nothing."""
    root = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dreamdiffusion.files.shipped.WEIGHTS", ())  # nothing is taken from there
        arguments = ["--rehearsal", "--output", str(root)]
        assert load_script("scripts/make_weights.py").run(arguments) == 0
    return root


def test_generator_draws_a_caption(root: Path) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(root / "weights" / "scenes-generator")
    image = pipe("a red sailboat", num_inference_steps=2, height=32, width=32).images[0]
    assert image.size == (32, 32)


def test_evaluate_scores_the_test_run(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "evaluate", "--model", str(root / "weights" / "eeg-scenes"),
        "--data", str(root / "runs" / "scenes-trials"),
        "--judge", str(root / "weights" / "judge"), "--output", str(root / "scores"),
        "--sample.num_inference_steps", "2", "--sample.num_images_per_prompt", "2",
        "--n_permutations", "99", "--n_bootstrap", "99", "--runtime.device", "cpu",
    ]  # fmt: skip
    assert main(arguments) == 0
    assert capsys.readouterr().out.strip() == str(root / "scores")
    result = json.loads((root / "scores" / "scores.json").read_text("utf-8"))
    assert [score["metric"] for score in result["scores"]] == [
        "category_top1",
        "color_top1",
        "clip_retrieval_top1",
        "ssim",
        "pcc",
    ]
    assert {score["n"] for score in result["scores"]} == {48}
    assert "run 03" in result["split"] and result["simulated"] is True
    # Untrained: the images cannot be right more often than chance allows.
    category = result["scores"][0]
    assert category["value"] < 0.3 and category["p"] > 0.001


@pytest.mark.parametrize("model", ["eeg-scenes", "prior-scenes"])
def test_generate_reads_a_recording_directly(model: str, root: Path) -> None:
    recording = next((root / "runs" / "scenes-person").rglob("*run-03_eeg.edf"))
    arguments = [
        "generate", "--model", str(root / "weights" / model), "--data", str(recording),
        "--output", str(root / "images"), "--limit", "3", "--sample.num_inference_steps", "2",
        "--sample.num_images_per_prompt", "2", "--runtime.device", "cpu",
    ]  # fmt: skip
    assert main(arguments) == 0
    names = sorted(path.name for path in (root / "images" / "images").iterdir())
    assert names == [f"trial-{t:04d}-{j}.png" for t in range(3) for j in range(2)]
    with Image.open(root / "images" / "overview.png") as overview:
        assert overview.size == (2 * 32, 3 * 32)
    table = pd.read_csv(root / "images" / "trials.csv")
    assert len(table) == 3
    if model == "prior-scenes":
        assert table["drawn_from"].str.match(r"scene \d+ of seed 0: an? .*; scene \d+ of").all()


@pytest.mark.parametrize("decoder", ["prior", "dreamdiffusion"])
def test_demo_decodes_a_run_the_model_never_saw(
    decoder: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "demo", "--weights", str(root / "weights"), "--output", str(root / "demo"),
        "--trials", "24", "--runtime.device", "cpu", "--decoder", decoder,
    ]  # fmt: skip
    assert main(arguments) == 0
    for name in ("scores.json", "gallery.png", "report.html"):
        assert (root / "demo" / name).stat().st_size > 500
    assert "run-04" in next((root / "demo" / "recording").rglob("*_eeg.edf")).name
    told = capsys.readouterr()
    assert "category_top1" in told.out + told.err
    assert "SIMULATED" in told.err


def test_live_decodes_a_stream(root: Path, tmp_path: Path) -> None:
    arguments = [
        "live", "--model", str(root / "weights" / "prior-scenes"), "--output", str(tmp_path),
        "--judge", str(root / "weights" / "judge"), "--duration", "3", "--device", "cpu",
    ]  # fmt: skip
    assert main(arguments) == 0
    assert (tmp_path / "latest.png").is_file()


def test_nothing_is_made_again(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chain = load_script("scripts/make_weights.py")
    assert chain.run(["--rehearsal", "--output", str(root)]) == 0
    assert capsys.readouterr().err.count("is made") == len(chain.STAGES)


def test_missing_weights_are_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--weights", str(tmp_path), "--output", str(tmp_path / "d")]) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: bundled weights") and "--weights" in message
