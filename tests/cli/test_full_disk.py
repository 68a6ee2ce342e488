"""Every command that writes, on a disk that takes no more: one line, and the way to go on is true.

The disk is a limit on the size of files, which ends a write like a full one.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from every_command import command_lines, has_own_tests, write_inputs, write_weights
from small_disk import files_of_at_most
from tiny import SIZE

from dreamdiffusion.cli.commands import COMMANDS, main
from dreamdiffusion.models.generator.build import open_networks
from dreamdiffusion.models.generator.folder import save_generator
from dreamdiffusion.models.judge.judge import load_judge, save_judge

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng

UNTRIED = {
    "datasets": "downloads: tests/files/test_download.py",
    "info": "writes nothing",
    "protocols": "writes nothing",
    "completion": "writes nothing",
}
STAYS = ("stays and is not done again", "is not complete", "is as it was before", "no picture is")
LIMITS = {"generate": 300, "decode": 300}
"""Bytes of a file; others write larger ones, and have written some before."""
WRITING = [name for name in COMMANDS if name not in UNTRIED and not has_own_tests(name)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands are given."""
    root = write_inputs(tmp_path_factory.mktemp("inputs"))
    write_weights(root)
    return root


@pytest.mark.parametrize("some", [False, True])
@pytest.mark.parametrize("command", WRITING)
def test_a_full_disk_says_what_stays_and_the_same_command_goes_on(
    command: str, some: bool, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = [*command.split(), *command_lines(root, tmp_path / "out")[command]]
    with files_of_at_most(LIMITS.get(command, 3000) if some else 0):
        assert main(typed) == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    (line,) = (line for line in told.splitlines() if "error: " in line)
    assert str(tmp_path / "out") in line.split(": ")[1], line
    assert "File too large" in line, line
    assert "raise the limit of the size of a file" in line, line
    assert "give the same command again" in line, line
    assert any(words in line for words in STAYS), line
    left = [path.name for path in (tmp_path / "out").rglob("*") if "unfinished" in path.name]
    assert not left
    if "delete it" in line and command == "bids":
        shutil.rmtree(tmp_path / "out" / "bids", ignore_errors=True)
    assert not some or main(typed) == 0, capsys.readouterr().err


def test_a_generator_is_whole_or_as_it_was(root: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(root / "generator", tmp_path / "generator")
    before = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    networks = open_networks(folder, SIZE)
    with (
        files_of_at_most(20_000),
        pytest.raises(OSError, match="File too large") as failed,
    ):
        save_generator(folder, networks)
    assert str(failed.value.filename).startswith(str(folder))
    assert [path.name for path in tmp_path.iterdir()] == ["generator"]
    after = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert before == after


def test_a_judge_is_none_before_its_weights_are_there(root: Path, tmp_path: Path) -> None:
    judge = load_judge(root / "judge")
    with files_of_at_most(1000), pytest.raises(OSError, match="File too large") as failed:
        save_judge(judge, tmp_path)
    assert Path(failed.value.filename).name == "diffusion_pytorch_model.safetensors"
    assert not list(tmp_path.iterdir())
    save_judge(judge, tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved.pop("_name_or_path") == str(root / "judge")  # as `save_pretrained` does
    assert saved == json.loads((root / "judge" / "config.json").read_text())
    again = load_judge(tmp_path)
    for name, value in judge.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
