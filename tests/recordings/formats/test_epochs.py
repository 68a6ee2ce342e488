"""Trials that another program cut become trials here: samples, events, metadata, and the note."""

import logging

import mne
import numpy as np
import pytest
from epoch_files import (
    N_TIMES,
    N_TRIALS,
    PICTURES,
    RECORDED,
    TMIN,
    samples,
    write_epochs_eeglab,
    write_epochs_fif,
)
from recording_files import EEG, PLACES, SFREQ

from dreamdiffusion.datasets.prepare import prepare
from dreamdiffusion.evidence.audit.run import audit_trials
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.recordings.find import find_recordings
from dreamdiffusion.recordings.gaps import stretches
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.recordings.recording import eeg_names
from dreamdiffusion.report.inspection import describe_recording
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.cut import cut_trials
from dreamdiffusion.trials.trials import Trials

PLAIN = SignalConfig(l_freq=None, h_freq=None, flat_uv=0.0)
WRITERS = {"fif": write_epochs_fif, "eeglab": write_epochs_eeglab}
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
    assert describe_recording(recording)["problems"] == []


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
    path = write_epochs_fif(tmp_path)
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
    path = write_epochs_fif(tmp_path, subject=["a", "b"] * 4)
    epochs = mne.read_epochs(path, verbose="error").drop([0, 3], reason="BLINK", verbose="error")
    epochs.save(path, overwrite=True, verbose="error")
    trials = cut_trials([read_recording(path)], PrepareConfig(signal=PLAIN))
    assert trials.metadata.subject.tolist() == ["b", "a", "a", "b", "a", "b"]
    assert trials.rejected["elsewhere"] == 2


def test_a_window_outside_the_epochs_and_a_mixture_are_errors(tmp_path):
    path = write_epochs_fif(tmp_path)
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
    path = write_epochs_fif(tmp_path, metadata=False).rename(tmp_path / "cut.fif")
    assert read_recording(path).cut.n_times == N_TIMES


def test_a_set_that_names_samples_in_another_folder_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    samples().astype("<f4").tofile(tmp_path / "away.fdt")
    path = write_epochs_eeglab(tmp_path / "in", data="../away.fdt")
    with pytest.raises(ValueError, match=r"a\.set cannot be read: it names \.\./away\.fdt"):
        read_recording(path)


def test_an_epochs_file_that_is_cut_off_is_an_error_that_names_it(tmp_path):
    path = write_epochs_fif(tmp_path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError) as raised:
        read_recording(path)
    assert str(path) in str(raised.value)
