"""Files that are damaged, that lie, or that are bombs: read, or an error with the name."""

import gzip
import struct
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from recording_files import FORMATS, ONSETS, openvibe_text, write_bids, write_edf, write_muse

from dreamdiffusion.cli.commands import main
from dreamdiffusion.recordings.channels import standard_name, standard_renames
from dreamdiffusion.recordings.electrodes import standard_names
from dreamdiffusion.recordings.formats import archives
from dreamdiffusion.recordings.formats.extensions import EXTENSIONS
from dreamdiffusion.recordings.read import read_recording

SLOW_FIXTURE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def fuzz(max_examples):
    return settings(max_examples=max_examples, deadline=None, suppress_health_check=SLOW_FIXTURE)


def read_or_named_error(path):
    """Return the recording, or None where reading ends with an error that names the file."""
    try:
        recording = read_recording(path, check_units=False)
    except ValueError as error:
        assert str(path) in str(error)
        return None
    raw = recording.raw
    assert raw.n_times > 0
    assert 0 < raw.info["sfreq"] < 1e9
    assert len(set(raw.ch_names)) == len(raw.ch_names)
    return recording


# --- EDF --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "text", "message"),
    [
        (236, "80", r"declares 80 records of \d+ bytes, and the file has room for 8 and 0 bytes"),
        (236, "7", r"declares 7 records"),
        (236, "many", r"number of records is 'many +', expected a number"),
        (244, "0", r"sampling rate must be above zero"),
        (244, "-1", r"sampling rate must be above zero"),
        (252, "3", r"declares 3 channels and 2304 bytes of header"),
        (252, "9999", r"declares 9999 channels"),
        (184, "256", r"declares 8 channels and 256 bytes of header"),
        (256 + 8 * 120, "32767", r"digital range 32767 to 32767, from which no voltage follows"),
        (256 + 8 * 216, "999999", r"declares 8 records of \d+ bytes, and the file has room for 0"),
        (256 + 8 * 216, "nan", r"samples per record of EEG Fp1-Ref is 'nan'"),
    ],
)
def test_an_edf_whose_header_lies_is_refused(tmp_path, offset, text, message):
    path = write_edf(tmp_path)
    content = bytearray(path.read_bytes())
    width = 4 if offset == 252 else 8
    content[offset : offset + width] = text.encode().ljust(width)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        read_recording(path)
    assert str(raised.value).startswith(f"{path} cannot be read: ")


def test_an_edf_that_is_still_being_written_is_read(tmp_path):
    path = write_edf(tmp_path)
    content = bytearray(path.read_bytes())
    content[236:244] = b"-1      "
    path.write_bytes(content)
    assert read_recording(path).raw.n_times == 2048


@fuzz(40)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 256 * 9 - 1), st.binary(min_size=1, max_size=8)), max_size=3
    ),
    length=st.one_of(st.none(), st.integers(0, 40_000)),
    extension=st.sampled_from(["edf", "bdf"]),
)
@example(changes=[(0, b"\xff")], length=None, extension="edf")
@example(changes=[(192, b"EDF+D")], length=None, extension="edf")
@example(changes=[(168, b"99.99.99")], length=None, extension="bdf")
def test_any_edf_with_a_mutated_header_is_read_or_refused_by_name(
    tmp_path, changes, length, extension
):
    path = FORMATS[extension].write(tmp_path)
    content = bytearray(path.read_bytes())[:length]
    for place, piece in changes:
        content[place : place + len(piece)] = piece[: max(0, len(content) - place)]
    path.write_bytes(content)
    recording = read_or_named_error(path)
    if recording is not None and length is not None:
        assert length >= FORMATS[extension].write(tmp_path).stat().st_size


@fuzz(60)
@given(
    content=st.binary(max_size=3000),
    extension=st.sampled_from([e for e in EXTENSIONS if e != ".mff"]),
)
def test_random_bytes_are_refused_by_name_in_every_format(tmp_path, content, extension):
    path = tmp_path / f"random{extension}"
    path.write_bytes(content)
    assert read_or_named_error(path) is None


@fuzz(40)
@given(
    name=st.sampled_from(["gdf", "brainvision", "fif", "muse", "openvibe", "zip", "bids"]),
    place=st.floats(0, 1),
    piece=st.binary(min_size=1, max_size=12),
)
@example(name="fif", place=0.125, piece=b"\x01")  # a type of channel that MNE does not know
def test_a_file_of_any_format_with_changed_bytes_is_read_or_refused_by_name(
    tmp_path_factory, name, place, piece
):
    path = FORMATS[name].write(tmp_path_factory.mktemp("f"))
    content = bytearray(path.read_bytes())
    # Half of the examples hit the header, which is a small part of most files.
    first = int(place * 2 * 2000) if place < 0.5 else int((place - 0.5) * 2 * len(content))
    first = min(first, len(content) - len(piece))
    content[first : first + len(piece)] = piece
    path.write_bytes(content)
    read_or_named_error(path)


def test_an_error_says_what_was_found_and_guesses_no_damage(tmp_path):
    for number, (extension, content) in enumerate(
        [
            (".fif", b"no fif"), (".set", b"no set"), (".gdf", b"GDF 1.25"), (".fif.gz", b"none"),
            (".csv", b"timestamps,TP9\n0,1,2\n"), (".edf", write_edf(tmp_path).read_bytes()[:9000]),
        ]
    ):  # fmt: skip
        path = tmp_path / f"{number}{extension}"
        path.write_bytes(content)
        with pytest.raises(ValueError) as raised:
            read_recording(path)
        assert str(path) in str(raised.value)
        assert "damaged" not in str(raised.value)


def test_a_csv_that_ends_within_a_row_is_said_to_be_cut_off(tmp_path):
    path = write_muse(tmp_path)
    text = path.read_text().rstrip("\n")
    path.write_text(text[: text.rindex(",")])
    with pytest.raises(
        ValueError, match=r"data row 2047 has 7 fields, expected 8 .*is cut off there"
    ):
        read_recording(path)


def test_a_file_of_eeglab_reads_no_samples_from_another_folder(tmp_path):
    from scipy.io import loadmat, savemat

    (tmp_path / "a").mkdir()
    path = FORMATS["eeglab"].write(tmp_path / "a")
    content = loadmat(path, simplify_cells=True)["EEG"]
    np.asarray(content["data"], "<f4").T.tofile(tmp_path / "other.fdt")
    content["data"] = content["datfile"] = "../other.fdt"
    savemat(path, {"EEG": content}, appendmat=False)
    with pytest.raises(ValueError, match=r"a\.set cannot be read: it names .*other\.fdt, expected"):
        read_recording(path)
    (tmp_path / "other.fdt").rename(path.with_name("other.fdt"))
    content["data"] = content["datfile"] = "other.fdt"
    savemat(path, {"EEG": content}, appendmat=False)
    assert read_recording(path).raw.n_times == 2048


# --- csv --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "text", "message"),
    [
        (700, "1.0,2.0", r"data row 700 has 2 fields, expected 8"),
        (700, "1600000002.7,1,2,3,4,5,6,0,9", r"data row 700 has 9 fields, expected 8"),
        (700, "1600000002.7,1,2,oops,4,5,6,0", r"data row 700, column T3: 'oops' is not a number"),
        (700, "1600000002.7,1,2,inf,4,5,6,0", r"data row 700, column T3: .*inf.* is not a number"),
        (700, ",1,2,3,4,5,6,0", r"the timestamp of data row 700 is missing"),
        (700, "1600000000,1,2,3,4,5,6,0", r"timestamps go back by 2\.73\d s at data row 700"),
        (700, "1600000002.734,1,2,3,4,5,6,0.5", r"row 700, column Marker0: 0.5 is no whole number"),
        (-1, "timestamps,cz,cz,T3,FP2.,O1,Right AUX,Marker0", r"two columns of the name 'cz'"),
        (-1, ",cz,timestamps,T3,FP2.,O1,Right AUX,Marker0", r"no name for column 0 .*index=False"),
        (-1, "time,a,b,c,d,e,f,g", r"has no EEG column among .*; expected names such as TP9"),
    ],
)
def test_a_csv_with_a_broken_row_is_named_with_row_and_column(tmp_path, row, text, message):
    path = write_muse(tmp_path)
    lines = path.read_text().splitlines()
    lines[row + 1] = text
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=message) as raised:
        read_recording(path)
    assert str(raised.value).startswith(str(path))


def test_an_openvibe_csv_with_a_broken_row_is_named_in_its_zip(tmp_path):
    lines = openvibe_text().splitlines()
    lines[300] = lines[300].replace(",", ",x", 3)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", "\n".join(lines))
    with pytest.raises(ValueError, match=r"a\.zip.*data row 299, column \S+.*is not a number"):
        read_recording(tmp_path / "a.zip")


@fuzz(60)
@given(text=st.text("0123456789.,-\n\r\"'eE \ttTPAF", max_size=400))
@example(text="timestamps,TP9\n0,1\n0.004,2\n")
@example(text='timestamps,TP9\n"0,1\n0.004,2\n')
@example(text="timestamps,TP9\n1e308,1\n-1e308,2\n")
def test_any_text_after_a_muse_header_is_read_or_refused_by_name(tmp_path, text):
    path = tmp_path / "m.csv"
    header = "" if text.startswith("timestamps") else "timestamps,TP9,Marker\n"
    path.write_bytes((header + text).encode())
    read_or_named_error(path)


@fuzz(25)
@given(
    sfreq=st.sampled_from([128.0, 250.0, 256.0, 500.0]),
    samples=st.lists(st.tuples(*[st.integers(-(2**20), 2**20)] * 2), min_size=20, max_size=80),
    codes=st.lists(st.integers(0, 9), min_size=20, max_size=20),
)
def test_a_muse_csv_comes_back_as_it_was_written(tmp_path, sfreq, samples, codes):
    data = np.array(samples) / 100
    marker = np.zeros(len(data), int)
    marker[:20:3] = codes[::3]  # each stands alone
    table = pd.DataFrame(data, columns=["TP9", "EEG Fp1-Ref"])
    table.insert(0, "timestamps", 5e8 + np.arange(len(data)) / sfreq)
    table["Marker"] = marker
    table.to_csv(tmp_path / "r.csv", index=False)
    recording = read_recording(tmp_path / "r.csv", check_units=False)
    assert recording.raw.ch_names[:2] == ["TP9", "Fp1"]
    assert recording.raw.info["sfreq"] == sfreq
    np.testing.assert_allclose(recording.raw.get_data()[:2], data.T * 1e-6, rtol=0, atol=1e-15)
    assert recording.raw.ch_names[2:] == []  # markers are no channel, however many there are
    assert recording.events.code.tolist() == marker[marker != 0].tolist()


# --- compressed files -------------------------------------------------------------------------


def test_a_zip_bomb_is_refused_by_its_declared_size_and_by_what_it_unpacks_to(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(archives, "MAX_BYTES", 1 << 20)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", b"Time:256Hz,Epoch,F3\n" + b"0" * (8 << 20))
    assert path.stat().st_size < 20_000
    with pytest.raises(ValueError, match=r"bomb\.zip: a\.csv unpacks to more than the limit of 1,"):
        read_recording(path)
    content = bytearray(path.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = struct.pack("<I", 100)  # it now declares 100 bytes
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bomb\.zip"):
        read_recording(path)


def test_a_gzip_bomb_is_refused_as_trial_and_as_fif(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_BYTES", 1 << 20)
    for name in ("co2a0000364.rd.000.gz", "bomb_raw.fif.gz"):
        path = tmp_path / name
        with gzip.open(path, "wb") as file:
            file.write(bytes(20 << 20))
        with pytest.raises(ValueError, match=r"unpacks to more than the limit") as raised:
            read_recording(path)
        assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds 0 csv files"),
        (["a.csv", "b.csv"], r"holds 2 csv files.*\(a.csv, b.csv\); unpack"),
    ],
)
def test_a_zip_of_no_or_several_csv_is_refused(tmp_path, names, message):
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for name in [*names, "readme.txt"]:
            archive.writestr(name, "x")
    with pytest.raises(ValueError, match=r"z\.zip " + message):
        read_recording(tmp_path / "z.zip")


# --- BrainVision and BIDS ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "new", "message"),
    [
        (
            "NumberOfChannels=7",
            "NumberOfChannels=6",
            r"holds 2389 samples of 6 .* and 4 bytes more",
        ),
        (
            "Codepage=UTF-8",
            "Codepage=UTF-8\nDataPoints=4096",
            r"holds 2048 samples .* the header says 4096 samples",
        ),
        (
            "DataFile=a.eeg",
            "DataFile=gone.eeg",
            r"names DataFile=gone.eeg, which is not beside it \(there: a.eeg\)",
        ),
        (
            "MarkerFile=a.vmrk",
            "MarkerFile=gone.vmrk",
            r"names MarkerFile=gone.vmrk, which is not beside it \(there: a.vmrk\)",
        ),
        ("DataFile=a.eeg", "DataFile=../a.eeg", r"DataFile='../a.eeg', expected a name without"),
        ("DataFile=a.eeg", r"DataFile=C:\eeg\a.eeg", r"expected a name without a folder"),
    ],
)
def test_a_brainvision_header_that_lies_is_refused(tmp_path, key, new, message):
    path = FORMATS["brainvision"].write(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace(key, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as raised:
        read_recording(path)
    assert str(path) in str(raised.value)


def test_a_renamed_brainvision_recording_names_the_old_file_those_beside_it_and_the_fix(tmp_path):
    old = FORMATS["brainvision"].write(tmp_path)
    for file in list(tmp_path.iterdir()):
        file.rename(tmp_path / f"anna{file.suffix}")
    path = old.with_stem("anna")
    with pytest.raises(ValueError, match=r"cannot be read") as raised:
        read_recording(path)
    assert str(raised.value) == (
        f"{path} cannot be read: its header names DataFile=a.eeg, which is not beside it (there: "
        "anna.eeg); if the files were renamed, write DataFile=anna.eeg in the header, or give the "
        "file its old name"
    )
    text = path.read_text("utf-8").replace("=a.eeg", "=anna.eeg").replace("=a.vmrk", "=anna.vmrk")
    path.write_text(text, "utf-8")
    assert len(read_recording(path).events) == 2


def test_a_brainvision_header_may_use_its_own_name_and_do_without_markers(tmp_path):
    path = FORMATS["brainvision"].write(tmp_path)
    text = path.read_text("utf-8").replace("DataFile=a.eeg", "DataFile=$b.eeg")
    path.write_text(text.replace("MarkerFile=a.vmrk\n", ""), "utf-8")
    recording = read_recording(path)
    assert recording.events is None
    assert recording.raw.n_times == 2048


def test_a_brainvision_marker_beyond_the_samples_is_refused(tmp_path):
    path = FORMATS["brainvision"].write(tmp_path)
    data = path.with_suffix(".eeg")
    data.write_bytes(data.read_bytes()[: 14 * 1000])  # whole samples, but the last marker is gone
    with pytest.raises(ValueError, match=r"a\.vmrk has a marker at sample 1409, .* 1000 samples"):
        read_recording(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("onset\ttrial_type\n1\ta\n", r"events\.tsv lacks the column duration"),
        ("onset\tduration\nsoon\t0\n", r"events\.tsv, data row 0, column onset: 'soon' is not"),
        ("onset\tduration\n1\t0\nn/a\t0\n", r"events\.tsv, data row 1 has no onset"),
    ],
)
def test_broken_events_are_named_with_their_row(tmp_path, text, message):
    path = write_bids(tmp_path)
    path.with_name("sub-01_ses-1_task-see_run-1_events.tsv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_recording(path)


# --- names ------------------------------------------------------------------------------------


@given(
    st.one_of(
        st.text(max_size=12),
        st.sampled_from(sorted(standard_names())),
        st.builds(
            "{}{}{}".format,
            st.sampled_from(["", "EEG ", "eeg_", "EEG:"]),
            st.sampled_from(["Fp1", "fp1", "T3", "CZ", "a2", "X9"]),
            st.sampled_from(["", "-Ref", ".", "..", "-LE", "-A2", "-A1+A2"]),
        ),
    )
)
def test_a_normalised_name_stays_as_it_is(name):
    place = standard_name(name)
    if place is not None:
        assert standard_name(place) == place
        assert place in standard_names().values()


@given(st.lists(st.sampled_from(["Fp1", "EEG Fp1-Ref", "FP1.", "T3", "T7", "odd", "Cz", "cz."])))
def test_renaming_twice_is_renaming_once_and_never_merges_channels(names):
    names = list(dict.fromkeys(names))
    renames = standard_renames(names)
    once = [renames.get(name, name) for name in names]
    assert len(set(once)) == len(once)
    assert standard_renames(once) == {}


# --- the command ------------------------------------------------------------------------------


def test_inspect_tells_what_was_understood_and_draws_it(tmp_path, capsys):
    import json

    path, picture = write_edf(tmp_path), tmp_path / "new" / "p.png"
    assert main(["inspect", str(path), "--picture", str(picture), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert [p.name for p in picture.parent.iterdir()] == ["p.png"]
    assert (found["format"], found["device"], found["file_units"]) == ("EDF", "Amp 7", ["µV"])
    assert found["ch_names"] == ["Fp1", "Fp2", "T7", "Cz", "O2"]
    assert found["other_channels"] == {"EEG ECG": "ecg", "Class": "misc"}
    assert found["label_channels"] == ["Class"]
    assert found["renamed"]["EEG Fp1-Ref"] == "Fp1"
    assert (found["sfreq"], found["duration_s"], found["n_chans"]) == (256.0, 8.0, 5)
    assert (found["n_events"], found["events"]) == (len(ONSETS), {"class 1": 1, "class 2": 1})
    assert found["positions"] == "known for all 5 channels"
    assert found["amplitude_uv"]["median"] == pytest.approx(20, rel=0.05)
    assert found["bad_channels"] == {} and found["problems"] == []
    assert (found["spectrum_peaks_hz"], found["line_noise_hz"]) == ([], None)  # white noise


def test_inspect_shows_faults_that_reading_refuses(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_muse(tmp_path, factor=1000)
    table = pd.read_csv(path)
    time = np.arange(len(table)) / 256
    table["cz"] = 0.0
    table["T3"] += 9e4 * np.sin(2 * np.pi * 50 * time)
    for name in ("EEG Fp1-Ref", "FP2.", "EEG O2-Ref"):
        table[name] += 1e4 * np.sin(2 * np.pi * 50 * time)
    table.rename(columns={"FP2.": "left"}).to_csv(path, index=False)
    assert main(["inspect", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "which is not EEG" in shown
    assert "flat (0 uV peak to peak)" in shown
    assert "of its power is 50 Hz line noise" in shown
    assert "known for 4 of 5 channels; not for left" in shown
    assert (tmp_path / "runs" / "inspect" / f"{tmp_path.name}_a_csv.png").is_file()
    monkeypatch.undo()


@pytest.mark.parametrize("wrong", ["missing.edf", "notes.txt", "folder", "empty.edf", "p.jpg"])
def test_inspect_ends_with_one_line_and_code_2_for_bad_input(tmp_path, capsys, wrong):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty.edf").write_text("")
    (tmp_path / "folder").mkdir()
    for name in ("x", "y"):
        (tmp_path / "folder" / name).mkdir()
        write_muse(tmp_path / "folder" / name)
    arguments = ["inspect", str(tmp_path / wrong)]
    if wrong == "p.jpg":
        arguments = ["inspect", str(write_muse(tmp_path)), "--picture", str(tmp_path / wrong)]
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    last = shown.err.strip().splitlines()[-1]
    assert last.startswith("error: ") and wrong in last
    if wrong == "folder":
        assert "holds 2 recordings; inspect one" in last
