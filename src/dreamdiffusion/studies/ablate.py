"""The stage `ablate`: a grid over decoders and their settings -> table and figure.

A row with a seed is a cell: pre-trained perhaps, fitted, scored. A cell whose scores are there
under the same configuration is not done again; one that was stopped goes on through the
checkpoints of `pretrain` and `fit`. Several
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
from pydantic import ValidationError
from safetensors import safe_open

from dreamdiffusion.decoders.config import FinetuneConfig
from dreamdiffusion.decoders.dreamdiffusion.decoder import LoadPairs
from dreamdiffusion.decoders.dreamdiffusion.finetune import finetune
from dreamdiffusion.decoders.dreamdiffusion.pairs import Pairs, load_pairs
from dreamdiffusion.decoders.fit import MODEL, fit_decoder
from dreamdiffusion.evaluation.evaluate import evaluate
from dreamdiffusion.evidence.controls import controls_of_kind
from dreamdiffusion.files.locks import wait_for
from dreamdiffusion.files.output import RESUMES, writes_output
from dreamdiffusion.files.schema import Schema, read_yaml
from dreamdiffusion.files.whole import write_text
from dreamdiffusion.models.encoders.pretrain import pretrain
from dreamdiffusion.models.generator.generator import Generator
from dreamdiffusion.studies.config import AblateConfig
from dreamdiffusion.studies.grid import Cell, expand, fingerprint, share
from dreamdiffusion.studies.labels import score_labels
from dreamdiffusion.studies.table import Outcome, Outcomes, Table
from dreamdiffusion.studies.table_report import draw_table, to_markdown
from dreamdiffusion.training.device import process_count
from dreamdiffusion.trials.trials import Trials

logger = logging.getLogger(__name__)

KnownPairs = dict[tuple[Path, str, str | None], Pairs]
"""Encoded pictures, by the trials, the generator and the CLIP that they belong to."""

SHORT_CUTS = [*controls_of_kind("without_image"), "bank_picture"]
"""Controls that use the EEG and need no decoder of images."""

FAILED = "error.txt"
"""In a cell's folder: why it has no scores."""


@writes_output(RESUMES, shared=True)
def ablate(config: AblateConfig) -> Path:
    """Run the cells of a grid, or a part of them, and collect what is done.

    Returns
    -------
    Path
        ``config.output`` with ``table.md``, ``table.json`` and ``table.png`` (of further metrics
        ``table-METRIC.json`` and ``.png``), a folder for each row and seed (``ROW-SEED``, as `fit`
        writes it, with ``evaluate/`` inside) and ``pretrain/``. A part writes no table: ``table``
        does when all parts are done.

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
        write_tables(config, cells)
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
        (cell.folder, cell.fit),
        (cell.scores.parent, cell.evaluate),
    )
    for folder, wanted in stages:
        path = folder / "config.yaml"
        if not path.is_file():  # written after the scores
            return False
        stored = fingerprint(_read_config(type(wanted), path))
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
    if isinstance(cell.fit, FinetuneConfig):
        finetune(cell.fit, _load_pairs_once(cell.fit, known))
    else:
        fit_decoder(cell.fit)
    if cell.draws:
        evaluate(cell.evaluate)
    else:
        score_labels(cell.evaluate)
    for checkpoints in cell.folder.rglob("checkpoints"):
        shutil.rmtree(checkpoints)


def _load_pairs_once(config: FinetuneConfig, known: KnownPairs) -> LoadPairs:
    """Return what encodes the pictures of a fine-tuning, unless an earlier cell has done it."""
    key = (config.data, config.generator, config.clip)

    def load(trials: Trials, generator: Generator) -> Pairs:
        if key not in known:
            known.clear()  # the last ones are enough, and may be large
            known[key] = load_pairs(trials, generator)
        return known[key]

    return load


def _read_config(schema: type[Schema], path: Path) -> Schema:
    """Read the configuration that a cell was made under.

    Raises
    ------
    ValueError
        If it is that of another stage or decoder.
    """
    try:
        return schema.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ValueError(
            f"{path} is no {schema.__name__}, as this grid has; delete {path.parent} to do it "
            "again, or give another output"
        ) from error


def write_tables(config: AblateConfig, cells: list[Cell]) -> None:
    """Collect the cells that are done, and write what `ablate` names."""
    tables = [make_table(config, cells, metric) for metric in config.metrics]
    config.output.mkdir(parents=True, exist_ok=True)
    for number, table in enumerate(tables):
        name = f"table-{table.metric}" if number else "table"
        write_text(config.output / f"{name}.json", table.model_dump_json(indent=1) + "\n")
        draw_table(table, config.output / f"{name}.png")
    write_text(config.output / "table.md", "\n".join(map(to_markdown, tables)))
    missing = {name: why for table in tables for name, why in table.missing.items()}
    for name, why in missing.items():
        logger.warning("%s: no scores: %s", name, why)


def make_table(config: AblateConfig, cells: list[Cell], metric: str) -> Table:
    """Collect one metric of the cells that are done.

    Raises
    ------
    ValueError
        If there is none.
    """
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
        record = json.loads(cell.scores.read_text("utf-8"))
        try:
            outcomes.append(read_outcome(cell, record, metric))
        except ValueError as error:
            missing[cell.name] = str(error)
            continue
        records.append(record)
    if not outcomes:
        raise ValueError(
            f"{config.output} holds no {metric} of this grid; run it first "
            f"({next(iter(missing.values()))})"
        )
    by_row = Outcomes(outcomes)
    return Table(
        metric=metric,
        simulated=any(record["simulated"] for record in records),
        split=records[0]["split"],
        seeds=config.seeds,
        rows=[by_row.row(row) for row in config.rows],
        claims=[by_row.check(claim) for claim in config.claims],
        against_first=by_row.against_first(config.rows),
        against_paper=by_row.against_paper(config.rows),
        missing=missing,
    )


def read_outcome(cell: Cell, record: dict[str, Any], metric: str) -> Outcome:
    """Take from the content of a ``scores.json`` what the table needs.

    Raises
    ------
    ValueError
        If the metric was not scored.
    """
    found = [score for score in record["scores"] if score["metric"] == metric]
    if not found:
        why = record.get("not_scored", {}).get(metric, "it is not among the scores")
        raise ValueError(f"{cell.name} has no {metric}: {why}")
    name = metric.removesuffix("_top1")
    pairs = zip(record["trials"][name], record["trials"][f"judged_{name}"], strict=True)
    hits = np.array([np.mean([label == truth for label in named]) for truth, named in pairs])
    controls = {name: each["value"] for name, each in found[0].get("controls", {}).items()}
    shuffled = controls.get("shuffled_eeg", found[0].get("shuffled_eeg"))
    ends = f"_{metric}"
    short_cuts = {name: controls[name] for name in SHORT_CUTS if name in controls} | {
        score["metric"].removesuffix(ends): score["value"]
        for score in record.get("baselines", [])
        if score["metric"].endswith(ends)
    }
    return Outcome(
        cell.row,
        cell.seed,
        np.asarray(hits, float),
        found[0]["chance"],
        shuffled,
        short_cuts,
        _count_parameters(cell),
    )


def _count_parameters(cell: Cell) -> int | None:
    """Return the parameters of the EEG encoder, of a reader's networks; None of what has none."""
    path = cell.folder / MODEL / "eeg_encoder" / "diffusion_pytorch_model.safetensors"
    if not path.is_file():
        about = json.loads((cell.folder / MODEL / "about.json").read_text("utf-8"))
        return about.get("n_parameters")
    with safe_open(path, framework="numpy") as file:
        names = set(file.keys()) - {"pos_embed"}  # fixed, no parameter
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)


def _reason(cell: Cell) -> str:
    path = cell.folder / FAILED
    if not path.is_file():
        return "not run yet, or not to its end"
    return path.read_text(encoding="utf-8").splitlines()[0]
