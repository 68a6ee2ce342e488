"""The command `live` on the SIMULATED person: what its filters cost, its latency, cuts, memory.

    python benchmarks/live.py filters     # live windows against prepared trials (10 minutes)
    python benchmarks/live.py loopback    # a player over LSL, in real time (4 minutes)
    python benchmarks/live.py cuts        # the player is killed 100 times (15 minutes)
    python benchmarks/live.py memory      # 10 minutes of the simulated headset

Each writes its part of ``docs/results/live.json``. The person and the model are those of the demo;
the run is one that nothing was fitted or chosen on.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.signal import butter, sosfilt, sosfilt_zi

from dreamdiffusion.cli.config import LiveConfig
from dreamdiffusion.cli.live.model import Expected, LiveModel, Named, expected_of
from dreamdiffusion.cli.live.session import Session
from dreamdiffusion.cli.live.sources import open_source
from dreamdiffusion.datasets.simulation.bids import simulate
from dreamdiffusion.decoders.fit import load_decoder
from dreamdiffusion.files.whole import write_json
from dreamdiffusion.models.judge.judge import load_judge
from dreamdiffusion.recordings.causal import WindowFilter
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.recordings.find import find_recordings
from dreamdiffusion.recordings.gaps import GAP_S
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.recordings.recording import Recording
from dreamdiffusion.trials.cut import cut_trials
from dreamdiffusion.trials.trials import Trials

ROOT = Path(__file__).parents[1]
MODEL, JUDGE = ROOT / "weights" / "prior-scenes", ROOT / "weights" / "judge"
PLAYER = ROOT / "tests" / "support" / "lsl_player.py"
RESULTS = ROOT / "docs" / "results" / "live.json"
EVERY = 15.0
"""s between two looks at the memory."""
RUN = 10
"""The test run; the lag of the filters was chosen on run 9."""


def write(part: str, found: dict[str, Any]) -> None:
    """Put one part into the results."""
    known = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    write_json(RESULTS, known | {part: found})
    print(json.dumps({part: found}, indent=1))


def person(folder: Path, trials: int = 240) -> Recording:
    """Return the run of the person that is played."""
    recipe = json.loads((MODEL / "recording.json").read_text("utf-8"))
    if not folder.exists():
        simulate(
            output=folder, n_runs=1, first_run=RUN, trials_per_run=trials,
            noise_level=recipe["noise_level"],
        )  # fmt: skip
    return read_recording(find_recordings([folder])[0])


def prepared(recording: Recording, expected: Expected) -> Trials:
    """Cut the trials as the model's were."""
    return cut_trials(
        [recording], signal=expected.signal, tmin=expected.tmin,
        tmax=expected.tmin + expected.seconds,
    )  # fmt: skip


def live_windows(recording: Recording, trials: Trials, lag: float, expected: Expected) -> Trials:
    """Cut the same trials with the filters of a stream."""
    signal = expected.signal
    data = np.asarray(recording.raw.get_data(picks=expected.ch_names))
    window = WindowFilter(signal, signal.sfreq, expected.ch_names, expected.n_times, lag)
    pieces = []
    for onset in trials.metadata["onset"]:
        first = round((onset + expected.tmin) * signal.sfreq)
        before = min(first, window.n_before)
        part = data[:, first - before : first + window.n_window + window.n_after]
        pieces.append(window(part, before).astype(np.float32))
    return with_data(trials, np.stack(pieces))


def recursive_windows(recording: Recording, trials: Trials, expected: Expected) -> Trials:
    """Cut the same trials after recursive filters (Butterworth) of the same edges at -6 dB."""
    signal: SignalConfig = expected.signal
    assert signal.l_freq and signal.h_freq
    sos = np.concatenate(
        [
            butter(1, signal.l_freq / 2 * 3**0.5, "highpass", fs=signal.sfreq, output="sos"),
            butter(4, 1.125 * signal.h_freq / 3**0.125, fs=signal.sfreq, output="sos"),
        ]
    )
    data = np.asarray(recording.raw.get_data(picks=expected.ch_names))
    start = sosfilt_zi(sos)[:, None, :] * data[None, :, :1]
    filtered, _ = sosfilt(sos, data, axis=1, zi=start)
    late = 3  # samples, the delay of the low-pass
    firsts = np.round((trials.metadata["onset"] + expected.tmin) * signal.sfreq).astype(int) + late
    pieces = [filtered[:, first : first + expected.n_times] for first in firsts]
    return with_data(trials, np.stack(pieces).astype(np.float32))


def with_data(trials: Trials, data: np.ndarray) -> Trials:
    """Return the trials with other EEG."""
    changed = trials.select(np.arange(len(trials)))
    changed.data = data
    return changed


def shown_right(decoder: Any, trials: Trials, numbers: np.ndarray | None = None) -> np.ndarray:
    """Whether the judge sees the category of each trial in its first image, bool (n,)."""
    settings = {"numbers": numbers, "num_images_per_prompt": 1, "seed": 0}
    images = decoder.decode(trials, **settings).images[:, 0]
    judge = load_judge(JUDGE)
    named = judge.predict(images)["category"].argmax(dim=1).numpy()
    return np.array(judge.categories)[named] == trials.metadata["category"].to_numpy()


def filters(folder: Path) -> dict[str, Any]:
    """Compare images of prepared trials with those of live windows."""
    decoder = load_decoder(MODEL)
    expected = expected_of(decoder, MODEL)
    recording = person(folder / "person")
    offline = prepared(recording, expected)
    kinds: dict[str, Callable[[], Trials]] = {
        "recursive": lambda: recursive_windows(recording, offline, expected),
        **{
            f"lag {lag:g} s": lambda lag=lag: live_windows(recording, offline, lag, expected)
            for lag in (0.2, 0.0, 0.1, 0.5)
        },
    }
    right = {"zero phase": shown_right(decoder, offline)}
    found = {"n": len(offline), "zero phase": {"category": float(right["zero phase"].mean())}}
    wanted = np.asarray(offline.data)
    for name, make in kinds.items():
        trials = make()
        right[name] = shown_right(decoder, trials)
        difference = right[name].astype(float) - right["zero phase"]
        error = np.sqrt(np.mean((trials.data - wanted) ** 2) / np.mean(wanted**2))
        found[name] = {
            "category": float(right[name].mean()),
            "difference": float(difference.mean()),
            "difference_se": float(difference.std() / np.sqrt(len(difference))),
            "relative_error_of_windows": round(float(error), 3),
        }
        write("filters", found)
    return found


class Player:
    """A process that plays a stream over LSL."""

    def __init__(self, name: str, *more: str) -> None:
        self._command = [sys.executable, str(PLAYER), name, *more]
        self.start()

    def start(self) -> None:
        """Start it, and wait until it plays."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def kill(self) -> None:
        """Kill it, as a headset whose battery is empty."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


def loopback(folder: Path, seconds: float) -> dict[str, Any]:
    """Play the person over LSL, decode it live, and the recording of that again offline."""
    person(folder / "person")
    (path,) = find_recordings([folder / "person"])
    name = f"benchmark-{os.getpid()}"
    player = Player(name, "--source_id", name, "--markers", "--recording", str(path))
    config = LiveConfig(
        source=f"lsl:{name}", marker_streams=[f"{name}-markers"], model=MODEL, judge=JUDGE,
        output=folder / "loopback", duration=seconds, device="cpu",
    )  # fmt: skip
    model = LiveModel(config.model, config.judge, config.sample, "cpu")
    spent = time.process_time()
    session = run(config, model, watch := Watch())
    spent = time.process_time() - spent
    player.kill()
    held = watch.summary()
    lines = [json.loads(line) for line in (config.output / "log.jsonl").read_text().splitlines()]
    windows = [line for line in lines if line["event"] == "window" and line["rejected"] is None]
    recorded = read_recording(find_recordings([config.output / "recording"])[-1])
    decoder = load_decoder(MODEL)
    trials, places = same_trials(prepared(recorded, expected_of(decoder, MODEL)), windows)
    offline = shown_right(decoder, trials, np.array([line["window"] for line in windows])[places])
    live_right = np.array([line["shows"] == line["marker"] for line in windows])[places]
    return {
        **session.summary(),
        **held,
        "threads": torch.get_num_threads(),
        "processor_s_per_window": round(spent / max(1, len(windows)), 3),
        "n": len(places),
        "category_live": float(live_right.mean()),
        "category_offline": float(offline.mean()),
    }


def same_trials(trials: Trials, windows: list[dict[str, Any]]) -> tuple[Trials, np.ndarray]:
    """Return the trials that are windows of the log, and which windows those are."""
    shown = trials.metadata["category"].tolist()
    for offset in range(40):  # markers before the first sample have a window and no trial
        pairs = [(i, line["window"] - offset) for i, line in enumerate(windows)]
        pairs = [(i, place) for i, place in pairs if 0 <= place < len(shown)]
        if all(windows[i]["marker"] == shown[place] for i, place in pairs):
            return trials.select(np.array([p for _, p in pairs])), np.array([i for i, _ in pairs])
    raise ValueError("the windows of the log are not those of the recording")


def run(config: LiveConfig, model: Any, beside: Callable[[Session], None] | None = None) -> Session:
    """Run a session to its end, with something else in a thread beside it."""
    with contextlib.closing(open_source(config)) as source:
        session = Session(config, model, source)
        thread = threading.Thread(target=beside or (lambda _: None), args=(session,), daemon=True)
        thread.start()
        try:
            session.run()
        finally:
            session.close()
    return session


def stand_in() -> Any:
    """Return what is decoded by in place of a model: nothing takes time but the stream."""
    signal = SignalConfig(l_freq=1.0, h_freq=40.0, sfreq=250.0)
    return SimpleNamespace(
        expected=Expected(["C1", "C2"], 0.0, 100, signal),
        decoder=SimpleNamespace(name="stand-in"),
        warm_up=lambda: None,
        decode=lambda window, number: Named([]),
    )


def cut_stream(folder: Path, n_cuts: int, with_id: bool, pause: float = 1.5) -> dict[str, Any]:
    """Kill the player and start it again; say what became of stream and recording."""
    name = f"cuts-{os.getpid()}-{int(with_id)}"
    player = Player(name, *(["--source_id", name] if with_id else []))
    back: list[float] = []
    failed = []

    def cut(session: Session) -> None:
        time.sleep(3)
        for number in range(n_cuts):
            player.kill()
            time.sleep(pause)
            player.start()
            began = time.monotonic()
            while session.is_lost and time.monotonic() - began < 60:
                time.sleep(0.02)
            if session.is_lost:
                failed.append(number)
            back.append(time.monotonic() - began)
            time.sleep(1.0)
        session.stop()

    config = LiveConfig(source=f"lsl:{name}", marker_streams=[name], output=folder, stride=0.5)
    session = run(config, stand_in(), cut)
    player.kill()
    raw = read_recording(find_recordings([folder / "recording"])[-1]).raw
    counter = np.round(raw.get_data(picks=["C4"])[0] * 1e6)
    holes = np.flatnonzero((np.diff(counter) != 1) & (np.diff(counter) != -9999)) + 1
    notes = zip(raw.annotations.onset, raw.annotations.description, strict=True)
    marked = {round(on * 250) for on, text in notes if text == "BAD_gap"}
    summary = session.summary()
    return {
        "cuts": n_cuts,
        "not_resumed": failed,
        "resumed_after_s": {"median": np.median(back), "max": max(back)},
        "noticed": summary["lost"],
        "holes_in_the_recording": len(holes),
        "holes_that_are_marked": len(marked & set(holes.tolist())),
        "gaps_marked": len(marked),
        "samples": summary["samples"],
        "windows": summary["decoded"],
        "dropped": summary["dropped"],
        "shortest_gap_s": GAP_S,
    }


def cuts(folder: Path, n_cuts: int) -> dict[str, Any]:
    """Half of the cuts with a source_id, half without."""
    return {
        name: cut_stream(folder / name, n_cuts // 2, with_id)
        for name, with_id in (("with_source_id", True), ("without_source_id", False))
    }


class MallocInfo(ctypes.Structure):
    """What glibc says of its memory, bytes (``man mallinfo``)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost",
        )
    ]  # fmt: skip


def in_use() -> float:
    """Return what was asked of glibc and not freed, MiB; it keeps some of what was freed."""
    ask = ctypes.CDLL(None).mallinfo2
    ask.restype = MallocInfo
    return round(ask().uordblks / 2**20, 1)


class Watch:
    """Notes the memory of this process every 15 s while a session goes on."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float]] = []
        self.used: list[float] = []

    def __call__(self, session: Session) -> None:
        page = os.sysconf("SC_PAGE_SIZE") / 2**20
        while True:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.seen.append((round(session.lasted), round(pages * page, 1)))
            self.used.append(in_use())
            time.sleep(EVERY)

    def summary(self) -> dict[str, Any]:
        """Return the memory, how it grows (after a minute, if it is long), and how sure that is."""
        late = self.seen[4:] if len(self.seen) > 12 else self.seen
        slope, error = growth(np.array(late))
        late_used = self.used[-len(late) :]
        return {
            "mib": {f"{at // 60} min": mib for at, mib in self.seen if at % 60 < EVERY},
            "mib_in_use": {"first": self.used[0], "least": min(late_used), "most": max(late_used)},
            "growth_mib_per_minute": round(slope, 3),
            "growth_se": round(error, 3),
            "load_of_the_machine": round(os.getloadavg()[1], 1),
        }


def growth(seen: np.ndarray) -> tuple[float, float]:
    """Return slope and its standard error, MiB per minute, of rows of s and MiB."""
    design = np.stack([seen[:, 0] / 60, np.ones(len(seen))], axis=1)
    found, left, *_ = np.linalg.lstsq(design, seen[:, 1])
    spread = left[0] / (len(seen) - 2) * np.linalg.inv(design.T @ design)
    return float(found[0]), float(np.sqrt(spread[0, 0]))


def memory(folder: Path, seconds: float, light: bool, markers: list[str]) -> dict[str, Any]:
    """Decode the simulated headset; ``light``: everything but the decoder."""
    config = LiveConfig(
        model=MODEL, output=folder / "memory", duration=seconds, device="cpu", markers=markers
    )
    model: Any = None if light else LiveModel(MODEL, None, config.sample, "cpu")
    if light:
        model = stand_in()
        model.expected = expected_of(load_decoder(MODEL), MODEL)
        image = Image.new("RGB", (64, 64))
        model.decode = lambda window, number: Named([image])
    watch = Watch()
    session = run(config, model, watch)
    return {**watch.summary(), **session.summary()}


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["filters", "loopback", "cuts", "memory"])
    parser.add_argument("--folder", type=Path, help="where to work; empty: a temporary one")
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--seconds", type=float, help="loopback: 215, memory: 600")
    parser.add_argument("--light", action="store_true", help="memory: without the decoder")
    parser.add_argument("--markers", nargs="*", default=[], help="memory: these alone are decoded")
    options = parser.parse_args()
    least = 3 * EVERY  # of three looks at the memory follow how it grows, and how sure that is
    if options.seconds is not None and options.seconds < least:
        parser.error(f"--seconds is {options.seconds:g}, expected {least:g} at least")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if options.what == "filters":
            found = filters(folder)
        elif options.what == "loopback":
            found = loopback(folder, options.seconds or 215)
        elif options.what == "cuts":
            found = cuts(folder, options.cuts)
        else:
            found = memory(folder, options.seconds or 600, options.light, options.markers)
    write(options.what + "_light" * options.light, found)


if __name__ == "__main__":
    main()
