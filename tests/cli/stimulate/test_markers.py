"""Markers on the Lab Streaming Layer, read back on this machine."""

from __future__ import annotations

import builtins

import pytest

from dreamdiffusion.cli.stimulate.markers import NAME, Markers


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
