"""The stage `evaluate`: open, decode, score, qualify, report."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dreamdiffusion.evaluation.confidence.calibrator import FILE as CONFIDENCE
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.evaluation.decode import Decoded, decode_folds
from dreamdiffusion.evaluation.judged import DRAWS
from dreamdiffusion.evaluation.opening import Fold, Opened, open_evaluation
from dreamdiffusion.evaluation.qualify import Qualified, qualify
from dreamdiffusion.evaluation.score import Scored, score_decoded
from dreamdiffusion.evidence.scores import Scores
from dreamdiffusion.files.keywords import with_keywords
from dreamdiffusion.files.locks import hold
from dreamdiffusion.files.output import ANEW, explaining_disk_errors
from dreamdiffusion.files.schema import write_yaml
from dreamdiffusion.report.occlusion_figure import draw_occlusion
from dreamdiffusion.report.write import write_results
from dreamdiffusion.training.device import is_main_process
from dreamdiffusion.trials.trials import Trials


@with_keywords(EvaluateConfig)
def evaluate(config: EvaluateConfig) -> Scores:
    """Decode held-out trials from their EEG and by every control, and score all of them.

    Parameters
    ----------
    config : EvaluateConfig
        What is evaluated, and how; or its fields as keywords. Files are written where an ``output``
        is given: ``scores.json``, ``gallery.png``, ``report.html`` and ``config.yaml``, the
        resolved configuration.

    Returns
    -------
    Scores
        What ``scores.json`` holds; in a run of several processes the same in each of them.

    Raises
    ------
    FileNotFoundError
        If a model, its split or CLIP, the judge, the trials or a picture is missing.
    ValueError
        If a split was made for other trials, it has fewer than two trials, two folds hold out one
        trial, or the judge does not know a category of the data.

    Examples
    --------
    A new session of the SIMULATED person, one image a trial, no extras:

    >>> from pathlib import Path
    >>> from dreamdiffusion import evaluate
    >>> few = {"num_inference_steps": 2, "num_images_per_prompt": 1}
    >>> scores = evaluate(
    ...     model="weights/eeg-scenes", data="session", split="new", sample=few, output="scored",
    ...     controls=["mean_embedding"], confidence=False, occlusion=False, n_bootstrap=200,
    ... )
    >>> scores.scores[0].metric, scores.scores[0].n
    ('category_top1', 24)
    >>> sorted(path.name for path in Path("scored").iterdir())
    ['config.yaml', 'gallery.png', 'report.html', 'scores.json']
    """
    if "output" not in config.model_fields_set:
        return _evaluate(config, None)
    with explaining_disk_errors(config.output, ANEW), hold(config.output, "evaluate"):
        return _evaluate(config, config.output)


def _evaluate(config: EvaluateConfig, output: Path | None) -> Scores:
    opened = open_evaluation(config)
    decoded = decode_folds(opened)
    scored = score_decoded(opened, decoded)
    qualified = qualify(opened, scored)
    return report(opened, decoded, scored, qualified, output)


def report(
    opened: Opened, decoded: Decoded, scored: Scored, qualified: Qualified, output: Path | None
) -> Scores:
    """Put everything into one record and, where there is an output, write it and its pictures."""
    config, images, analyses = opened.config, scored.images, scored.analyses
    result = Scores(
        split=describe_split(opened.folds),
        simulated=opened.trials.simulated,
        noise_level=noise_level(opened.trials),
        headline=qualified.headline,
        scores=images.scores,
        baselines=scored.baselines,
        distributions=images.distributions,
        curves=analyses.curves,
        confidence=analyses.confidence,
        occlusion=analyses.occlusion,
        not_scored=scored.not_scored,
        protocol=scored.protocol | {"drawing": opened.folds[0].decoder.describe(opened.sample)},
        followed=opened.followed,
        looks=qualified.looks,
        judge=images.judge,
        confusion=images.confusion,
        trials=images.trials | _drawn_from(decoded),
        audit=qualified.audit,
        made=describe_making(config, output),
    )
    if output is None or not is_main_process():
        return result
    occlusion = result.occlusion
    figures = {} if occlusion is None else {"occlusion": draw_occlusion(occlusion)}
    draws = decoded.controls.get(DRAWS)
    write_results(output, result, decoded.generated, opened.shown.seen, figures, draws)
    if analyses.calibrator is not None:
        analyses.calibrator.save(output / CONFIDENCE)
    write_yaml(config, output / "config.yaml")
    return result


def _drawn_from(decoded: Decoded) -> dict[str, list[list[str]]]:
    """Return what each image was drawn from beside the EEG, where the decoder says it."""
    found = decoded.answer.drawn_from
    return {} if found is None else {"drawn_from": found}


def describe_split(folds: Sequence[Fold]) -> str:
    """Say which trials were scored, and by how many models."""
    first = folds[0].held.description
    if len(folds) == 1:
        return first
    return f"{len(folds)} models, each held out others; first: {first}"


def describe_making(config: EvaluateConfig, output: Path | None) -> dict[str, Any]:
    """Return what is needed to make the scores again: command, configuration and versions."""
    made: dict[str, Any] = {"config": config.model_dump(mode="json"), "versions": versions()}
    if output is None:
        return made
    config_file = shlex.quote(str(output / "config.yaml"))
    return {"command": f"dreamdiffusion evaluate --config {config_file}", **made}


def noise_level(trials: Trials) -> float | list[float] | None:
    """Return the simulation's noise level (or levels) that the metadata state, if they do."""
    if not trials.simulated or "noise_level" not in trials.metadata:
        return None
    levels = sorted({float(level) for level in trials.metadata["noise_level"]})
    return levels[0] if len(levels) == 1 else levels


def versions() -> dict[str, str]:
    """Return the versions that matter to the result."""
    names = ("dreamdiffusion", "torch", "diffusers", "transformers", "mne", "numpy")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from the source tree
            continue
    return found
