"""Mutated files: each failure that was found, made anew, and 200 more at every run."""

import gzip
import json
import struct
import sys
import zlib

import pytest
from recording_files import FORMATS, write_bids, write_edf, write_fif, write_gdf, write_uci
from scipy.io import loadmat, savemat

from dreamdiffusion.recordings.read import read_recording


def refused(path):
    with pytest.raises(ValueError) as raised:
        read_recording(path)
    return str(raised.value)


def test_a_row_of_events_with_more_fields_than_names_is_named(tmp_path):
    """pandas took the first field for an index; an error about a cell was then a KeyError."""
    path = write_bids(tmp_path)
    table = path.with_name("sub-01_ses-1_task-see_run-1_events.tsv")
    table.write_text("onset\tduration\ttrial_type\n1\t0\ta\tb\n2\t0\ta\tb\n")
    assert refused(path) == (
        f"{table}, data row 0 has 4 fields, expected 3 as in the first line; correct or delete "
        "that row"
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [('""', "holds a str, expected an object"), ("[" * 100_000, "is not JSON: ")],
)
def test_a_description_that_is_no_object_is_named(tmp_path, text, found):
    path = write_bids(tmp_path)
    for file in (tmp_path / "dataset_description.json", path.with_suffix(".json")):
        content = file.read_text()
        file.write_text(text)
        assert file.name in refused(path) and found in refused(path)
        file.write_text(content)


def test_a_number_beyond_64_bits_in_a_trial_of_uci_is_named(tmp_path):
    folder = write_uci(tmp_path)
    path = min(folder.iterdir())
    text = gzip.decompress(path.read_bytes()).decode()
    path.write_bytes(gzip.compress(text.replace("\n0 ", f"\n{10**30} ", 1).encode()))
    assert refused(folder).startswith(f"{path} has a line that is not `trial channel sample value`")


@pytest.mark.parametrize(
    ("offset", "new", "message"),
    [
        (252, struct.pack("<I", 2**32 - 1), r"declares 4294967295 channels"),  # it hung
        (184, struct.pack("<q", 2**40), r"declares 7 channels and 1099511627776 bytes of header"),
        (236, struct.pack("<q", 9), r"declares 9 records .* has room for 8"),
        (256 + 216 * 7, struct.pack("<i", 0), r"declares 0 samples in a record"),
        (256 + 220 * 7, struct.pack("<i", 99), r"the types \[99\] of samples"),
        (-16, struct.pack("<I", 2**31), r"declares 2147483648 events, and 12 bytes are left"),
        (0, b" FDG", r"begins with b' FDG1\.25'"),
    ],
)
def test_a_gdf_whose_header_lies_is_refused_before_it_is_believed(tmp_path, offset, new, message):
    path = write_gdf(tmp_path)
    content = bytearray(path.read_bytes())
    offset %= len(content)
    content[offset : offset + len(new)] = new
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        read_recording(path)
    assert str(raised.value).startswith(f"{path} cannot be read: ")


@pytest.mark.parametrize("suffix", [".fif", ".fif.gz"])
def test_a_fif_whose_tags_lead_back_is_refused(tmp_path, suffix):
    """MNE-Python followed them for ever."""
    path = write_fif(tmp_path, name=f"a_raw{suffix}")
    packed = suffix == ".fif.gz"
    content = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    content[40:44] = struct.pack(">i", 0)  # the directory's place: read the tags one by one
    content[16 + 20 + 12 : 16 + 20 + 16] = struct.pack(">i", 0)
    third = 16 + 20 + 16 + 4
    content[third + 12 : third + 16] = struct.pack(">i", 16)
    path.write_bytes(gzip.compress(content) if packed else content)
    assert f"{path} cannot be read: the tag at byte {third} has " in refused(path)
    assert "names byte 16 as the next tag's" in refused(path)


def test_a_fif_that_lost_bytes_is_no_shorter_recording(tmp_path):
    path = write_fif(tmp_path)
    content = bytearray(path.read_bytes())
    del content[20_000:20_150]
    path.write_bytes(content)
    assert refused(path).startswith(f"{path} cannot be read: ")


def text_of_a_type_that_does_not_exist(content):
    """scipy ends the process (signal 11)."""
    at = content.index(struct.pack("<HHc", 16, 1, b"a"))  # the name of the set
    content[at : at + 2] = struct.pack("<H", 0x0410)


def dimensions_beyond_the_file(content):
    """Of the samples, the last array of their size; scipy asks for that much memory."""
    at = content.index(struct.pack("<IIii", 5, 8, 7, 2048))
    content[at + 8 : at + 16] = struct.pack("<ii", 7, 2**28)


def a_part_beyond_the_file(content):
    content[132:136] = struct.pack("<I", 2**31)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (text_of_a_type_that_does_not_exist, r"items of type 1040 in an array of class 4"),
        (
            dimensions_beyond_the_file,
            r"an array of 1879048192 items .* holds 14336",
        ),
        (a_part_beyond_the_file, r"a part at byte 128 has 2147483648 bytes, and \d+ are left"),
    ],
)
def test_a_file_of_matlab_that_contradicts_itself_is_refused_before_it_is_believed(
    tmp_path, change, message
):
    path = FORMATS["eeglab"].write(tmp_path)
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        read_recording(path)
    assert str(raised.value).startswith(f"{path} cannot be read: ")


def test_a_compressed_file_of_matlab_is_checked_inside(tmp_path):
    path = FORMATS["eeglab"].write(tmp_path)
    content = loadmat(path, appendmat=False)
    savemat(path, {"EEG": content["EEG"]}, appendmat=False, do_compression=True)
    assert read_recording(path).raw.n_times == 2048
    packed = bytearray(path.read_bytes())
    inside = bytearray(zlib.decompress(packed[136:]))
    text_of_a_type_that_does_not_exist(inside)
    new = zlib.compress(inside)
    path.write_bytes(packed[:132] + struct.pack("<I", len(new)) + new)
    assert "items of type 1040 in an array of class 4" in refused(path)


def test_a_control_character_in_a_channel_name_is_named(tmp_path):
    path = write_edf(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"EEG Fp1-Ref ", b"EEG Fp1-Re\x10 "))
    assert refused(path) == (
        f"{path} has the channel name 'EEG Fp1-Re\\x10', expected one without control characters; "
        "correct it in the file's header"
    )


def test_a_zip_that_lost_bytes_is_named(tmp_path):
    """Its member then begins before the file does: an OSError without a name."""
    path = FORMATS["zip"].write(tmp_path)
    content = bytearray(path.read_bytes())
    del content[1000:1002]
    path.write_bytes(content)
    assert refused(path).startswith(f"{path} cannot be read as zip: ")


def test_a_name_in_a_zip_that_is_no_text_is_an_error_with_the_name_of_the_zip(tmp_path):
    path = FORMATS["zip"].write(tmp_path)
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    content[at + 9] |= 0x08  # the name is said to be UTF-8
    content[at + 46] = 0xFC
    path.write_bytes(content)
    assert str(path) in refused(path)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is Linux's")
def test_mutated_files_are_read_or_refused_by_name():
    """`make fuzz` reads 2,000."""
    from reader_fuzz import FAILURES, fuzz

    outcomes = fuzz(200, seed=20)
    assert [outcome for outcome in outcomes if outcome.what in FAILURES] == []
    counts = {what: sum(o.what == what for o in outcomes) for what in ("refused", "other", "same")}
    assert sum(counts.values()) == 200
    assert counts["refused"] > 80, json.dumps(counts)  # the mutations reach what readers check
