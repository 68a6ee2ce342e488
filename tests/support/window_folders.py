"""Folders of windows, written as ``prepare`` writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dreamdiffusion.trials.windows.store import write_index, write_ranges, write_shard


def table(n: int, n_subjects: int = 20, runs: int = 1, stride: float = 0.5) -> pd.DataFrame:
    per_run = n // (n_subjects * runs)
    rows = [
        {
            "subject": f"{subject:02d}",
            "session": "1",
            "run": str(run),
            "recording": f"{subject}_{run}.edf",
            "start": i * stride,
        }
        for subject in range(n_subjects)
        for run in range(runs)
        for i in range(per_run)
    ]
    return pd.DataFrame(rows)


def write_windows(folder: Path, *parts: np.ndarray) -> Path:
    """Write a folder as the stage ``prepare`` does; parts differ in the number of channels."""
    (folder / "shards").mkdir(parents=True)
    shards, layouts = [], []
    for number, data in enumerate(parts):
        n_chans = data.shape[1]
        places = np.random.default_rng(number).normal(0, 0.09, (n_chans, 3)).tolist()
        names = [f"E{number}{i}" if number else f"E{i}" for i in range(n_chans)]
        layouts.append({"ch_names": names, "positions": places})
        rows = table(len(data))
        for subject, own in rows.groupby("subject"):
            key = f"{number}-{subject}"
            header = {
                "path": key, "dataset": str(number), "subject": subject, "session": "1",
                "run": "0", "recording": f"{key}.edf", "n_windows": len(own),
                "kept": write_ranges(np.arange(len(own))),
            }  # fmt: skip
            header = write_shard(folder, key, data[own.index], header)
            shards.append(header | {"key": key, "layout": number})
    info = {
        "kind": "windows",
        "complete": True,
        "sfreq": 64.0,
        "n_times": parts[0].shape[2],
        "n_stride": 32,
        "scale": "robust",
        "signal": {},
        "simulated": True,
        "layouts": layouts,
        "shards": shards,
    }
    write_index(folder, info)
    return folder
