"""Is a trial, a recording or a picture there twice? Planted copies, also altered ones."""

from __future__ import annotations

from dataclasses import replace

import mne
import numpy as np
import pytest
from experiments import experiment, named, severe, split_by_run
from PIL import Image

from dreamdiffusion.datasets.prepare import prepare
from dreamdiffusion.evidence.audit.duplicates import best_correlation, same_files
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.splits import Split, split_by
from dreamdiffusion.trials.trials import Trials


@pytest.mark.parametrize("harm", ["exact", "re-exported", "events moved"])
def test_a_recording_that_is_there_twice(harm):
    """Twenty trials of run 1 stand in run 4 again, coarser, of another gain, or cut later."""
    trials = experiment(2, rejected=0)
    wide = np.repeat(trials.data, 2, axis=2)  # so that a window can move
    rng = np.random.default_rng(0)
    wide = wide + 1e-5 * rng.standard_normal(wide.shape).astype(np.float32)
    data = wide[:, :, 8:88].copy()
    assert not severe(named(replace(trials, data=data)))
    again = wide[40:60, :, 8:88]
    if harm == "re-exported":
        again = 1.5 * np.round(again / 5e-7) * 5e-7
    elif harm == "events moved":
        again = wide[40:60, :, 11:91]
    data[160:180] = again
    found = named(replace(trials, data=data))
    assert severe(found) == {"duplicate_trials"}
    assert found["duplicate_trials"].evidence["n_pairs_of_two_recordings"] == 20
    assert "1/1/1 and 1/1/4: 20 trials" in found["duplicate_trials"].what


def looked_at(rng, n_events=40, sfreq=128.0):
    """A recording of four channels, pink below 20 Hz, with two kinds of events at random."""
    onsets = 2 + np.cumsum(rng.uniform(0.9, 1.2, n_events))
    n_times = int((onsets[-1] + 3) * sfreq)
    white = np.fft.rfft(rng.standard_normal((4, n_times)))
    white /= np.sqrt(1 + np.arange(white.shape[1]))
    noise = np.fft.irfft(white, n_times)
    info = mne.create_info(["TP9", "AF7", "AF8", "TP10"], sfreq, "eeg")
    raw = mne.io.RawArray(2e-5 * noise / noise.std(), info)
    kinds = np.where(rng.permutation(n_events) % 2, "face", "house")
    raw.set_annotations(mne.Annotations(onsets, 0.0, kinds))
    return raw


def test_a_recording_exported_again_and_trimmed_is_on_both_sides(tmp_path, rng):
    """FIF in volts; its copy as EDF in 16 bits of microvolts, without the first 9 seconds."""
    folder = tmp_path / "sub-1"
    folder.mkdir()
    for run in ("1", "2"):
        raw = looked_at(rng)
        raw.save(folder / f"sub-1_run-{run}_raw.fif")
    copy = raw.copy().crop(9.0, None)
    copy.export(folder / "sub-1_run-3_eeg.edf", physical_range=(-400, 400), verbose="error")
    config = PrepareConfig(
        input=[folder], output=tmp_path / "trials", kind="trials", pair_by="none",
        tmin=0.0, tmax=0.7, events={"face": 1, "house": 2},
        signal={"sfreq": 128.0, "l_freq": 1.0, "h_freq": 30.0},
    )  # fmt: skip
    trials = Trials.load(prepare(config))
    split = split_by(trials.metadata, "run", ["3"], ["1"], 0, allow_shared_stimuli=True)
    found = named(trials, split)
    assert "duplicate_trials" in severe(found)
    figures = found["duplicate_trials"].evidence
    n_copied = int((trials.metadata["run"] == "3").sum())
    assert n_copied > 25
    assert figures["n_exact_pairs"] < n_copied  # rounding and the filter's edge altered them
    # The first trials of the copy lie in the filter's edge and may differ more.
    assert n_copied - 2 <= figures["n_pairs_across_split"] <= n_copied
    assert "1/1/2 and 1/1/3" in found["duplicate_trials"].what
    # The same design without the copy has none.
    alone = trials.select((trials.metadata["run"] != "3").to_numpy())
    assert named(alone)["duplicate_trials"].severity == "passed"


def test_an_event_that_is_there_twice():
    trials = experiment(2)
    trials.data[7] = trials.data[3]
    found = named(trials)["duplicate_trials"]
    assert (found.severity, found.evidence["n_exact_pairs"]) == ("warning", 1)
    assert found.what.startswith("1 pair of trials holds the same signal")
    rest = np.setdiff1d(np.arange(len(trials)), [7, 8, 9])
    across = named(trials, Split(rest, [], [7, 8, 9], "planted"))["duplicate_trials"]
    assert (across.severity, across.evidence["n_pairs_across_split"]) == ("severe", 1)


def test_two_pictures_at_one_moment():
    """As trials were cut before such events were left out."""
    trials = experiment(2)
    onset = trials.metadata.loc[3, "onset"]
    trials.metadata.loc[4, "onset"] = onset + 0.4 / trials.sfreq
    trials.data[4] = trials.data[3]
    found = named(trials)["duplicate_trials"]
    assert found.severity == "severe"
    assert "1 pair of trials is of one moment" in found.what and "(trials 3 and 4)" in found.what
    same = ["category", "stim_file"]
    trials.metadata.loc[4, same] = trials.metadata.loc[3, same].to_numpy()
    assert named(trials)["duplicate_trials"].severity == "warning"


def test_a_picture_on_both_sides(tmp_path):
    trials = experiment(2)
    trials.stimuli_root = tmp_path
    split = split_by_run(trials)
    for i, name in enumerate(trials.metadata["stim_file"]):
        Image.new("RGB", (2, 2), (i % 256, i // 256, 0)).save(tmp_path / name, "BMP")
    assert named(trials, split)["shared_stimuli"].severity == "passed"
    assert named(trials)["shared_stimuli"].severity == "note"
    # The same picture by another name, then by the same.
    (tmp_path / "200.png").write_bytes((tmp_path / "0.png").read_bytes())
    found = named(trials, split)["shared_stimuli"]
    assert found.severity == "severe"
    assert found.evidence["n_same_file_other_name"] == 1
    assert "200.png = 0.png" in found.what
    trials.metadata.loc[100, "stim_file"] = "1.png"
    found = named(trials, split)["shared_stimuli"]
    assert (found.evidence["n_shared"], found.evidence["n_tested_trials_of_them"]) == (1, 2)
    split.shared_stimuli = True
    allowed = named(trials, split)["shared_stimuli"]
    assert (allowed.severity, allowed.evidence) == ("note", found.evidence)
    assert allowed.what.startswith("2 pictures are on both sides of the split as the split allows")
    trials.metadata["stim_file"] = ""
    assert named(trials, split)["shared_stimuli"].severity == "note"


def test_best_correlation_finds_the_lag(rng):
    long = rng.standard_normal((2, 60))
    assert best_correlation(long[:, :50], 3 * long[:, 5:55] + 7, 6) == pytest.approx(1)
    assert best_correlation(long[:, :50], long[:, 5:55], 3) < 0.7
    assert best_correlation(long[:, :50], np.zeros((2, 50)), 3) == -1


def test_same_files(tmp_path):
    for name, content in {"a": b"12", "b": b"12", "c": b"34", "d": b"123"}.items():
        (tmp_path / name).write_bytes(content)
    assert same_files(["a", "d", "gone"], ["b", "c"], tmp_path) == [("a", "b")]
    assert same_files(["a"], ["a"], tmp_path) == []
    assert same_files(["a"], ["b"], None) == []
