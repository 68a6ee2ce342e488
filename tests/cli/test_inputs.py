"""Every command with a missing, an empty, a wrong and a foreign input: one line, no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamdiffusion.cli.commands import main

CASES = {
    "prepare": ["--input"],
    "audit": ["--data"],
    "pretrain": ["--data"],
    "train-generator": ["--n_scenes", "4", "--init"],
    "train-judge": ["--data"],
    "finetune": ["--data"],
    "generate": ["--model"],
    "evaluate": ["--data"],
    "convert": ["--input"],
    "demo": ["--weights"],
    "live": ["--model"],
    "info": [],
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inputs")
    (root / "empty").mkdir()
    (root / "empty.file").touch()
    (root / "wrong.txt").write_text("a letter")
    foreign = root / "foreign"
    foreign.mkdir()
    (foreign / "config.json").write_text("{}")
    (foreign / "info.json").write_text('{"kind": "something"}')
    (foreign / "adapter.json").write_text("[]")
    (foreign / "model_index.json").write_text("[1]")
    return root


@pytest.mark.parametrize("name", ["missing", "empty", "empty.file", "wrong.txt", "foreign"])
@pytest.mark.parametrize("command", CASES)
def test_an_input_that_is_none_ends_in_one_line(
    command: str, name: str, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = [] if command == "info" else ["--output", str(tmp_path / "out")]
    assert main([command, *output, *CASES[command], str(inputs / name)]) == 2
    error = capsys.readouterr().err
    # It may follow a progress bar that stands still.
    line = next(line for line in error.splitlines() if "error: " in line)
    assert name in line
    assert "Traceback" not in error
