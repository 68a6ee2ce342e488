"""What every reader does, whatever the format: one recording in all of them, and the real files."""

from pathlib import Path

import numpy as np
import pytest
from recording_files import EEG, FORMATS, N_TIMES, PLACES, SFREQ, microvolts

from dreamdiffusion.recordings.find import find_recordings
from dreamdiffusion.recordings.read import read_bids, read_recording
from dreamdiffusion.recordings.recording import eeg_names

DATA = Path(__file__).parents[3] / "../shared/data"
ALL = pytest.mark.parametrize("name", FORMATS)
# File: number of events (None: it can hold none), Hz, number of EEG channels, all with a place.
REAL = {
    "muse_n170/subject1/session1/data_2017-09-13-15.30.01.csv": (197, 256.0, 4),
    "muse_gratings/subject0/session1/data_2017-08-18-15.09.40.csv": (160, 256.0, 4),
    "muse_cueing/sub-0101/sub-0101_ses-1_run-01_eeg.edf": (None, 256.0, 4),
    "eegmat/Subject00_1.edf": (1, 500.0, 19),
    "eegmmidb/S001R03.edf": (30, 160.0, 64),
    "feis/01/articulators.zip": (160, 256.0, 14),
    "uci_eeg/co2a0000364": (30, 256.0, 61),
    "formats/test_bdf_stim_channel.bdf": (9, 500.0, 3),
}
# File: the channels that no place is known for.
UNPLACED = {
    "formats/chtypes_edf.edf": ["POL E", "POL PG1", "POL PG2", "POL T1", "POL T2", "POL $A1"],
    "formats/test_raw.set": [f"EEG {n:03d}" for n in range(32)],
    "formats/test_NO.vhdr": [str(n) for n in (*range(1, 33), *range(41, 72))],
}


@ALL
def test_volts_names_types_places_and_events(name, tmp_path):
    expected = FORMATS[name]
    recording = read_recording(expected.write(tmp_path))
    raw = recording.raw
    assert raw.preload
    assert raw.info["sfreq"] == SFREQ
    assert eeg_names(raw) == PLACES
    np.testing.assert_allclose(raw.get_data(picks=PLACES), microvolts(0) * 1e-6, rtol=0, atol=1e-11)
    others = dict(zip(raw.ch_names, raw.get_channel_types(), strict=True))
    assert {k: kind for k, kind in others.items() if kind != "eeg"} == expected.others
    assert recording.label_channels == [n for n in expected.others if n == "Class"]
    assert set(recording.renamed.values()) >= {"Fp1", "Fp2", "T7", "Cz"}
    x, y, z = recording.positions.T
    assert recording.positions.dtype == np.float32
    assert (np.sign(x[:3]).tolist(), y[:2].min() > 0.05) == ([-1, 1, -1], True)
    assert (z.argmax(), y.argmin()) == (PLACES.index("Cz"), PLACES.index("O2"))
    events = recording.events
    assert events.category.tolist() == expected.categories
    np.testing.assert_allclose(events.onset, expected.onsets, atol=1e-9)
    assert events.onset.between(0, N_TIMES / SFREQ).all()
    assert events.duration.ge(0).all()
    assert (events.stim_file == "").all()
    assert len(recording.sha256) == 64


@ALL
def test_the_places_of_unknown_electrodes_are_an_error_that_lists_them(name, tmp_path):
    path = FORMATS[name].write(tmp_path, ["XX7", *EEG[1:4], "odd"])
    recording = read_recording(path)
    assert eeg_names(recording.raw) == ["XX7", "Fp2", "T7", "Cz", "odd"]
    with pytest.raises(ValueError, match=r"no position is known for XX7, odd: .*rename") as raised:
        _ = recording.positions
    assert str(path) in str(raised.value)


@ALL
def test_a_wrong_unit_is_an_error_with_level_and_fix(name, tmp_path):
    path = FORMATS[name].write(tmp_path, factor=1000)
    with pytest.raises(
        ValueError, match=r"amplitude is 1\.\d*e\+\d+ uV, .*(unit|convert)"
    ) as raised:
        read_recording(path)
    assert str(path) in str(raised.value)
    assert read_recording(path, check_units=False).raw.n_times == N_TIMES


@ALL
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 0.999])
def test_a_file_that_is_cut_off_is_an_error_that_names_it(name, share, tmp_path):
    expected = FORMATS[name]
    path = expected.write(tmp_path)
    cut = path.with_suffix(expected.payload) if expected.payload else path
    if cut.is_dir():
        cut = max(cut.iterdir())
    content = cut.read_bytes()
    cut.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError) as raised:
        read_recording(path)
    assert str(path) in str(raised.value)


def test_a_bids_folder_is_read_as_its_file_is(tmp_path):
    path = FORMATS["bids"].write(tmp_path)
    (recording,) = read_bids(tmp_path)
    assert recording.source == path
    assert (recording.subject, recording.session, recording.run) == ("01", "1", "1")
    assert recording.sha256 == read_recording(path).sha256


def test_a_recording_is_the_same_whichever_file_it_comes_from(tmp_path):
    """Formats that store the samples to 0.01 microvolt, with the same channels."""
    found = {}
    for name in ("edf", "bdf", "gdf", "brainvision", "eeglab", "fif"):
        (tmp_path / name).mkdir()
        raw = read_recording(FORMATS[name].write(tmp_path / name)).raw
        found[name] = np.round(raw.get_data(picks=PLACES) * 1e8).astype(int).tolist()
    assert all(samples == found["edf"] for samples in found.values())


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not on this machine")
@pytest.mark.parametrize("name", [*REAL, *UNPLACED])
def test_real_files_keep_the_contract(name):
    path = DATA / name
    assert find_recordings([path]) == [path]
    recording = read_recording(path)
    raw, names = recording.raw, eeg_names(recording.raw)
    samples = raw.get_data(picks=names)
    level = np.median(np.abs(samples - np.median(samples, axis=1, keepdims=True)))
    assert 1e-6 < level < 1e-3
    if name in UNPLACED:
        with pytest.raises(ValueError) as raised:
            _ = recording.positions
        assert f"no position is known for {', '.join(UNPLACED[name])}: " in str(raised.value)
        return
    n_events, sfreq, n_chans = REAL[name]
    assert (raw.info["sfreq"], len(names)) == (sfreq, n_chans)
    assert recording.positions.shape == (n_chans, 3)
    assert 0.05 < np.linalg.norm(recording.positions, axis=1).mean() < 0.15
    if n_events is None:
        assert recording.events is None
        return
    assert len(recording.events) == n_events
    assert recording.events.onset.between(0, raw.n_times / sfreq).all()
