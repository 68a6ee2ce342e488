"""One run by two processes on the CPU (gloo): the same as one process, and safe against a kill."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny import finetune_config

from dreamdiffusion.decoders.config import GenerateConfig, SampleConfig
from dreamdiffusion.files.schema import write_yaml
from dreamdiffusion.training.config import RuntimeConfig

STEPS = 8


SCRIPT = """
import os, signal, sys
from dreamdiffusion.training import loop as engine
from dreamdiffusion.cli.commands import main

rate, fatal = engine.learning_rate, int(sys.argv[2])

def rate_or_death(optim, step, steps):
    if step == fatal and os.environ.get("RANK") == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return rate(optim, step, steps)

engine.learning_rate = rate_or_death
sys.exit(main([sys.argv[3], "--config", sys.argv[1]]))
"""


def launch(
    folder: Path,
    processes: int,
    fatal_step: int = -1,
    stage: str = "finetune",
    config: str = "config.yaml",
) -> subprocess.CompletedProcess[str]:
    """Run a stage by several processes, the second of which may die at a step."""
    script = folder / "run.py"
    script.write_text(SCRIPT, encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}"]
    start += [f"--master_port={port}", "--max_restarts=0"]
    if processes == 1:
        start = [sys.executable]
    command = [*start, str(script), str(folder / config), str(fatal_step), stage]
    source = str(Path(__file__).parents[2] / "src")
    settings = {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, env=os.environ | settings, capture_output=True, text=True, timeout=240, check=False
    )


def losses(folder: Path) -> list[float]:
    lines = (folder / "finetune" / "log.jsonl").read_text("utf-8").splitlines()
    return [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]


def validations(folder: Path) -> list[float]:
    lines = (folder / "finetune" / "log.jsonl").read_text("utf-8").splitlines()
    return [e["validation_loss"] for e in map(json.loads, lines) if "validation_loss" in e]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    model = folder / "finetune" / "model"
    parts = ("eeg_encoder", "conditioner")
    found = load_file(model / "cross_attention.safetensors")
    for part in parts:
        file = model / part / "diffusion_pytorch_model.safetensors"
        found |= {f"{part}.{key}": value for key, value in load_file(file).items()}
    return found


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same fine-tuning, configured in one folder for each way to run it."""
    found = {}
    for name in ("one", "two", "killed", "cut"):
        folder = tmp_path_factory.mktemp(name)
        with torch.random.fork_rng():
            config = finetune_config(folder, steps=STEPS)
            config.runtime.shard = name == "cut"
            config.optim.ema_decay = 0.9
            write_yaml(config, folder / "config.yaml")
        found[name] = folder
    return found


def test_two_processes_learn_what_one_does(folders: dict[str, Path]) -> None:
    for name, processes in (("one", 1), ("two", 2)):
        done = launch(folders[name], processes)
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = losses(folders["one"]), losses(folders["two"])
    assert len(one) == STEPS
    assert two == pytest.approx(one, abs=1e-4)
    assert len(set(one)) == STEPS  # it learns, the curves are not flat
    for key, value in weights(folders["one"]).items():
        torch.testing.assert_close(weights(folders["two"])[key], value, atol=2e-3, rtol=1e-2)


def test_a_process_that_dies_ends_the_run_which_resumes(folders: dict[str, Path]) -> None:
    """The second process is killed in step 5; the checkpoint of step 4 is there."""
    if not (folders["two"] / "finetune" / "model").exists():
        assert launch(folders["two"], 2).returncode == 0
    died = launch(folders["killed"], 2, fatal_step=5)
    assert died.returncode != 0
    # It finds the other gone, or torchrun, which did, ends it first; it says what to do either way.
    assert "goes on from the last checkpoint" in died.stderr
    assert not (folders["killed"] / "finetune" / "model").exists()
    again = launch(folders["killed"], 2)
    assert again.returncode == 0, again.stderr[-2000:]
    assert "resuming at step 4" in again.stderr
    wanted, got = weights(folders["two"]), weights(folders["killed"])
    assert all(torch.equal(value, got[key]) for key, value in wanted.items())


def test_weights_cut_over_processes_learn_the_same(folders: dict[str, Path]) -> None:
    """FSDP, killed and resumed: what one process learns."""
    if not (folders["one"] / "finetune" / "model").exists():
        assert launch(folders["one"], 1).returncode == 0
    assert launch(folders["cut"], 2, fatal_step=5).returncode != 0
    again = launch(folders["cut"], 2)
    assert again.returncode == 0, again.stderr[-2000:]
    assert "resuming at step 4" in again.stderr
    assert losses(folders["cut"]) == pytest.approx(losses(folders["one"]), abs=1e-4)
    for key, value in weights(folders["one"]).items():
        torch.testing.assert_close(weights(folders["cut"])[key], value, atol=2e-3, rtol=1e-2)
    files = [folders[name] / "finetune" / "checkpoints" for name in ("one", "cut")]
    one, cut = (load_file(f / f"step-{STEPS:08d}" / "averages.safetensors") for f in files)
    assert {k: v.shape for k, v in one.items()} == {k: v.shape for k, v in cut.items()}
    assert validations(folders["cut"]) == pytest.approx(validations(folders["one"]), abs=1e-3)


def test_two_processes_draw_what_one_does(folders: dict[str, Path]) -> None:
    folder = folders["two"]
    if not (folder / "finetune" / "model").exists():
        assert launch(folder, 2).returncode == 0
    pictures = []
    for processes in (1, 2):
        output = folder / f"images-{processes}"
        sample = SampleConfig(num_inference_steps=2, num_images_per_prompt=1)
        config = GenerateConfig(
            model=folder / "finetune" / "model", data=folder / "trials", output=output, limit=5,
            batch_size=2, sample=sample, runtime=RuntimeConfig(device="cpu", precision="fp32"),
        )  # fmt: skip
        write_yaml(config, folder / "generate.yaml")
        done = launch(folder, processes, stage="generate", config="generate.yaml")
        assert done.returncode == 0, done.stderr[-2000:]
        pictures.append({p.name: np.asarray(Image.open(p)) for p in output.rglob("*.png")})
    one, two = pictures
    assert len(one) == 6 and sorted(one) == sorted(two)  # five images and the overview
    for name, pixels in one.items():
        assert np.abs(pixels.astype(int) - two[name]).max() <= 1
