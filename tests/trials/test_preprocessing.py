"""Resampling: a fast length, the right duration, the right moment."""

import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import next_fast_len

from dreamdiffusion.trials.preprocessing import fast_padding


def test_padding_by_hand():
    # 128 / 500 = 32 / 125. The least multiple of 125 beyond 30,000 + 2 x 100 is 242 x 125, and 242
    # = 2 x 11 x 11; 125 samples more at each end, which become 32.
    assert fast_padding(30_000, 500.0, 128.0) == 125
    # 207 at least. 42 x 5 and 44 x 5 leave an odd number beside 7, and 43 is a prime.
    assert fast_padding(7, 160.0, 128.0) == (45 * 5 - 7) // 2
    # 127 is a large prime; a clock's rate is no ratio of small numbers; an odd length, and q = 2.
    assert fast_padding(30_000, 127.0, 128.0) == "auto"
    assert fast_padding(30_000, 255.9371, 128.0) == "auto"
    assert fast_padding(30_001, 256.0, 128.0) == "auto"


@settings(deadline=None)
@given(st.integers(1, 10**7), st.sampled_from([(500, 125), (160, 5), (1000, 125), (200, 25)]))
def test_padded_lengths_are_whole_ratios_of_small_factors(n_times, rate):
    sfreq, q = rate
    padding = fast_padding(n_times, float(sfreq), 128.0)
    k, rest = divmod(n_times + 2 * padding, q)
    assert padding >= 100 and not rest and next_fast_len(k) == k
    assert padding <= 100 + 0.12 * n_times + 4 * q  # a power of two: up to n_times / 2


@pytest.mark.parametrize("n_times", [30_000, 30_125])
def test_samples_stay_at_their_moment(n_times):
    time = np.arange(n_times) / 500
    info = mne.create_info(["Fz"], 500.0, "eeg")
    raw = mne.io.RawArray(np.cos(2 * np.pi * 10 * time)[None], info, verbose="error")
    raw.resample(128.0, npad=fast_padding(n_times, 500.0, 128.0))
    found = raw.get_data()[0]
    expected = np.cos(2 * np.pi * 10 * np.arange(len(found)) / 128)
    assert len(found) == round(n_times * 128 / 500)
    inside = slice(256, -256)
    np.testing.assert_allclose(found[inside], expected[inside], atol=5e-3)
