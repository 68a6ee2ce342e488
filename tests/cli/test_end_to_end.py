"""The whole path on a small scale, through the command line: from nothing to scored images."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from diffusers import StableDiffusionPipeline
from PIL import Image
from tiny import SIZES

from dreamdiffusion.cli.commands import main
from dreamdiffusion.datasets.config import SimulateConfig
from dreamdiffusion.decoders.config import FinetuneConfig, PriorConfig
from dreamdiffusion.files.schema import Schema, write_yaml
from dreamdiffusion.models.config import PretrainConfig, TrainGeneratorConfig, TrainJudgeConfig
from dreamdiffusion.trials.config import PrepareConfig

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng

CPU = {"device": "cpu", "precision": "fp32"}
SHORT = {"steps": 3, "batch_size": 8, "runtime": CPU}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every stage once, each from a config file, as a user would."""
    root = tmp_path_factory.mktemp("whole")
    weights = root / "weights"
    recipe = SimulateConfig(
        output=root / "recording", montage="muse4", n_runs=3, trials_per_run=48, noise_level=0.3
    )
    signal = {"l_freq": 1.0}
    stages: list[tuple[str, Schema]] = [
        ("simulate", recipe),
        ("prepare", PrepareConfig(
            input=[root / "recording"], output=root / "trials", signal=signal)),
        ("prepare", PrepareConfig(
            input=[root / "recording"], output=root / "windows", kind="windows", signal=signal)),
        ("train-generator", TrainGeneratorConfig(
            output=root / "generator", image_size=32, n_scenes=48,
            clip={"width": 32, "layers": 1, "heads": 2, "projection_dim": 8, "vocab_size": 700},
            vae={"channels": [16, 16, 16]},
            unet={"channels": [32, 32], "layers_per_block": 1, "heads": 2},
            clip_train=SHORT, clip_image_train=SHORT, vae_train=SHORT, unet_train=SHORT)),
        ("train-judge", TrainJudgeConfig(
            output=weights / "judge", n_scenes=240, image_size=32, **SHORT)),
        ("pretrain", PretrainConfig(
            data=root / "windows", output=root / "pretrain", encoder=SIZES, **SHORT)),
        ("finetune", FinetuneConfig(
            data=root / "trials", generator=root / "generator" / "generator",
            pretrained=root / "pretrain", output=root / "finetune", n_condition_tokens=4,
            split={"by": "run", "test": ["03"], "validation": ["02"]}, **SHORT)),
        ("fit-prior", PriorConfig(
            data=root / "trials", generator=root / "generator" / "generator",
            clip=str(root / "generator" / "generator" / "clip"), output=root / "prior",
            bank_size=60, image_size=32, compact={"n_temporal": 8, "embed_dim": 16},
            split={"by": "run", "test": ["03"], "validation": ["02"]}, **SHORT)),
    ]  # fmt: skip
    for i, (command, config) in enumerate(stages):
        path = root / f"{i}-{command}.yaml"
        write_yaml(config, path)
        assert main([command, "--config", str(path)]) == 0, command
    recipe = json.dumps({"montage": "muse4", "n_runs": 3, "noise_level": 0.3})
    fitted = root / "prior" / "model"
    record = json.loads((fitted / "decoder.json").read_text("utf-8"))
    folder = "../../generator/generator"
    record |= {"generator": folder, "clip": f"{folder}/clip"}
    (fitted / "decoder.json").write_text(json.dumps(record), "utf-8")
    (fitted / "recording.json").write_text(recipe, "utf-8")
    fitted.rename(weights / "prior-scenes")
    model = root / "finetune" / "model"
    (weights / "eeg-scenes").parent.mkdir(exist_ok=True)
    model.rename(weights / "eeg-scenes")
    (weights / "eeg-scenes" / "adapter.json").write_text(
        json.dumps({"generator": "../../generator/generator"}), "utf-8"
    )
    (weights / "eeg-scenes" / "recording.json").write_text(recipe, "utf-8")
    return root


def test_generator_draws_a_caption(root: Path) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(root / "generator" / "generator")
    image = pipe("a red sailboat", num_inference_steps=2, height=32, width=32).images[0]
    assert image.size == (32, 32)


def test_evaluate_scores_the_test_run(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "evaluate", "--model", str(root / "weights" / "eeg-scenes"), "--data", str(root / "trials"),
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
    recording = next((root / "recording").rglob("*run-03_eeg.edf"))
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


@pytest.mark.parametrize("variant", ["prior", "paper"])
def test_demo_decodes_a_run_the_model_never_saw(
    variant: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "demo", "--weights", str(root / "weights"), "--output", str(root / "demo"),
        "--trials", "24", "--runtime.device", "cpu", "--variant", variant,
    ]  # fmt: skip
    assert main(arguments) == 0
    for name in ("scores.json", "gallery.png", "report.html"):
        assert (root / "demo" / name).stat().st_size > 500
    assert "run-04" in next((root / "demo" / "recording").rglob("*_eeg.edf")).name
    told = capsys.readouterr()
    assert "category_top1" in told.out + told.err
    assert "SIMULATED" in told.err


def test_missing_weights_are_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--weights", str(tmp_path), "--output", str(tmp_path / "d")]) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: bundled weights") and "--weights" in message
