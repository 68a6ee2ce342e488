"""Runs that show the same pictures at the same moments."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dreamdiffusion.trials.repeats import repeated_runs


def run(name: str, seed: int, n: int = 20, delay: float = 0.0, files: bool = True) -> pd.DataFrame:
    """Return the metadata of a run whose pictures and onsets follow from the seed."""
    rng = np.random.default_rng(seed)
    pictures = rng.permutation(100)[:n]
    return pd.DataFrame(
        {
            "subject": "01",
            "session": "a",
            "run": name,
            "onset": 3 + np.cumsum(rng.uniform(0.8, 1.6, n)) + delay,
            "category": [f"class{p % 4}" for p in pictures],
            "stim_file": [f"{p}.png" if files else "" for p in pictures],
        }
    )


@pytest.mark.parametrize("files", [True, False])
def test_one_recording_that_was_exported_again_is_named(files):
    again = run("2", 0, delay=0.0019, files=files).drop(index=[3]).sample(frac=1, random_state=0)
    metadata = pd.concat([run("1", 0, files=files), again, run("3", 1, files=files)])
    assert repeated_runs(metadata.reset_index(drop=True)) == [("01/a/1", "01/a/2")]


def test_the_same_order_at_other_moments_is_no_repeat():
    later = run("2", 0)
    later["onset"] += np.linspace(0, 2, len(later))
    assert repeated_runs(pd.concat([run("1", 0), later], ignore_index=True)) == []


def test_the_same_moments_with_other_pictures_are_no_repeat():
    other = run("2", 0)
    other["stim_file"] = other["stim_file"].to_numpy()[::-1]
    assert repeated_runs(pd.concat([run("1", 0), other], ignore_index=True)) == []


def test_few_trials_and_unknown_onsets_say_nothing():
    few = pd.concat([run("1", 0, n=7), run("2", 0, n=7)], ignore_index=True)
    assert repeated_runs(few) == []
    unknown = pd.concat([run("1", 0), run("2", 0)], ignore_index=True)
    unknown.loc[5, "onset"] = np.nan
    assert repeated_runs(unknown) == []
