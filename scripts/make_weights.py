#!/usr/bin/env python3
"""Remake weights/ from nothing, by one chain of commands that goes on where it was stopped.

    python scripts/make_weights.py                              # hours
    python scripts/make_weights.py --rehearsal --output FOLDER  # the same chain, tiny: a minute

A stage is a command with its shipped configuration. Everything is made below ``--output``; the
finished folders are copied to ``weights/`` at the end, all at once, never by a rehearsal. What made
a stage is written to ``made/NAME.json`` there: its configuration, and a sum of each result that it
was given. A stage whose mark is the same is not done again. One that was stopped goes on; one whose
configuration or input is another is made anew, and so is what needs it, if its result is another.
What is not seen is a change of the code: delete the output of a stage to have it made anew.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dreamdiffusion.cli.commands import COMMANDS, main
from dreamdiffusion.files.schema import read_yaml, write_yaml
from dreamdiffusion.files.shipped import find_config
from dreamdiffusion.files.whole import HOLDER, LOCK, LOOK_LOG, whole_folder, write_json

ROOT = Path(__file__).parents[1]
MARKS = Path("made")
WEIGHTS = Path("weights")
GENERATOR, JUDGE = WEIGHTS / "scenes-generator", WEIGHTS / "judge"
PRIOR, PAPER = WEIGHTS / "prior-scenes", WEIGHTS / "eeg-scenes"
FOLDERS = (GENERATOR, JUDGE, PRIOR, PAPER)
LONGER, DETAILS = "runs/generator-scenes-longer", "runs/generator-scenes-details"
RESULTS = {".safetensors", ".npy", ".edf", ".png", ".csv", ".tsv"}
"""Endings of the files that a sum of a result is of; the others tell times and paths."""
TRUSTED = 30.0
"""Minutes of the plan that count like minutes that were taken."""
_ASIDE = shutil.ignore_patterns(".*", "checkpoints", "log.jsonl", LOOK_LOG, LOCK, HOLDER)


def install_copy(source: Path, target: Path) -> None:
    """Copy the result of a training."""
    with whole_folder(target) as unfinished:
        shutil.copytree(source, unfinished, ignore=_ASIDE, dirs_exist_ok=True)


def install_generator(output: Path, target: Path) -> None:
    """Copy the generator that a training wrote."""
    install_copy(output / "generator", target)


def install_model(output: Path, target: Path) -> None:
    """Copy a fitted decoder, with the recipe of the recording that made it.

    The generator that it draws with is named as seen from there.
    """
    from dreamdiffusion.decoders.base import RECORD
    from dreamdiffusion.decoders.dreamdiffusion.adapter import (
        ADAPTER,
        relative_source,
        resolve_source,
    )

    source = output / "model"
    install_copy(source, target)
    # A prior holds the folder of its reader, which names its CLIP by itself.
    for path in [*source.rglob(ADAPTER), *source.rglob(RECORD)]:
        content = json.loads(path.read_text(encoding="utf-8"))
        place = target / path.relative_to(source)
        if moved := content.keys() & {"generator", "clip"}:
            for key in moved:
                content[key] = relative_source(
                    resolve_source(content[key], path.parent), place.parent
                )
            write_json(place, content)
    person = json.loads((MARKS / "person.json").read_text(encoding="utf-8"))
    recipe = {key: value for key, value in person["config"].items() if key != "output"}
    write_json(target / "recording.json", recipe)


def install_scores(output: Path, target: Path) -> None:
    """Copy scores, and what tells how sure a trial is; a new recording has none of its own."""
    for name in ("scores.json", "confidence.json"):
        shutil.copy(output / name, target / name)


@dataclass(frozen=True)
class Stage:
    """A command of the chain.

    Parameters
    ----------
    name
        Of its mark.
    command
        Of dreamdiffusion.
    shipped
        Name of its configuration, whose paths are those of the chain's folder.
    needs
        Stages whose results it is given.
    settings
        In place of those of the configuration.
    tiny
        Those of a rehearsal.
    minutes
        On one core, by the processor time of a few steps at full size (weights/README.md).
    target
        Folder of the weights that gets what it made.
    install
        Puts it there, given output and target.
    """

    name: str
    command: str
    shipped: str | None = None
    needs: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    tiny: Mapping[str, Any] = field(default_factory=dict)
    minutes: float = 1.0
    target: Path | None = None
    install: Callable[[Path, Path], None] = install_copy


def _short(**more: Any) -> dict[str, Any]:
    """Return the settings of a training of four steps."""
    return {"steps": 4, "batch_size": 8, "checkpoint_every": 2, "validate_every": 4, **more}


_TINY_SPLIT = {"test": ["03"], "validation": ["02"]}
_TINY_SCORES = {"n_permutations": 50, "n_bootstrap": 50, "sample": {"num_inference_steps": 2}}
_TINY_ENCODER = {"embed_dim": 16, "depth": 1, "num_heads": 2}

STAGES = (
    Stage(
        "person",
        "simulate",
        settings={"output": "runs/scenes-person", "n_runs": 10, "noise_level": 0.34},
        tiny={"n_runs": 3, "trials_per_run": 48, "montage": "muse4"},
        minutes=0.3,
    ),
    Stage(
        "people",
        "simulate",
        settings={
            "output": "runs/scenes-people", "first_subject": 2, "n_subjects": 10, "n_runs": 3,
        },
        tiny={"n_subjects": 2, "n_runs": 1, "trials_per_run": 24, "montage": "muse4"},
        minutes=0.8,
    ),
    Stage("trials", "prepare", "scenes", ("person",), minutes=0.3),
    Stage("windows", "prepare", "scenes-windows", ("people",), minutes=0.5),
    # The generator. Each stage starts from what the one before it left; the last one is installed.
    Stage(
        "generator",
        "train-generator",
        "scenes",
        tiny={
            "image_size": 32,
            "n_scenes": 48,
            "clip": {"width": 32, "layers": 1, "heads": 2, "projection_dim": 8, "vocab_size": 700},
            "vae": {"channels": [16, 16, 16]},
            "unet": {"channels": [32, 32], "heads": 2},
            "clip_train": _short(),
            "clip_image_train": _short(),
            "vae_train": _short(),
            "unet_train": _short(),
        },
        minutes=85.0,
    ),
    Stage(
        "embeddings",
        "train-generator",
        "scenes-embeddings",
        ("generator",),
        tiny={
            "image_size": 32,
            "image_condition": {"width": 16, "n_tokens": 2},
            "unet_train": _short(),
        },
        minutes=120.0,
    ),
    # Once more from there, at the full rate again: shapes are still smeared after one pass.
    Stage(
        "longer",
        "train-generator",
        "scenes-embeddings",
        ("embeddings",),
        settings={
            "init": "runs/generator-scenes-embeddings/generator",
            "output": LONGER,
            "unet_train": {"steps": 8000, "seed": 53},
        },
        tiny={
            "image_size": 32,
            "image_condition": {"width": 16, "n_tokens": 2},
            "unet_train": _short(),
        },
        minutes=95.0,
    ),
    # And once more, where nearly clean latents count four times as much: faces and teeth of keys.
    Stage(
        "details",
        "train-generator",
        "scenes-embeddings",
        ("longer",),
        settings={
            "init": f"{LONGER}/generator",
            "output": DETAILS,
            "unet_train": {"steps": 6000, "seed": 59},
            "min_snr_gamma": 20.0,
        },
        tiny={
            "image_size": 32,
            "image_condition": {"width": 16, "n_tokens": 2},
            "unet_train": _short(),
        },
        minutes=70.0,
    ),
    Stage(
        "decoder",
        "train-generator",
        "scenes-decoder",
        ("details",),
        settings={"init": f"{DETAILS}/generator"},
        tiny={"image_size": 32, "decoder_train": _short()},
        minutes=11.0,
        target=GENERATOR,
        install=install_generator,
    ),
    Stage(
        "judge",
        "train-judge",
        "scenes",
        tiny=_short(image_size=32, n_scenes=240),
        minutes=3.0,
        target=JUDGE,
    ),
    # The bundled decoder is scored first: the second to look at a test side says so.
    Stage(
        "prior",
        "fit prior",
        "scenes",
        ("trials", "decoder"),
        tiny=_short(
            bank_size=60, image_size=32, compact={"n_temporal": 8, "embed_dim": 16},
            split=_TINY_SPLIT,
        ),
        minutes=3.0,
        target=PRIOR,
        install=install_model,
    ),
    Stage(
        "prior-scores",
        "evaluate",
        "scenes-prior",
        ("prior", "judge"),
        tiny=_TINY_SCORES,
        minutes=5.0,
        target=PRIOR,
        install=install_scores,
    ),
    Stage(
        "pretrained",
        "pretrain",
        "scenes",
        ("windows",),
        tiny=_short(
            encoder={**_TINY_ENCODER, "decoder_embed_dim": 16, "decoder_num_heads": 2},
        ),
        minutes=1.0,
    ),
    Stage(
        "paper",
        "finetune",
        "scenes",
        ("trials", "decoder", "pretrained"),
        tiny=_short(encoder=_TINY_ENCODER, n_condition_tokens=4, split=_TINY_SPLIT),
        minutes=10.0,
        target=PAPER,
        install=install_model,
    ),
    Stage(
        "paper-scores",
        "evaluate",
        "scenes",
        ("paper", "judge", "prior-scores"),
        settings={"limit": 96},
        tiny=_TINY_SCORES,
        minutes=2.0,
        target=PAPER,
        install=install_scores,
    ),
)  # fmt: skip


class Chain:
    """The stages in the working directory, which `make` enters.

    Parameters
    ----------
    stages
        In the order in which they are made.
    rehearsal
        Whether they are tiny.
    """

    def __init__(self, stages: Sequence[Stage] = STAGES, rehearsal: bool = False) -> None:
        self.stages, self._rehearsal = list(stages), rehearsal
        self._began = time.monotonic()

    def make(self, folder: Path) -> int:
        """Make what is missing below a folder; return 0, or the code of the command that failed."""
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.chdir(folder):
            MARKS.mkdir(exist_ok=True)
            for number, stage in enumerate(self.stages, start=1):
                config = self.configure(stage)
                code = self._make_stage(stage, config, number)
                if code:
                    return code
                if stage.target:
                    stage.install(config.output, stage.target)
            from dreamdiffusion.evaluation.evaluate import versions  # imports torch

            marks = {stage.name: self.mark_of(stage.name) for stage in self.stages}
            write_json(WEIGHTS / "made.json", {"stages": marks, "versions": versions()})
        return 0

    @staticmethod
    def mark_of(name: str) -> dict[str, Any]:
        """Return what is written about a stage; empty if nothing is."""
        path = MARKS / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def configure(self, stage: Stage) -> Any:
        """Return the configuration of a stage."""
        content = read_yaml(find_config(stage.shipped, stage.command)) if stage.shipped else {}
        content = _merged(content, stage.settings)
        content = _merged(content, stage.tiny if self._rehearsal else {})
        return COMMANDS[stage.command].load_schema()(**content)

    def _make_stage(self, stage: Stage, config: Any, number: int) -> int:
        title = f"stage {number} of {len(self.stages)}, {stage.name}"
        given = {
            "command": stage.command,
            "config": config.model_dump(mode="json"),
            "given": {need: self.mark_of(need)["result"] for need in stage.needs},
        }
        mark = self.mark_of(stage.name)
        same = {key: mark.get(key) for key in given} == given and config.output.is_dir()
        if same and "result" in mark:
            self._say(f"{title}: is made")
            return 0
        goes_on = same and COMMANDS[stage.command].resumes
        if not goes_on:
            shutil.rmtree(config.output, ignore_errors=True)
            mark = {**given, "seconds": 0.0}
            write_json(MARKS / f"{stage.name}.json", mark)
        written = MARKS / f"{stage.name}.yaml"
        write_yaml(config, written)
        what = f"{stage.command} {'goes on' if goes_on else 'begins'}"
        self._say(f"{title}: {what}; {self._left(number)}")
        began = time.monotonic()
        code = main([*stage.command.split(), "--config", str(written)])
        mark["seconds"] = round(mark["seconds"] + time.monotonic() - began, 1)
        if code == 0:
            mark["result"] = result_sum(config.output)
        write_json(MARKS / f"{stage.name}.json", mark)
        return code

    def _left(self, number: int) -> str:
        """Say how long it will take from a stage on, by how long those before it took."""
        planned = sum(stage.minutes for stage in self.stages[: number - 1])
        took = sum(self.mark_of(stage.name)["seconds"] for stage in self.stages[: number - 1]) / 60
        left = sum(stage.minutes for stage in self.stages[number - 1 :])
        return f"about {_minutes(left * (took + TRUSTED) / (planned + TRUSTED))} left"

    def _say(self, text: str) -> None:
        print(f"[{_minutes((time.monotonic() - self._began) / 60)}] {text}", file=sys.stderr)


def _merged(content: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with others in their place, also within settings of parts."""
    merged = dict(content)
    for key, value in changes.items():
        inner = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if inner else value
    return merged


def result_sum(output: Path) -> str:
    """Return one sum of what a stage made; checkpoints, and what a kill left, aside.

    Names are left out: those of windows say where their recordings lay.
    """
    sums = []
    for path in output.rglob("*"):
        inside = path.relative_to(output).parts
        aside = any(part.startswith(".") or part == "checkpoints" for part in inside)
        if path.suffix in RESULTS and not aside:
            with path.open("rb") as file:
                sums.append(hashlib.file_digest(file, "sha256").hexdigest())
    return hashlib.sha256("".join(sorted(sums)).encode()).hexdigest()


def _minutes(minutes: float) -> str:
    hours, rest = divmod(round(minutes), 60)
    return f"{hours} h {rest:02d} min" if hours else f"{rest} min"


def publish(made: Path, target: Path) -> None:
    """Put finished weights where the package keeps them."""
    for folder in FOLDERS:
        install_copy(made / folder, target / folder.name)
    shutil.copy(made / WEIGHTS / "made.json", target / "made.json")


def run(arguments: Sequence[str] | None = None) -> int:
    """Make the chain, or rehearse it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="where all is made; runs/weights by default")
    parser.add_argument("--rehearsal", action="store_true", help="tiny sizes; weights/ stays")
    given = parser.parse_args(arguments)
    default = ROOT / "runs" / ("weights-rehearsal" if given.rehearsal else "weights")
    folder = (given.output or default).resolve()
    code = Chain(rehearsal=given.rehearsal).make(folder)
    if code:
        print("not finished; the same command goes on from there", file=sys.stderr)
        return code
    if not given.rehearsal:
        publish(folder, ROOT / WEIGHTS)
    size = sum(path.stat().st_size for path in (folder / WEIGHTS).rglob("*") if path.is_file())
    print(f"{folder / WEIGHTS} is complete: {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(run())
