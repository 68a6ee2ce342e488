"""The public interface: light to import, complete, and every example runs."""

from __future__ import annotations

import doctest
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dreamdiffusion
from dreamdiffusion.datasets.prepare import prepare
from dreamdiffusion.datasets.simulation.bids import simulate
from dreamdiffusion.trials.config import PrepareConfig

WEIGHTS = Path(__file__).parents[1] / "weights"
NAMES = sorted(set(dreamdiffusion.__all__) - {"__version__"})
# What diffusers needs to open a saved pipeline; nobody starts from these.
PARTS = {"EEGConditioner", "EEGProcessor"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which every example runs.

    SIMULATED people with their trials and windows; a session that the bundled model has not seen;
    a record of scores.
    """
    root = tmp_path_factory.mktemp("examples")
    simulate(output=root / "people", montage="muse4", n_runs=2, trials_per_run=24)
    people = [root / "people"]
    prepare(PrepareConfig(input=people, output=root / "trials"))
    prepare(PrepareConfig(input=people, output=root / "windows", kind="windows"))
    model = WEIGHTS / "eeg-scenes"
    made_by = json.loads((model / "recording.json").read_text("utf-8"))
    settings = json.loads((model / "eeg_processor" / "config.json").read_text("utf-8"))
    new = made_by | {"n_runs": 1, "first_run": made_by["n_runs"] + 1, "trials_per_run": 24}
    session = [simulate(output=root / "sessions", **new)]
    prepare(PrepareConfig(input=session, output=root / "session", signal=settings["signal"]))
    shutil.copy(model / "scores.json", root / "scores.json")
    return root


@pytest.fixture
def examples(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[doctest.DocTestRunner]:
    monkeypatch.chdir(folder)
    yield doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)


@pytest.mark.global_rng
@pytest.mark.parametrize("name", sorted(set(NAMES) - PARTS))
def test_the_example_of_every_name_runs(name: str, examples: doctest.DocTestRunner) -> None:
    documented = getattr(dreamdiffusion, name)
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(documented, name, module=False, globs={})
    assert example.examples, f"{name} has no example"
    result = examples.run(example)
    assert not result.failed, f"{result.failed} lines of the example of {name} failed"


def test_the_list_is_what_is_offered() -> None:
    assert dir(dreamdiffusion) == sorted(dreamdiffusion.__all__)
    assert set(dreamdiffusion._HOMES) == set(NAMES)
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        _ = dreamdiffusion.evaluat


def test_importing_the_package_takes_neither_torch_nor_time() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); import dreamdiffusion\n"
        "print(time.perf_counter() - start)\n"
        "print([name for name in ('torch', 'mne', 'numpy', 'pydantic') if name in sys.modules])"
    )
    times, heavy = [], ""
    for _ in range(3):  # the machine may be busy: the fastest counts
        command = [sys.executable, "-c", code]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        seconds, heavy = shown.splitlines()
        times.append(float(seconds))
    assert heavy == "[]"
    assert min(times) <= 0.1
