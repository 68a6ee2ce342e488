"""Markers on the Lab Streaming Layer, read back on this machine."""

from __future__ import annotations

import builtins
import time

import numpy as np
import pytest
from picture_folders import write_pictures

from dreamdiffusion.cli.stimulate.markers import NAME, Markers
from dreamdiffusion.datasets.config import BidsConfig
from dreamdiffusion.datasets.own.bids import bids
from dreamdiffusion.recordings.read import read_bids
from dreamdiffusion.recordings.streams.lsl import LSLMarkers
from dreamdiffusion.recordings.streams.recorder import Recorder
from dreamdiffusion.recordings.streams.source import Marker, StreamInfo


def test_without_streams_nothing_is_sent():
    markers = Markers.open(lsl=False)
    assert not markers.streams
    markers.push(1.0, "cat/a.png", 2)
    assert markers.clock() <= markers.clock()


def test_without_pylsl_the_error_says_where_markers_go(monkeypatch):
    load = builtins.__import__

    def absent(name, *rest):
        if name == "pylsl":
            raise ImportError("No module named 'pylsl'")
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ValueError, match=r"pip install .*live.* events.tsv alone"):
        Markers.open(lsl=True)


def test_numbers_and_words_arrive_with_their_times():
    pylsl = pytest.importorskip("pylsl")
    markers = Markers.open(lsl=True)
    inlets = []
    for kind in ("pictures", "codes"):
        found = pylsl.resolve_byprop("source_id", f"{NAME}-{kind}", timeout=5)
        if not found:
            pytest.skip("no stream is found on this machine: its network forbids multicast")
        inlets.append(pylsl.StreamInlet(found[0]))
        inlets[-1].open_stream(timeout=5)
    moment = markers.clock() - 0.25
    markers.push(moment, "cat/a.png", 2)
    pictures, codes = inlets
    assert pictures.pull_sample(timeout=5) == (["cat/a.png"], pytest.approx(moment, abs=1e-6))
    assert codes.pull_sample(timeout=5) == ([2], pytest.approx(moment, abs=1e-6))
    assert [inlet.info().type() for inlet in inlets] == ["Markers", "Codes"]


def test_live_records_each_picture_once_and_bids_knows_which_it_was(tmp_path):
    pytest.importorskip("pylsl")
    names = ["cat/0.png", "car/1.png", "cat/1.png"]
    pictures = write_pictures(tmp_path / "pictures", sorted(names))
    markers, reader = Markers.open(lsl=True), LSLMarkers()
    came: list[Marker] = []
    end = time.monotonic() + 20
    while not came:  # the streams have to find each other
        if time.monotonic() > end:
            pytest.skip("no stream is found on this machine: its network forbids multicast")
        markers.push(markers.clock(), "before", 9)
        time.sleep(0.5)
        came = reader.read()
    start = markers.clock()
    for number, name in enumerate(names):
        markers.push(start + 1 + number, name, 1)
    while len([one for one in came if one.value != "before"]) < 3 and time.monotonic() < end:
        time.sleep(0.1)
        came += reader.read()
    reader.close()
    shown = [one for one in came if one.value != "before"]
    assert [one.value for one in shown] == names  # once each: codes are no markers
    info = StreamInfo("headset", ["C3", "Cz", "C4"], 100.0, "none")
    eeg = 1e-5 * np.random.default_rng(0).standard_normal((3, 500))
    with Recorder(tmp_path / "recording", "01", info) as recorder:
        recorder.append(eeg, start + np.arange(500) / 100, [], shown)
    config = BidsConfig(
        recordings=[tmp_path / "recording"], pictures=pictures, output=tmp_path / "bids"
    )
    bids(config)
    (recording,) = read_bids(tmp_path / "bids")
    assert recording.events is not None
    assert recording.events["stim_file"].tolist() == names
    assert recording.events["category"].tolist() == ["cat", "car", "cat"]
    assert recording.events["onset"].tolist() == pytest.approx([1.0, 2.0, 3.0], abs=0.006)
