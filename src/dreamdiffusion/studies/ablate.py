"""The stage `ablate`: a grid over pre-training, fine-tuning and evaluation -> table and figure.

A row with a seed is a cell. A cell whose scores are there under the same configuration is not done
again; one that was stopped goes on through `pretrain`'s and `finetune`'s own checkpoints. Several
processes may work on one grid: what one of them computes, the others wait for or find done.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import traceback
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from dreamdiffusion.decoders.config import FinetuneConfig
from dreamdiffusion.decoders.dreamdiffusion.finetune import finetune
from dreamdiffusion.decoders.dreamdiffusion.pairs import Pairs, load_pairs
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.evaluation.evaluate import evaluate
from dreamdiffusion.files.locks import wait_for
from dreamdiffusion.files.output import RESUMES, writes_output
from dreamdiffusion.files.schema import Schema, read_yaml
from dreamdiffusion.files.whole import write_text
from dreamdiffusion.models.encoders.pretrain import pretrain
from dreamdiffusion.models.generator.generator import Generator
from dreamdiffusion.studies.config import AblateConfig
from dreamdiffusion.studies.grid import Cell, expand, fingerprint, share
from dreamdiffusion.studies.table import Outcome, Outcomes, Table
from dreamdiffusion.studies.table_report import draw_table, to_markdown
from dreamdiffusion.training.device import process_count
from dreamdiffusion.trials.trials import Trials

logger = logging.getLogger(__name__)

KnownPairs = dict[tuple[Path, str, str | None], Pairs]
"""Encoded pictures, by the trials, the generator and the CLIP that they belong to."""

FAILED = "error.txt"
"""In a cell's folder: why it has no scores."""


@writes_output(RESUMES, shared=True)
def ablate(config: AblateConfig) -> Path:
    """Run the cells of a grid, or a part of them, and collect what is done.

    Returns
    -------
    Path
        ``config.output`` with ``table.json``, ``table.md`` and ``table.png``, a folder for each
        row and seed (``ROW-SEED``, as `finetune` writes it, with ``evaluate/`` inside) and
        ``pretrain/``. A part writes no table: ``table`` does when all parts are done.

    Raises
    ------
    FileNotFoundError, ValueError
        If the configuration of any cell is not valid: before anything is run.
    ValueError
        If cells failed. The others were run and are in the table; each folder has ``error.txt``.
    """
    if process_count() > 1:
        raise ValueError(
            f"ablate runs in one process, here are {process_count()}; start parts of the grid "
            "instead: --part 1/4, --part 2/4, ..."
        )
    cells = expand(config)
    own = share(cells, config.part)
    known: KnownPairs = {}
    failed = [] if config.table else [cell for cell in own if not run(cell, known)]
    if not config.part and len(failed) < len(own):
        write_table(config, cells)
    if failed:
        raise ValueError(
            f"{len(failed)} of {len(own)} cells failed: "
            f"{', '.join(cell.name for cell in failed)}; the first says: "
            f"{_reason(failed[0])}; see {failed[0].folder / FAILED}"
        )
    return config.output


def run(cell: Cell, known: KnownPairs) -> bool:
    """Bring a cell to its scores; an error is written to its folder, not raised.

    Parameters
    ----------
    known
        Pictures that an earlier cell has encoded; this one's are added.

    Returns
    -------
    bool
        Whether the cell has its scores.
    """
    try:
        with wait_for(cell.folder.with_name(f"{cell.folder.name}.lock"), cell.name):
            (cell.folder / FAILED).unlink(missing_ok=True)
            if not is_done(cell):
                logger.info("%s: begins", cell.name)
                _compute(cell, known)
    except Exception as error:  # whatever ends one cell must not end the others
        cell.folder.mkdir(parents=True, exist_ok=True)
        text = f"{type(error).__name__}: {error}\n\n{traceback.format_exc()}"
        write_text(cell.folder / FAILED, text)
        logger.error("%s: failed: %s", cell.name, error)
        return False
    return True


def is_done(cell: Cell) -> bool:
    """Whether the scores of a cell are there, of this very configuration.

    Raises
    ------
    ValueError
        If there are scores of another configuration.
    """
    if not cell.scores.is_file():
        return False
    stages: tuple[tuple[Path, Schema], ...] = (
        (cell.folder, cell.finetune),
        (cell.scores.parent, cell.evaluate),
    )
    for folder, wanted in stages:
        path = folder / "config.yaml"
        if not path.is_file():  # written after the scores
            return False
        schema = FinetuneConfig if isinstance(wanted, FinetuneConfig) else EvaluateConfig
        stored = fingerprint(schema.model_validate(read_yaml(path)))
        for key, value in fingerprint(wanted).items():
            if stored[key] != value:
                raise ValueError(
                    f"{path} says {key} = {stored[key]!r}, this grid has {value!r}; delete "
                    f"{cell.folder} to do it again, or give another output"
                )
    return True


def _compute(cell: Cell, known: KnownPairs) -> None:
    if cell.pretrain is not None:
        folder = cell.pretrain.output
        with wait_for(folder.with_name(f"{folder.name}.lock"), f"pre-training {folder.name}"):
            # Its name is the hash of its configuration, and its scores are what it writes last.
            if not (folder / "scores.json").is_file():
                pretrain(cell.pretrain)
                shutil.rmtree(folder / "checkpoints")
    config = cell.finetune
    key = (config.data, config.generator, config.clip)

    def load(trials: Trials, generator: Generator) -> Pairs:
        if key not in known:
            known.clear()  # the last ones are enough, and may be large
            known[key] = load_pairs(trials, generator)
        return known[key]

    finetune(config, load)
    evaluate(cell.evaluate)
    shutil.rmtree(cell.folder / "checkpoints")


def write_table(config: AblateConfig, cells: list[Cell]) -> Table:
    """Collect the cells that are done; write ``table.json``, ``table.md`` and ``table.png``."""
    outcomes, records, missing = [], [], {}
    for cell in cells:
        try:
            done = is_done(cell)
        except ValueError as error:
            missing[cell.name] = str(error)
            continue
        if not done:
            missing[cell.name] = _reason(cell)
            continue
        records.append(json.loads(cell.scores.read_text("utf-8")))
        outcomes.append(read_outcome(cell, records[-1], config.metric))
    if not outcomes:
        raise ValueError(f"{config.output} holds no scores of this grid; run it first")
    by_row = Outcomes(outcomes)
    table = Table(
        metric=config.metric,
        simulated=any(record["simulated"] for record in records),
        split=records[0]["split"],
        seeds=config.seeds,
        rows=[by_row.row(row) for row in config.rows],
        claims=[by_row.check(claim) for claim in config.claims],
        against_paper=by_row.against_paper(config.rows),
        missing=missing,
    )
    config.output.mkdir(parents=True, exist_ok=True)
    write_text(config.output / "table.json", table.model_dump_json(indent=1) + "\n")
    write_text(config.output / "table.md", to_markdown(table))
    draw_table(table, config.output / "table.png")
    for name, why in missing.items():
        logger.warning("%s: no scores: %s", name, why)
    return table


def read_outcome(cell: Cell, record: dict[str, Any], metric: str) -> Outcome:
    """Take from the content of a ``scores.json`` what the table needs.

    Raises
    ------
    ValueError
        If the metric was not scored.
    """
    found = [score for score in record["scores"] if score["metric"] == metric]
    if not found:
        why = record["not_scored"].get(metric, "it is not among the scores")
        raise ValueError(f"{cell.name} has no {metric}: {why}")
    name = metric.removesuffix("_top1")
    pairs = zip(record["trials"][name], record["trials"][f"judged_{name}"], strict=True)
    hits = np.array([np.mean([label == truth for label in named]) for truth, named in pairs])
    shuffled = (
        found[0]["controls"]["shuffled_eeg"]["value"]
        if "controls" in found[0]
        else found[0]["shuffled_eeg"]
    )
    return Outcome(
        cell.row,
        cell.seed,
        np.asarray(hits, float),
        found[0]["chance"],
        shuffled,
        _encoder_parameters(cell),
    )


def _encoder_parameters(cell: Cell) -> int:
    path = cell.folder / "model" / "eeg_encoder" / "diffusion_pytorch_model.safetensors"
    with safe_open(path, framework="numpy") as file:
        names = set(file.keys()) - {"pos_embed"}  # fixed, no parameter
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)


def _reason(cell: Cell) -> str:
    path = cell.folder / FAILED
    if not path.is_file():
        return "not run yet, or not to its end"
    return path.read_text(encoding="utf-8").splitlines()[0]
