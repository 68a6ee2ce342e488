"""A session, from a stream to images and a recording; every source goes the same way."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from live_stand_in import SIGNAL, StandIn
from PIL import Image
from tiny import finetune_config

from dreamdiffusion.cli.commands import main
from dreamdiffusion.cli.config import LiveConfig
from dreamdiffusion.cli.live.command import live
from dreamdiffusion.cli.live.model import Expected, Named
from dreamdiffusion.cli.live.pictures import NamedPictures
from dreamdiffusion.cli.live.session import Session
from dreamdiffusion.datasets.config import SimulateConfig
from dreamdiffusion.datasets.simulation.headset import open_headset
from dreamdiffusion.decoders.fit import make_split
from dreamdiffusion.decoders.registry import registry
from dreamdiffusion.files.pictures import open_picture
from dreamdiffusion.recordings.causal import WindowFilter
from dreamdiffusion.recordings.find import find_recordings
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.recordings.streams.player import Block, Player, open_file
from dreamdiffusion.recordings.streams.recorder import Recorder
from dreamdiffusion.recordings.streams.source import Chunk, Marker, Source, StreamInfo, StreamLost
from dreamdiffusion.trials.trials import Trials

NAMES = ["C1", "C2", "C3"]
ONSETS = [1.0, 2.0, 3.0, 4.5, 6.0]


def write_recording(root: Path, seconds: float = 8.0, gap: float | None = None) -> Path:
    """Write a recording of three channels with five events, and perhaps a gap."""
    n = round(100 * seconds)
    times = np.arange(n) / 100
    gaps = []
    if gap is not None:
        gaps = [(round(100 * gap), 1.0)]
        times[gaps[0][0] :] += 1.0
    data = np.random.default_rng(1).normal(0, 2e-5, (3, n))
    with Recorder(root, "01", StreamInfo("x", NAMES, 100.0)) as recorder:
        markers = [
            Marker(float(times[round(100 * at)]), f"m{at:g}") for at in ONSETS if at < seconds
        ]
        recorder.append(data, times, gaps, markers)
    return recorder.path


def run(tmp_path: Path, source: Source, model: Any, **changes: Any) -> Session:
    """Run a session to its end."""
    session = Session(LiveConfig(output=tmp_path / "out", **changes), model, source)
    try:
        session.run()
    finally:
        session.close()
    return session


def log(output: Path) -> pd.DataFrame:
    """Return the log of a session."""
    return pd.DataFrame(map(json.loads, (output / "log.jsonl").read_text("utf-8").splitlines()))


def recorded(output: Path) -> np.ndarray:
    """Return the samples that a session recorded."""
    (path,) = find_recordings([output / "recording"])
    return np.asarray(read_recording(path).raw.get_data())


def test_every_window_is_decoded_as_it_lies_in_the_recording(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "bids")
    model = StandIn()
    session = run(tmp_path, open_file(path, speed=5), model)
    data = np.asarray(read_recording(path).raw.get_data())
    live_filter = WindowFilter(SIGNAL, 100.0, ["C3", "C1"], 40, lag=0.2)
    assert (
        len(model.windows) + session.summary()["dropped"].get("late", 0) == 5
    )  # late: on a busy machine
    assert 4 in model.windows
    for number in model.windows:
        onset = ONSETS[number]
        first = round(100 * onset)
        before = min(first, live_filter.n_before)
        part = data[[2, 0], first - before : first + 40 + 20]
        wanted = live_filter(part, before)
        np.testing.assert_allclose(model.windows[number], wanted, atol=1e-9)
    assert set(session.summary()["dropped"]) <= {"late"}
    summary = session.summary()
    assert summary["named"] == len(model.windows)
    assert summary["named_as_the_marker"] == 0  # it says cat, whatever the marker
    np.testing.assert_allclose(recorded(tmp_path / "out"), data, atol=1e-11)
    shown = json.loads((tmp_path / "out" / "latest.json").read_text("utf-8"))
    assert (shown["marker"], shown["label"], shown["images"]) == ("m6", "cat", ["images/004-0.png"])
    assert Image.open(tmp_path / "out" / "latest.png").getpixel((0, 0)) == (4, 0, 0)
    (path,) = find_recordings([tmp_path / "out" / "recording"])
    assert read_recording(path).events["onset"].tolist() == ONSETS


def test_latency_is_counted_from_the_end_of_the_window(tmp_path: Path) -> None:
    model = StandIn(takes=0.1)
    run(tmp_path, open_file(write_recording(tmp_path / "bids", 3.0), 1), model)
    latency = log(tmp_path / "out")["latency_ms"].dropna().iloc[0]
    assert latency["filter"] == pytest.approx(200)
    assert 100 <= latency["compute"] < 600
    assert latency["total"] == pytest.approx(
        latency["age"] + latency["filter"] + latency["compute"], abs=0.5
    )


def test_a_decoder_that_draws_nothing_says_what_it_read(tmp_path: Path) -> None:
    model = StandIn()
    model.decode = lambda window, number: Named([], "m2", 0.75)  # type: ignore[method-assign]
    session = run(tmp_path, open_file(write_recording(tmp_path / "bids", 4.0), 2), model)
    shown = json.loads((tmp_path / "out" / "latest.json").read_text("utf-8"))
    assert (shown["label"], shown["probability"], shown["images"]) == ("m2", 0.75, [])
    assert not (tmp_path / "out" / "latest.png").exists()
    assert session.summary()["named_as_the_marker"] == 1


def test_a_window_that_comes_too_late_is_dropped_and_never_queued(tmp_path: Path) -> None:
    model = StandIn(takes=0.7)  # while a second passes in 0.2 s
    session = run(tmp_path, open_file(write_recording(tmp_path / "bids"), 5), model)
    assert len(model.windows) + session.summary()["dropped"]["late"] == 5
    assert session.summary()["dropped"]["late"] >= 2
    assert 4 in model.windows  # the newest was kept


def test_a_gap_is_marked_in_the_recording_and_its_windows_dropped(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "bids", gap=3.2)
    session = run(tmp_path, open_file(path, 5), model := StandIn())
    assert session.summary()["dropped"]["gap"] == 1  # the one of 3 s
    assert 2 not in model.windows
    assert len(model.windows) + session.summary()["dropped"].get("late", 0) == 4
    (found,) = find_recordings([tmp_path / "out" / "recording"])
    notes = read_recording(found).raw.annotations
    assert [a["onset"] for a in notes if a["description"] == "BAD_gap"] == [3.2]
    assert (log(tmp_path / "out")["event"] == "gap").sum() == 1


def test_without_markers_windows_follow_each_other(tmp_path: Path) -> None:
    source = open_file(write_recording(tmp_path / "bids"), 5)
    source.read = lambda read=source.read: (  # type: ignore[method-assign]
        None if (chunk := read()) is None else Chunk(chunk.data, chunk.times)
    )
    session = run(tmp_path, source, model := StandIn(), stride=1.0)
    # From 0.5 s on, what is needed before a window, to the last that ends before 7.8 s.
    assert len(model.windows) + session.summary()["dropped"].get("late", 0) == 7
    assert max(model.windows) == 6


def test_a_word_and_its_code_are_one_picture(tmp_path: Path) -> None:
    source = open_file(write_recording(tmp_path / "bids"), 5)
    source.read = lambda read=source.read: (  # type: ignore[method-assign]
        None
        if (chunk := read()) is None
        else Chunk(
            chunk.data,
            chunk.times,
            [m for one in chunk.markers for m in (one, Marker(one.time, "3"))],
        )
    )
    session = run(tmp_path, source, model := StandIn())
    assert len(model.windows) + session.summary()["dropped"].get("late", 0) == 5
    markers = log(tmp_path / "out").query("event == 'window'")["marker"]
    assert not (markers == "3").any()


class Flaky(Source):
    """Sends 1 s, is gone for 1.5 s in one way or the other, and comes back."""

    def __init__(self, raises: bool) -> None:
        self.info = StreamInfo("flaky", NAMES, 100.0)
        self.raises, self.reopened = raises, 0
        self.sent: list[np.ndarray] = []
        self._began = self._last = time.monotonic()

    def clock(self) -> float:
        return time.monotonic()

    def read(self) -> Chunk | None:
        time.sleep(0.02)
        now = time.monotonic()
        passed = now - self._began
        if 1.0 < passed < 2.5:
            self._last = now
            if self.raises:
                raise StreamLost("the outlet is gone")
            return Chunk.empty(3)
        n = int((now - self._last) * 100)
        times = self._last + np.arange(1, n + 1) / 100
        self._last += n / 100
        data = np.random.default_rng(n).normal(0, 1e-5, (3, n))
        if passed > 4.5:
            return None
        self.sent.append(data)
        return Chunk(data, times)

    def reopen(self) -> bool:
        self.reopened += 1
        return True


@pytest.mark.parametrize("raises", [True, False])
def test_a_stream_that_is_gone_is_looked_for_and_the_session_goes_on(
    raises: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Flaky(raises)
    session = run(tmp_path, source, model := StandIn(), stride=0.5)
    events = log(tmp_path / "out")["event"].tolist()
    found = [event for event in events if event in ("lost", "reopened", "resumed", "gap")]
    assert list(dict.fromkeys(found)) == ["lost", "reopened", "gap", "resumed"]
    assert found.count("reopened") == source.reopened <= 2  # at once, and after a second
    assert found.count("lost") == found.count("gap") == found.count("resumed") == 1
    assert len(model.windows) >= 2
    assert session.summary()["lost"] == 1
    sent = np.concatenate(source.sent, axis=1)
    np.testing.assert_allclose(recorded(tmp_path / "out"), sent, atol=1e-11)
    (path,) = find_recordings([tmp_path / "out" / "recording"])
    notes = read_recording(path).raw.annotations
    assert [a["description"] for a in notes].count("BAD_gap") == 1
    said = capsys.readouterr().err
    assert "signal lost" in said
    assert "signal is back" in said


@pytest.mark.parametrize("pause", [0.0, 0.4])
def test_a_simulation_that_is_too_slow_for_its_speed_says_how_much_is_missing(
    pause: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def blocks() -> Iterator[Block]:
        while True:  # a block of one second, which takes `pause` to make
            time.sleep(pause)
            yield Block(np.random.default_rng(0).normal(0, 2e-5, (3, 100)), np.arange(100) / 100)

    source = Player(StreamInfo("x", NAMES, 100.0), blocks(), speed=8.0)
    session = run(tmp_path, source, None, duration=0.9, record_only=True)
    seconds = session.summary()["samples"] / 100
    said = capsys.readouterr().err.splitlines()
    assert any(line.endswith(f"samples recorded ({seconds:.0f} s)") for line in said)
    short = [line for line in said if "should bring" in line]
    assert len(short) == (pause > 0)
    if short:
        assert short[0].startswith(f"only {seconds:.0f} s")
        assert "at --speed 8" in short[0] and "give a lower --speed" in short[0]


class Interrupted(Flaky):
    def read(self) -> Chunk | None:
        if time.monotonic() - self._began > 0.6:
            raise KeyboardInterrupt
        return super().read()


def test_ctrl_c_ends_a_session_properly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dreamdiffusion.cli.live.command.open_source", lambda _: Interrupted(True))
    monkeypatch.setattr("dreamdiffusion.cli.live.command.LiveModel", lambda *_: StandIn())
    output = live(LiveConfig(output=tmp_path / "out"))
    assert log(output)["event"].tolist()[-1] == "end"
    (path,) = find_recordings([output / "recording"])
    assert path.with_name(path.name.replace("_eeg.vhdr", "_events.tsv")).is_file()
    assert 30 < recorded(output).shape[1] < 70


@pytest.mark.global_rng
def test_a_fitted_decoder_draws_images_of_a_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = finetune_config(tmp_path, steps=1, checkpoint_every=1, validate_every=1)
    trials = Trials.load(config.data)
    trials.signal = SIGNAL.model_dump(mode="json")
    split = make_split(trials, config)
    registry["dreamdiffusion"].fit(trials, split, config).save(tmp_path / "model")
    path = write_recording(tmp_path / "bids", 3.0)
    given = ["live", "--model", str(tmp_path / "model"), "--output", str(tmp_path / "out")]
    assert main([*given, "--source", f"file:{path}", "--sample.num_images_per_prompt", "2"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out")
    shown = json.loads((tmp_path / "out" / "latest.json").read_text("utf-8"))
    assert shown["marker"] == "m2"
    images = [Image.open(tmp_path / "out" / name) for name in shown["images"]]
    assert [image.size for image in images] == [(16, 16), (16, 16)]
    # Channels that the model needs and the stream lacks.
    with Recorder(tmp_path / "other", "01", StreamInfo("x", ["Fz", "C2"], 100.0)) as recorder:
        recorder.append(np.random.default_rng(0).normal(0, 1e-5, (2, 300)), np.arange(300) / 100,
                        [], [])  # fmt: skip
    assert main([*given, "--source", f"file:{recorder.path}"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "lacks the channels C1, C3" in error
    assert "it has Fz, C2" in error
    assert "--ch_names" in error


def test_every_kind_of_source_goes_the_same_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("brainflow", reason="brainflow is not installed (extra brainflow)")
    pylsl = pytest.importorskip("pylsl", reason="pylsl is not installed (extra live)")
    models = []

    def model(*_: Any) -> StandIn:
        models.append(StandIn())
        models[-1].expected = Expected(["C3", "Cz"], 0.0, 40, SIGNAL)
        return models[-1]

    monkeypatch.setattr("dreamdiffusion.cli.live.command.LiveModel", model)
    name = f"test-{time.monotonic_ns()}"
    about = pylsl.StreamInfo(name, "EEG", 2, 128.0, pylsl.cf_float32, name)
    outlet = pylsl.StreamOutlet(about)  # says neither names nor unit
    stop = threading.Event()

    def send() -> None:
        began, sent, rng = time.monotonic(), 0, np.random.default_rng(0)
        while not stop.wait(0.05):
            due = int((time.monotonic() - began) * 128)
            if due > sent:
                outlet.push_chunk(rng.normal(0, 20, (due - sent, 2)).tolist())
            sent = due

    threading.Thread(target=send, daemon=True).start()
    lsl = [f"lsl:{name}", "--ch_names", "C3", "Cz", "--unit", "uV"]
    output = ["--output", str(tmp_path / "out"), "--duration", "3", "--marker_streams", name]
    output += ["--source"]  # of that name are no markers: others of this machine do not disturb
    for source in (["brainflow:synthetic"], lsl, ["simulated"]):
        assert main(["live", *output, *source]) == 0
    stop.set()
    assert all(len(model.windows) >= 1 for model in models)
    paths = find_recordings([tmp_path / "out" / "recording"])
    assert [read_recording(path).raw.info["sfreq"] for path in paths] == [250, 128, 256]


def prepared(recording: Path, output: Path) -> Trials:
    """Cut a recording, which must name the pictures of all its trials."""
    assert main(["prepare", "--input", str(recording), "--output", str(output)]) == 0
    return Trials.load(output)


def shown_first(source: Source) -> Image.Image:
    """Return the first picture of a stream."""
    while not (markers := source.read().markers):
        pass
    return markers[0].picture


def test_a_simulated_session_is_prepared_with_its_pictures(tmp_path: Path) -> None:
    person = SimulateConfig(montage="muse4")
    source = open_headset(person, speed=6, session=3)
    assert source.info.device == ""  # there is none
    session = run(tmp_path, source, None, duration=3)
    assert "decoded" not in session.summary()
    trials = prepared(tmp_path / "out" / "recording", tmp_path / "trials")
    assert trials.simulated
    assert trials.pairing == "stim_file"
    assert len(trials) >= 5
    names = zip(trials.metadata["stim_file"], trials.metadata["category"], strict=True)
    assert all(stim_file.startswith(f"{category}-") for stim_file, category in names)
    # Which they were: of the same session again, and of no other.
    first, other = (shown_first(open_headset(person, session=number)) for number in (3, 4))
    kept = open_picture(trials.images()[0])
    assert np.array_equal(kept, first)
    assert not np.array_equal(kept, other)


def test_pictures_that_markers_name_are_shown_and_recorded(tmp_path: Path) -> None:
    for place, name in enumerate(("m1", "m2", "m3", "m4.5")):
        picture = tmp_path / "pictures" / "cats" / f"{name}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (0, 0, place)).save(picture)
    model = StandIn()
    model.decode = lambda window, number: Named([], "cats", 0.75)  # type: ignore[method-assign]
    source = open_file(write_recording(tmp_path / "bids"), 4)
    session = run(tmp_path, source, model, pictures=tmp_path / "pictures")
    summary = session.summary()
    # m6 names no picture: no window is cut for it.
    assert summary["named_as_the_marker"] == 4 - session.summary()["dropped"].get("late", 0)
    (path,) = find_recordings([tmp_path / "out" / "recording"])
    events = read_recording(path).events
    wanted = [f"cats/{name}.png" for name in ("m1", "m2", "m3", "m4.5")]
    assert events["stim_file"].tolist() == [*wanted, ""]
    assert events["category"].tolist() == [*["cats"] * 4, "m6"]
    # Played again, the recording knows them by itself.
    again = run(tmp_path / "again", open_file(path, 6), StandIn())
    assert again.summary()["named"] >= 1
    kept = [tmp_path / "out" / "recording" / "stimuli" / name for name in wanted]
    assert [open_picture(picture).getpixel((0, 0))[2] for picture in kept] == [0, 1, 2, 3]


def test_a_picture_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    for folder, words in ((tmp_path / "none", "does not exist"), (tmp_path, "holds no picture")):
        with pytest.raises(FileNotFoundError, match=words):
            NamedPictures(folder)


def test_a_picture_that_is_gone_is_said_and_the_session_goes_on(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "bids", 4.0)
    table = path.with_name(path.name.replace("_eeg.vhdr", "_events.tsv"))
    table.write_text(table.read_text("utf-8").replace("m2\tn/a", "m2\tcats/2.png"))
    (tmp_path / "bids" / "stimuli").mkdir()
    source = open_file(path, 4)
    assert "1 of 1 pictures are not in" in source.warnings[0]
    assert "cats/2.png" in source.warnings[0]
    session = run(tmp_path, source, StandIn())
    assert session.summary()["named"] >= 1


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("cable:1", "expected simulated"),
        ("file:", "expected simulated"),
        ("file:nowhere.edf", "nowhere.edf does not exist"),
    ],
)
def test_a_source_that_is_none_ends_in_one_line(
    source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("dreamdiffusion.cli.live.command.LiveModel", lambda *_: StandIn())
    assert main(["live", "--source", source, "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert words in error.splitlines()[-1]
    assert "Traceback" not in error
