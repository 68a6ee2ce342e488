"""Reading: values, units, names and events survive every format; faults are named."""

import json
from pathlib import Path

import mne
import mne_bids
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dreamdiffusion.recordings.find import find_recordings
from dreamdiffusion.recordings.formats.muse import sampling_rate
from dreamdiffusion.recordings.read import read_bids, read_recording
from dreamdiffusion.recordings.recording import hash_samples
from dreamdiffusion.trials.duplicates import DuplicateCheck

DATA = Path(__file__).parents[2] / "../shared/data"
real = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not on this machine")


def make_raw(ch_names=("Fz", "Cz", "Pz", "Oz"), sfreq=200.0, seconds=4, seed=0, walk=False):
    rng = np.random.default_rng(seed)
    data = rng.normal(0, 20e-6, (len(ch_names), int(sfreq * seconds)))
    if walk:  # drifts, as real EEG has
        data = np.cumsum(data, axis=1) / 10
    return mne.io.RawArray(data, mne.create_info(list(ch_names), sfreq, "eeg"), verbose="error")


def write_csv(path, samples, markers=None, digits=3):
    names = ("TP9", "AF7", "AF8", "TP10")
    table = pd.DataFrame(np.asarray(samples), columns=list(names))
    table.insert(0, "timestamps", np.round(1000 + np.arange(len(table)) / 256, digits))
    if markers is not None:
        table["Marker0"] = markers
    table.to_csv(path, index=False)
    return path


@pytest.mark.parametrize(("extension", "precision_uv"), [("edf", 0.01), ("bdf", 0.001)])
def test_export_formats_round_trip(tmp_path, extension, precision_uv):
    raw = make_raw()
    path = tmp_path / f"sub-07_ses-2_run-03_eeg.{extension}"
    mne.export.export_raw(path, raw, verbose="error")
    recording = read_recording(path)
    assert recording.raw.ch_names == ["Fz", "Cz", "Pz", "Oz"]
    assert recording.raw.info["sfreq"] == 200.0
    assert (recording.subject, recording.session, recording.run) == ("07", "2", "03")
    error = np.abs(recording.raw.get_data() - raw.get_data()).max()
    assert error < precision_uv * 1e-6


def test_brainvision(tmp_path):
    values = np.round(np.random.default_rng(0).normal(0, 200, (300, 2))).astype("<i2")
    values.tofile(tmp_path / "a.eeg")
    (tmp_path / "a.vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n[Common Infos]\n"
        "Codepage=UTF-8\nDataFile=a.eeg\n[Marker Infos]\nMk1=Stimulus,S  2,101,1,0\n"
    )
    (tmp_path / "a.vhdr").write_text(
        "Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\nCodepage=UTF-8\n"
        "DataFile=a.eeg\nMarkerFile=a.vmrk\nDataFormat=BINARY\nDataOrientation=MULTIPLEXED\n"
        "NumberOfChannels=2\nSamplingInterval=4000\n[Binary Infos]\nBinaryFormat=INT_16\n"
        "[Channel Infos]\nCh1=Fz,,0.1,µV\nCh2=Cz,,0.1,µV\n",
        encoding="utf-8",
    )
    recording = read_recording(tmp_path / "a.vhdr")
    assert recording.raw.info["sfreq"] == 250.0
    np.testing.assert_allclose(recording.raw.get_data(), values.T * 1e-7, atol=1e-12)
    assert recording.events.category.tolist() == ["Stimulus/S  2"]
    np.testing.assert_allclose(recording.events.onset, [100 / 250])


def test_fif_round_trip_and_annotation_onsets_after_a_crop(tmp_path):
    raw = make_raw(seconds=6)
    raw.set_annotations(mne.Annotations([2.5, 3.5], [0.1, 0.1], ["face", "BAD_blink"]))
    raw.crop(tmin=1.0)
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    recording = read_recording(tmp_path / "a_raw.fif")
    np.testing.assert_allclose(recording.raw.get_data(), raw.get_data(), atol=1e-11)
    assert recording.events.category.tolist() == ["face"]
    np.testing.assert_allclose(recording.events.onset, [1.5])
    assert recording.events.stim_file.tolist() == [""]
    assert recording.subject == "unknown"


def test_columns_beside_an_annotation_become_columns_of_the_event(tmp_path):
    raw = make_raw()
    extras = [{"stim_file": "cup/1.png", "color": "red"}, {}]
    raw.set_annotations(mne.Annotations([1.0, 2.0], [0, 0], ["cup", "cup"], extras=extras))
    raw.info["description"] = "SIMULATED EEG"
    raw.save(tmp_path / "e_raw.fif", verbose="error")
    recording = read_recording(tmp_path / "e_raw.fif")
    assert recording.events.stim_file.tolist() == ["cup/1.png", ""]
    assert recording.events.color[0] == "red"
    assert recording.simulated


def test_stim_channel_gives_events(tmp_path):
    raw = make_raw(("Fz", "Cz"))
    stim = np.zeros((1, raw.n_times))
    stim[0, [100, 101, 300]] = [5, 5, 7]
    info = mne.create_info(["STI"], 200.0, "stim")
    raw.add_channels([mne.io.RawArray(stim, info, verbose="error")], force_update_info=True)
    raw.save(tmp_path / "s_raw.fif", verbose="error")
    events = read_recording(tmp_path / "s_raw.fif").events
    assert events.code.tolist() == [5, 7]
    assert events.category.tolist() == ["5", "7"]
    np.testing.assert_allclose(events.onset, [0.5, 1.5])


def with_stim(values):
    raw = make_raw(("Fz", "Cz"))
    info = mne.create_info(["STI"], 200.0, "stim")
    stim = mne.io.RawArray(values[None].astype(float), info, verbose="error")
    return raw.add_channels([stim], force_update_info=True)


def test_annotations_come_before_a_stim_channel_and_a_warning_says_so(tmp_path, caplog):
    stim = np.zeros(800)
    stim[[100, 300, 500]] = [5, 7, 5]
    raw = with_stim(stim)
    raw.set_annotations(mne.Annotations([1.0, 2.0], 0, ["cup", "BAD_blink"]))
    raw.save(tmp_path / "s_raw.fif", verbose="error")
    recording = read_recording(tmp_path / "s_raw.fif")
    assert recording.events.category.tolist() == ["cup"]
    assert "its 1 annotations; 3 events of its stim channel are not used" in caplog.text


def test_a_trigger_channel_that_never_rests_is_none(tmp_path, caplog):
    stim = np.random.default_rng(0).integers(0, 4000, 800)
    with_stim(stim).save(tmp_path / "a_raw.fif", verbose="error")
    recording = read_recording(tmp_path / "a_raw.fif")
    assert recording.events is None
    assert recording.raw.get_channel_types() == ["eeg", "eeg", "misc"]
    assert "channel STI changes at 100 % of its samples and never rests" in caplog.text
    held = np.repeat(np.arange(1, 41), 20)  # each code is held until the next
    with_stim(held).save(tmp_path / "b_raw.fif", verbose="error")
    assert len(read_recording(tmp_path / "b_raw.fif").events) == 39


def test_names_and_types_become_standard(tmp_path):
    names = ["EEG Fp1-Ref", "Fc5.", "EEG ECG", "EEG A2-A1", "AUX", "odd"]
    make_raw(names).save(tmp_path / "n_raw.fif", verbose="error")
    raw = read_recording(tmp_path / "n_raw.fif").raw
    assert raw.ch_names == ["Fp1", "FC5", "EEG ECG", "EEG A2-A1", "AUX", "odd"]
    assert raw.get_channel_types() == ["eeg", "eeg", "ecg", "misc", "misc", "eeg"]


@pytest.mark.parametrize(
    "name",
    ["Photo", "photodiode", "Photosensor", "PD1", "Light", "StimTrak", "Erg1", "Plet", "Audio L",
     "Microphone", "Pupil", "Gaze X"],
)  # fmt: skip
def test_what_a_laboratory_records_beside_the_eeg_is_none(name, tmp_path):
    make_raw(["Fp1", "Oz", name]).save(tmp_path / "n_raw.fif", verbose="error")
    raw = read_recording(tmp_path / "n_raw.fif").raw
    assert raw.get_channel_types() == ["eeg", "eeg", "misc"]


def test_muse_csv_values_are_volts_and_markers_are_events(tmp_path):
    rng = np.random.default_rng(0)
    samples = np.round(rng.normal(0, 30, (512, 4)), 3)
    markers = np.zeros(512, int)
    markers[[100, 101, 300]] = [2, 2, 1]  # a marker that is held is one event
    folder = tmp_path / "subject3" / "session2"
    folder.mkdir(parents=True)
    recording = read_recording(write_csv(folder / "data_x.csv", samples, markers))
    assert recording.raw.info["sfreq"] == 256.0
    assert recording.raw.ch_names == ["TP9", "AF7", "AF8", "TP10"]
    np.testing.assert_allclose(recording.raw.get_data(), samples.T * 1e-6, rtol=0, atol=1e-15)
    assert recording.events.code.tolist() == [2, 1]
    np.testing.assert_allclose(recording.events.onset, [100 / 256, 300 / 256])
    assert (recording.subject, recording.session, recording.run) == ("3", "2", "data_x")


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(
        st.tuples(*[st.integers(-1_000_000, 1_000_000)] * 4, st.integers(0, 3)),
        min_size=2, max_size=60,
    )
)  # fmt: skip
def test_any_muse_csv_round_trips(tmp_path, rows):
    table = np.array(rows)
    path = write_csv(tmp_path / "any.csv", table[:, :4] / 1000, table[:, 4], digits=8)
    recording = read_recording(path, check_units=False)
    np.testing.assert_allclose(recording.raw.get_data() * 1e9, table[:, :4].T, atol=1e-4)
    expected = [
        (i / 256, code) for i, code in enumerate(table[:, 4])
        if code and (i == 0 or code != table[i - 1, 4])
    ]  # fmt: skip
    found = list(zip(recording.events.onset, recording.events.code, strict=True))
    assert found == expected


def test_rate_survives_rounded_and_jittered_timestamps():
    stamps = np.round(50 + np.arange(5000) / 256, 3)
    assert np.median(np.diff(stamps)) == pytest.approx(0.004)  # the median alone would say 250 Hz
    stamps[1200:1212] += 0.03
    sfreq, gaps = sampling_rate(stamps, "x")
    assert sfreq == 256.0
    assert len(gaps) == 0


def test_rate_that_is_not_nominal_is_measured():
    sfreq, _ = sampling_rate(np.arange(2000) / 230.0, "x")
    assert sfreq == pytest.approx(230.0)


def test_a_gap_is_annotated_where_it_is(tmp_path):
    path = write_csv(tmp_path / "gap.csv", np.random.default_rng(0).normal(0, 20, (1024, 4)))
    table = pd.read_csv(path)
    table.loc[512:, "timestamps"] += 1.5
    table.to_csv(path, index=False)
    notes = read_recording(path).raw.annotations
    assert sorted(notes.description) == ["BAD_gap", "EDGE boundary"]
    np.testing.assert_allclose(notes.onset, 512 / 256)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(timestamps=t.timestamps - 5.0 * (t.index > 200)), "go back by 4.996"),
        (lambda t: t.assign(timestamps=t.timestamps * 1e6), "expected seconds"),
        (lambda t: t.drop(columns="timestamps"), "expected `timestamps`"),
        (lambda t: t[["timestamps"]], "no EEG column"),
        (lambda t: t.assign(TP9=t.TP9.astype(str).where(t.index != 7, "x")), "row 7, column TP9"),
        (lambda t: t.assign(timestamps=t.timestamps.where(t.index != 9)), "row 9 is missing"),
        (lambda t: t.iloc[:1], "1 samples"),
        (lambda t: t * [1, 1e-6, 1e-6, 1e-6, 1e-6], "csv must hold microvolts"),
        (lambda t: t * [1, 1e6, 1e6, 1e6, 1e6], "not EEG"),
    ],
)
def test_a_broken_csv_is_named(tmp_path, change, message):
    path = write_csv(tmp_path / "b.csv", np.random.default_rng(0).normal(0, 30, (512, 4)))
    change(pd.read_csv(path)).to_csv(path, index=False)
    with pytest.raises(ValueError, match=message) as raised:
        read_recording(path)
    assert "b.csv" in str(raised.value)


def test_wrong_unit_of_a_file_says_level_and_fix(tmp_path):
    raw = make_raw()
    raw.apply_function(lambda x: x * 1e6)
    raw.save(tmp_path / "u_raw.fif", verbose="error")
    with pytest.raises(ValueError, match=r"amplitude is 1\.\d+e\+07 uV.*file's header"):
        read_recording(tmp_path / "u_raw.fif")


def test_an_offset_is_not_a_wrong_unit(tmp_path):
    raw = make_raw()
    raw.apply_function(lambda x: x + 0.009)  # BDF amplifiers have millivolts of offset
    raw.save(tmp_path / "o_raw.fif", verbose="error")
    assert read_recording(tmp_path / "o_raw.fif").raw.n_times == raw.n_times


def test_unknown_missing_and_broken_files(tmp_path):
    (tmp_path / "a.xyz").write_text("x")
    (tmp_path / "a.edf").write_bytes(b"not an edf file")
    with pytest.raises(ValueError, match=r"unknown extension '.xyz'; expected one of .edf"):
        read_recording(tmp_path / "a.xyz")
    with pytest.raises(ValueError, match=r"a\.edf cannot be read"):
        read_recording(tmp_path / "a.edf")
    with pytest.raises(FileNotFoundError, match=r"b\.edf does not exist"):
        read_recording(tmp_path / "b.edf")


def test_find_recordings_lists_each_once_in_order(tmp_path):
    for name in ("b/x.edf", "a/y.csv", "a/y.vhdr", "a/y.eeg", "a/z-epo.fif", ".hide/q.edf",
                 "stimuli/c.csv", "a/long_raw.fif", "a/long_raw-1.fif"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    found = find_recordings([tmp_path, tmp_path / "b" / "x.edf"])
    names = [str(path.relative_to(tmp_path)) for path in found]
    assert names == ["a/long_raw.fif", "a/y.csv", "a/y.vhdr", "b/x.edf"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no recording"):
        find_recordings([tmp_path / "empty"])
    with pytest.raises(FileNotFoundError, match="does not exist"):
        find_recordings([tmp_path / "nowhere"])


def write_bids(root, runs=("1", "2"), description="a test"):
    for run in runs:
        raw = make_raw(seed=int(run), seconds=8)
        raw.info["line_freq"] = 50
        raw.set_annotations(mne.Annotations([1.0, 3.0], [0.5, 0.5], ["cup", "fish"]))
        path = mne_bids.BIDSPath(subject="01", session="1", task="see", run=run, root=root)
        mne_bids.write_raw_bids(
            raw, path, format="EDF", allow_preload=True, overwrite=True, verbose="error"
        )
        table = path.copy().update(suffix="events", extension=".tsv", datatype="eeg").fpath
        events = pd.read_csv(table, sep="\t")
        events["stim_file"] = ["cup/1.png", "fish/2.png"]
        events.to_csv(table, sep="\t", index=False)
    (root / "stimuli").mkdir(exist_ok=True)
    told = root / "dataset_description.json"
    told.write_text(json.dumps({**json.loads(told.read_text()), "Name": description}))
    return root


def test_bids_folder(tmp_path):
    root = write_bids(tmp_path / "bids")
    first, second = read_bids(root)
    assert (first.subject, first.session, first.run, second.run) == ("01", "1", "1", "2")
    assert first.events.category.tolist() == ["cup", "fish"]
    assert first.events.stim_file.tolist() == ["cup/1.png", "fish/2.png"]
    np.testing.assert_allclose(first.events.onset, [1.0, 3.0])
    assert first.stimuli_root == root / "stimuli"
    assert not first.simulated
    expected = make_raw(seed=1, seconds=8).get_data()
    np.testing.assert_allclose(first.raw.get_data(), expected, atol=1e-7)
    with pytest.raises(ValueError, match="not a BIDS folder"):
        next(read_bids(tmp_path))


def test_a_simulated_bids_folder_says_so(tmp_path):
    root = write_bids(tmp_path / "bids", runs=("1",), description="SIMULATED viewer")
    sidecar = next(root.rglob("*_eeg.json"))
    told = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**told, "SimulatedNoiseLevel": 0.25}))
    recording = next(read_bids(root))
    assert recording.simulated
    assert recording.events.noise_level.tolist() == [0.25, 0.25]


def test_duplicates_are_found_exactly_and_after_a_new_export(tmp_path):
    raw = make_raw(seconds=40, walk=True)
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    raw.save(tmp_path / "b_raw.fif", verbose="error")
    coarse = raw.copy().resample(128)
    coarse.apply_function(lambda x: np.round(x * 1e6) * 1e-6)
    coarse.save(tmp_path / "c_raw.fif", verbose="error")
    make_raw(seconds=40, walk=True, seed=1).save(tmp_path / "d_raw.fif", verbose="error")
    a, b, c, d = (read_recording(tmp_path / f"{name}_raw.fif") for name in "abcd")
    assert a.sha256 == b.sha256 == hash_samples(a.raw)
    assert c.sha256 != a.sha256
    check = DuplicateCheck()
    check.add(a)
    check.add(d)
    for copy in (b, c):
        with pytest.raises(ValueError, match=r"same recording as .*a_raw\.fif"):
            check.add(copy)


@real
def test_real_formats():
    found = {}
    for path in find_recordings([DATA / "formats"]):
        raw = read_recording(path).raw
        found[path.name] = (raw.info["sfreq"], len(raw.ch_names))
    assert found == {
        "chtypes_edf.edf": (200.0, 42),
        "test_1ch.gdf": (150.0, 1),
        "test_NO.vhdr": (5000.0, 65),
        "test_bdf_stim_channel.bdf": (500.0, 4),
        "test_generator_2.bdf": (200.0, 11),
        "test_raw.set": (128.0, 32),
        "test_raw_h5.set": (128.0, 32),
        "test_reduced.edf": (512.0, 139),
        "test_utf8_annotations.edf": (200.0, 11),
    }


@real
def test_real_muse_recordings():
    paths = find_recordings([DATA / "muse_n170" / "subject2", DATA / "muse_gratings"])
    recordings = [read_recording(path) for path in paths]
    assert {recording.raw.info["sfreq"] for recording in recordings} == {256.0}
    assert recordings[0].subject == "2"
    codes = recordings[0].events.code.value_counts().to_dict()
    assert codes == {2: 103, 1: 94}
    assert set(recordings[-1].events.columns) >= {"Contrast", "Orientation"}
