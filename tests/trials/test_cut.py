"""Cutting: hand-worked sample values, the filter's effect, every rejection counted."""

from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.recordings.events import event_names
from dreamdiffusion.recordings.find import find_recordings
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.recordings.recording import Recording, hash_samples
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.cut import Trials, cut_trials, from_epochs
from dreamdiffusion.trials.preprocessing import preprocess

DATA = Path(__file__).parents[2] / "../shared/data"
real = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not on this machine")

PLAIN = SignalConfig(l_freq=None, h_freq=None, sfreq=100.0)


def make_recording(data, events, sfreq=100.0, name="a.edf", ch_names=None, **more):
    names = ch_names or ["Fz", "Cz", "Pz", "Oz", "C3", "C4"][: len(data)]
    raw = mne.io.RawArray(np.array(data), mne.create_info(names, sfreq, "eeg"), verbose="error")
    raw.set_montage("standard_1020", on_missing="ignore", verbose="error")
    table = pd.DataFrame(events, columns=["onset", "category", "stim_file"])
    table.insert(1, "duration", 0.0)
    return Recording(raw, "1", "1", "1", Path(name), table, hash_samples(raw), **more)


def noise(n_chans=2, n_times=1000, seed=0):
    return np.random.default_rng(seed).normal(0, 10e-6, (n_chans, n_times))


def config(signal=PLAIN, **more):
    return PrepareConfig(signal=signal, **more)


def test_trials_of_a_ramp_hold_the_expected_samples():
    ramp = np.arange(1000) * 1e-6  # sample k is k microvolts
    recording = make_recording([ramp, -2 * ramp], [(2.0, "a", "x"), (5.004, "b", "y")])
    trials = cut_trials([recording], config(tmin=-0.1, tmax=0.4))
    assert trials.data.dtype == np.float32
    assert trials.data.shape == (2, 2, 50)  # 0.5 s at 100 Hz, no sample more
    np.testing.assert_allclose(trials.data[0, 0], np.arange(190, 240) * 1e-6, rtol=1e-6)
    np.testing.assert_allclose(trials.data[1, 1], -2 * np.arange(490, 540) * 1e-6, rtol=1e-6)
    assert trials.tmin == -0.1
    np.testing.assert_allclose(trials.times[[0, 10]], [-0.1, 0.0], atol=1e-12)
    assert trials.metadata.category.tolist() == ["a", "b"]
    assert trials.metadata.stim_file.tolist() == ["x", "y"]
    assert list(trials.metadata.index) == [0, 1]


def test_baseline_may_lie_before_the_trial():
    ramp = np.arange(1000) * 1e-6
    recording = make_recording([ramp], [(2.0, "a", "")])
    trials = cut_trials([recording], config(tmin=0.0, tmax=0.2, baseline=(-0.1, 0.0)))
    # Baseline = mean of samples 190..199 = 194.5 microvolts; the first sample is 200.
    np.testing.assert_allclose(trials.data[0, 0, [0, 19]] * 1e6, [5.5, 24.5], rtol=1e-4)


def test_the_filter_keeps_its_band_and_shifts_nothing():
    time = np.arange(6000) / 100
    slow, fast = np.sin(2 * np.pi * 0.1 * time), np.sin(2 * np.pi * 45 * time)
    inside = np.sin(2 * np.pi * 10 * time)
    recording = make_recording([1e-5 * (slow + inside + fast)], [(30.0, "a", "")])
    signal = SignalConfig(l_freq=1.0, h_freq=30.0, sfreq=100.0)
    trials = cut_trials([recording], config(signal, tmin=0.0, tmax=1.0))
    np.testing.assert_allclose(trials.data[0, 0], 1e-5 * inside[3000:3100], atol=1.5e-7)


def test_notch_removes_the_line():
    time = np.arange(6000) / 200
    line, rest = np.sin(2 * np.pi * 50 * time), np.sin(2 * np.pi * 10 * time)
    recording = make_recording([1e-5 * (line + rest)], [(15.0, "a", "")], sfreq=200.0)
    signal = SignalConfig(l_freq=None, h_freq=None, sfreq=200.0, notch=[50.0])
    trials = cut_trials([recording], config(signal, tmin=0.0, tmax=1.0))
    np.testing.assert_allclose(trials.data[0, 0], 1e-5 * rest[3000:3200], atol=2e-7)


def test_resampling_keeps_time():
    time = np.arange(4000) / 400
    recording = make_recording([1e-5 * np.sin(2 * np.pi * 5 * time)], [(5.0, "a", "")], 400.0)
    trials = cut_trials([recording], config(tmin=0.0, tmax=0.5))
    expected = 1e-5 * np.sin(2 * np.pi * 5 * np.arange(50) / 100)
    np.testing.assert_allclose(trials.data[0, 0], expected, atol=2e-8)
    assert trials.sfreq == 100.0


def test_references():
    data = noise(3)
    average = cut_trials(
        [make_recording(data, [(2.0, "a", "")])],
        config(PLAIN.model_copy(update={"reference": "average"})),
    )
    expected = (data - data.mean(axis=0))[:, 200:250]
    np.testing.assert_allclose(average.data[0], expected, atol=1e-11)
    named = SignalConfig(**{**PLAIN.model_dump(), "reference": ["Cz"], "flat_uv": 0.0})
    recording = make_recording(data, [(2.0, "a", "")])
    raw = preprocess(recording, named)
    np.testing.assert_allclose(raw.get_data(), data - data[1], atol=1e-11)
    np.testing.assert_array_equal(recording.raw.get_data(), data)  # the recording stays as it was
    wrong = SignalConfig(**{**PLAIN.model_dump(), "reference": ["M1"]})
    with pytest.raises(ValueError, match="no reference channel M1"):
        preprocess(recording, wrong)


def test_picks_keep_their_order():
    data = noise(3)
    signal = PLAIN.model_copy(update={"picks": ["Pz", "Fz"]})
    trials = cut_trials([make_recording(data, [(2.0, "a", "")])], config(signal))
    assert trials.ch_names == ["Pz", "Fz"]
    np.testing.assert_allclose(trials.data[0], data[[2, 0], 200:250], rtol=1e-6)
    with pytest.raises(ValueError, match=r"no channel TP9 .*it has Fz, Cz, Pz"):
        cut_trials(
            [make_recording(data, [(2.0, "a", "")])],
            config(PLAIN.model_copy(update={"picks": ["TP9"]})),
        )


def test_every_rejection_is_counted_under_its_reason():
    data = noise(2, 2000)
    data[0, 320] += 500e-6  # peak to peak
    data[1, 500:560] = 3e-6  # flat
    data[1, 720] = np.nan
    data[1, 1510:1525] = 900e-6  # at the end of its range
    onsets = [-0.2, 1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 15.0, 19.8]
    recording = make_recording(data, [(onset, "a", "") for onset in onsets])
    recording.raw.annotations.append(9.2, 0.1, "BAD_blink")
    recording.raw.annotations.append(11.1, 0.01, "BAD_gap")
    signal = PLAIN.model_copy(update={"reject_uv": 200.0})
    trials = cut_trials([recording], config(signal))
    assert trials.rejected == {
        "same_onset": 0, "outside_file": 2, "gap": 1, "nan": 1, "clipped": 1,
        "bad_annotation": 1, "flat": 1, "peak_to_peak": 1,
    }  # fmt: skip
    assert trials.metadata.onset.tolist() == [1.0]
    assert len(trials) == 1


def test_two_events_at_one_sample():
    """Of one event that is there twice the first is kept; of two pictures neither is."""
    events = [
        (1.0, "cat", "a.png"), (2.0, "cat", "b.png"), (2.004, "dog", "b.png"),
        (3.0, "cat", "c.png"), (3.0, "cat", "c.png"), (4.0, "cat", "d.png"), (4.0, "cat", "e.png"),
        (5.0, "cat", "f.png"), (5.01, "dog", "g.png"),
    ]  # fmt: skip
    trials = cut_trials([make_recording(noise(), events)], config())
    assert trials.rejected["same_onset"] == 5
    assert trials.metadata.stim_file.tolist() == ["a.png", "c.png", "f.png", "g.png"]


def test_a_missing_sample_does_not_spread_through_the_filter():
    data = noise(1, 3000)
    data[0, 1000] = np.nan
    recording = make_recording(data, [(9.8, "a", ""), (10.1, "a", ""), (20.0, "a", "")])
    signal = SignalConfig(l_freq=1.0, h_freq=30.0, sfreq=100.0)
    trials = cut_trials([recording], config(signal))
    assert trials.rejected["nan"] == 1
    assert trials.metadata.onset.tolist() == [10.1, 20.0]
    assert np.isfinite(trials.data).all()


def test_the_filter_does_not_cross_a_gap():
    data = np.zeros((1, 4000))
    data[0, 2000:] = 1e-4  # the step is only the gap's
    data += 1e-6 * np.sin(2 * np.pi * 10 * np.arange(4000) / 100)
    recording = make_recording(data, [(19.4, "a", "")])
    for text in ("BAD_gap", "EDGE boundary"):
        recording.raw.annotations.append(20.0, 0.01, text)
    signal = SignalConfig(l_freq=1.0, h_freq=None, sfreq=100.0)
    trials = cut_trials([recording], config(signal))
    assert np.abs(trials.data).max() < 2e-6


def test_bad_channels_raise_or_are_interpolated():
    data = noise(6)
    data[2] = 0.0
    recording = make_recording(data, [(2.0, "a", "")])
    with pytest.raises(ValueError, match=r"bad channels \(Pz: flat \(0 uV"):
        cut_trials([recording], config())
    signal = PLAIN.model_copy(update={"bad_channels": "interpolate"})
    trials = cut_trials([recording], config(signal))
    assert np.ptp(trials.data[0, 2]) > 1e-6
    np.testing.assert_allclose(trials.data[0, 0], data[0, 200:250], rtol=1e-6)
    data[1, :600] = np.nan
    with pytest.raises(ValueError, match="Cz: 600 of 1000 samples missing"):
        cut_trials([make_recording(data, [(2.0, "a", "")])], config())


def test_rates_and_lengths_below_the_need():
    recording = make_recording(noise(), [(2.0, "a", "")])
    high = SignalConfig(l_freq=None, h_freq=None, sfreq=128.0)
    with pytest.raises(ValueError, match=r"has 100 Hz, expected at least 128 Hz; .*resample_up"):
        cut_trials([recording], config(high))
    up = high.model_copy(update={"resample_up": True})
    assert cut_trials([recording], config(up)).n_times == 64
    with pytest.raises(ValueError, match="h_freq is 60 Hz, expected below half of 100 Hz"):
        cut_trials([recording], config(PLAIN.model_copy(update={"h_freq": 60.0})))
    short = make_recording(noise(2, 300), [(1.0, "a", "")])
    with pytest.raises(ValueError, match=r"lasts 3\.0 s, and the 0\.5 Hz high-pass needs 6\.6 s"):
        cut_trials([short], config(PLAIN.model_copy(update={"l_freq": 0.5})))


def test_refusals(caplog):
    good = make_recording(noise(), [(2.0, "a", "")])
    with pytest.raises(ValueError, match=r"b\.edf holds the same recording as a\.edf"):
        cut_trials([good, make_recording(noise(), [(2.0, "a", "")], name="b.edf")], config())
    with pytest.raises(ValueError, match="has no events"):
        cut_trials([make_recording(noise(), [])], config())
    with pytest.raises(ValueError, match=r"no trial is left of a\.edf; rejected: 1 outside_file$"):
        cut_trials([make_recording(noise(), [(99.0, "a", "")])], config())
    assert caplog.messages[-1].startswith("a.edf: 1 of 1 events lie outside the recording, which l")
    with pytest.raises(ValueError, match="tmax must be later"):
        cut_trials([good], config(tmin=0.5, tmax=0.5))
    with pytest.raises(ValueError, match="no recording was given"):
        cut_trials([], config())
    other = make_recording(noise(seed=1), [(2.0, "a", "")], ch_names=["Fz", "Oz"])
    with pytest.raises(ValueError, match=r"lacks Cz and has Oz besides, .*: --signal\.picks Fz$"):
        cut_trials([good, other], config())


def test_channels_in_another_order_are_picked_by_name():
    good = make_recording(noise(), [(2.0, "a", "")])
    other = make_recording(noise(seed=1), [(2.0, "a", "")], name="b.edf", ch_names=["Cz", "Fz"])
    with pytest.raises(ValueError, match=r"in another order, .*: --signal\.picks Fz Cz$"):
        cut_trials([good, other], config())
    picks = PLAIN.model_copy(update={"picks": ["Fz", "Cz"]})
    assert np.array_equal(
        cut_trials([good, other], config(picks)).data[1],
        cut_trials([other], config()).data[0, ::-1],
    )


def test_codes_become_categories_and_other_events_are_no_stimuli():
    recording = make_recording(noise(), [(2.0, "1", ""), (3.0, "2", ""), (4.0, "9", "")])
    recording.events["code"] = [1, 2, 9]
    trials = cut_trials([recording], config(events={"house": 1, "face": 2}))
    assert trials.metadata.category.tolist() == ["house", "face"]
    with pytest.raises(ValueError, match=r"no event of \{'dog': 5\}; it has 1, 2, 9"):
        cut_trials([recording], config(events={"dog": 5}))
    with pytest.raises(ValueError, match="no trial of the category dog is left"):
        cut_trials([recording], config(events={"house": 1, "dog": 5}))


@pytest.mark.parametrize(
    ("texts", "codes"),
    [
        (["1", "2", "9"], None),
        (["Stimulus/S  1", "Stimulus/S  2", "Response/R  1"], None),  # BrainVision
        (["S  1", "S 2", "boundary"], None),  # BrainVision by way of EEGLAB
        (["Stimulus/house", "Comment/face", "Comment/house?"], None),
        (["x", "x", "x"], [1.0, 2.0, np.nan]),
        (["x", "x", "x"], ["S  1", "S  2", "R  1"]),  # column value of BIDS
    ],
)
def test_codes_and_categories_are_found_in_texts(texts, codes):
    recording = make_recording(noise(), [(2.0 + n, text, "") for n, text in enumerate(texts)])
    if codes is not None:
        recording.events["code"] = codes
    trials = cut_trials([recording], config(events={"house": 1, "face": 2}))
    assert trials.metadata.category.tolist() == ["house", "face"]


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("Stimulus/S 12", ["Stimulus/S 12", "S 12", "12"]),
        ("Response/R  1", ["Response/R  1"]),
        ("Stimulus/cat/a.png", ["Stimulus/cat/a.png", "cat/a.png"]),
        ("cat/a.png", ["cat/a.png"]),
        ("007", ["007", "7"]),
        (3.0, ["3"]),
        (1048577.0, ["1048577"]),
        (0.5, ["0.5"]),
    ],
)
def test_what_an_event_may_be_called(said, names):
    assert event_names(said) == names


@pytest.fixture
def stimuli(tmp_path):
    for name in ("faces/1.png", "faces/2.png", "houses/1.png"):
        path = tmp_path / "stimuli" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    return tmp_path / "stimuli"


def test_pictures_by_file(stimuli):
    events = [(2.0, "face", "faces/2.png"), (3.0, "house", "houses/1.png")]
    trials = cut_trials([make_recording(noise(), events)], config(stimuli=stimuli))
    assert trials.images() == [stimuli / "faces/2.png", stimuli / "houses/1.png"]
    trials.check_images()
    with pytest.raises(ValueError, match=r"use images\(\)"):
        trials.image_pools()
    trials.metadata.loc[1, "stim_file"] = "houses/9.png"
    with pytest.raises(FileNotFoundError, match=r"houses/9\.png of trial 1 .*onset 3\.000 s"):
        trials.images()
    trials.metadata.loc[1, "stim_file"] = ""
    with pytest.raises(ValueError, match=r"1 of 2 .* the first is trial 1 .*--pair_by none"):
        trials.images()
    trials.stimuli_root = stimuli / "gone"
    with pytest.raises(ValueError, match="no stim_file"):
        trials.check_images()
    trials.metadata["stim_file"] = "faces/1.png"
    with pytest.raises(FileNotFoundError, match="gone does not exist"):
        trials.images()


def test_a_picture_that_cannot_be_read_is_named(stimuli):
    (stimuli / "faces" / "2.png").write_bytes(b"no picture")
    events = [(2.0, "face", "faces/2.png")]
    trials = cut_trials([make_recording(noise(), events)], config(stimuli=stimuli))
    with pytest.raises(ValueError, match=r"faces/2\.png cannot be read"):
        trials.check_images()


def test_pictures_by_class(stimuli):
    events = [(2.0, "face", "faces/2.png"), (3.0, "house", "")]
    setting = config(stimuli=stimuli, pair_by="category")
    trials = cut_trials([make_recording(noise(), events)], setting)
    assert trials.metadata["pool"].tolist() == ["faces", "houses"]
    assert trials.metadata.stim_file.tolist() == ["", ""]
    faces = [stimuli / "faces/1.png", stimuli / "faces/2.png"]
    assert trials.image_pools() == {"faces": faces, "houses": [stimuli / "houses/1.png"]}
    with pytest.raises(ValueError, match="not recorded"):
        trials.images()
    with pytest.raises(FileNotFoundError, match="no folder cup or cups; it has faces, houses"):
        cut_trials([make_recording(noise(), [(2.0, "cup", "")])], setting)
    with pytest.raises(FileNotFoundError, match="needs stimuli"):
        cut_trials([make_recording(noise(), events)], config(pair_by="category"))


def test_save_and_load(tmp_path, stimuli):
    events = [(2.0, "face", "faces/1.png"), (3.0, "NA", "")]
    recording = make_recording(noise(), events, simulated=True)
    recording.run = "007"
    recording.events["contrast"] = [0.5, np.nan]
    trials = cut_trials([recording], config(stimuli=stimuli))
    again = Trials.load(trials.save(tmp_path / "runs" / "trials"))
    np.testing.assert_array_equal(again.data, trials.data)
    assert isinstance(again.data, np.memmap)
    assert again.ch_names == ["Fz", "Cz"]
    assert (again.sfreq, again.tmin, again.simulated) == (100.0, 0.0, True)
    assert again.metadata.run.tolist() == ["007", "007"]
    assert again.metadata.category.tolist() == ["face", "NA"]
    assert again.metadata.stim_file.tolist() == ["faces/1.png", ""]
    assert again.metadata.contrast[0] == 0.5
    assert np.isnan(again.metadata.contrast[1])
    assert again.stimuli_root == stimuli
    assert again.signal == PLAIN.model_dump(mode="json")
    assert again.rejected == trials.rejected
    trials.select(np.array([1])).save(tmp_path / "runs" / "trials")  # trials may replace trials
    assert len(Trials.load(tmp_path / "runs" / "trials")) == 1
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["trials"]


def test_save_replaces_nothing_else_and_leaves_nothing_half(tmp_path, monkeypatch):
    trials = cut_trials([make_recording(noise(), [(2.0, "a", "")])], config())
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="does not hold trials"):
        trials.save(tmp_path / "thesis")
    assert (tmp_path / "thesis" / "text.txt").read_text() == "mine"
    monkeypatch.setattr(pd.DataFrame, "to_csv", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trials.save(tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]


def test_load_refuses_objects_and_other_folders(tmp_path):
    trials = cut_trials([make_recording(noise(), [(2.0, "a", "")])], config())
    folder = trials.save(tmp_path / "t")
    np.save(folder / "trials.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="Python objects"):
        Trials.load(folder)
    with pytest.raises(FileNotFoundError, match=r"no info\.json"):
        Trials.load(tmp_path)
    (folder / "info.json").write_text('{"kind": "windows"}')
    with pytest.raises(ValueError, match="holds windows, expected trials"):
        Trials.load(folder)


def test_select_by_mask_and_by_index():
    events = [(1.0, "a", ""), (2.0, "b", ""), (3.0, "c", "")]
    trials = cut_trials([make_recording(noise(), events)], config())
    picked = trials.select(np.array([2, 0]))
    assert picked.metadata.category.tolist() == ["c", "a"]
    assert list(picked.metadata.index) == [0, 1]
    np.testing.assert_array_equal(picked.data, trials.data[[2, 0]])
    assert trials.select(trials.metadata.category == "b").metadata.onset.tolist() == [2.0]
    with pytest.raises(ValueError, match="mask has shape"):
        trials.select(np.array([True]))
    with pytest.raises(ValueError, match="there are 3 trials"):
        trials.select(np.array([3]))


def test_from_epochs():
    raw = mne.io.RawArray(noise(2), mne.create_info(["Fz", "Cz"], 100.0, "eeg"), verbose="error")
    events = np.array([[200, 0, 1], [500, 0, 2]])
    epochs = mne.Epochs(
        raw, events, {"face": 1, "house": 2}, tmin=0.0, tmax=0.49, baseline=None, preload=True,
        metadata=pd.DataFrame({"stim_file": ["f.png", "h.png"]}), verbose="error",
    )  # fmt: skip
    trials = from_epochs(epochs, subject="9")
    np.testing.assert_allclose(trials.data[1], raw.get_data()[:, 500:550], rtol=1e-6)
    assert trials.metadata.category.tolist() == ["face", "house"]
    assert trials.metadata.stim_file.tolist() == ["f.png", "h.png"]
    assert trials.metadata.onset.tolist() == [2.0, 5.0]
    assert trials.metadata.subject.tolist() == ["9", "9"]


@real
@pytest.mark.parametrize(("subject", "expected"), [("subject1", 0.71), ("subject2", 0.65)])
def test_n170_reaches_the_known_auc(subject, expected):
    """Shrinkage LDA on 12-sample window means of TP9 and TP10, leave one run out, 0 to 0.8 s."""
    signal = SignalConfig(l_freq=1.0, h_freq=30.0, reject_uv=100.0, picks=["TP9", "TP10"])
    setting = PrepareConfig(
        signal=signal, tmax=0.8, events={"house": 1, "face": 2}, pair_by="category",
        stimuli=DATA / "muse_n170" / "stimuli",
    )  # fmt: skip
    paths = find_recordings([DATA / "muse_n170" / subject])
    trials = cut_trials(map(read_recording, paths), setting)
    means = trials.data[..., :204].reshape(len(trials), 2, 17, 12).mean(axis=3) * 1e6
    scores = cross_val_predict(
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
        means.reshape(len(trials), -1),
        trials.metadata.category == "face",
        groups=trials.metadata.run,
        cv=LeaveOneGroupOut(),
        method="decision_function",
    )
    assert roc_auc_score(trials.metadata.category == "face", scores) == pytest.approx(
        expected, abs=0.03
    )
