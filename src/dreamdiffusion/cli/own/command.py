"""``dreamdiffusion run``: inspect, bring pictures and events together, prepare, audit, fit, score.

Every step is the command of its own name, with a configuration that is kept beside its result:
`steps.txt` lists the commands. A step that is there already, of the same configuration, is not done
again.
"""

from __future__ import annotations

import logging
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dreamdiffusion.cli.config import RunConfig
from dreamdiffusion.cli.own.plan import (
    PART,
    add_parts,
    check_enough,
    draws_these,
    plan_fit,
    plan_prepare,
    plan_split,
    reject_limit,
)
from dreamdiffusion.cli.own.words import in_rows, in_words
from dreamdiffusion.datasets.config import BidsConfig
from dreamdiffusion.datasets.own.bids import bids
from dreamdiffusion.datasets.prepare import prepare
from dreamdiffusion.decoders.config import FitConfig
from dreamdiffusion.decoders.fit import MODEL, fit_decoder
from dreamdiffusion.decoders.registry import registry
from dreamdiffusion.evaluation.command import evaluate_command
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.evidence.audit.run import audit
from dreamdiffusion.evidence.config import AuditConfig
from dreamdiffusion.evidence.scores import Scores
from dreamdiffusion.files.output import RESUMES, writes_output
from dreamdiffusion.files.schema import Schema, read_yaml, write_yaml
from dreamdiffusion.files.whole import write_json, write_picture, write_text
from dreamdiffusion.recordings.bad_channels import spectrum
from dreamdiffusion.recordings.find import bids_root, find_recordings
from dreamdiffusion.recordings.formats.sidecar import read_json
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.report.inspection import describe_recording
from dreamdiffusion.report.inspection_picture import draw_inspection
from dreamdiffusion.studies.known_pictures import score_known
from dreamdiffusion.trials.config import PrepareConfig, SplitConfig
from dreamdiffusion.trials.trials import Trials

logger = logging.getLogger(__name__)


@writes_output(RESUMES)
def run(config: RunConfig) -> dict[str, Any]:
    """Go from recordings to a report, and say in plain words what came out.

    Returns
    -------
    dict
        `scores` as rows, `steps`: the file of the commands that do it again one by one, `result`
        (in words), `report`.

    Raises
    ------
    ValueError, FileNotFoundError
        As the steps; also where nothing can be learned of the trials.
    """
    if not config.recordings:
        raise ValueError("run has no recording; give files or a folder: dreamdiffusion run my.csv")
    steps = Steps(config.output)
    inputs, by_class = _bring_together(config, steps)
    shown = _inspect(config, inputs, steps)
    by_class = by_class or not any(found["names_pictures"] for found in shown)
    data = _prepare(config, inputs, by_class, shown, steps)
    trials = Trials.load(data)
    split = plan_split(trials)
    check_enough(trials, split.by)
    found = _audit(data, split, steps)
    fit_config = plan_fit(trials, split, data, steps.folder / "fit")
    fit_config.acknowledge = list(found.get("severe", {}))
    fit_config.seed = config.seed
    is_drawn = draws_these(trials)
    _fit(fit_config, steps)
    scores = _score(config, fit_config, is_drawn, steps)
    words = in_words(scores, fit_config, is_drawn)
    write_text(steps.folder / "result.txt", words + "\n")
    write_text(steps.folder / "steps.txt", "\n".join(steps.commands) + "\n")
    return {  # what somebody who does not program looks for stands last on the screen
        "scores": {row.pop("metric"): row for row in in_rows(scores)},
        "steps": str(steps.folder / "steps.txt"),
        "result": words,
        "report": str(steps.folder / "scores" / "report.html"),
    }


class Steps:
    """What is done already in an output folder, and the commands that do it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.commands = folder, list[str]()
        folder.mkdir(parents=True, exist_ok=True)

    def do(self, name: str, config: Schema, result: Path, step: Callable[[], object]) -> None:
        """Do a step unless its result is there, of the same configuration.

        Parameters
        ----------
        name
            The command.
        config
            Kept as `<command>.yaml`, words joined by hyphens.
        result
            A file that is there when the step is done.
        step
            What does it.
        """
        kept = self.folder / f"{name.replace(' ', '-')}.yaml"
        self.commands.append(f"dreamdiffusion {name} --config {shlex.quote(str(kept))}")
        wanted = config.model_dump(mode="json")
        if result.is_file() and kept.is_file() and read_yaml(kept) == wanted:
            logger.info("%s: done already", name)
            return
        logger.info("%s ...", name)
        kept.unlink(missing_ok=True)
        step()
        write_yaml(config, kept)


def _bring_together(config: RunConfig, steps: Steps) -> tuple[list[Path], bool]:
    """Return what `prepare` reads, and whether only classes of pictures are known."""
    paths = find_recordings(config.recordings)
    in_bids = [bids_root(path) for path in paths]
    if config.pictures is None and config.events is None:
        if None in in_bids:
            raise ValueError(
                f"which pictures were shown in {paths[in_bids.index(None)]} is not known; give "
                "--pictures FOLDER (one folder a class), --events TABLE or both"
            )
        return list(config.recordings), False
    output = steps.folder / "bids"
    asked = BidsConfig(
        recordings=config.recordings, pictures=config.pictures, events=config.events,
        codes=config.codes, output=output, **config.stated(),
    )  # fmt: skip
    done = steps.folder / "bids.json"

    def make() -> None:
        if (output / "dataset_description.json").is_file():  # of another configuration, or half
            shutil.rmtree(output)
        write_json(steps.folder / "bids.json", bids(asked))

    steps.do("bids", asked, done, make)
    return [output], bool(read_json(steps.folder / "bids.json")["only_classes"])


def _inspect(config: RunConfig, inputs: list[Path], steps: Steps) -> list[dict[str, Any]]:
    """Describe every recording; write `inspect/*.json` and `*.png`."""
    folder, shown = steps.folder / "inspect", []
    folder.mkdir(exist_ok=True)
    stated = {} if inputs != list(config.recordings) else config.stated()
    for path in find_recordings(inputs):
        recording = read_recording(path, **stated)
        power = spectrum(recording.raw)
        found = describe_recording(recording, power)
        events, found["file"] = recording.events, path.name
        gaps = np.diff(events["onset"].dropna()) if events is not None else np.array([])
        found["soa"] = float(np.median(gaps)) if len(gaps) else 1.0
        found["names_pictures"] = events is not None and bool((events["stim_file"] != "").any())
        write_json(folder / f"{path.stem}.json", found)
        picture = folder / f"{path.stem}.png"
        if not picture.is_file():
            write_picture(picture, draw_inspection(recording, power, found), dpi=110)
        steps.commands.append(f"dreamdiffusion inspect {shlex.quote(str(path))}")
        shown.append(found)
    return shown


def _prepare(
    config: RunConfig,
    inputs: list[Path],
    by_class: bool,
    shown: list[dict[str, Any]],
    steps: Steps,
) -> Path:
    """Cut trials, without a limit of amplitude first: the trials say which limit fits."""
    stated = config if inputs == list(config.recordings) else RunConfig()
    asked = plan_prepare(inputs, shown, steps.folder / "trials", stated)
    if by_class:
        stimuli = Path(bids_root(find_recordings(inputs)[0]) or ".") / "stimuli"
        known = {"pair_by": "category", "stimuli": stimuli}
        asked = asked.model_copy(update=known if stimuli.is_dir() else {"pair_by": "none"})

    def cut() -> None:
        shutil.rmtree(asked.output, ignore_errors=True)
        limit = reject_limit(Trials.load(prepare(asked)))
        if limit is not None:
            logger.info("cut again, without trials of more than %g microvolts", limit)
            shutil.rmtree(asked.output)
            prepare(_with_limit(asked, limit))
        trials = Trials.load(asked.output)
        if add_parts(trials):
            kept = Trials.load(asked.output)
            kept.metadata[PART] = trials.metadata[PART]
            kept.save(asked.output)

    steps.do("prepare", asked, asked.output / "info.json", cut)
    limit = Trials.load(asked.output).signal.get("reject_uv")
    if limit is not None:
        steps.commands[-1] += f" --signal.reject_uv {limit:g}"
    return asked.output


def _with_limit(asked: PrepareConfig, limit: float) -> PrepareConfig:
    signal = asked.signal.model_copy(update={"reject_uv": limit})
    return asked.model_copy(update={"signal": signal})


def _audit(data: Path, split: SplitConfig, steps: Steps) -> dict[str, Any]:
    asked = AuditConfig(data=data, output=steps.folder / "audit", split=split)
    kept = steps.folder / "audit.yaml"
    steps.commands.append(f"dreamdiffusion audit --config {shlex.quote(str(kept))}")
    write_yaml(asked, kept)
    return audit(asked)


def _fit(asked: FitConfig, steps: Steps) -> None:
    record = asked.output / MODEL / "decoder.json"

    def fit() -> None:
        kept = asked.output / "config.yaml"
        if kept.is_file() and read_yaml(kept) != asked.model_dump(mode="json"):
            shutil.rmtree(asked.output)  # of other trials or settings
        fit_decoder(asked)

    steps.do(registry.command(registry.of_config(asked)), asked, record, fit)


def _score(config: RunConfig, fit: FitConfig, is_drawn: bool, steps: Steps) -> Scores:
    output = steps.folder / "scores"
    model = fit.output / MODEL
    if is_drawn:
        asked = EvaluateConfig(model=model, data=fit.data, output=output, limit=96)
        steps.do("evaluate", asked, output / "report.html", lambda: evaluate_command(asked))
        return Scores.model_validate_json((output / "scores.json").read_text(encoding="utf-8"))
    if (output / "report.html").is_file() and _same_model(output, model):
        return Scores.model_validate_json((output / "scores.json").read_text(encoding="utf-8"))
    scores = score_known(model, fit.data, output, config)
    write_text(output / "model.txt", _stamp(model))
    return scores


def _stamp(model: Path) -> str:
    return (model / "about.json").read_text(encoding="utf-8")


def _same_model(output: Path, model: Path) -> bool:
    kept = output / "model.txt"
    return kept.is_file() and kept.read_text(encoding="utf-8") == _stamp(model)
