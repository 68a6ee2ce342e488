"""Which shard is whose: what a recording consists of, and what makes it another."""

import os
from pathlib import Path

import mne
import numpy as np
import pytest

from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.recordings.recording import Recording, hash_samples
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.windows.keys import shard_keys

BIDS = "sub-01_task-rest_run-1"


def key(path, **settings):
    (found,) = shard_keys([path], PrepareConfig(kind="windows", **settings), 2)
    return found


def write(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(name)
    return folder / names[0]


def touch(path):
    """Change the time of a file, nothing else."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("a.vhdr", "a.eeg"),
        ("a.vhdr", "a.vmrk"),
        ("a.set", "a.fdt"),
        ("a.edf", "a_events.tsv"),
        ("a.fif.gz", "a_events.tsv"),
        (f"{BIDS}_eeg.set", f"{BIDS}_eeg.fdt"),
        (f"{BIDS}_eeg.set", f"{BIDS}_eeg.json"),
        (f"{BIDS}_eeg.set", f"{BIDS}_events.tsv"),
        (f"{BIDS}_eeg.set", f"{BIDS}_channels.tsv"),
        (f"{BIDS}_eeg.set", "sub-01_electrodes.tsv"),
        (f"{BIDS}_eeg.set", "sub-01_space-CapTrak_electrodes.tsv"),
        (f"{BIDS}_eeg.set", "sub-01_space-CapTrak_coordsystem.json"),
    ],
)
def test_a_file_that_belongs_to_a_recording_makes_it_another(tmp_path, name, other):
    path = write(tmp_path, name, other)
    before = key(path)
    assert key(path) == before
    touch(tmp_path / other)
    changed = key(path)
    assert changed != before
    (tmp_path / other).unlink()
    assert key(path) not in (before, changed)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("a.edf", "b.edf"),
        ("2024.01.02.edf", "2024.01.03.edf"),
        ("a.edf", "a2_events.tsv"),
        (f"{BIDS}_eeg.set", "sub-01_task-rest_run-2_eeg.set"),
        (f"{BIDS}_eeg.set", "sub-01_task-rest_run-2_channels.tsv"),
    ],
)
def test_a_neighbour_does_not(tmp_path, name, other):
    path = write(tmp_path, name)
    before = key(path)
    write(tmp_path, other)
    assert key(path) == before


def test_a_link_has_the_sidecars_beside_it_and_the_content_it_points_to(tmp_path):
    """As git-annex keeps a BIDS data set: the file elsewhere, its sidecars beside the link."""
    content = write(tmp_path / "annex", "content")
    write(tmp_path / "bids", f"{BIDS}_channels.tsv")
    link = tmp_path / "bids" / f"{BIDS}_eeg.edf"
    link.symlink_to(content)
    keys = [key(link)]
    touch(tmp_path / "bids" / f"{BIDS}_channels.tsv")
    keys.append(key(link))
    touch(content)
    keys.append(key(link))
    assert len(set(keys)) == 3


def test_folder_recordings_settings_and_places(tmp_path):
    folder = tmp_path / "co2a0000364"
    path = write(folder, "trial.000", "trial.001")
    before = key(folder)
    assert before not in (key(path), key(folder, window_s=1.0), key(folder, scale="robust"))
    assert before != key(folder, signal=SignalConfig(h_freq=30.0))
    assert before == key(folder, jobs=3, output=tmp_path / "elsewhere", strict=True)
    touch(folder / "trial.001")
    assert key(folder) != before


def test_a_file_that_is_not_there_has_a_key_too(tmp_path):
    assert key(tmp_path / "a.edf") != key(tmp_path / "absent" / "a.edf")


def test_a_recording_in_memory_is_what_it_says():
    def make(subject="1", ch_names=("Fz", "Cz"), place=0.0, note=None):
        data = np.ones((2, 10)) * 1e-5
        raw = mne.io.RawArray(data, mne.create_info(list(ch_names), 100.0, "eeg"), verbose="error")
        raw.info["chs"][0]["loc"][0] = place
        if note is not None:
            raw.annotations.append(note, 0.01, "BAD_blink")
        return Recording(raw, subject, "1", "1", Path("a.edf"), None, hash_samples(raw))

    told = [
        make(), make("2"), make(ch_names=("Fz", "Pz")), make(place=0.01), make(note=0.0),
        make(note=0.02),
    ]  # fmt: skip
    assert len({key(item) for item in told}) == len(told)
    assert key(make()) == key(make())
