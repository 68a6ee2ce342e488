"""Files of consumer headsets: what they hold beside what the contracts of all readers ask."""

import headset_files as files
import numpy as np
import pandas as pd
import pytest
from headset_files import JUMP, ROWS
from recording_files import CODES, EEG, ONSETS, PLACES, SFREQ, microvolts, write_muse

from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.recordings.find import find_recordings
from dreamdiffusion.recordings.formats.brainflow_boards import BOARDS, find_board
from dreamdiffusion.recordings.formats.openbci import SD_VOLTS
from dreamdiffusion.recordings.gaps import arrival_rate, sample_clock, stretches
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.recordings.recording import eeg_names
from dreamdiffusion.recordings.streams.boards import import_brainflow
from dreamdiffusion.report.inspection import describe_recording
from dreamdiffusion.trials.preprocessing import bad_spans

NAMES = ["Fp1", "Fp2", "T7", "Cz", "O2"]


def refused(path, **stated):
    with pytest.raises(ValueError) as raised:
        read_recording(path, **stated)
    assert str(path) in str(raised.value)
    return str(raised.value)


def same(recording, names, samples, **close):
    np.testing.assert_allclose(
        recording.raw.get_data(picks=names), samples * 1e-6, rtol=0, **({"atol": 1e-11} | close)
    )


# --- each format --------------------------------------------------------------------------------


def test_mind_monitor_keeps_the_offset_and_what_the_headset_said_as_annotations(tmp_path):
    path = files.write_mind_monitor(tmp_path)
    table = pd.read_csv(path)
    table.loc[:, [f"RAW_{name}" for name in EEG]] += 800
    table.to_csv(path, index=False)
    recording = read_recording(path)
    assert recording.format == "Mind Monitor csv"
    same(recording, PLACES, microvolts(0) + 800)
    notes = recording.raw.annotations
    assert [(str(a["description"]), round(a["onset"] * SFREQ)) for a in notes] == [("blink", 300)]
    assert recording.events.code.tolist() == list(CODES)
    assert describe_recording(recording)["offset_uv"] == pytest.approx(800, abs=5)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2020-01-31 10:00:01.000", "noon", "column TimeStamp: 'noon' is no time, expected such"),
        ("2020-01-31 10:00:01.000", "2020-01-31 09:00:01.000", "timestamps go back by 3599.996"),
        (",850.5,", ",x,", "column AUX_RIGHT: 'x' is not a number"),
    ],
)
def test_a_wrong_cell_of_mind_monitor_is_named(tmp_path, old, new, message):
    path = files.write_mind_monitor(tmp_path)
    path.write_text(path.read_text().replace(old, new, 1))
    assert message in refused(path)


def test_averages_of_mind_monitor_are_no_samples(tmp_path):
    path = files.write_mind_monitor(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *lines[1::128]]) + "\n")
    assert "rows come every 0.5 s, expected samples of EEG" in refused(path)


def test_emotivpro_leaves_out_rows_of_motion(tmp_path):
    recording = read_recording(files.write_emotivpro(tmp_path))
    assert (recording.format, recording.raw.n_times) == ("Emotiv csv", 2048)
    assert "AccX" not in str(recording.raw.ch_names)
    path = files.write_emotivpro(tmp_path)
    path.write_text(path.read_text().replace("sampling rate:eeg_256;mot_64", "sampling rate:x"))
    assert "its first line states the rate of nothing" in refused(path)
    path.write_text(path.read_text().replace("sampling rate:x", "sampling rate:128"))
    assert "samples come at 256 Hz by their timestamps, expected 128 Hz" in refused(path)


def test_testbench_names_its_columns_in_one_line_and_marks_what_was_made_up(tmp_path):
    recording = read_recording(files.write_testbench(tmp_path))
    same(recording, PLACES, microvolts(0) + 4200)
    assert recording.raw.info["sfreq"] == SFREQ
    assert recording.events.code.tolist() == list(CODES)
    np.testing.assert_allclose(recording.events.onset, ONSETS)
    assert bad_spans(recording.raw) == [(600, 660, "bad_annotation")]
    assert stretches(recording.raw) == [(0, 2048)]


def test_a_table_of_an_epoc_without_clock_needs_its_rate(tmp_path):
    table = pd.DataFrame(microvolts(0).T + 4200, columns=NAMES)
    table.to_csv(tmp_path / "epoc.csv", sep="\t", index=False)
    assert "needs its rate (prepare: --signal.file_sfreq" in refused(tmp_path / "epoc.csv")
    recording = read_recording(tmp_path / "epoc.csv", file_sfreq=128)
    assert recording.raw.info["sfreq"] == 128
    same(recording, PLACES, microvolts(0) + 4200)


@pytest.mark.parametrize(("lost_rows", "is_gap"), [(40, True), (100, True), (0, False), (8, False)])
@pytest.mark.parametrize("form", ["Emotiv csv", "Muse csv"])
def test_the_counter_of_an_old_epoc_tells_what_was_lost(tmp_path, form, lost_rows, is_gap):
    """Neither the program before EmotivPRO nor a plain table has a clock; 0.1 s are 26 samples."""
    path = files.write_testbench(tmp_path, lost_rows)
    stated = {}
    if form == "Muse csv":
        rows = [line.split(",") for line in path.read_text().splitlines()[5:]]
        columns = ["COUNTER", "INTERPOLATED", *NAMES]
        table = pd.DataFrame([row[:7] for row in rows], columns=columns)
        table.to_csv(path, index=False)
        stated = {"file_sfreq": SFREQ}
    recording = read_recording(path, **stated)
    assert recording.format == form
    n_times = recording.raw.n_times
    jump = JUMP - (2048 - n_times)
    wanted = [(0, jump), (jump, n_times)] if is_gap else [(0, n_times)]
    assert stretches(recording.raw) == wanted
    assert eeg_names(recording.raw) == NAMES


def test_a_column_that_counts_something_else_than_samples_makes_no_gap(tmp_path):
    table = pd.DataFrame(microvolts(0).T, columns=NAMES)
    table["Counter"] = np.arange(2048) // 12 % 100  # packets of twelve
    table.to_csv(tmp_path / "a.csv", index=False)
    recording = read_recording(tmp_path / "a.csv", file_sfreq=SFREQ)
    assert stretches(recording.raw) == [(0, 2048)]


def test_openbci_has_numbered_channels_that_their_owner_names(tmp_path):
    path = files.write_openbci(tmp_path)
    assert find_recordings([tmp_path]) == [path]
    plain = read_recording(path)
    assert eeg_names(plain.raw) == [f"EXG Channel {n}" for n in range(5)]
    with pytest.raises(ValueError, match="no position is known for EXG Channel 0"):
        _ = plain.positions
    recording = read_recording(path, file_channels=["Fp1", "FP2", "T3", "cz", "O2"])
    same(recording, PLACES, microvolts(0))
    assert recording.events.code.tolist() == list(CODES)
    np.testing.assert_allclose(recording.events.onset, ONSETS)
    message = refused(path, file_channels=["Fp1", "Fp2"])
    assert "states 2 names (Fp1, Fp2), expected one of its own for each of the 5 EEG" in message


@pytest.mark.parametrize("clock", [True, False])
def test_openbci_before_version_5_is_counted(tmp_path, clock):
    recording = read_recording(files.write_old_openbci(tmp_path, clock), file_channels=NAMES)
    assert recording.raw.info["sfreq"] == 250
    same(recording, PLACES, microvolts(0))
    assert stretches(recording.raw) == [(0, JUMP), (JUMP, 2048)]
    assert not len(recording.events)


@pytest.mark.parametrize(("n_chans", "sfreq"), [(8, 250.0), (16, 125.0)])
def test_an_sd_card_of_a_cyton(tmp_path, n_chans, sfreq):
    path, steps = files.write_sd_card(tmp_path, n_chans)
    assert find_recordings([tmp_path]) == [path]
    recording = read_recording(path)
    assert (recording.format, recording.raw.info["sfreq"]) == ("OpenBCI SD card", sfreq)
    np.testing.assert_allclose(recording.raw.get_data(), steps * SD_VOLTS, rtol=0, atol=1e-12)
    assert pytest.approx(2.235174e-8, rel=1e-6) == SD_VOLTS
    assert stretches(recording.raw) == [(0, 400), (400, 700), (700, 1000)]
    assert read_recording(path, file_sfreq=500).raw.info["sfreq"] == 500
    path.write_bytes(path.read_bytes().rstrip(b"\0").split(b"%Total")[0][:-9])
    assert "line 1006: '" in refused(path) and "is no row of a counter" in refused(path)


def test_brainflow_needs_its_board(tmp_path):
    path = files.write_brainflow(tmp_path)
    message = refused(path)
    assert "has 8 columns of numbers without names" in message
    assert "MUSE_2_BOARD" in message and "CYTON" not in message.split("boards of 8 columns")[1]
    assert "writes 24; boards of 8" in refused(path, board="cyton")
    assert "expected one of SYNTHETIC_BOARD, " in refused(path, board="mindwave")
    for board in ("MUSE_2_BOARD", "muse_2", "38"):
        recording = read_recording(path, board=board)
        same(recording, ["TP9", "AF7", "AF8", "TP10"], microvolts(0)[:4])
        assert recording.events.code.tolist() == list(CODES)
        np.testing.assert_allclose(recording.events.onset, ONSETS)
    renamed = read_recording(path, board="38", file_channels=NAMES[:4])
    assert eeg_names(renamed.raw) == PLACES[:4]
    assert "it" not in refused(path, board="GANGLION")[-1]
    assert find_board("0")[0] == "CYTON_BOARD"
    assert all(b.first_eeg + b.n_eeg <= b.timestamp < b.n_columns for b in BOARDS.values())
    named = [b.electrodes.split() for b in BOARDS.values()]
    counts = [b.n_eeg for b in BOARDS.values()]
    assert all(len(names) in (0, n) for names, n in zip(named, counts, strict=True))


def test_neurosky_of_eegid_and_of_neuroview(tmp_path):
    path = files.write_eegid(tmp_path)
    recording = read_recording(path)
    assert recording.raw.info["sfreq"] == 512
    steps = pd.read_csv(path)["eegRawValue"].to_numpy()
    same(recording, ["Fp1"], steps[None] * 0.2197265625)
    assert recording.events.category.tolist() == ["face", "house"]
    np.testing.assert_allclose(recording.events.onset, [500 / 512, 1500 / 512])
    rows = [f"{1.6e9 + row / 512:.4f}, {step}" for row, step in enumerate(steps)]
    (tmp_path / "raw.csv").write_text("\n".join(rows) + "\n")
    again = read_recording(tmp_path / "raw.csv")
    assert (again.format, again.raw.info["sfreq"]) == ("NeuroSky csv", 512)
    same(again, ["Fp1"], steps[None] * 0.2197265625)


def test_tables_of_bluemuse_eeg_expy_and_openmuse(tmp_path):
    path = write_muse(tmp_path)
    table = pd.read_csv(path)
    before = read_recording(path)
    table["timestamps"] *= 1000  # BlueMuse can write milliseconds
    table = table.rename(columns={"Marker0": "stim", "cz": "EEG_Cz"})  # EEG-ExPy; OpenMuse
    table["OPTICS_1"] = table["ACC_X"] = np.arange(len(table)) % 7
    table.to_csv(path, index=False)
    after = read_recording(path)
    assert after.raw.info["sfreq"] == SFREQ
    assert eeg_names(after.raw) == PLACES
    np.testing.assert_array_equal(
        after.raw.get_data(picks=PLACES), before.raw.get_data(picks=PLACES)
    )
    pd.testing.assert_frame_equal(after.events, before.events)
    kinds = dict(zip(after.raw.ch_names, after.raw.get_channel_types(), strict=True))
    assert (kinds["OPTICS_1"], kinds["ACC_X"]) == ("misc", "misc")


def test_a_text_that_is_no_recording_is_told_apart(tmp_path):
    (tmp_path / "notes.txt").write_text("we met at noon\n")
    (tmp_path / "events.csv").write_text("onset,picture\n1,a.png\n")
    path = files.write_brainflow(tmp_path)
    assert find_recordings([tmp_path]) == [path]
    assert "a .txt is a recording of the OpenBCI GUI" in refused(tmp_path / "notes.txt")


def test_a_stated_rate_that_the_file_contradicts_is_an_error(tmp_path):
    message = refused(write_muse(tmp_path), file_sfreq=128)
    assert "has 256 Hz by its own clock or header, and file_sfreq states 128 Hz" in message


# --- XDF ----------------------------------------------------------------------------------------


def test_xdf_brings_the_streams_clocks_together(tmp_path):
    recording = read_recording(files.write_xdf(tmp_path, shift=123.25))
    np.testing.assert_allclose(recording.events.onset, ONSETS, atol=1e-6)
    same(recording, PLACES, microvolts(0))


def test_xdf_units_types_and_a_stream_without_rate(tmp_path):
    path = files.write_xdf(tmp_path, unit="millivolts", rate=0)
    recording = read_recording(path, check_units=False)
    assert recording.raw.info["sfreq"] == SFREQ
    np.testing.assert_allclose(
        recording.raw.get_data(picks=PLACES), microvolts(0) * 1e-3, rtol=0, atol=1e-9
    )
    assert "unit of EEG Fp1-Ref is 'parsec'" in refused(files.write_xdf(tmp_path, unit="parsec"))


def test_xdf_of_several_streams(tmp_path):
    """A second EEG stream, markers that are numbers, a clock that is another one."""
    more = files._stream(4, "Codes", "Markers", "int32", 0, "")
    times = 1000 + np.array([1.0, 3.0])
    more += files.xdf_numbers(4, times, np.array([[7], [8]], "<i4"))
    recording = read_recording(files.write_xdf(tmp_path, more=more))
    assert recording.events.category.tolist() == ["7", "class 1", "8", "class 2"]
    assert recording.events.stream.tolist() == ["Codes", "Pictures", "Codes", "Pictures"]
    np.testing.assert_allclose(recording.events.onset, [1.0, 2.0, 3.0, 5.5])
    second = files._stream(5, "Other", "EEG", "float32", 250, files.xdf_channels(["Cz", "Pz"]))
    data = np.random.default_rng(0).normal(0, 20, (500, 2)).astype("<f4")
    second += files.xdf_numbers(5, 1000 + np.arange(500) / 250, data)
    path = files.write_xdf(tmp_path, more=second)
    assert "holds 2 streams of the type EEG, expected one; it holds Headset (EEG" in refused(path)
    other = read_recording(path, stream="Other")
    assert (eeg_names(other.raw), other.raw.info["sfreq"]) == (["Cz", "Pz"], 250)
    assert "holds 0 streams of the name 'none'" in refused(path, stream="none")


def test_xdf_that_contradicts_itself_is_refused_before_it_is_believed(tmp_path):
    path = files.write_xdf(tmp_path)
    content = path.read_bytes()
    for old, new, message in (
        (b"<sample_count>2048", b"<sample_count>2047", "ends with 2047 samples by its footer"),
        (b"<channel_count>5", b"<channel_count>9", "declares 32 samples in"),
        (b"double64", b"decimal6", "channels of 'decimal6', expected a number of one of int8"),
        (b"<?xml version", b"<!DOCTYPE x [", "defines XML entities; refused"),
        (b"XDF:", b"XDG:", "begins with b'XDG:', expected XDF:"),
    ):
        path.write_bytes(content.replace(old, new, 1))
        assert message in refused(path)


# --- clocks of samples that arrive in bursts ------------------------------------------------------


@pytest.mark.parametrize("burst", [1, 12, 20])
def test_the_rate_and_gaps_of_samples_that_arrive_in_bursts(burst):
    """A late burst is no gap; half a second that is missing is one."""
    true = np.arange(5000) / 256
    true[3000:] += 0.5
    arrived = true[np.minimum(np.arange(5000) // burst * burst + burst - 1, 4999)]
    arrived[1200:1220] += 0.06 * (burst > 1)
    sfreq, gaps = arrival_rate(np.sort(arrived), "a")
    assert sfreq == 256
    assert len(gaps) == 1 and abs(gaps[0] - 3000) < burst
    clock, begin = sample_clock(np.sort(arrived), sfreq, gaps)
    lag = (burst - 1) / 2 / 256
    assert begin == pytest.approx(lag, abs=0.004)
    assert clock.place(np.array([4000 / 256 + 0.5]))[0] == pytest.approx(4000 / 256, abs=lag + 0.01)


def test_a_pause_that_catches_up_is_no_gap():
    arrived = np.arange(3000) / 250
    arrived[1000:1050] = arrived[1050]
    arrived[:1000] -= 0.0
    sfreq, gaps = arrival_rate(arrived, "a", 250.0)
    assert (sfreq, len(gaps)) == (250.0, 0)


def test_the_settings_of_files_are_those_of_every_command():
    assert set(SignalConfig().stated()) == {
        "unit", "board", "file_sfreq", "file_channels", "stream"
    }  # fmt: skip
    assert ROWS == [512, 1408]


# --- as published ---------------------------------------------------------------------------------


@pytest.mark.parametrize("board", files.OPENBCI_BOARDS)
@pytest.mark.parametrize("marker", ["Marker Channel", "Other"])
def test_openbci_columns_of_every_board(tmp_path, board, marker):
    """As the GUI writes them: version 6 names the column of markers, version 5 calls it Other."""
    path, data, sfreq = files.write_openbci_board(tmp_path, board, marker)
    recording = read_recording(path)
    assert recording.raw.info["sfreq"] == sfreq
    assert eeg_names(recording.raw) == [f"EXG Channel {n}" for n in range(len(data))]
    same(recording, eeg_names(recording.raw), data)
    assert recording.events.code.tolist() == [3, 4]
    np.testing.assert_allclose(recording.events.onset, [200 / sfreq, 900 / sfreq])
    assert stretches(recording.raw) == [(0, len(data.T))]


def test_mind_monitor_of_a_muse_s(tmp_path):
    """Both auxiliary inputs, light sensors, and a first row that holds an element alone."""
    path = files.write_mind_monitor(tmp_path)
    lines = path.read_text().splitlines()
    added = "AUX_LEFT,PPG_Ambient,PPG_IR,PPG_Red,Heart_Rate"
    lines[0] = lines[0].replace("AUX_RIGHT", f"AUX_RIGHT,{added}")
    lines[1:] = [
        line.replace(",850.5,", ",850.5,820.5,1,2,3,60,")
        if ",850.5," in line
        else line.replace("/", ",,,,,/", 1)
        for line in lines[1:]
    ]
    empty = "," * lines[0].count(",")
    lines.insert(1, f"2020-01-31 09:59:59.900{empty}/muse/event/connected MuseS-84AC")
    path.write_text("\n".join(lines) + "\n")
    recording = read_recording(path)
    same(recording, PLACES, microvolts(0))
    assert recording.raw.ch_names == [*PLACES, "AUX_RIGHT", "AUX_LEFT"]
    assert recording.events.code.tolist() == list(CODES)
    np.testing.assert_allclose(recording.events.onset, ONSETS, atol=1e-9)


def test_the_stream_of_mind_monitor_as_its_author_records_it(tmp_path):
    """MindMonitorPython: raw columns, AUX, and `Marker` in place of `Elements`; arrival times."""
    recording = read_recording(files.write_mind_monitor_stream(tmp_path))
    assert recording.format == "Mind Monitor csv"
    assert recording.raw.info["sfreq"] == SFREQ
    same(recording, PLACES, microvolts(0))
    assert recording.events.code.tolist() == list(CODES)
    np.testing.assert_allclose(recording.events.onset, ONSETS, atol=0.025)  # bursts of 12


def test_times_of_muse_lsl_have_three_digits(tmp_path):
    path = write_muse(tmp_path)
    table = pd.read_csv(path)
    table["timestamps"] = (1606398355.528 + np.arange(len(table)) / SFREQ).round(3)
    table["Right AUX"] = 0.0
    table.to_csv(path, index=False, float_format="%.3f")
    recording = read_recording(path)
    assert recording.raw.info["sfreq"] == SFREQ
    assert recording.events.code.tolist() == list(CODES)


def test_a_list_of_emotivs_markers_is_no_recording(tmp_path):
    """EmotivPRO lays one beside each recording it exports."""
    path = files.write_emotivpro(tmp_path)
    rows = [
        "latency,duration,type,marker_value,key,timestamp,marker_id",
        "4.1,15.0,cat,1,-1,1.6e9,1",
    ]
    (tmp_path / "a_intervalMarker.csv").write_text("\n".join(rows) + "\n")
    assert find_recordings([tmp_path]) == [path]


@pytest.mark.parametrize("name", BOARDS)
def test_a_brainflow_csv_of_every_board(tmp_path, name):
    """The columns, rate and marker that `BoardShim.get_board_descr` states of it."""
    path, data = files.write_brainflow_board(tmp_path, BOARDS[name])
    recording = read_recording(path, board=name)
    assert recording.raw.info["sfreq"] == BOARDS[name].sfreq
    named = BOARDS[name].electrodes.split() or [f"EEG {n + 1}" for n in range(len(data))]
    assert recording.raw.get_channel_types() == ["eeg"] * len(named)
    same(recording, None, data)
    assert recording.events.code.tolist() == [3, 4]
    np.testing.assert_allclose(recording.events.onset * BOARDS[name].sfreq, [200, 900])


def test_boards_are_as_brainflow_says():
    pytest.importorskip("brainflow", reason="brainflow is not installed (extra brainflow)")
    shim = import_brainflow()
    for name, board in BOARDS.items():
        said = shim.BoardShim.get_board_descr(board.number)
        rows = list(range(board.first_eeg, board.first_eeg + board.n_eeg))
        assert shim.BoardIds[name].value == board.number
        assert (said["num_rows"], said["eeg_channels"]) == (board.n_columns, rows), name
        clock = (said["timestamp_channel"], said["marker_channel"], said["sampling_rate"])
        assert clock == (board.timestamp, board.marker, board.sfreq), name
        assert said.get("eeg_names", "").replace(",", " ") == board.electrodes, name


def test_a_muse_s_in_the_folders_of_eegwatch(tmp_path):
    """As ErikBjare/thesis keeps them: five minutes a file, no marker in most, loose outer
    electrodes at -1000 uV, the auxiliary input silent."""
    folder = tmp_path / "subject0000" / "session001"
    folder.mkdir(parents=True)
    data = microvolts(0)[:4].round(3)
    data[[0, 3], ::5] = -1000.0
    for number, code in enumerate((0, 99)):
        table = pd.DataFrame(data.T, columns=["TP9", "AF7", "AF8", "TP10"])
        table.insert(0, "timestamps", (1606127478.319 + np.arange(2048) / SFREQ).round(3))
        table.loc[JUMP:, "timestamps"] += 2.5  # the headset was gone for a while
        table["Right AUX"], table["Marker0"] = 0.0, 0
        table.loc[700, "Marker0"] = code
        name = f"recording_2020-11-23-10.3{number}.01.csv"
        table.to_csv(folder / name, index=False, float_format="%.3f")
    paths = find_recordings([tmp_path])
    assert [path.name[-12:] for path in paths] == ["10.30.01.csv", "10.31.01.csv"]
    quiet, marked = map(read_recording, paths)
    for recording in (quiet, marked):
        assert (recording.subject, recording.session) == ("0000", "001")
        assert recording.raw.info["sfreq"] == SFREQ
        same(recording, ["TP9", "AF7", "AF8", "TP10"], data)
        assert stretches(recording.raw) == [(0, JUMP), (JUMP, 2048)]
        assert describe_recording(recording)["clipped"] == {
            "TP9": pytest.approx(0.2, abs=1e-3), "TP10": pytest.approx(0.2, abs=1e-3)
        }  # fmt: skip
    assert len(quiet.events) == 0
    assert marked.events.code.tolist() == [99]
    np.testing.assert_allclose(marked.events.onset, [700 / SFREQ])


@pytest.mark.parametrize("burst", [1, 4, 10])
def test_a_table_of_eeg_expy_from_a_board_whose_samples_arrive_in_bursts(tmp_path, burst):
    """BrainFlow gives all samples of a USB packet one time; EEG-ExPy writes that as it is."""
    table = pd.DataFrame(microvolts(0).T, columns=["fp1", "fp2", "t7", "cz", "o2"])
    true = 1.6e9 + np.arange(2048) / 250
    true[JUMP:] += 30
    table.insert(0, "timestamps", true[np.arange(2048) // burst * burst])
    table["stim"] = 0
    table.loc[[200, 1500], "stim"] = [1, 2]
    table.to_csv(tmp_path / "a.csv", index=False)
    recording = read_recording(tmp_path / "a.csv")
    assert recording.raw.info["sfreq"] == 250
    same(recording, PLACES, microvolts(0))
    (begin, jump), (again, end) = stretches(recording.raw)
    assert (begin, end) == (0, 2048) and jump == again and abs(jump - JUMP) < burst
    assert recording.events.code.tolist() == [1, 2]
    np.testing.assert_allclose(recording.events.onset, [0.8, 6.0])


WRITERS = {
    "Mind Monitor csv": files.write_mind_monitor,
    "Emotiv csv": files.write_emotivpro,
    "TestBench": files.write_testbench,
    "OpenBCI txt": files.write_openbci,
    "OpenBCI before 5": files.write_old_openbci,
    "BrainFlow csv": files.write_brainflow,
    "XDF": files.write_xdf,
    "Muse csv": write_muse,
}


@pytest.mark.parametrize("name", WRITERS)
def test_samples_at_the_end_of_the_range_are_named_in_every_format(name, tmp_path, monkeypatch):
    def railed(*given):
        data = microvolts(*given).copy()
        data[0, ::5] = -1000.0
        return data

    for module in ("headset_files", "recording_files"):
        monkeypatch.setattr(f"{module}.microvolts", railed)
    path = WRITERS[name](tmp_path)
    recording = read_recording(path, board="MUSE_2" if name == "BrainFlow csv" else None)
    first = eeg_names(recording.raw)[0]
    found = describe_recording(recording)
    assert found["clipped"] == {first: pytest.approx(0.2, abs=1e-3)}
    assert "20% of its samples are clipped, at " in found["bad_channels"][first]


def test_a_gap_of_neurosky(tmp_path):
    path = files.write_eegid(tmp_path)
    table = pd.read_csv(path)
    table.loc[JUMP:, "timestampMs"] += 30_000
    table.to_csv(path, index=False)
    recording = read_recording(path)
    assert stretches(recording.raw) == [(0, JUMP), (JUMP, 2048)]


def test_xdf_of_a_clock_that_was_reset(tmp_path):
    """The computer of the headset started anew: its clock counts from 0, the recorder's goes on."""
    recording = read_recording(files.write_xdf_reset(tmp_path))
    assert recording.raw.info["sfreq"] == SFREQ
    same(recording, PLACES, microvolts(0))
    assert stretches(recording.raw) == [(0, JUMP), (JUMP, 2048)]
    np.testing.assert_allclose(recording.events.onset, ONSETS, atol=2e-3)
