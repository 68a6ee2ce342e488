"""Umlauts, accents and sharp s in every text that a recording brings, in the code pages in use."""

import json

import numpy as np
import pytest
from recording_files import FORMATS, write_bids, write_brainvision, write_edf, write_muse

from dreamdiffusion.recordings.formats.text import decode_text
from dreamdiffusion.recordings.read import read_recording

WORD = "Straße µ"


@pytest.mark.parametrize(
    ("content", "codepage", "text"),
    [
        (WORD.encode(), None, WORD),
        (WORD.encode("utf-8-sig"), "cp1252", WORD),  # the mark says more than the header
        (WORD.encode("utf-16"), None, WORD),
        (WORD.encode("latin-1"), None, WORD),
        (WORD.encode("latin-1"), "utf-8", WORD),
        ("10 € für".encode("cp1252"), "cp1252", "10 € für"),
        ("Улица".encode("cp1251"), "cp1251", "Улица"),
        (b"\x81", "cp1252", "\x81"),  # no character of that code page
        (b"", None, ""),
    ],
)
def test_bytes_are_text_in_the_code_page_that_fits(content, codepage, text):
    assert decode_text(content, codepage) == text


def brainvision(folder, stated, encoding, comment=WORD, name="Grün"):
    """The contract's recording with a comment and a channel name that are no ASCII."""
    path = write_brainvision(folder)
    for file, old, new in (
        (path, "Ch1=EEG Fp1-Ref", f"Ch1={name}"),
        (path.with_suffix(".vmrk"), "Stimulus,S  2", f"Comment,{comment}"),
    ):
        text = file.read_text(encoding="utf-8").replace(old, new)
        text = text.replace("Codepage=UTF-8\n", f"Codepage={stated}\n" if stated else "")
        file.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("stated", "encoding"),
    [
        ("ANSI", "cp1252"), ("UTF-8", "utf-8"), ("", "latin-1"), ("", "utf-8"),
        ("UTF-8", "latin-1"), ("cp1252", "cp1252"), ("ISO-8859-1", "latin-1"),
    ],
)  # fmt: skip
def test_a_brainvision_header_and_its_markers_keep_their_letters(tmp_path, stated, encoding):
    raw = (found := read_recording(brainvision(tmp_path, stated, encoding))).raw
    assert raw.ch_names[:2] == ["Grün", "Fp2"]
    assert found.events.category.tolist() == ["Stimulus/S  1", f"Comment/{WORD}"]
    assert np.allclose(found.events.onset, [2.0, 5.5])
    assert raw._orig_units["Cz"] == "µV"


def test_a_brainvision_file_in_another_code_page_of_windows(tmp_path):
    path = brainvision(tmp_path, "cp1251", "cp1251", "Улица", "O9")
    path.write_bytes(path.read_text("cp1251").replace("мV", "uV").replace("µV", "uV").encode())
    assert read_recording(path).events.category.tolist() == ["Stimulus/S  1", "Comment/Улица"]


def test_an_unknown_code_page_is_named(tmp_path):
    path = brainvision(tmp_path, "rot13", "latin-1")
    with pytest.raises(ValueError, match=r"Codepage='rot13', expected UTF-8, ANSI or") as raised:
        read_recording(path)
    assert str(raised.value).startswith(f"{path} cannot be read: ")


@pytest.mark.parametrize("extension", ["edf", "bdf"])
def test_annotations_of_edf_and_bdf_keep_their_letters(tmp_path, extension):
    path = FORMATS[extension].write(tmp_path)
    content = path.read_bytes()
    for page in ("latin-1", "utf-8"):
        word = "Stra\xdfe".encode(page).ljust(7, b" ")
        path.write_bytes(content.replace(b"class 1", word))
        expected = ["Straße", "class 2"]
        assert [name.strip() for name in read_recording(path).events.category] == expected


def test_channel_names_of_edf_keep_their_letters(tmp_path):
    path = write_edf(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"EEG Fp1-Ref", "Grün       ".encode("latin-1")))
    assert read_recording(path).raw.ch_names[0] == "Grün"


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "utf-8-sig", "utf-16"])
def test_a_csv_keeps_the_letters_of_its_columns(tmp_path, encoding):
    path = write_muse(tmp_path)
    text = path.read_text("utf-8").replace("Right AUX", "AUX Mühe")
    path.write_bytes(text.encode(encoding))
    recording = read_recording(path)
    assert "AUX Mühe" in recording.raw.ch_names
    assert recording.events.code.tolist() == [1, 2]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "utf-8-sig"])
def test_tables_of_a_bids_folder_keep_their_letters(tmp_path, encoding):
    path = write_bids(tmp_path)
    stem = path.name.removesuffix("eeg.edf")
    for name in ("events", "channels"):
        table = path.with_name(f"{stem}{name}.tsv")
        text = table.read_text("utf-8").replace("class 1", WORD).replace("uV", "µV")
        table.write_bytes(text.encode(encoding))
    people = "participant_id\tage\tsex\thand\tcity\nsub-01\t30\tF\tR\tKöln\n"
    (tmp_path / "participants.tsv").write_bytes(people.encode(encoding))
    recording = read_recording(path)
    assert recording.events.category.tolist() == [WORD, "class 2"]
    assert recording.raw.info["subject_info"]["sex"] == 2
    assert recording.raw.ch_names[:2] == ["Fp1", "Fp2"]


def test_a_brainvision_recording_in_a_bids_folder_keeps_its_letters(tmp_path):
    (tmp_path / "dataset_description.json").write_text(
        json.dumps({"Name": "test", "BIDSVersion": "1.9.0"})
    )
    folder = tmp_path / "sub-01" / "eeg"
    folder.mkdir(parents=True)
    path = brainvision(folder, "ANSI", "cp1252")
    for file in list(folder.iterdir()):
        text = file.read_bytes().replace(b"=a.", b"=sub-01_task-see_eeg.")
        file.with_name(f"sub-01_task-see_eeg{file.suffix}").write_bytes(text)
        file.unlink()
    path = folder / "sub-01_task-see_eeg.vhdr"
    recording = read_recording(path)
    assert recording.raw.ch_names[0] == "Grün"
    assert recording.events.category.tolist() == ["Stimulus/S  1", f"Comment/{WORD}"]
