"""Train the small generator on a GPU in eight minutes, and bring it home in pieces.

    python scripts/gpu/teach.py --output "$OUT"           # 64 pixels; --pixels 128
    python scripts/gpu/teach.py --output "$OUT" --tiny    # the same code on a CPU, tiny sizes
    python scripts/gpu/teach.py --install FOLDER          # at home: FOLDER holds what came back

Parts are processes of their own within limits: ``vae``, ``unet`` (and the decoder after it), and
the report card of the bundled generator and of the new one. A training measures its own rate first
and takes the steps that fit its time. ``--output`` gets ``teach.json``, as it goes on, and the new
generator with its card as ``result.tar.*``. What goes on exactly, on this machine or any other, is
below ``--work``: the same command goes on there, and ``state.tar.*`` in its folder ``pieces`` are
the same to carry (``cp .gpu/teach/pieces/state.tar.0[0-3] "$OUT"``, and so on).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parent))

from pieces import pack, unpack  # noqa: E402
from timed_parts import Row, run_parts  # noqa: E402

SECONDS = 480
# Part -> its limit in seconds; the U-Net gets what the others leave.
LIMITS = {"vae": 90, "unet": 310, "card-before": 30, "card": 35}
STAGES = {"vae": {"vae_train": 1.0}, "unet": {"unet_train": 0.85, "decoder_train": 0.15}}
"""Trainings of a part, and their shares of its time."""
PROBE_STEPS = 60
RESERVE = 20.0
"""Seconds of a part for what comes after its last step: prints, samples, files."""
AT_MOST = 64 * 2**20
"""Bytes that come back at once."""

TINY: Row = {
    "vae": {"channels": [16, 16], "latent_channels": 5},
    "unet": {"channels": [32, 32], "layers_per_block": 1, "heads": 2},
    "image_size": 16,
    "workers": 1,
}
LARGE: Row = {
    # One level more: as many places of latents as at 64 pixels, so the U-Net costs the same.
    "vae": {"channels": [48, 96, 96, 96], "latent_channels": 16, "kl_weight": 1e-6},
    "image_size": 128,
}


# --- in a process of its own ----------------------------------------------------------------------


@dataclass
class Place:
    """Where a training starts and works, and how large it is."""

    work: Path
    init: Path
    pixels: int = 64
    tiny: bool = False


def configure(part: str, place: Place) -> Any:
    """Return the configuration of a part: that of its folder where it was begun, or the shipped."""
    from dreamdiffusion.files.schema import read_yaml
    from dreamdiffusion.files.shipped import find_config
    from dreamdiffusion.models.config import TrainGeneratorConfig

    began = place.work / part / "config.yaml"
    if began.is_file():
        given = read_yaml(began)
    else:
        given = read_yaml(find_config("scenes-gpu", "train-generator"))
        given |= TINY if place.tiny else LARGE if place.pixels == 128 else {}
        for stage in [stage for stages in STAGES.values() for stage in stages]:
            given[stage] |= {"batch_size": 4} if place.tiny else {}
        if part == "vae":
            given |= {"unet_train": None, "decoder_train": None}
        else:
            given |= {"new_vae": False, "vae_train": None}
    given |= {"init": place.init if part == "vae" else place.work / "vae" / "generator"}
    given |= {"output": place.work / part, "workers": min(given["workers"], os.cpu_count() or 1)}
    return TrainGeneratorConfig(**given)


def changed(config: Any, output: Path, stages: dict[str, Row]) -> Any:
    """Return a configuration with another output and other settings of its trainings."""
    content = config.model_dump() | {"output": output}
    for stage, settings in stages.items():
        runtime = content[stage]["runtime"] | settings.pop("runtime", {})
        content[stage] |= settings | {"runtime": runtime}
    return type(config)(**content)


def log_of(config: Any, stage: str) -> list[Row]:
    """Return the entries of a training's log."""
    path = config.output / stage.replace("_", "-") / "log.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def fit_to_time(part: str, config: Any, deadline: float, tiny: bool) -> Any:
    """Measure the rate of each training of a part, and return as many steps as fit its time."""
    from dreamdiffusion.models.generator.train import train_generator

    few = 6 if tiny else PROBE_STEPS
    short = {"steps": few, "log_every": few // 3, "checkpoint_every": few}
    probe = changed(config, config.output / "probe", {stage: dict(short) for stage in STAGES[part]})
    train_generator(probe)
    left, settings = deadline - time.monotonic(), {}
    for stage, share in STAGES[part].items():
        log = log_of(probe, stage)
        rate = max(log[-1]["seconds"] - log[0]["seconds"], 0.1) / (log[-1]["step"] - log[0]["step"])
        # A little less than fits: a schedule that ends is worth more than one that is cut.
        steps = 6 if tiny else max(2, int(0.93 * left * share / rate))
        settings[stage] = {
            "steps": steps, "log_every": max(1, steps // 40), "checkpoint_every": -(-steps // 4)
        }  # fmt: skip
        emit({"stage": stage, "seconds_a_step": round(rate, 4), "steps": steps})
    shutil.rmtree(probe.output)
    return changed(config, config.output, settings)


def train_part(part: str, place: Place, limit: float) -> None:
    """Train one part in ``limit`` seconds, or go on with it."""
    from dreamdiffusion.models.generator.train import train_generator

    deadline = time.monotonic() + limit - min(RESERVE, limit / 4)
    config = configure(part, place)
    if not (config.output / "config.yaml").is_file():
        config = fit_to_time(part, config, deadline, place.tiny)
    left = max(1.0, deadline - time.monotonic())
    most = {
        stage: {"runtime": {"max_seconds": share * left}} for stage, share in STAGES[part].items()
    }
    train_generator(changed(config, config.output, most))
    for stage in STAGES[part]:
        emit({"stage": stage, "of_steps": getattr(config, stage).steps} | log_of(config, stage)[-1])


def emit(row: Row) -> None:
    """Print a row for the process that started this one."""
    print(json.dumps(row), flush=True)


# --- the process that starts them -----------------------------------------------------------------


def teach(options: argparse.Namespace) -> None:
    """Run the parts within the time, and pack what is to come back after each training."""
    work, output = options.work, options.output
    own = [sys.executable, __file__, "--work", str(work), "--init", str(options.init)]
    own += ["--pixels", str(options.pixels), *(["--tiny"] if options.tiny else [])]
    card = [
        sys.executable,
        str(ROOT / "benchmarks" / "generator.py"),
        "--output",
        str(work / "card"),
    ]
    card += ["--per_category", "1", "--steps", "2"] if options.tiny else ["--per_category", "5"]
    commands: dict[str, Callable[[float], list[str]]] = {
        "vae": lambda limit: [*own, "--part", "vae", "--seconds", str(limit)],
        "unet": lambda limit: [*own, "--part", "unet", "--seconds", str(limit)],
        "card-before": lambda _: [*card, "--generator", str(options.init), "--label", "before"],
        "card": lambda _: [*card, "--generator", str(work / "unet/generator"), "--label", "taught"],
    }
    result: Row = {"tiny": options.tiny, "pixels": options.pixels}
    patience = 10 if options.tiny else 1  # a CPU may have other work
    start = time.monotonic()
    for name in options.only:
        left = patience * options.seconds - (time.monotonic() - start)
        part = {name: (patience * LIMITS[name], commands[name])}
        run_parts(output / "teach.json", result, part, left)
        pack_result(work, output)
        if name in STAGES:
            begun = [work / part for part in STAGES if (work / part).is_dir()]
            pack(work, begun, work / "pieces", "state")


def pack_result(work: Path, output: Path) -> None:
    """Pack the newest generator with logs and card."""
    last = work / ("unet" if (work / "unet" / "generator").is_dir() else "vae")
    found = [last / "generator", last / "samples.png", last / "config.yaml", work / "card"]
    found += work.glob("*/*-train/log.jsonl")
    pack(work, [path for path in found if path.exists()], output, "result")
    packed = sum(path.stat().st_size for path in output.glob("result.*"))
    if packed > AT_MOST:
        print(f"result.tar.* are {packed >> 20} MiB, expected 64 at most: fetch them in turns")


def install(folder: Path, work: Path) -> None:
    """Unpack what came back, and print the card."""
    unpack(folder, "result", work)
    if (folder / "state.json").is_file():
        unpack(folder, "state", work)
        print(f"to go on: python scripts/gpu/teach.py --work {work} --output {work}/out")
    newest = work / ("unet" if (work / "unet" / "generator").is_dir() else "vae")
    print(f"{newest / 'generator'} is the generator")
    card = work / "card" / "generator.json"
    if card.is_file():
        from generator import table

        print(table(json.loads(card.read_text(encoding="utf-8"))))


def main() -> None:
    """Teach, or be one part of it, or install what came back."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/teach-out"))
    parser.add_argument("--work", type=Path, default=Path(".gpu/teach"))
    parser.add_argument("--init", type=Path, default=Path("weights/scenes-generator"))
    parser.add_argument("--pixels", type=int, choices=(64, 128), default=64)
    parser.add_argument("--tiny", action="store_true", help="rehearse on a CPU")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all parts together")
    parser.add_argument("--only", nargs="+", choices=LIMITS, default=list(LIMITS))
    parser.add_argument("--part", choices=STAGES, help="be this part, rows on stdout")
    parser.add_argument("--install", type=Path, help="folder with result.tar.* to unpack")
    options = parser.parse_args()
    if options.install:
        install(options.install, options.work)
    elif options.part:
        place = Place(options.work, options.init, options.pixels, options.tiny)
        train_part(options.part, place, options.seconds)
    else:
        teach(options)


if __name__ == "__main__":
    main()
