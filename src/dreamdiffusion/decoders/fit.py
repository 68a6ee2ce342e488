"""Fitting any decoder: split, audit, fit, and a folder that says how it was made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dreamdiffusion.decoders.base import CATEGORY, RECORD, Decoder, read_record
from dreamdiffusion.decoders.baselines import fit_baselines
from dreamdiffusion.decoders.config import FitConfig
from dreamdiffusion.decoders.registry import registry
from dreamdiffusion.evidence.audit.run import (
    audit_record,
    audit_trials,
    check_acknowledged,
    write_audit,
)
from dreamdiffusion.files.schema import write_yaml
from dreamdiffusion.training.device import is_main_process
from dreamdiffusion.trials.splits import Split, split_trials, subset_training
from dreamdiffusion.trials.trials import Trials

MODEL = "model"
"""Folder below ``output`` that holds the fitted decoder."""


def fit_stage(config: FitConfig, fit: Callable[[Trials, Split], Decoder]) -> Path:
    """Fit a decoder on the training trials of ``config.data`` and write ``output/model``.

    The folder also holds ``split.json``, ``audit.json``, ``about.json`` and the baselines, fitted
    on the same training trials.

    Parameters
    ----------
    fit
        The decoder's own, given trials and split.

    Raises
    ------
    FileNotFoundError, ValueError
        If the trials are missing, the audit has a severe finding that ``config.acknowledge`` does
        not name, or the decoder lacks something.
    """
    output = config.output
    output.mkdir(parents=True, exist_ok=True)
    if is_main_process():
        write_yaml(config, output / "config.yaml")
    trials = Trials.load(config.data)
    split = make_split(trials, config)
    audited = run_audit(trials, split, config)
    fitted = fit(trials, split)
    folder = output / MODEL
    if not is_main_process():
        return folder
    fitted.save(folder)
    split.save(folder / "split.json")
    write_audit(folder / "audit.json", audited)
    fit_baselines(trials, split, folder)
    about = {
        "simulated": trials.simulated,
        "split": split.rule,
        "split_sha256": split.sha256,
        "n_train": len(split.train),
        **fitted.facts(),
        "runs": trials.metadata[["subject", "session", "run"]].drop_duplicates().values.tolist(),
    }
    (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return folder


def make_split(trials: Trials, config: FitConfig) -> Split:
    """Split the trials as the configuration says."""
    sides = config.split
    if trials.pairing == "category":  # then the sides share pictures; the rule says so
        sides = sides.model_copy(update={"allow_shared_stimuli": True})
    split = split_trials(trials.metadata, sides, config.seed)
    if config.n_pairs is None:
        return split
    return subset_training(split, trials.metadata[CATEGORY].to_numpy(), config.n_pairs, config.seed)


def run_audit(trials: Trials, split: Split, config: FitConfig) -> dict[str, Any]:
    """Audit trials and split, write ``output/audit.json``, and return its content.

    Every process of a training looks for itself: all of them find the same, and all of them end.

    Raises
    ------
    ValueError
        For a severe finding that is not acknowledged.
    """
    findings = audit_trials(trials, split)
    audited = audit_record(findings, trials, split, config.acknowledge)
    if is_main_process():
        write_audit(config.output / "audit.json", audited)
    check_acknowledged(findings, config.acknowledge)
    return audited


def load_decoder(folder: Path | str) -> Decoder:
    """Open a folder that a decoder was saved in, whichever decoder it is.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder holds none, or one that this version does not know.
    """
    folder = Path(folder)
    if (folder / RECORD).is_file():
        name = read_record(folder)["decoder"]
    elif any((folder / file).is_file() for file in ("adapter.json", "model_index.json")):
        name = "dreamdiffusion"  # saved before decoders left a record, or by the pipeline alone
    else:
        raise FileNotFoundError(f"{folder} holds no decoder; give the model folder of a fit")
    if name not in registry:
        raise ValueError(f"{folder} holds the unknown decoder {name!r}; known: {list(registry)}")
    return registry[name].load(folder)
