"""Trials that another program cut become trials here: samples, events, metadata, and the note."""

import logging

import mne
import numpy as np
import pandas as pd
import pytest
from recording_files import EEG, PLACES, SFREQ, microvolts, structs
from scipy.io import savemat

from dreamdiffusion.datasets.prepare import prepare
from dreamdiffusion.evidence.audit.run import audit_trials
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.recordings.find import find_recordings
from dreamdiffusion.recordings.gaps import stretches
from dreamdiffusion.recordings.inspection import describe
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.recordings.recording import eeg_names
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.cut import cut_trials
from dreamdiffusion.trials.trials import Trials

N_TRIALS, N_TIMES, TMIN = 8, 256, -0.25
PLAIN = SignalConfig(l_freq=None, h_freq=None, flat_uv=0.0)
RECORDED = np.arange(N_TRIALS) * 1.5 + 2.0  # s, of the events in the recording
PICTURES = [f"{'cup' if n % 2 else 'fish'}/{n}.png" for n in range(N_TRIALS)]


def samples():
    """(n_trials, n_chans, n_times), microvolts."""
    return microvolts(0).reshape(len(EEG), N_TRIALS, N_TIMES).swapaxes(0, 1)


def write_fif(folder, metadata=True, **more):
    events = np.c_[np.round(RECORDED * SFREQ), np.zeros(N_TRIALS), np.arange(N_TRIALS) % 2 + 1]
    info = mne.create_info(list(EEG), SFREQ, "eeg")
    with info._unlock():
        info.update(highpass=0.1, lowpass=30.0)
    table = {"stim_file": PICTURES, "answer": np.arange(N_TRIALS) / 10} | more
    epochs = mne.EpochsArray(
        samples() * 1e-6, info, events.astype(int), TMIN, {"fish": 1, "cup": 2},
        metadata=pd.DataFrame(table) if metadata else None, verbose="error",
    )  # fmt: skip
    path = folder / "sub-03_run-2-epo.fif"
    epochs.save(path, verbose="error")
    return path


def write_eeglab(folder, data=None):
    """Each epoch holds its picture at 0 s and an answer later; MNE-Python joins the names."""
    kinds = ["cup" if n % 2 else "fish" for n in range(N_TRIALS)]
    epochs = [
        {
            "event": [2 * n + 1, 2 * n + 2],
            "eventtype": np.array([kind, "answer"], object),
            "eventlatency": np.array([0.0, 300.0], object),
            "eventurevent": np.array([2 * n + 1.0, 2 * n + 2.0], object),
        }
        for n, kind in enumerate(kinds)
    ]
    zero = -round(TMIN * SFREQ)
    events, before = [], []
    for n, kind in enumerate(kinds):
        for name, shift in ((kind, 0), ("answer", 77)):
            latency = float(n * N_TIMES + zero + shift + 1)
            events.append({"type": name, "latency": latency, "epoch": n + 1})
            before.append({"type": name, "latency": RECORDED[n] * SFREQ + shift + 1})
    content = {
        "setname": "a", "nbchan": len(EEG), "trials": N_TRIALS, "pnts": N_TIMES, "srate": SFREQ,
        "xmin": TMIN, "xmax": TMIN + (N_TIMES - 1) / SFREQ, "ref": "common",
        "data": samples().transpose(1, 2, 0) if data is None else data,
        "chanlocs": structs([{"labels": name, "type": "EEG"} for name in EEG]),
        "event": structs(events), "urevent": structs(before), "epoch": structs(epochs),
        "icawinv": [], "icasphere": [], "icaweights": [],
    }  # fmt: skip
    savemat(folder / "a.set", {"EEG": content}, appendmat=False)
    return folder / "a.set"


WRITERS = {"fif": write_fif, "eeglab": write_eeglab}
BOTH = pytest.mark.parametrize("name", WRITERS)


@BOTH
def test_epochs_are_read_end_to_end_with_boundaries(name, tmp_path):
    recording = read_recording(WRITERS[name](tmp_path))
    raw, cut = recording.raw, recording.cut
    assert eeg_names(raw) == PLACES
    expected = samples().swapaxes(0, 1).reshape(len(EEG), -1) * 1e-6
    np.testing.assert_allclose(raw.get_data(), expected, rtol=0, atol=1e-11)
    assert stretches(raw) == [(n * N_TIMES, (n + 1) * N_TIMES) for n in range(N_TRIALS)]
    assert (cut.tmin, cut.n_times) == (TMIN, N_TIMES)
    assert (cut.l_freq, cut.h_freq) == ((0.1, 30.0) if name == "fif" else (None, None))
    events = recording.events
    assert events.category.tolist() == ["fish", "cup"] * 4
    np.testing.assert_allclose(events.onset, np.arange(N_TRIALS) * N_TIMES / SFREQ - TMIN)
    np.testing.assert_allclose(events.recorded_onset, RECORDED)
    assert describe(recording)["problems"] == []


@BOTH
def test_trials_are_the_samples_of_the_epochs_and_are_not_filtered(name, tmp_path, caplog):
    path = WRITERS[name](tmp_path)
    signal = SignalConfig(flat_uv=0.0)  # 0.5 to 40 Hz, which must not be applied
    with caplog.at_level(logging.WARNING):
        trials = cut_trials([read_recording(path)], PrepareConfig(signal=signal, tmax=0.5))
    assert "signal.l_freq, h_freq and notch are not applied" in caplog.text
    zero = -round(TMIN * SFREQ)
    expected = samples()[:, :, zero : zero + 128] * 1e-6
    np.testing.assert_allclose(trials.data, expected, rtol=0, atol=1e-10)
    assert trials.metadata.category.tolist() == ["fish", "cup"] * 4
    np.testing.assert_allclose(trials.metadata.onset, RECORDED)
    assert trials.source == {"cut_elsewhere": True}
    edges = (0.1, 30.0) if name == "fif" else (None, None)
    assert (trials.signal["l_freq"], trials.signal["h_freq"]) == edges


def test_prepare_keeps_pictures_metadata_and_the_note_that_the_audit_repeats(tmp_path):
    path = write_fif(tmp_path)
    assert find_recordings([tmp_path]) == [path]
    config = PrepareConfig(input=[tmp_path], output=tmp_path / "out", signal=PLAIN, pair_by="none")
    trials = Trials.load(prepare(config))
    assert trials.metadata.stim_file.tolist() == PICTURES
    assert trials.metadata.answer.tolist() == [n / 10 for n in range(N_TRIALS)]
    assert set(trials.metadata.subject) == {"03"}
    assert trials.source["cut_elsewhere"] is True and trials.source["prepare"]["tmax"] == 0.5
    (note,) = [f for f in audit_trials(trials) if f.name == "cut_elsewhere"]
    assert note.severity == "note" and "another program" in note.what


def test_people_of_the_metadata_win_and_dropped_trials_are_counted(tmp_path):
    path = write_fif(tmp_path, subject=["a", "b"] * 4)
    epochs = mne.read_epochs(path, verbose="error").drop([0, 3], reason="BLINK", verbose="error")
    epochs.save(path, overwrite=True, verbose="error")
    trials = cut_trials([read_recording(path)], PrepareConfig(signal=PLAIN))
    assert trials.metadata.subject.tolist() == ["b", "a", "a", "b", "a", "b"]
    assert trials.rejected["elsewhere"] == 2


def test_a_window_outside_the_epochs_and_a_mixture_are_errors(tmp_path):
    path = write_fif(tmp_path)
    with pytest.raises(ValueError, match=r"cut from -0\.25 to 0\.75 s, and 0 to 1 s are asked"):
        cut_trials([read_recording(path)], PrepareConfig(signal=PLAIN, tmax=1.0))
    info = mne.create_info(list(EEG), SFREQ, "eeg")
    raw = mne.io.RawArray(np.random.default_rng(0).normal(0, 2e-5, (5, 2048)), info, verbose=False)
    raw.set_annotations(mne.Annotations([2.0], 0, ["cup"]))
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    assert find_recordings([tmp_path]) == [tmp_path / "a_raw.fif"]  # the epochs are cut from it
    both = map(read_recording, [path, tmp_path / "a_raw.fif"])
    with pytest.raises(ValueError, match="prepare them apart"):
        cut_trials(both, PrepareConfig(signal=PLAIN))


def test_a_fif_of_epochs_is_known_by_what_it_holds(tmp_path):
    path = write_fif(tmp_path, metadata=False).rename(tmp_path / "cut.fif")
    assert read_recording(path).cut.n_times == N_TIMES


def test_a_set_that_names_samples_in_another_folder_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    samples().astype("<f4").tofile(tmp_path / "away.fdt")
    path = write_eeglab(tmp_path / "in", data="../away.fdt")
    with pytest.raises(ValueError, match=r"a\.set cannot be read: it names \.\./away\.fdt"):
        read_recording(path)


def test_an_epochs_file_that_is_cut_off_is_an_error_that_names_it(tmp_path):
    path = write_fif(tmp_path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError) as raised:
        read_recording(path)
    assert str(path) in str(raised.value)
