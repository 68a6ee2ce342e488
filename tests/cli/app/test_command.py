"""The command: what it prints in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

OPEN = """
import dreamdiffusion.cli.web as web
web.serve = lambda *_: None
from dreamdiffusion.cli.commands import main
sys.exit(main(["app", "--models", "weights/eeg-scenes"]))
"""


def test_models_open_without_a_word_of_the_libraries():
    root = Path(__file__).parents[3]
    code = f"import sys; sys.path.insert(0, {str(root / 'src')!r})" + OPEN
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert "uploads and samples are deleted" in done.stdout
