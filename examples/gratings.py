"""Gratings from a real Muse headset, each run held out in turn: a report that withholds itself.

Real recordings (`muse_gratings`), one person, spatial frequency low or high, four orientations. The
experiment repeated one order of trials in every run, so the place in the run tells the grating and
holding out a run does not help. The recordings are decoded as any others are; what is to be seen is
that the report tells the order and withholds the headline.

One recording holds trials of two others (docs/audit.md) and is left out. Needs nothing else; writes
docs/results/gratings/: of each arm the report and the gallery (drawn pictures, none of a person).
``prior``: a reader, and the likeliest of the eight pictures, looked up; ``paper``: tokens of EEG
condition the U-Net. Run from the repository::

    .venv/bin/python examples/gratings.py --recordings ../shared/data/muse_gratings
"""

from __future__ import annotations

import argparse
import csv
import shutil
from pathlib import Path

from n170 import fit_once  # the example beside this one
from PIL import Image

from dreamdiffusion.datasets.prepare import prepare
from dreamdiffusion.datasets.public.muse_gratings import draw_gratings
from dreamdiffusion.decoders.config import FinetuneConfig, PriorConfig, SampleConfig
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.evaluation.evaluate import evaluate
from dreamdiffusion.files.schema import read_yaml
from dreamdiffusion.files.shipped import CONFIGS
from dreamdiffusion.models.config import TrainGeneratorConfig, TrainJudgeConfig
from dreamdiffusion.models.generator.train import train_generator
from dreamdiffusion.models.judge.train import train_judge
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.trials.config import PrepareConfig, SplitConfig
from dreamdiffusion.trials.trials import Trials

WORK = Path("runs/gratings")
LEFT_OUT = "data_2017-08-09-21.26.55.csv"


SAMPLES = {
    # The best guess itself: with eight known pictures there is nothing to draw anew.
    "prior": SampleConfig(num_images_per_prompt=1, strength=0.0),
    "paper": SampleConfig(num_images_per_prompt=4, num_inference_steps=15),
}
CONTROLS = {
    # Nothing is drawn, from texts neither.
    "prior": ["phase_randomised_eeg", "mean_embedding", "no_eeg_prior", "time_removed_eeg"],
    "paper": EvaluateConfig().controls,
}


def main() -> None:
    """Make the pictures, the generator, the judge, a model for each run, and the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=Path, default=Path("../shared/data/muse_gratings"))
    parser.add_argument("--arms", nargs="+", choices=list(SAMPLES), default=list(SAMPLES))
    parser.add_argument("--output", type=Path, default=Path("docs/results/gratings"))
    options = parser.parse_args()
    pictures = write_pictures(WORK)
    if "paper" in options.arms:  # the prior's pictures are looked up, none is drawn
        settings = read_yaml(CONFIGS / "train-generator-gratings.yaml")
        train_generator(TrainGeneratorConfig(**settings))
    judge = train_judge(TrainJudgeConfig(**read_yaml(CONFIGS / "train-judge-gratings.yaml")))
    trials = prepare_trials(options.recordings, pictures, WORK)
    options.output.mkdir(parents=True, exist_ok=True)
    for arm in options.arms:
        scored = run_arm(arm, trials, judge)
        shutil.copy(scored / "scores.json", options.output / f"report-{arm}.json")
        with Image.open(scored / "gallery.png") as gallery:
            # 64 colours: a third of the bytes, and the pictures are grey.
            gallery.quantize(64).save(options.output / f"gallery-{arm}.png")


def run_arm(arm: str, trials: Path, judge: Path) -> Path:
    """Fit a model for each held-out run and score all of their trials together."""
    if arm == "prior":
        base = PriorConfig(**read_yaml(CONFIGS / "fit-prior-gratings.yaml"))
    else:
        base = FinetuneConfig(**read_yaml(CONFIGS / "finetune-gratings.yaml"))
    models, loaded = [], Trials.load(trials)
    for run in sorted(loaded.metadata["run"].unique()):
        changes = {
            "data": trials,
            "output": WORK / arm / f"run-{run}",
            "split": SplitConfig(by="run", test=[run], allow_shared_stimuli=True),
        }
        models.append(fit_once(base.model_copy(update=changes), loaded))
    scored = WORK / arm / "evaluate"
    evaluate(
        EvaluateConfig(
            model=models[0],
            folds=models[1:],
            data=trials,
            judge=judge,
            output=scored,
            protocol="muse-gratings",
            batch_size=64,
            label_prompt="a grating of {category} frequency",
            controls=CONTROLS[arm],
            sample=SAMPLES[arm],
        )
    )
    return scored


def write_pictures(work: Path) -> Path:
    """Draw the gratings; write their captions, and class folders for the judge."""
    folder = work / "pictures"
    draw_gratings(folder)
    rows = []
    for path in sorted(folder.glob("*.png")):
        frequency, angle = path.stem.split("-")
        text = f"a grating of {frequency} frequency at {int(angle)} degrees"
        rows.append({"file_name": path.name, "text": text})
        copy = work / "classes" / frequency / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["file_name", "text"])
        table.writeheader()
        table.writerows(rows)
    return folder


def prepare_trials(recordings: Path, pictures: Path, work: Path) -> Path:
    """Cut the trials of all recordings but the one that repeats others."""
    kept = work / "recordings"
    for path in sorted(recordings.glob("subject0/session1/*.csv")):
        if path.name != LEFT_OUT:
            copy = kept / "subject0" / "session1" / path.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    return prepare(
        PrepareConfig(
            dataset="muse-gratings",
            input=[kept],
            subjects=["0"],
            output=work / "paired",
            stimuli=pictures,
            tmin=0.0,
            tmax=0.75,
            signal=SignalConfig(
                picks=["TP9", "AF7", "AF8", "TP10"],
                l_freq=1.0,
                h_freq=30.0,
                sfreq=256.0,
                reject_uv=100.0,
            ),
        )
    )


if __name__ == "__main__":
    main()
