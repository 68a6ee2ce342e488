"""Rows of metadata for tests of statistics."""

from __future__ import annotations

import numpy as np
import pandas as pd


def metadata(categories, subject="1", run="1", **columns):
    n = len(categories)
    return pd.DataFrame(
        {
            "subject": subject, "session": "1", "run": run, "onset": np.arange(n) * 2.0,
            "category": categories, "stim_file": "", **columns,
        }
    )  # fmt: skip


def shuffled(n, seed=0, n_classes=2):
    return np.random.default_rng(seed).permutation(np.arange(n) % n_classes)
