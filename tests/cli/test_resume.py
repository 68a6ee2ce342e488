"""A training that goes on is given what it was given at the start; else it says what changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from every_command import command_lines, has_own_tests, write_inputs
from PIL import Image
from safetensors.torch import load_file

from dreamdiffusion.cli.commands import COMMANDS, main

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng

RESULTS = {
    "pretrain": "mae",
    "train-generator": "generator",
    "train-judge": "",
    "finetune": "model/conditioner",
    "fit reader": "model/network-0",
    "fit caption": "model/reader/network-0",
    "fit prior": "model/reader/network-0",
}
"""Where below its output a training leaves weights."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands are given; a test that changes it takes a copy."""
    return write_inputs(tmp_path_factory.mktemp("inputs"))


def change_data(command: str, root: Path) -> None:
    """Make the data other ones in place, as a second `prepare` with other settings would."""
    if command == "pretrain":
        again = ["--input", str(root / "bids"), "--output", str(root / "windows"), "--kind"]
        filtered = ["windows", "--window_s", "0.25", "--window_stride_s", "0.25"]
        assert main(["prepare", *again, *filtered, "--signal.l_freq", "2"]) == 0
    elif command == "train-judge":
        Image.new("RGB", (16, 16)).save(root / "pictures" / "disc" / "0.png")
    else:
        data = np.load(root / "trials" / "trials.npy")
        np.save(root / "trials" / "trials.npy", 2 * data)


@pytest.mark.parametrize("command", RESULTS)
def test_what_was_given_at_the_start_is_compared(
    command: str, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(inputs, tmp_path / "inputs")
    typed = [*command.split(), *command_lines(root, tmp_path / "out")[command]]
    assert main(typed) == 0
    assert main(typed) == 0  # and nothing is trained again
    start = tmp_path / "start"
    made = tmp_path / "out" / command.replace(" ", "-")
    shutil.copytree(made, start)
    capsys.readouterr()
    assert main([*typed, "--init", str(start)]) == 2
    told = capsys.readouterr().err
    assert "was written with init = None" in told
    assert "another output folder" in told
    if command == "train-generator":  # of drawn scenes
        assert main([*typed, "--n_scenes", "17"]) == 2
        assert "was written with n_scenes = 16, this run has 17" in capsys.readouterr().err
        return
    assert f"--init {made} to start from" in told
    change_data(command, root)
    capsys.readouterr()
    assert main(typed) == 2
    assert "was written with digest of data = " in capsys.readouterr().err


def test_every_training_that_resumes_is_tried() -> None:
    resuming = {name for name, command in COMMANDS.items() if command.resumes}
    others = {name for name in resuming if has_own_tests(name)} | {"ablate"}  # tests/studies
    assert resuming - others == set(RESULTS)


@pytest.mark.parametrize("command", ["fit reader", "fit prior"])
def test_a_reader_starts_from_the_weights_of_another(
    command: str, inputs: Path, tmp_path: Path
) -> None:
    typed = [*command.split(), *command_lines(inputs, tmp_path / "out")[command]]
    assert main(typed) == 0
    first, second = tmp_path / "out" / command.replace(" ", "-"), tmp_path / "second"
    still = ["--output", str(second), "--steps", "1", "--optim.lr", "1e-12"]
    assert main([*typed, *still, "--init", str(first)]) == 0
    before, after = (
        load_file(folder / RESULTS[command] / "diffusion_pytorch_model.safetensors")
        for folder in (first, second)
    )
    assert before.keys() == after.keys()
    for name, value in before.items():
        if "running" in name or "tracked" in name:  # statistics of one more batch
            continue
        np.testing.assert_allclose(after[name].float(), value.float(), atol=1e-6, err_msg=name)


def test_a_start_of_other_sizes_is_named(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["fit", "reader", *command_lines(inputs, tmp_path / "out")["fit reader"]]
    assert main(typed) == 0
    init = ["--init", str(tmp_path / "out" / "fit-reader"), "--output", str(tmp_path / "second")]
    for change, told in (
        (["--compact.embed_dim", "8"], "ReaderNetwork with sizes"),
        (["--ensemble", "2"], "network-1 holds no ReaderNetwork"),
    ):
        assert main([*typed, *init, *change]) == 2
        assert told in capsys.readouterr().err
