"""How well a confidence fitted on some trials is calibrated on others, all of them SIMULATED.

    python benchmarks/confidence.py

writes ``docs/results/confidence.json`` and ``.png``. Three cases: new runs of the person that the
bundled model knows, people whom it does not know, and people whom neither a model fine-tuned on ten
other people nor the calibrator knows. What is decoded stays under ``runs/confidence``; decoding and
the fine-tuning take about 20 minutes on two cores, the rest seconds.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dreamdiffusion.config import (
    FinetuneConfig,
    PrepareConfig,
    SampleConfig,
    SignalConfig,
    SimulateConfig,
    SplitConfig,
    read_yaml,
)
from dreamdiffusion.drawing import collect, draw_trials
from dreamdiffusion.evaluate import load_embedder, load_judge
from dreamdiffusion.finetune import finetune
from dreamdiffusion.judge import Judge
from dreamdiffusion.pictures import read_images
from dreamdiffusion.pipeline import EEGToImagePipeline, clip_source
from dreamdiffusion.prepare import prepare
from dreamdiffusion.runtime import autocast
from dreamdiffusion.simulation.bids import simulate
from dreamdiffusion.trials import Trials

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "weights"
SAMPLE = SampleConfig(num_inference_steps=6, num_images_per_prompt=4)
SIGNAL = SignalConfig(l_freq=1.0)
CASES = {  # (person, run) of each 240 trials that are decoded
    "own": [(1, run) for run in range(11, 15)],
    "others": [(person, 1) for person in range(12, 15)],
    "many": [(person, 1) for person in range(12, 17)],
}


def prepared(folder: Path, subject: int, run: int) -> Trials:
    """Simulate and cut one run of one person, once."""
    folder = folder / f"person-{subject:02d}-run-{run:02d}"
    if not (folder / "trials").is_dir():
        if not (folder / "recording").is_dir():
            simulate(
                SimulateConfig(
                    output=folder / "recording", noise_level=0.34, first_subject=subject,
                    n_runs=1, first_run=run,
                )
            )  # fmt: skip
        prepare(
            PrepareConfig(
                input=[folder / "recording"], output=folder / "trials", signal=SIGNAL, tmin=0.0,
                tmax=0.5,
            )
        )  # fmt: skip
    return Trials.load(folder / "trials")


def decoded(model: Path, judge: Judge, trials: Trials, cache: Path) -> dict[str, np.ndarray]:
    """Draw k images of every trial once; keep what the judge says of them, and the embeddings."""
    if not cache.is_file():
        device = torch.device("cpu")
        pipe = EEGToImagePipeline.from_pretrained(model)
        pipe.set_progress_bar_config(disable=True)
        eeg = np.asarray(trials.data)
        start = time.monotonic()
        with autocast(device, "auto", pipe.unet.config.sample_size**2):
            parts = list(
                draw_trials(
                    pipe, eeg, trials.ch_names, trials.sfreq, np.arange(len(trials)), SAMPLE, 16,
                    cache.stem,
                )
            )  # fmt: skip
        images = collect(parts)
        said = judge.predict(images.flatten(0, 1))["category"].unflatten(0, images.shape[:2])
        embeddings = torch.cat(
            [
                pipe.embed(eeg[i : i + 64], trials.ch_names, trials.sfreq)
                for i in range(0, len(eeg), 64)
            ]
        )
        np.savez(cache, probabilities=said.numpy(), embeddings=embeddings.float().numpy())
        print(f"{cache.stem}: {len(eeg)} trials in {time.monotonic() - start:.0f} s", flush=True)
    with np.load(cache, allow_pickle=False) as content:
        return dict(content)


def many_people(runs: Path, folder: Path, steps: int) -> Path:
    """Fine-tune on people 2 to 11, as the bundled model on person 1 but shorter; once."""
    output = folder / "finetune-people"
    if not (output / "model" / "adapter.json").is_file():
        data = folder / "people-02-11"
        if not data.is_dir():
            source = runs / "scenes-people"
            if not source.is_dir():
                simulate(SimulateConfig(output=source, n_subjects=10, first_subject=2, n_runs=3))
            prepare(PrepareConfig(input=[source], output=data, signal=SIGNAL, tmin=0.0, tmax=0.5))
        told = read_yaml(ROOT / "configs" / "finetune-scenes.yaml")
        pretrained = runs / "pretrain-scenes"
        told |= {
            "data": data, "output": output, "generator": str(WEIGHTS / "scenes-generator"),
            "pretrained": pretrained if pretrained.is_dir() else None, "steps": steps,
            "split": SplitConfig(by="subject", test=[], validation=["11"]),
            "validate_every": steps, "checkpoint_every": steps,
        }  # fmt: skip
        finetune(FinetuneConfig(**told))
    return output / "model"


def decode_case(name: str, runs: Path, folder: Path, steps: int) -> None:
    """Decode every run of a case that is not decoded yet."""
    judge = load_judge(WEIGHTS / "judge")
    model = many_people(runs, folder, steps) if name == "many" else WEIGHTS / "eeg-scenes"
    for subject, run in CASES[name]:
        cache = folder / f"{name}-{subject:02d}-{run:02d}.npz"
        decoded(model, judge, prepared(folder, subject, run), cache)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="of make_weights.sh")
    parser.add_argument("--steps", type=int, default=400, help="of the fine-tuning on ten people")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    args = parser.parse_args()
    folder = ROOT / "runs" / "confidence"
    folder.mkdir(parents=True, exist_ok=True)
    for name in args.cases:
        decode_case(name, args.runs, folder, args.steps)


if __name__ == "__main__":
    main()
