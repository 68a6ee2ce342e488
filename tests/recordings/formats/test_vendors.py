"""Formats of single makers: files written byte by byte come back as volts, names and events."""

import struct
from importlib.util import find_spec

import numpy as np
import pytest
from recording_files import CODES, EEG, N_TIMES, ONSETS, PLACES, SFREQ, microvolts

from dreamdiffusion.recordings.find import find_recordings
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.recordings.recording import eeg_names

NAMES = ["Fp1", "FP2", "T3", "cz", "O2"]


def write_neuroscan(folder):
    n = len(EEG)
    head = bytearray(900 + 75 * n)
    head[:12] = b"Version 3.0\0"
    head[225:245] = b"03/02/20  10:11:12  "
    struct.pack_into("<H", head, 370, n)
    struct.pack_into("<H", head, 376, SFREQ)
    struct.pack_into("<i", head, 864, N_TIMES)
    struct.pack_into("<i", head, 886, len(head) + 2 * n * N_TIMES)
    for i, name in enumerate(NAMES):
        at = 900 + 75 * i
        head[at : at + 10] = name.encode().ljust(10, b"\0")
        struct.pack_into("<f", head, at + 59, 20.48)  # with 1.0: 0.1 microvolt a step
        struct.pack_into("<f", head, at + 71, 1.0)
    samples = np.round(microvolts(0) * 10).astype("<i2").T.tobytes()
    places = [len(head) + 2 * n * (round(onset * SFREQ) + 1) for onset in ONSETS]
    events = [
        struct.pack("<HBcl", code, 0, b"\0", at) for code, at in zip(CODES, places, strict=True)
    ]
    table = struct.pack("<Bii", 1, 8 * len(events), 0) + b"".join(events)
    (folder / "a.cnt").write_bytes(head + samples + table)
    return folder / "a.cnt"


def write_persyst(folder):
    np.round(microvolts(0) * 10).astype("<i2").T.tofile(folder / "a.dat")
    channels = "\n".join(
        f"{name}-Ref={i + 1}" for i, name in enumerate(["Fp1", "Fp2", "T3", "Cz", "O2"])
    )
    comments = "\n".join(f"{on},0,0,0,class {c}" for on, c in zip(ONSETS, CODES, strict=True))
    (folder / "a.lay").write_text(
        f"[FileInfo]\nFile=a.dat\nFileType=Interleaved\nSamplingRate={SFREQ}\nHeaderLength=0\n"
        f"Calibration=0.1\nWaveformCount=5\nDataType=0\n[ChannelMap]\n{channels}\n[Patient]\n"
        "BirthDate=01/01/70\nSex=f\nHand=r\nTestDate=02/03/2020\nTestTime=10:11:12\n"
        f"[Comments]\n{comments}\n"
    )
    return folder / "a.lay"


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
    steps = np.zeros((1450 * 4, 64), "<i2")
    steps[:, 3:] = np.random.default_rng(0).normal(0, 300, (1450 * 4, 61))
    steps.tofile(tmp_path / "a.nxe")
    raw = read_recording(tmp_path / "a.nxe").raw
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
def test_a_reader_that_is_not_installed_is_named(tmp_path, name, package):
    if find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    path = tmp_path / name
    if name.endswith(".mff"):
        path.mkdir()
    else:
        path.write_bytes(b"RIFF" + bytes(100))
    with pytest.raises(ValueError, match=rf"needs the package {package}: pip install .*formats"):
        read_recording(path)
