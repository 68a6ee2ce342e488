"""The audit: what could make a score say something else than that a picture was decoded.

`audit_trials` runs every check; `dreamdiffusion audit` writes what they found, and a fine-tuning
begins with it. What each check finds and how often it is wrong: docs/audit.md.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dreamdiffusion.evidence.audit.alternation import alternating_order
from dreamdiffusion.evidence.audit.blocks import (
    block_design,
    class_balance,
    class_by_run,
    event_timing,
    time_across_split,
)
from dreamdiffusion.evidence.audit.class_channel import class_in_channel
from dreamdiffusion.evidence.audit.duplicates import duplicate_trials, shared_stimuli
from dreamdiffusion.evidence.audit.early_signal import early_signal
from dreamdiffusion.evidence.audit.figure import save_figure
from dreamdiffusion.evidence.audit.findings import Finding
from dreamdiffusion.evidence.audit.order import fixed_order
from dreamdiffusion.evidence.audit.signal import drift, rates, units
from dreamdiffusion.evidence.audit.trial_order import TrialOrder
from dreamdiffusion.evidence.config import AuditConfig
from dreamdiffusion.files.output import writes_output
from dreamdiffusion.files.whole import parse_json, write_json
from dreamdiffusion.trials.splits import Split, split_trials
from dreamdiffusion.trials.trials import Trials

logger = logging.getLogger(__name__)

SEVERITIES = ("severe", "warning", "note", "passed")
ORDER_FINDINGS = {"block_design", "time_across_split", "fixed_order", "class_by_run"}
"""Findings by which time, without any signal, predicts the class."""


def audit_trials(trials: Trials, split: Split | None = None, seed: int = 0) -> list[Finding]:
    """Look for what is wrong with trials and split.

    Parameters
    ----------
    trials
        As `prepare` wrote them.
    split
        Which trials train and which are tested; None leaves out what needs one.
    seed
        Of the permutations.

    Returns
    -------
    findings
        One or more of each check, the severe first; those that passed give their figures too.

    Raises
    ------
    ValueError
        If the split names trials that are not there, or there is none.

    Examples
    --------
    >>> from dreamdiffusion import Trials, audit, split_by
    >>> trials = Trials.load("trials")
    >>> split = split_by(trials.metadata, "run", test=["02"], validation=0.0, seed=0)
    >>> findings = audit(trials, split)
    >>> [finding.name for finding in findings if finding.severity == "severe"]
    []
    """
    if not len(trials):
        raise ValueError("there are no trials to audit")
    if split is not None:
        last = max(
            int(side.max()) for side in (split.train, split.validation, split.test) if len(side)
        )
        if last >= len(trials):
            raise ValueError(f"the split names trial {last}, there are {len(trials)} trials")
    design = TrialOrder.of(trials.metadata)
    found = _of_order(trials.metadata, design, split, seed)
    time_predicts = any(f.severity == "severe" and f.name in ORDER_FINDINGS for f in found)
    found += [
        *drift(trials, design, time_predicts, seed),
        early_signal(trials, design, seed),
        class_in_channel(trials, design),
        duplicate_trials(trials, design, split),
        shared_stimuli(trials, split),
        units(trials, design),
        rates(trials, design),
        *class_balance(design, split),
        *_cut_elsewhere(trials),
        *_missing_values(trials),
    ]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def audit_order(metadata: pd.DataFrame, seed: int = 0) -> list[Finding]:
    """Look at the order of trials alone, which can be done before anything is recorded.

    Parameters
    ----------
    metadata
        `subject`, `session`, `run`, `onset` (s), `category`, `stim_file`, as `Trials.metadata`.
    seed
        Of the permutations.
    """
    return _of_order(metadata, TrialOrder.of(metadata), None, seed)


def _of_order(
    metadata: pd.DataFrame, design: TrialOrder, split: Split | None, seed: int
) -> list[Finding]:
    """Run the checks that need no signal."""
    shuffles = design.shuffles(design.runs, seed)
    return [
        block_design(design, shuffles),
        alternating_order(design, shuffles),
        time_across_split(design, shuffles, split),
        fixed_order(design, _stimuli(metadata, design), seed),
        class_by_run(design, split, seed),
        event_timing(design, shuffles, metadata),
    ]


def _cut_elsewhere(trials: Trials) -> list[Finding]:
    """Say what stays unseen where another program filtered and cut the trials."""
    if not trials.source.get("cut_elsewhere"):
        return []
    return [
        Finding(
            "cut_elsewhere",
            "note",
            "The trials were filtered, cut and chosen by another program; the recordings are not "
            "there to compare with.",
            {"high_pass_hz": trials.signal.get("l_freq"), "dropped": trials.rejected["elsewhere"]},
            "Not checked can be: whether trials overlap or come twice, whether a filter or a "
            "cleaning saw the trials of the test (ICA, whitening, a mean over all), whether a "
            "filter carries the response before onset, and by which rule trials were dropped.",
            "Prepare the recordings themselves, or state how the trials were cut.",
        )
    ]


def _missing_values(trials: Trials) -> list[Finding]:
    """Say how many trials lack an onset, a category or a picture, and what that hides."""
    metadata, n = trials.metadata, len(trials)
    counts = {
        "onset": n - int(np.isfinite(metadata["onset"].to_numpy(float)).sum()),
        "category": metadata["category"].tolist().count(""),
    }
    if trials.pairing == "stim_file":
        counts["stim_file"] = metadata["stim_file"].tolist().count("")
    lacking = {name: count for name, count in counts.items() if count}
    if not lacking:
        return []
    said = ", ".join(f"{count} no {name}" for name, count in lacking.items())
    return [
        Finding(
            "missing_values",
            "warning" if "category" in lacking else "note",
            f"Of {n} trials, {said}.",
            {"n_trials": n, **{f"n_without_{name}": count for name, count in lacking.items()}},
            "Not checked is, of trials without an onset, whether time predicts their class (their "
            "order is that of the metadata), and of trials without a picture, whether sides share "
            "it; trials without a category count as a class of their own.",
            "Complete the events of the recordings, or leave these trials out.",
        )
    ]


def audit_record(
    findings: Sequence[Finding],
    trials: Trials,
    split: Split | None,
    acknowledged: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the content of `audit.json`: what was audited, and every finding."""
    return {
        "n_trials": len(trials),
        "simulated": trials.simulated,
        "split": None if split is None else split.rule,
        "severe": [finding.name for finding in findings if finding.severity == "severe"],
        "acknowledged": list(acknowledged),
        "findings": [asdict(finding) for finding in findings],
    }


def sum_up(findings: Sequence[Finding]) -> str:
    """Count the findings in one line, and name those that matter.

    >>> sum_up([Finding("drift", "severe", "."), Finding("units", "passed", ".")])
    '2 findings: 1 severe (drift), 0 warning, 0 note, 1 passed'
    """
    parts = []
    for severity in SEVERITIES:
        names = [finding.name for finding in findings if finding.severity == severity]
        named = f" ({', '.join(names)})" if names and severity in ("severe", "warning") else ""
        parts.append(f"{len(names)} {severity}{named}")
    return f"{len(findings)} findings: {', '.join(parts)}"


def check_acknowledged(findings: Sequence[Finding], acknowledge: Sequence[str]) -> None:
    """Log what was found, and refuse to go on with a severe finding that is not acknowledged.

    An acknowledged name that was not found is a warning: the same configuration may serve
    recordings with and without it.

    Raises
    ------
    ValueError
        That names the findings and how to go on.
    """
    for finding in findings:
        if finding.severity in ("severe", "warning"):
            logger.warning("audit, %s: %s: %s", finding.severity, finding.name, finding.what)
    severe = {finding.name: finding for finding in findings if finding.severity == "severe"}
    logger.info("audit: %s", sum_up(findings))
    for name in acknowledge:
        if name not in severe:
            logger.warning("audit: %s is acknowledged, and was not found to be severe", name)
    open_ = [name for name in severe if name not in acknowledge]
    if open_:
        what = "; ".join(
            f"{name}: {severe[name].what} {severe[name].consequence}" for name in open_
        )
        raise ValueError(
            f"the audit found {what} Mend it (docs/audit.md), or go on knowingly with "
            f"--acknowledge {' '.join(open_)}; every report will then say so"
        )


@writes_output()
def audit(config: AuditConfig) -> dict[str, Any]:
    """Audit a folder of trials; write `audit.json` and `audit.png` into `config.output`.

    Returns
    -------
    dict
        The findings by severity and name, and where they are written.

    Raises
    ------
    FileNotFoundError, ValueError
        If there are no trials, or the split does not fit them.
    """
    trials = Trials.load(config.data)
    named = config.split.test or config.split.validation
    split = None
    if named:
        # Shared pictures are a finding here, where they are not allowed.
        allowed = config.split.allow_shared_stimuli
        asked = config.split.model_copy(update={"allow_shared_stimuli": True})
        split = split_trials(trials.metadata, asked, config.seed)
        split.shared_stimuli = split.shared_stimuli and allowed
    findings = audit_trials(trials, split)
    config.output.mkdir(parents=True, exist_ok=True)
    write_audit(config.output / "audit.json", audit_record(findings, trials, split))
    save_figure(config.output / "audit.png", trials, findings)
    groups: dict[str, dict[str, Any]] = {}
    for finding in findings:
        content = {key: value for key, value in asdict(finding).items() if value and key != "name"}
        groups.setdefault(content.pop("severity"), {})[finding.name] = content
    return {
        "data": str(config.data),
        "n_trials": len(trials),
        "split": None if split is None else split.rule,
        "output": str(config.output),
        # What matters most is read last, where the terminal stands.
        **{severity: groups[severity] for severity in reversed(SEVERITIES) if severity in groups},
        "sum": sum_up(findings),
    }


def write_audit(path: Path, content: dict[str, Any]) -> None:
    """Write `audit.json`."""
    write_json(path, content)


def read_audit(folder: Path) -> dict[str, Any] | None:
    """Read the audit that lies beside a model; None where it was never audited.

    Raises
    ------
    ValueError
        If the file is something else.
    """
    path = folder / "audit.json"
    if not path.is_file():
        return None
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        known = {"severe", "acknowledged", "findings"} <= content.keys()
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} is not an audit: {error}") from error
    if not known:
        raise ValueError(f"{path} is not an audit: it lacks severe, acknowledged or findings")
    return content


def _stimuli(metadata: pd.DataFrame, design: TrialOrder) -> np.ndarray | None:
    names = metadata["stim_file"].astype(str).to_numpy(str)
    if (names == "").any():
        return None
    return np.unique(names, return_inverse=True)[1][design.rows]
