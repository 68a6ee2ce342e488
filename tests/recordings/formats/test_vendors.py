"""Formats of single makers: files written byte by byte come back as volts, names and events."""

import numpy as np
import pytest
from recording_files import ONSETS, PLACES, SFREQ, microvolts
from vendor_files import write_eximia, write_neuroscan, write_persyst

from dreamdiffusion.recordings.find import find_recordings
from dreamdiffusion.recordings.formats import vendors
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.recordings.recording import eeg_names


@pytest.mark.parametrize(
    ("write", "categories"),
    [(write_neuroscan, ["1", "2"]), (write_persyst, ["class 1", "class 2"])],
)
def test_volts_names_places_and_events(write, categories, tmp_path):
    path = write(tmp_path)
    assert find_recordings([tmp_path]) == [path]
    recording = read_recording(path)
    assert recording.raw.info["sfreq"] == SFREQ
    assert eeg_names(recording.raw) == PLACES
    np.testing.assert_allclose(recording.raw.get_data(), microvolts(0) * 1e-6, atol=1e-11)
    assert recording.positions.shape == (5, 3)
    assert recording.events.category.tolist() == categories
    np.testing.assert_allclose(recording.events.onset, ONSETS, atol=1e-9)


def test_an_eximia_file_is_in_volts(tmp_path):
    path = write_eximia(tmp_path)
    steps = np.fromfile(path, "<i2").reshape(-1, 64)
    raw = read_recording(path).raw
    assert (raw.info["sfreq"], len(eeg_names(raw)), raw.ch_names[4]) == (1450.0, 60, "Fp1")
    np.testing.assert_allclose(raw.get_data()[4:], steps[:, 4:].T * 0.07629510948e-6, rtol=1e-6)
    (tmp_path / "a.nxe").write_bytes((tmp_path / "a.nxe").read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"a\.nxe cannot be read: it has 742399 bytes"):
        read_recording(tmp_path / "a.nxe")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.cnt", b"nothing known", r"begins with b'nothing'; expected `Version` .* or `RIFF`"),
        ("a.eeg", bytes(2000), r"no file of Nihon Kohden; of a BrainVision .* give the \.vhdr"),
        ("a.lay", b"[FileInfo]\nFile=../b.dat\n", r"a\.lay cannot be read: "),
    ],
)
def test_a_file_of_another_maker_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        read_recording(tmp_path / name)
    assert str(raised.value).startswith(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "package"), [("a.cnt", "antio"), ("a.mff", "mffpy"), ("a.cdt", "curryreader")]
)
def test_a_reader_that_is_not_installed_is_named(tmp_path, monkeypatch, name, package):
    monkeypatch.setattr(vendors, "find_spec", lambda name: None)  # also where it is installed
    path = tmp_path / name
    if name.endswith(".mff"):
        path.mkdir()
    else:
        path.write_bytes(b"RIFF" + bytes(100))
    with pytest.raises(ValueError, match=rf"needs the package {package}: pip install .*formats"):
        read_recording(path)


def test_samples_of_persyst_that_are_cut_off_are_no_shorter_recording(tmp_path):
    path = write_persyst(tmp_path)
    samples = tmp_path / "a.dat"
    samples.write_bytes(samples.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"a\.lay cannot be read: .* has 20479 bytes, expected"):
        read_recording(path)
