"""Time that is not continuous: one contract for every format that can say so.

Two stretches of 4 s, in most formats with 30 s between them that nothing recorded; an event in
each, 2 s after the first sample and 1.5 s into the second stretch.
"""

import mne
import numpy as np
import pandas as pd
import pytest
from headset_files import (
    write_brainflow,
    write_emotivpro,
    write_mind_monitor,
    write_openbci,
    write_xdf,
)
from recording_files import (
    EEG,
    FORMATS,
    ONSETS,
    OTHERS,
    SFREQ,
    edf,
    microvolts,
    openvibe_text,
    write_bids,
    write_eeglab,
    write_gdf,
    write_muse,
)

from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.recordings.gaps import stretches
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.recordings.recording import eeg_names
from dreamdiffusion.report.inspection import describe_recording
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.cut import cut_trials
from dreamdiffusion.trials.preprocessing import bad_spans, reject_reason

EVERY = [*EEG, *OTHERS]
STARTS = [0, 1, 2, 3, 34, 35, 36, 37]
NOTES = [(2.0, "class 1"), (20.0, "class 1"), (35.5, "class 2")]  # the second in the gap
JUMP = 1024  # first sample of the second stretch


def write_edf(folder):
    return edf(folder / "a.edf", EVERY, starts=STARTS, notes=NOTES)


def write_bdf(folder):
    return edf(folder / "a.bdf", EVERY, starts=STARTS, notes=NOTES)


def write_brainvision(folder):
    path = FORMATS["brainvision"].write(folder)
    with (folder / "a.vmrk").open("a") as file:
        file.write("Mk3=New Segment,,1,1,0,20200101100000000000\n")
        file.write(f"Mk4=New Segment,,{JUMP + 1},1,0,20200101100034000000\n")
    return path


def write_eeglab_boundary(folder):
    cut = {"type": "boundary", "latency": JUMP + 0.5, "duration": 30.0 * SFREQ}
    return write_eeglab(folder, more=[cut])


def write_gdf_segment(folder):
    return write_gdf(folder, onsets=[*ONSETS, JUMP / SFREQ], codes=[1, 2, 0x7FFE])


def write_fif(folder, words, first_samp=0):
    info = mne.create_info(EVERY, SFREQ, "eeg")
    raw = mne.io.RawArray(microvolts() * 1e-6, info, first_samp=first_samp, verbose="error")
    notes = [(onset, f"class {n + 1}") for n, onset in enumerate(ONSETS)]
    notes += [(JUMP / SFREQ, word) for word in words]
    raw.set_annotations(mne.Annotations(*zip(*[(on, 0, text) for on, text in notes], strict=True)))
    raw.save(folder / "a_raw.fif", verbose="error")
    return folder / "a_raw.fif"


def write_joined_fif(folder):
    """As MNE-Python joins two recordings."""
    whole = mne.io.read_raw(write_fif(folder, []), preload=True, verbose="error")
    parts = [whole.copy().crop(0, 4, include_tmax=False), whole.copy().crop(4)]
    mne.concatenate_raws(parts, verbose="error").save(folder / "b_raw.fif", verbose="error")
    return folder / "b_raw.fif"


def write_muse_hole(folder):
    table = pd.read_csv(write_muse(folder))
    table.loc[JUMP:, "timestamps"] += 30
    table.to_csv(folder / "a.csv", index=False)
    return folder / "a.csv"


def write_openvibe_hole(folder):
    lines = [line.split(",", 1) for line in openvibe_text().splitlines()]
    text = [f"{lines[0][0]},{lines[0][1]}"]
    for row, (time, rest) in enumerate(lines[1:]):
        text.append(f"{float(time) + (30 if row >= JUMP else 0)},{rest}")
    (folder / "a.csv").write_text("\n".join(text))
    return folder / "a.csv"


def write_bids_rows(folder):
    """The table names the boundary, as one that was exported from EEGLAB does."""
    path = write_bids(folder)
    table = path.with_name(path.name.replace("_eeg.edf", "_events.tsv"))
    table.write_text(table.read_text() + f"{(JUMP - 0.5) / SFREQ}\t0\tboundary\n")
    return path


def write_bids_records(folder):
    """The file is discontinuous, and the table counts from the first sample's time."""
    path = write_bids(folder)
    edf(path, EVERY, starts=STARTS, notes=[])
    rows = [f"{onset}\t0\t{text}" for onset, text in NOTES]
    table = path.with_name(path.name.replace("_eeg.edf", "_events.tsv"))
    table.write_text("onset\tduration\ttrial_type\n" + "\n".join(rows) + "\n")
    return path


WRITERS = {
    "edf": write_edf,
    "bdf": write_bdf,
    "gdf": write_gdf_segment,
    "brainvision": write_brainvision,
    "eeglab": write_eeglab_boundary,
    "fif, edge": lambda folder: write_fif(folder, ["EDGE boundary"]),
    "fif, bad": lambda folder: write_fif(folder, ["BAD boundary"]),
    "fif, begins late": lambda folder: write_fif(folder, ["BAD boundary"], first_samp=777),
    "fif, eeglab's word": lambda folder: write_fif(folder, ["boundary"]),
    "fif, joined": write_joined_fif,
    "muse": write_muse_hole,
    "openvibe": write_openvibe_hole,
    "mind monitor": lambda folder: write_mind_monitor(folder, hole=30.0),
    "emotivpro": lambda folder: write_emotivpro(folder, hole=30.0),
    "openbci": lambda folder: write_openbci(folder, hole=30.0),
    "brainflow": lambda folder: write_brainflow(folder, hole=30.0),
    "xdf": lambda folder: write_xdf(folder, hole=30.0),
    "bids, rows": write_bids_rows,
    "bids, records": write_bids_records,
}
STATED = {"brainflow": {"board": "MUSE_2_BOARD"}}
LOSES_ONE = ("edf", "bdf", "bids, records")
ALL = pytest.mark.parametrize("name", WRITERS)


@ALL
def test_stretches_events_and_what_crosses_the_gap(name, tmp_path):
    recording = read_recording(WRITERS[name](tmp_path), **STATED.get(name, {}))
    raw = recording.raw
    assert stretches(raw)[0][1] == JUMP
    if name != "openvibe":  # its trials are stretches too
        assert stretches(raw) == [(0, JUMP), (JUMP, 2048)]
    kept = recording.events[recording.events.onset.notna()]
    assert [category[-1] for category in kept.category] == ["1", "2"]
    np.testing.assert_allclose(kept.onset, ONSETS, atol=1e-9)
    assert len(recording.events) - len(kept) == (name in LOSES_ONE)
    spans, signal = bad_spans(raw), SignalConfig()
    piece = raw.get_data(picks=eeg_names(raw))[:, :100]
    found = [reject_reason(piece, start, spans, signal) for start in (JUMP - 1, JUMP, JUMP - 100)]
    assert found == ["gap", None, None]


@ALL
def test_a_filter_does_not_cross_the_gap(name, tmp_path):
    raw = read_recording(WRITERS[name](tmp_path), **STATED.get(name, {})).raw
    raw.pick(eeg_names(raw))
    other = raw.copy()
    other._data[:, :JUMP] += 1e-3
    for part in (raw, other):
        part.filter(1.0, 40.0, verbose="error")
    np.testing.assert_array_equal(raw.get_data()[:, JUMP:], other.get_data()[:, JUMP:])


@pytest.mark.parametrize("name", LOSES_ONE)
def test_an_event_in_the_gap_is_counted_by_inspect_and_by_prepare(name, tmp_path):
    path = WRITERS[name](tmp_path)
    shown = describe_recording(read_recording(path))
    assert shown["n_stretches"] == 2
    assert shown["problems"] == ["1 of 3 events lie in a gap, where nothing was recorded"]
    plain = SignalConfig(l_freq=None, h_freq=None)
    trials = cut_trials([read_recording(path)], PrepareConfig(signal=plain, tmax=0.25))
    assert trials.rejected["gap"] == 1
    assert trials.metadata.category.tolist() == ["class 1", "class 2"]
    np.testing.assert_allclose(trials.data[1], microvolts(0)[:, 1408:1472] * 1e-6, atol=1e-11)


def write_late(name, folder):
    """An event a second after the end, and one that begins before the first sample."""
    if name == "edf":
        notes = [(2.0, "class 1"), (5.5, "class 2"), (9.0, "class 3")]
        return edf(folder / "a.edf", EVERY, notes=notes)
    if name == "gdf":
        return write_gdf(folder, onsets=[*ONSETS, 9.0], codes=[1, 2, 3])
    return write_eeglab(
        folder, more=[{"type": "class 3", "latency": 9.0 * SFREQ + 1, "duration": 0.0}]
    )


@pytest.mark.parametrize("name", ["edf", "gdf", "eeglab"])
def test_an_event_after_the_end_is_counted(name, tmp_path):
    path = write_late(name, tmp_path)
    recording = read_recording(path)
    np.testing.assert_allclose(recording.events.onset, [*ONSETS, 9.0])
    shown = describe_recording(recording)
    assert shown["problems"] == ["1 of 3 events lie outside the recording (0 to 8 s)"]
    plain = SignalConfig(l_freq=None, h_freq=None)
    trials = cut_trials([read_recording(path)], PrepareConfig(signal=plain, tmax=0.25))
    assert trials.rejected["outside_file"] == 1


def test_an_event_of_a_fif_that_begins_before_the_first_sample_is_not_moved(tmp_path):
    info = mne.create_info(EVERY, SFREQ, "eeg")
    raw = mne.io.RawArray(microvolts() * 1e-6, info, first_samp=100, verbose="error")
    raw.set_annotations(mne.Annotations([2.0, 5.0], 1.0, ["a", "b"]))
    raw.annotations.onset[0] = raw.first_time - 0.5  # as an editor of annotations can
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    events = read_recording(tmp_path / "a_raw.fif").events
    np.testing.assert_allclose(events.onset, [-0.5, 5.0], atol=1e-6)


@pytest.mark.parametrize(
    ("starts", "message"),
    [
        ([0, 1, 2, 3, 1, 5, 6, 7], r"record 4 begins -2 s after the one before it, .* lasts 1 s"),
        ([0, 1, 2, 3, "x", 5, 6, 7], r"lie apart \(EDF\+D\), and record 4 has no time"),
    ],
)
def test_records_that_go_back_or_have_no_time_are_refused(tmp_path, starts, message):
    path = edf(tmp_path / "a.edf", EVERY, starts=starts, notes=[])
    with pytest.raises(ValueError, match=message) as raised:
        read_recording(path)
    assert str(raised.value).startswith(f"{path} cannot be read: ")


def test_texts_of_an_edf_that_are_not_utf8_are_latin1(tmp_path):
    path = edf(tmp_path / "a.edf", EVERY, notes=[(2.000000000000001, "Stra\xdfe"), (5.5, "b")])
    content = path.read_bytes()
    assert read_recording(path).events.category.tolist() == ["Straße", "b"]
    path.write_bytes(content.replace("Straße".encode(), "Straße".encode("latin-1") + b"\x14"))
    assert read_recording(path).events.category.tolist() == ["Straße", "b"]
