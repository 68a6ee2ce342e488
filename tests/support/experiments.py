"""Made-up experiments for the tests of audit and evaluation: well made, or with a fault planted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from tiny import SIZE

from dreamdiffusion.evidence.audit.findings import Finding
from dreamdiffusion.evidence.audit.run import audit_trials
from dreamdiffusion.evidence.scores import Scores
from dreamdiffusion.models.judge.judge import Judge
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials


def experiment(
    seed: int = 0, n_runs: int = 6, n_trials: int = 40, n_classes: int = 2, n_chans: int = 3,
    tmin: float = -0.1, drift: float = 1.0, rejected: float = 0.1,
) -> Trials:  # fmt: skip
    """Trials of a well-made experiment: random order and intervals, drifting noise, no response."""
    rng = np.random.default_rng([seed, 77])
    tables, pieces = [], []
    for run in range(n_runs):
        labels = rng.permutation(np.arange(n_trials) % n_classes)
        onsets = np.cumsum(rng.uniform(1.0, 1.3, n_trials))
        noise = rng.standard_normal((n_trials, n_chans, 48))
        walk = drift * np.cumsum(rng.standard_normal((n_trials, n_chans, 1)), axis=0)
        table = pd.DataFrame({"run": str(run), "onset": onsets, "label": labels})
        kept = rng.random(n_trials) >= rejected
        tables.append(table[kept])
        pieces.append((noise + walk)[kept])
    metadata = pd.concat(tables, ignore_index=True)
    metadata["category"] = [f"class {label}" for label in metadata["label"]]
    metadata["subject"], metadata["session"] = "1", "1"
    metadata["stim_file"] = [f"{i}.png" for i in range(len(metadata))]
    data = (np.concatenate(pieces) * 1e-5).astype(np.float32)
    return Trials(data, [f"C{i}" for i in range(n_chans)], 64.0, tmin, metadata)


def relabel(trials: Trials, labels: np.ndarray) -> Trials:
    """Return the same trials as if other classes had been shown."""
    metadata = trials.metadata.copy()
    metadata["category"] = [f"class {label}" for label in labels]
    return replace(trials, metadata=metadata)


def blocked(trials: Trials, length: float = 8.0) -> Trials:
    """Return the same trials as if classes had changed every so many seconds."""
    runs = trials.metadata["run"].astype(int).to_numpy()
    return relabel(trials, (trials.metadata["onset"] // length + runs).astype(int) % 2)


def split_at_random(trials: Trials) -> Split:
    test = np.random.default_rng(1).random(len(trials)) < 0.25
    return Split(np.flatnonzero(~test), np.array([]), np.flatnonzero(test), "at random")


def split_by_run(trials: Trials) -> Split:
    test = (trials.metadata["run"] == "0").to_numpy()
    return Split(np.flatnonzero(~test), np.array([]), np.flatnonzero(test), "by run")


def named(trials: Trials, split: Split | None = None) -> dict[str, Finding]:
    findings = audit_trials(trials, split)
    result = {finding.name: finding for finding in findings}
    assert len(result) == len(findings)
    return result


def severe(findings: dict[str, Finding]) -> set[str]:
    return {name for name, finding in findings.items() if finding.severity == "severe"}


def publish(trials: Trials, folder: Path) -> Path:
    """Write trials with a picture for each name, its colour that of the class."""
    stimuli = folder.parent / f"{folder.name}-stimuli"
    stimuli.mkdir(parents=True)
    metadata = trials.metadata
    for i, name in enumerate(sorted(set(metadata["stim_file"]))):
        pixels = np.random.default_rng(i).integers(60, 256, (SIZE, SIZE, 3)).astype(np.uint8)
        kind = metadata.loc[metadata["stim_file"] == name, "category"].iloc[0]
        pixels[4:12, 4:12, 2 if kind == "class 1" else 0] = 30 + i // 200
        Image.fromarray(pixels).save(stimuli / name)
    return replace(trials, stimuli_root=stimuli).save(folder)


def write_judge(folder: Path) -> Path:
    if not folder.exists():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            Judge(["class 0", "class 1"], image_size=SIZE, channels=[8]).save_pretrained(folder)
    return folder


def reasons(scores: Scores) -> set[str]:
    """Names of the reasons; each of them is explained in the report."""
    named = {reason.name for reason in scores.headline.reasons}
    assert (scores.headline.verdict == "withheld") == bool(named)
    return named
