"""Samples at the end of a channel's range: found, named, rejected; what only turns there is not."""

import mne
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamdiffusion.recordings.bad_channels import find_bad_channels, line_frequency, spectrum
from dreamdiffusion.recordings.clipping import clipped_samples, clipped_shares, mark_clipped
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.report.inspection import describe_recording
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.cut import cut_trials
from dreamdiffusion.trials.preprocessing import bad_spans, preprocess
from dreamdiffusion.trials.windows.cut import build_windows

TIME = np.arange(5120) / 256


def noise(seed=0, sd=20.0, n=5120):
    return np.random.default_rng(seed).normal(0, sd, n)


def railed_headset(path):
    """A headset whose outer electrodes have no contact: at -1000 uV in one sample of five."""
    mains = 900 * np.sin(2 * np.pi * 50 * TIME)
    lost = np.arange(len(TIME)) % 5 == 0
    columns = {
        "timestamps": 1.6e9 + TIME,
        "TP9": np.where(lost, -1000.0, np.clip(mains, -1000, 999.512)),
        "AF7": noise(1),
        "AF8": noise(2),
        "TP10": np.where(lost, -1000.0, 700 / 900 * mains),
        "Marker": np.where(np.isin(np.arange(len(TIME)), (512, 1536, 3000)), 1, 0),
    }
    pd.DataFrame(columns).round(3).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("share", [0.3, 0.05, 0.01])
def test_an_amplifier_driven_too_far_is_clipped_at_both_ends(share):
    samples = noise()
    limit = np.quantile(np.abs(samples), 1 - share)
    found = clipped_samples(samples.clip(-limit, limit))
    np.testing.assert_array_equal(found, np.abs(samples) >= limit)


@pytest.mark.parametrize(
    "samples",
    [
        noise(),
        np.round(noise() / 0.488) * 0.488,  # an amplifier's steps
        np.round(noise(sd=3) / 2) * 2,  # nine values in all
        50 * np.sin(2 * np.pi * 10 * TIME),
        np.round(50 * np.sin(2 * np.pi * 10.3 * TIME)),  # turns at its end
        np.round(50 * np.sin(2 * np.pi * 8 * TIME)),  # the same values in every period
        np.where(TIME % 2 < 1, 0.0, 5.0),  # a trigger
        np.zeros(5120),
        np.full(5120, np.nan),
        np.cumsum(noise()),
        np.array([1.0, 2.0]),
    ],
)
def test_a_signal_that_only_turns_at_its_extremes_is_not_clipped(samples):
    assert not clipped_samples(samples).any()


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 99),
    step=st.sampled_from([0.0, 0.01, 0.5, 5.0]),
    offset=st.floats(-1e4, 1e4),
)
def test_neither_unit_nor_offset_nor_polarity_changes_what_is_found(seed, step, offset):
    samples = noise(seed, n=1000)
    samples = np.round(samples / step) * step if step else samples
    assert not clipped_samples(samples).any()
    cut = np.where(np.arange(1000) % 20 == 0, 200.0, samples)
    for changed in (cut, -cut, cut * 1e-6, cut + offset):
        np.testing.assert_array_equal(clipped_samples(changed), np.arange(1000) % 20 == 0)


def test_missing_samples_are_not_clipped_and_hide_nothing():
    samples = noise().clip(-20, 20)
    samples[::7] = np.nan
    np.testing.assert_array_equal(clipped_samples(samples), np.abs(samples) == 20)


def test_a_headset_without_contact_is_named_and_not_called_line_noise(tmp_path):
    recording = read_recording(railed_headset(tmp_path / "railed.csv"))
    found = describe_recording(recording)
    assert found["clipped"] == {"TP9": 0.2, "TP10": 0.2}
    assert found["bad_channels"] == {
        "TP9": "20% of its samples are clipped, at -1000 uV",
        "TP10": "20% of its samples are clipped, at -1000 uV",
    }
    assert found["line_noise_hz"] is None


def test_line_noise_without_clipping_stays_line_noise():
    data = np.stack([noise(i) + 300 * np.sin(2 * np.pi * 50 * TIME) for i in range(4)])
    info = mne.create_info(["TP9", "AF7", "AF8", "TP10"], 256, "eeg")
    raw = mne.io.RawArray(data * 1e-6, info, verbose="error")
    power = spectrum(raw)
    assert line_frequency(power) is not None
    reasons = find_bad_channels(raw, power)
    assert all("50 Hz line noise" in reason for reason in reasons.values()) and len(reasons) == 4


def test_a_channel_that_is_clipped_for_a_moment_is_listed_and_not_bad():
    data = np.stack([noise(i) for i in range(4)])
    data[1, 100:120] = 500
    info = mne.create_info(["TP9", "AF7", "AF8", "TP10"], 256, "eeg")
    raw = mne.io.RawArray(data * 1e-6, info, verbose="error")
    assert clipped_shares(raw, raw.ch_names) == {"AF7": 20 / 5120}
    assert find_bad_channels(raw, spectrum(raw)) == {}
    assert mark_clipped(raw) == {"AF7": 20 / 5120}
    assert bad_spans(raw) == [(100, 120, "clipped")]


SIGNAL = {"l_freq": 1.0, "h_freq": 40.0, "sfreq": 128}


def test_trials_and_windows_that_hold_clipped_samples_are_rejected_and_counted(tmp_path, caplog):
    path = railed_headset(tmp_path / "railed.csv")
    table = pd.read_csv(path)
    table["TP9"], table["TP10"] = noise(3).round(3), noise(4).round(3)
    table.loc[1600:1619, "TP9"] = 999.512  # within the second trial
    table.to_csv(path, index=False)
    shared = {"signal": SIGNAL, "pair_by": "none", "tmax": 1.0}
    trials = cut_trials([read_recording(path)], PrepareConfig(**shared))
    assert trials.metadata["onset"].round(2).tolist() == [2.0, 11.72]
    assert {k: n for k, n in trials.rejected.items() if n} == {"clipped": 1}
    assert "clipped samples (TP9 0.39%)" in caplog.text
    windows = PrepareConfig(
        **shared, kind="windows", window_s=1.0, window_stride_s=1.0, output=tmp_path / "windows"
    )
    build_windows([path], windows)
    import json

    info = json.loads((tmp_path / "windows" / "info.json").read_text())
    assert info["rejected"]["clipped"] == 1
    assert sum(shard["n_windows"] for shard in info["shards"]) == 19
    with pytest.raises(ValueError, match=r"no trial is left .*rejected: 3 clipped$"):
        cut_trials([read_recording(railed_headset(tmp_path / "all.csv"))], PrepareConfig(**shared))


def test_channels_that_are_not_picked_reject_nothing(tmp_path):
    recording = read_recording(railed_headset(tmp_path / "railed.csv"))
    raw = preprocess(recording, SignalConfig(**SIGNAL, picks=["AF7", "AF8"]))
    assert bad_spans(raw) == []
