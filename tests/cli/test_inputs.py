"""Every command with a missing, an empty, a wrong and a foreign input: what it is, how to mend."""

from __future__ import annotations

from pathlib import Path

import pytest
from every_command import command_lines, write_inputs

from dreamdiffusion.cli.commands import COMMANDS, main
from dreamdiffusion.cli.options import name_option
from dreamdiffusion.decoders.config import FinetuneConfig
from dreamdiffusion.evaluation.config import EvaluateConfig

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng

OPTIONS = {
    "prepare": ["--input", "--stimuli"],
    "audit": ["--data"],
    "pretrain": ["--data", "--init"],
    "train-generator": ["--data", "--init"],
    "train-judge": ["--data", "--init"],
    "finetune": ["--data", "--generator", "--clip", "--init", "--pretrained"],
    "fit lda": ["--data"],
    "fit encoding": ["--data"],
    "fit reader": ["--data", "--clip", "--init", "--pretrained"],
    "fit caption": ["--data", "--clip", "--init", "--pretrained", "--generator"],
    "fit prior": ["--data", "--clip", "--init", "--pretrained", "--bank", "--generator"],
    "convert": ["--input", "--generator"],
    "generate": ["--model", "--data"],
    "decode": ["--model", "--data"],
    "evaluate": ["--model", "--data", "--judge", "--folds", "--protocol"],
    "demo": ["--weights"],
    "app": ["--models", "--judge", "--live"],
    "live": ["--model"],
    "bids": ["--pictures", "--events"],
    "run": ["--pictures", "--events"],
}
"""The options of a command that name a file or a folder which it reads."""
UNNAMED = {
    "inspect": [], "info": [], "stimulate": [], "datasets": ["show"], "protocols": ["show"],
}  # fmt: skip
"""Commands that take their input without an option, and the words before it."""
BAD = ("missing", "empty", "empty.file", "wrong.txt", "foreign", "deep")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands need, and inputs that are none."""
    root = write_inputs(tmp_path_factory.mktemp("inputs"))
    (root / "empty").mkdir()
    (root / "empty.file").touch()
    (root / "wrong.txt").write_text("a letter")
    foreign = root / "foreign"
    foreign.mkdir()
    (foreign / "config.json").write_text("{}")
    (foreign / "info.json").write_text('{"kind": "something"}')
    (foreign / "adapter.json").write_text("[]")
    (foreign / "decoder.json").write_text('{"decoder": "something"}')
    (foreign / "model_index.json").write_text("[1]")
    deep = root / "deep"
    deep.mkdir()
    for name in ("info", "adapter", "decoder", "split", "dataset_description"):
        (deep / f"{name}.json").write_text(100_000 * "[")
    return root


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line in which a command ends."""
    assert main(arguments) == 2, arguments
    error = capsys.readouterr().err
    assert "Traceback" not in error
    # It may follow a progress bar that stands still.
    (line,) = (line for line in error.splitlines() if "error: " in line)
    return line.partition("error: ")[2]


@pytest.mark.parametrize(
    ("command", "option"), [(name, option) for name in OPTIONS for option in OPTIONS[name]]
)
def test_the_error_names_the_input_and_the_option(
    command: str, option: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (*BAD, "judge" if option != "--judge" else "trials"):
        typed = command_lines(root, tmp_path / name)[command]
        further = ["--encoder", "mae"] if option == "--pretrained" and "fit" in command else []
        line = refused([*command.split(), *typed, *further, option, str(root / name)], capsys)
        assert name in line
        assert option in line, line
        assert "Error(" not in line and "torch.Size" not in line and "huggingface" not in line


@pytest.mark.parametrize("command", UNNAMED)
def test_the_error_names_the_input(
    command: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for name in BAD:
        assert name in refused([command, *UNNAMED[command], str(root / name)], capsys)


def test_a_grid_with_a_bad_setting_ends_before_anything_is_run(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("missing", "empty", "wrong.txt"):
        assert name in refused(["ablate", "--config", str(root / name)], capsys)
    grid = tmp_path / "grid.yaml"
    for content, told in (
        ("fit: {data: x, lr: 1}", "lr"),
        ("row: []", "row (did you mean rows?)"),
        ("evaluate: {split: tset}", "split: Input should be 'train'"),
    ):
        grid.write_text(f"{content}\noutput: {tmp_path / 'grid'}\n")
        assert told in refused(["ablate", "--config", str(grid)], capsys)
    assert not list((tmp_path / "grid").glob("*-0"))


def test_every_option_that_names_a_path_is_walked() -> None:
    """New options of this kind join `OPTIONS`; other commands have tests of their own."""
    written = {"output", "picture", "scheduler"}
    elsewhere = {"live": {"--judge", "--pictures"}}  # tests/cli/live
    for name, command in COMMANDS.items():
        fields = command.load_schema().model_fields.items()
        named = {key for key, field in fields if "Positional" not in str(field.metadata)} - written
        paths = {f"--{key}" for key, field in fields if key in named and "Path" in str(field)}
        if name in OPTIONS:
            assert paths <= {*OPTIONS.get(name, []), *elsewhere.get(name, ())}, name


def test_an_error_that_names_a_path_gets_the_option() -> None:
    config = EvaluateConfig(model="a/b", data="a", folds=["c", "d"])
    assert name_option("a/b/x is missing", config) == "a/b/x is missing (--model)"
    assert name_option("a/bc is missing", config) == "a/bc is missing (--data)"
    assert name_option("no a/b; give --model M", config) == "no a/b; give --model M"
    assert name_option("no a/b (--folds), or (--x)", config) == "no a/b (--folds), or (--x)"
    assert name_option("d has no split", config) == "d has no split (--folds)"
    assert name_option("the d of e", None) == "the d of e"
    assert name_option("a/b or c", config) == "a/b or c (--model, --folds)"
    both = FinetuneConfig(generator="g/h", clip="g/h")
    assert name_option("g/h is none", both) == "g/h is none (--generator, --clip)"
    assert name_option("dad", config) == "dad"
