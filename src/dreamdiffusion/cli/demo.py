"""The demonstration: write a SIMULATED recording, decode it with the bundled weights, score it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from dreamdiffusion.cli.config import DemoConfig
from dreamdiffusion.datasets.config import SimulateConfig
from dreamdiffusion.datasets.prepare import prepare
from dreamdiffusion.datasets.simulation.bids import simulate
from dreamdiffusion.decoders.fit import open_image_decoder
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.evaluation.evaluate import evaluate
from dreamdiffusion.evidence.scores import Scores
from dreamdiffusion.files.output import writes_output
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.trials.config import PrepareConfig

MODELS = {"prior": "prior-scenes", "dreamdiffusion": "eeg-scenes"}
"""Folder of each decoder below ``weights``."""


@writes_output()
def demo(config: DemoConfig) -> Path:
    """Simulate a session the model has never seen, of the person it was fitted on, and decode.

    Returns
    -------
    Path
        ``config.output`` with ``recording/`` (BIDS), ``trials/``, ``scores.json``,
        ``gallery.png`` and ``report.html``.

    Raises
    ------
    FileNotFoundError
        If the bundled weights are not where ``config.weights`` says.
    """
    model = config.weights / MODELS[config.decoder]
    recipe_path = model / "recording.json"
    if not recipe_path.is_file():
        raise FileNotFoundError(
            f"bundled weights {model} not found; install the package anew, or name the folder that "
            "holds them with --weights"
        )
    recipe = SimulateConfig(**json.loads(recipe_path.read_text(encoding="utf-8")))
    output = config.output
    for part in ("recording", "trials"):
        shutil.rmtree(output / part, ignore_errors=True)
    print(
        "SIMULATED EEG: no person is recorded; its noise is far below that of a real recording.",
        file=sys.stderr,
    )
    # The runs up to recipe.n_runs made the model; the demonstration uses the one after them.
    recording = simulate(
        recipe.model_copy(
            update={
                "output": output / "recording",
                "n_runs": 1,
                "first_run": recipe.first_run + recipe.n_runs + config.seed,
                "trials_per_run": config.trials,
            }
        )
    )
    settings = open_image_decoder(model).processor.config
    tmin = float(settings["tmin"])
    trials = prepare(
        PrepareConfig(
            input=[recording],
            output=output / "trials",
            signal=SignalConfig(**settings["signal"]),
            tmin=tmin,
            tmax=tmin + settings["n_times"] / settings["sfreq"],
        )
    )
    scores = evaluate(
        EvaluateConfig(
            model=model,
            data=trials,
            judge=config.weights / "judge",
            output=output,
            split="new",
            runtime=config.runtime,
        )
    )
    print(table(scores))
    return output


def table(scores: Scores) -> str:
    """Return the scores as a short table, the headline last."""
    lines = [
        f"{'metric':<24}{'value':>7}{'95 % interval':>15}{'chance':>8}"
        f"  {'strongest control':<27}{'p':>7}"
    ]
    for score in [*scores.scores, *scores.baselines]:
        low, high = score.ci95
        control = f"{score.controls[score.strongest].value:.3f} {score.strongest}"
        lines.append(
            f"{score.metric:<24}{score.value:>7.3f}{f'{low:.3f} - {high:.3f}':>15}"
            f"{score.chance:>8.3f}  {control:<27}{score.p:>7.4f}"
        )
    lines.append(f"{scores.scores[0].n} trials, split: {scores.split}")
    head = scores.headline
    low, high = head.difference_ci95
    if head.verdict == "withheld":
        reasons = "; ".join(f"{reason.name}: {reason.what}" for reason in head.reasons)
        lines.append(f"headline withheld: {reasons}")
    else:
        lines.append(
            f"headline: {head.metric} is {head.difference:+.3f} ({low:+.3f} to {high:+.3f}) over "
            f"{head.strongest}: {head.verdict} the strongest control without a brain"
        )
    return "\n".join(lines)
