"""Averages of repeats: who is averaged with whom, what the metadata then say, what is refused."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamdiffusion.trials.averages import average_repeats, n_averaged


def make(shown, subjects=None):
    """Trials of one channel and two samples: trial i is 10**i and its negative, in volts."""
    n = len(shown)
    eeg = np.array([[[10.0**i, -(10.0**i)]] for i in range(n)])
    metadata = pd.DataFrame(
        {
            "subject": subjects or ["1"] * n,
            "run": [str(i % 2) for i in range(n)],
            "onset": np.arange(n) / 2,
            "category": ["face" if name < "c" else "house" for name in shown],
            "stim_file": shown,
        }
    )
    return eeg, metadata


def test_two_pictures_by_hand(rng):
    eeg, metadata = make(["a", "b", "a", "b"])
    averages, told = average_repeats(eeg, metadata, 2, rng)
    np.testing.assert_allclose(averages, [[[50.5, -50.5]], [[505, -505]]])
    assert averages.dtype == np.float32
    assert told["stim_file"].tolist() == ["a", "b"]
    assert told["run"].tolist() == ["0", "1"]
    assert told["onset"].isna().all()  # 0 and 1 s, 0.5 and 1.5 s: no onset is theirs
    assert told["n_averaged"].tolist() == [2, 2]
    assert n_averaged(told) == 2
    assert n_averaged(metadata) == 1


def test_what_differs_is_joined_and_what_is_left_over_is_dropped(rng):
    eeg, metadata = make(["a", "a", "a"])
    averages, told = average_repeats(eeg, metadata, 2, rng)
    assert len(averages) == len(told) == 1
    assert averages[0, 0, 0] in (5.5, 50.5, 55.0)
    by_class = average_repeats(*make(["a", "b"]), 2, rng, by="category")[1]
    assert by_class.loc[0, ["category", "stim_file", "run"]].tolist() == ["face", "a+b", "0+1"]


def test_people_are_not_averaged(rng):
    eeg, metadata = make(["a", "a", "a", "a"], ["1", "2", "1", "2"])
    averages, told = average_repeats(eeg, metadata, 2, rng)
    assert told["subject"].tolist() == ["1", "2"]
    assert averages[:, 0, 0].tolist() == [50.5, 505.0]
    with pytest.raises(ValueError, match="no stim_file was shown 3 times to one person, 2 at most"):
        average_repeats(eeg, metadata, 3, rng)


@given(shown=st.lists(st.sampled_from("abc"), min_size=1, max_size=8), n=st.integers(1, 3))
def test_no_trial_is_in_two_averages_and_none_of_another_picture(shown, n):
    eeg, metadata = make(shown)
    counts = pd.Series(shown).value_counts()
    if counts.max() < n:
        return
    averages, told = average_repeats(eeg, metadata, n, np.random.default_rng(0))
    # Trial i is 10**i, so the digits of the sums are the trials that are in them.
    digits = [f"{round(float(a) * n):08d}"[::-1] for a in averages[:, 0, 0]]
    used = [[i for i, digit in enumerate(text) if digit == "1"] for text in digits]
    assert all(len(rows) == n for rows in used)
    everything = [row for rows in used for row in rows]
    assert len(everything) == len(set(everything))
    assert [{shown[row] for row in rows} for rows in used] == [{p} for p in told["stim_file"]]
    assert len(used) == sum(count // n for count in counts)


def test_the_deal_depends_on_the_generator_alone():
    eeg, metadata = make(["a"] * 6)
    first, again, other = (
        average_repeats(eeg, metadata, 3, np.random.default_rng(seed))[0] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_refused(rng):
    eeg, metadata = make(["a", "a"])
    averages, told = average_repeats(eeg, metadata, 2, rng)
    with pytest.raises(ValueError, match="averages of 2 trials already"):
        average_repeats(averages, told, 1, rng)
    with pytest.raises(ValueError, match="1, 2, expected one number"):
        n_averaged(pd.DataFrame({"n_averaged": [2, 1]}))
    with pytest.raises(ValueError, match="n is 0"):
        average_repeats(eeg, metadata, 0, rng)
    with pytest.raises(ValueError, match="no column photo"):
        average_repeats(eeg, metadata, 2, rng, by="photo")
    with pytest.raises(ValueError, match="1 trials have no stim_file"):
        average_repeats(eeg, metadata.assign(stim_file=["a", ""]), 2, rng)
    with pytest.raises(ValueError, match="2 trials have 1 rows"):
        average_repeats(eeg, metadata[:1], 2, rng)
