"""The chain that remakes the weights: what it does again, what it does not, and after a kill.

That it runs from nothing to weights that open is in `cli/test_end_to_end`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from script import load_script

from dreamdiffusion.files.schema import read_yaml

chain = load_script("scripts/make_weights.py")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Return what makes the chain of commands that only write a file, and says which it ran.

    What they write is told by ``results`` (output -> content), else by their configuration alone.
    """
    ran: list[str] = []
    results: dict[str, str] = {}

    def command(arguments: list[str]) -> int:
        config = read_yaml(Path(arguments[-1]))
        output = Path(config["output"])
        ran.append(Path(arguments[-1]).stem)
        for folder in (output, output / "generator" / "clip", output / "model"):
            folder.mkdir(parents=True, exist_ok=True)
        content = results.get(ran[-1], ran[-1])
        if content == "fails":
            return 130
        (output / "result.csv").write_text(content)
        for name in ("scores.json", "confidence.json"):
            (output / name).write_text("{}")
        sources = {"generator": "../../../weights/scenes-generator", "weights": {}}
        (output / "model" / "decoder.json").write_text(json.dumps(sources))
        inside = {"clip": "../../../../weights/scenes-generator/clip"}
        (output / "model" / "reader").mkdir(exist_ok=True)
        (output / "model" / "reader" / "decoder.json").write_text(json.dumps(inside))
        return 0

    monkeypatch.setattr(chain, "main", command)
    monkeypatch.setattr("dreamdiffusion.files.shipped.WEIGHTS", ())  # nothing is taken from there

    def make(stages: Any = chain.STAGES, code: int = 0, **told: str) -> list[str]:
        ran.clear()
        results.update(told)
        assert chain.Chain(stages).make(tmp_path / "chain") == code
        return list(ran)

    return make


def changed(name: str, **settings: Any) -> list[Any]:
    """Return the stages, one of them with other settings."""
    return [
        dataclasses.replace(one, settings={**one.settings, **settings}) if one.name == name else one
        for one in chain.STAGES
    ]


ALL = [stage.name for stage in chain.STAGES]


def test_all_is_made_once(made, tmp_path: Path) -> None:
    assert made() == ALL
    assert made() == []
    weights = tmp_path / "chain" / "weights"
    assert {path.name for path in weights.iterdir()} == {
        "scenes-generator", "judge", "prior-scenes", "eeg-scenes", "made.json",
    }  # fmt: skip
    for name in ("prior-scenes", "eeg-scenes"):
        record = json.loads((weights / name / "decoder.json").read_text())
        assert record == {"generator": "../scenes-generator", "weights": {}}
        record = json.loads((weights / name / "reader" / "decoder.json").read_text())
        assert record == {"clip": "../../scenes-generator/clip"}
        recipe = json.loads((weights / name / "recording.json").read_text())
        assert (recipe["n_runs"], recipe["noise_level"], "output" in recipe) == (10, 0.34, False)
        assert (weights / name / "confidence.json").is_file()
    told = json.loads((weights / "made.json").read_text())
    assert list(told["stages"]) == ALL
    assert told["stages"]["judge"]["config"]["n_scenes"] == 8000
    assert told["versions"]["torch"]


def test_a_stage_needs_nothing_that_comes_later() -> None:
    for number, stage in enumerate(chain.STAGES):
        assert set(stage.needs) <= set(ALL[:number]), stage.name


def test_another_configuration_makes_again_what_depends_on_it(made) -> None:
    made()
    others = dict.fromkeys(("people", "windows", "pretrained"), "others")
    expected = ["people", "windows", "pretrained", "paper"]  # whose result is the same again
    assert made(changed("people", n_runs=2), **others) == expected


def test_a_result_that_is_the_same_makes_nothing_again(made) -> None:
    made()
    assert made(changed("judge", log_every=7)) == ["judge"]


def test_the_result_of_a_stage_that_was_deleted_is_made_again(made, tmp_path: Path) -> None:
    made()
    shutil.rmtree(tmp_path / "chain" / "runs" / "judge-scenes")
    assert made() == ["judge"]
    shutil.rmtree(tmp_path / "chain" / "weights" / "judge")
    assert made() == []  # it is only copied
    assert (tmp_path / "chain" / "weights" / "judge" / "result.csv").is_file()


@pytest.mark.parametrize(
    ("name", "output", "goes_on"),
    [("people", "scenes-people", False), ("judge", "judge-scenes", True)],
)
def test_a_stage_that_failed_ends_the_chain(made, tmp_path: Path, name, output, goes_on) -> None:
    """What a training left is there for it; a command that cannot go on with it begins anew."""
    left = tmp_path / "chain" / "runs" / output / "left"
    assert made(code=130, **{name: "fails"}) == ALL[: ALL.index(name) + 1]
    left.write_text("")
    assert made(code=130) == [name]
    assert left.is_file() == goes_on
    assert made(**{name: name}) == ALL[ALL.index(name) :]


def test_the_time_that_is_left_follows_how_long_it_took(made, tmp_path: Path, capsys) -> None:
    made(code=130, trials="fails")
    minutes = {stage.name: stage.minutes for stage in chain.STAGES}
    for name in ("person", "people"):
        path = tmp_path / "chain" / "made" / f"{name}.json"
        mark = json.loads(path.read_text())
        mark["seconds"] = 120 * minutes[name]  # twice as long as planned
        path.write_text(json.dumps(mark))
    capsys.readouterr()
    made(trials="trials")
    done = minutes["person"] + minutes["people"]
    slower = (2 * done + chain.TRUSTED) / (done + chain.TRUSTED)
    left = slower * (sum(minutes.values()) - done)
    said = capsys.readouterr().err
    assert "stage 1 of 15, person: is made" in said
    assert f"stage 3 of 15, trials: prepare begins; about {chain._minutes(left)} left" in said


def test_weights_are_published_whole(made, tmp_path: Path) -> None:
    made()
    kept = tmp_path / "weights"
    (kept / "judge").mkdir(parents=True)
    (kept / "judge" / "old.csv").write_text("")
    (kept / "README.md").write_text("card")
    chain.publish(tmp_path / "chain", kept)
    assert not (kept / "judge" / "old.csv").exists()
    assert (kept / "README.md").read_text() == "card"
    assert {path.name for path in chain.FOLDERS} < {path.name for path in kept.iterdir()}


def test_what_a_kill_left_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1")
    before = chain.result_sum(tmp_path)
    for left in (".generator.77.unfinished", "checkpoints/step-1"):
        (tmp_path / left).mkdir(parents=True)
        (tmp_path / left / "b.csv").write_text("2")
    assert chain.result_sum(tmp_path) == before
    chain.install_copy(tmp_path, tmp_path.parent / "copied")
    assert [path.name for path in (tmp_path.parent / "copied").iterdir()] == ["a.csv"]


@pytest.mark.slow
@pytest.mark.global_rng
def test_every_stage_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    """Killed twice in each, as files are flushed or renamed, it ends with the same results."""
    once, often = tmp_path / "once", tmp_path / "often"
    assert chain.Chain(rehearsal=True).make(once) == 0
    moments = {name: [2, 7] for name in ALL}
    killed: list[str] = []
    while True:
        process = os.fork()
        if not process:
            chain.main = _dying(chain.main, moments)
            os._exit(chain.Chain(rehearsal=True).make(often))
        _, status = os.waitpid(process, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        begun = {path.stem for path in (often / "made").glob("*.json")}
        killed.append(next(name for name in reversed(ALL) if name in begun))
        moments[killed[-1]].pop(0)
    assert set(killed) == set(ALL)
    for name in ALL:
        marks = [json.loads((root / "made" / f"{name}.json").read_text()) for root in (once, often)]
        assert marks[0]["result"] == marks[1]["result"], name


def _dying(main: Callable[..., int], moments: dict[str, list[int]]) -> Callable[..., int]:
    """Return a `main` whose process dies at a moment of the stage that it is given."""
    left = [10**9]

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return function(*args, **more)

        return call

    os.fsync, Path.replace = counted(os.fsync), counted(Path.replace)

    def run(arguments: list[str]) -> int:
        left[0] = (moments[Path(arguments[-1]).stem] or [10**9])[0]
        code = main(arguments)
        left[0] = 10**9
        return code

    return run
