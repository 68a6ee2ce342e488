"""What the commands print: their own lines, and nothing of the libraries below them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from every_command import command_lines, has_own_tests, write_inputs, write_weights

from dreamdiffusion.cli.commands import COMMANDS

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng

RUN_ALL = """
import json, sys
from dreamdiffusion.cli.commands import main
for name, typed in json.load(open(sys.argv[1])).items():
    print("===", name, file=sys.stderr, flush=True)
    assert main([*name.split(), *typed]) == 0, name
"""
OF_LIBRARIES = re.compile(
    r"transformers|diffusers|huggingface|torch|sklearn|mne\\b|matplotlib|site-packages|\w+Warning\b"
    r"|UNEXPECTED|LOAD REPORT|Loading|it/s|\r|\x1b|FutureWarn|deprecat",
)


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python anew, with the settings of a user: none of the tests'."""
    own = ("TRANSFORMERS_", "DIFFUSERS_", "MNE_", "MPLBACKEND", "PYTHONWARNINGS")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(own)}
    source = str(Path(__file__).parents[2] / "src")
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, timeout=600, env={**environment, "PYTHONPATH": source},
    )  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands are given."""
    root = write_inputs(tmp_path_factory.mktemp("inputs"))
    write_weights(root)
    return root


def test_no_command_prints_what_a_library_says(root: Path, tmp_path: Path) -> None:
    typed = command_lines(root, tmp_path / "out")
    lines = {name: words for name, words in typed.items() if not has_own_tests(name)}
    for name in set(COMMANDS) - set(lines):
        assert has_own_tests(name), f"{name} joins support/every_command"
    (tmp_path / "lines.json").write_text(json.dumps(lines))
    done = run(RUN_ALL, str(tmp_path / "lines.json"))
    assert done.returncode == 0, done.stderr[-2000:]
    said = done.stderr.replace(str(root), "ROOT").replace(str(tmp_path), "TMP")
    assert said.count("===") == len(lines)
    noise = [line for line in said.splitlines() if OF_LIBRARIES.search(line)]
    assert not noise
    assert not OF_LIBRARIES.search(done.stdout.replace("\x1b", "").partition("#compdef")[0])


def test_a_clip_is_opened_without_a_table_of_what_it_does_not_need(root: Path) -> None:
    code = (
        "import sys\n"
        "from dreamdiffusion.models.embedder import load_embedder\n"
        "print('opened', load_embedder(sys.argv[1]).embed_dim > 0)\n"
    )
    done = run(code, str(root / "generator" / "clip"))
    assert done.stdout == "opened True\n"
    assert "UNEXPECTED" not in done.stderr and "LOAD REPORT" not in done.stderr
