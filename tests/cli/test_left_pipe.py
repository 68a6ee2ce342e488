"""What reads a command's output may leave early, as head does."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "arguments", [["--help"], ["fit", "--help"], ["protocols", "list"]], ids=lambda one: one[0]
)
def test_a_reader_that_leaves_is_no_error(arguments: list[str]) -> None:
    code = "from dreamdiffusion.cli.commands import main; raise SystemExit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (0, "")
