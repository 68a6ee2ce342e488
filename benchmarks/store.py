"""The store of windows: its format, and the time and memory of filling and reading it.

    python benchmarks/store.py                  # all, about 3 minutes on one core
    python benchmarks/store.py --only loader    # one of formats, prepare, loader, waiting, memory

What is compared is measured in turn, round by round, so that other work on the machine slows down
both; the result is the median of the rounds' ratios, with the lowest and the highest. Recordings
are those of ``../shared/data`` where it exists, else simulated ones. zarr and Arrow are measured
where they are installed. Writes ``docs/results/store.json``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mne
import numpy as np
from scipy.interpolate import interp1d

from dreamdiffusion.models.config import PretrainConfig
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.recordings.find import find_recordings
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.windows.cut import build_windows
from dreamdiffusion.trials.windows.store import WindowStore, write_index, write_ranges, write_shard

SHARED = Path(__file__).parents[1] / "../shared/data"
SIGNAL = SignalConfig(l_freq=1.0, h_freq=40.0, sfreq=128.0)
BATCH = 64
ROUNDS = 7


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(MEASUREMENTS))
    parser.add_argument("--output", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    mne.set_log_level("ERROR")
    path = options.output / "store.json"
    result = json.loads(path.read_text("utf-8")) if path.exists() else {}
    for name, measure in MEASUREMENTS.items():
        if options.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                found = measure(Path(folder))
            # What is not installed keeps the figure that was measured where it was.
            result[name] = {**result.get(name, {}), **found}
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def ratios(one: Callable[[], Any], other: Callable[[], Any], rounds: int = ROUNDS) -> dict:
    """Time of `one` over that of `other`, in turn: median and extremes of the rounds."""
    found = []
    one(), other()  # whatever is loaded or cached the first time
    for _ in range(rounds):
        found.append(seconds(one) / seconds(other))
    return {
        "median": round(float(np.median(found)), 3),
        "lowest": round(min(found), 3),
        "highest": round(max(found), 3),
        "rounds": rounds,
    }


def seconds(function: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def write_windows(folder: Path, sizes: list[tuple[int, int]], n_times: int) -> np.ndarray:
    """Write a store of recordings of (n_windows, n_chans); return the windows of the last."""
    (folder / "shards").mkdir(parents=True)
    rng, shards, layouts, data = np.random.default_rng(0), [], [], np.zeros(0)
    for number, (n_windows, n_chans) in enumerate(sizes):
        walk = rng.standard_normal((n_windows, n_chans, n_times)).cumsum(axis=2)
        data = ((walk - walk.mean(axis=2, keepdims=True)) / walk.std()).astype(np.float32)
        layouts.append(
            {
                "ch_names": [f"E{i}" for i in range(n_chans)],
                "positions": rng.normal(0, 0.09, (n_chans, 3)).tolist(),
            }
        )
        header = {
            "path": "-", "dataset": "d", "subject": str(number), "session": "1", "run": "1",
            "recording": str(number), "n_windows": n_windows,
            "kept": write_ranges(np.arange(n_windows)),
        }  # fmt: skip
        key = f"{number:032x}"
        shards.append(write_shard(folder, key, data, header) | {"key": key, "layout": number})
    info = {
        "kind": "windows", "complete": True, "sfreq": 128.0, "n_times": n_times,
        "n_stride": n_times, "scale": "robust", "signal": {}, "layouts": layouts,
        "shards": shards,
    }  # fmt: skip
    write_index(folder, info)
    return data


def formats(folder: Path) -> dict:
    """Random batches of 64 windows (32 x 128, float16) out of 4,800, as float32, page cache warm.

    Times are relative to the store's: memory-mapped .npy, one per recording.
    """
    import torch

    warnings.filterwarnings("ignore", "The given NumPy array is not writable")
    write_windows(folder / "npy", [(400, 32)] * 12, 128)
    store = WindowStore.load(folder / "npy")
    windows = store.read(np.arange(len(store))).eeg.astype(np.float16)
    batches = [np.random.default_rng(i).permutation(len(store))[:BATCH] for i in range(20)]
    readers: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    if importlib.util.find_spec("zarr"):
        import zarr  # pyright: ignore[reportMissingImports]

        for name, chunk, packed in (
            ("zarr, a chunk per window", 1, None),
            ("zarr, 64 windows per chunk", 64, None),
            ("zarr, 64 windows per chunk, compressed", 64, "auto"),
        ):
            array = zarr.create_array(
                folder / name, shape=windows.shape, dtype=windows.dtype,
                chunks=(chunk, *windows.shape[1:]), compressors=packed,
            )  # fmt: skip
            array[:] = windows
            readers[name] = lambda rows, array=array: array.oindex[rows]
    if importlib.util.find_spec("pyarrow"):
        import pyarrow as pa  # pyright: ignore[reportMissingImports]

        size = windows[0].nbytes
        kind = pa.binary(size)
        schema = pa.schema([("eeg", kind)])
        with pa.OSFile(str(folder / "arrow"), "wb") as sink, pa.ipc.new_file(sink, schema) as file:
            for part in np.split(windows, 12):
                buffers = [None, pa.py_buffer(part.tobytes())]
                column = pa.Array.from_buffers(kind, len(part), buffers)
                file.write_batch(pa.record_batch([column], schema=schema))
        table = pa.ipc.open_file(pa.memory_map(str(folder / "arrow"))).read_all()

        def read_arrow(rows: np.ndarray) -> np.ndarray:
            taken = table["eeg"].take(pa.array(rows)).combine_chunks()
            found = np.frombuffer(taken.buffers()[1], np.float16)
            return found.reshape(-1, *windows.shape[1:])

        readers["Arrow, memory-mapped"] = read_arrow

    def ours() -> None:
        for rows in batches:
            store.read(rows)

    begin = seconds(ours)
    result: dict[str, Any] = {
        "windows per second": round(len(batches) * BATCH / min(begin, seconds(ours))),
        "MB": disk_mb(folder / "npy"),
    }
    for name, read in readers.items():

        def other(read: Callable[[np.ndarray], np.ndarray] = read) -> list[np.ndarray]:
            # As the store converts; NumPy's conversion would take most of the time.
            return [torch.from_numpy(read(rows)).float().numpy() for rows in batches]

        np.testing.assert_array_equal(other()[1], store.read(batches[1]).eeg)
        times = ratios(other, ours)
        place = folder / ("arrow" if name.startswith("Arrow") else name)
        result[name] = {"time over that of .npy": times, "MB": disk_mb(place)}
    return result


def disk_mb(path: Path) -> float:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return round(sum(p.stat().st_size for p in files) / 1e6, 1)


def prepare(folder: Path) -> dict:
    """`prepare` against MNE's bare read, filter and resample of the same files, one process."""
    inputs = [SHARED / "eegmat", SHARED / "eegmmidb"]
    if not SHARED.is_dir():
        inputs = [simulate(folder / "simulated", 6, n_chans=32, seconds=180)]
    paths, number = find_recordings(inputs), 0
    hours = sum(mne.io.read_raw(path).duration for path in paths) / 3600

    def ours() -> None:
        nonlocal number
        number += 1
        settings: dict[str, Any] = {"window_s": 1.0, "window_stride_s": 0.5, "scale": "robust"}
        config = PrepareConfig(
            kind="windows", input=inputs, output=folder / str(number), signal=SIGNAL, **settings
        )
        build_windows(paths, config)

    def bare() -> None:
        for path in paths:
            raw = mne.io.read_raw(path, preload=True)
            raw.filter(SIGNAL.l_freq, SIGNAL.h_freq)
            raw.resample(SIGNAL.sfreq)

    return {
        "recordings": len(paths),
        "hours": round(hours, 2),
        "simulated": not SHARED.is_dir(),
        "time over that of MNE": ratios(ours, bare),
    }


def loader(folder: Path) -> dict:
    """Batches of 64 windows of 64 channels: the store against a .npy per window and `interp1d`.

    The files hold 440 time points, stretched to 512 when they are read, as the authors' release
    does; the store holds 512.
    """
    windows = write_windows(folder / "store", [(250, 64)] * 8, 512)
    store = WindowStore.load(folder / "store")
    (folder / "files").mkdir()
    for i in range(len(store)):
        np.save(folder / "files" / f"{i}.npy", windows[i % 250, :, :440].astype(np.float64))
    batches = [np.random.default_rng(i).permutation(len(store))[:BATCH] for i in range(4)]

    def per_file() -> None:
        for rows in batches:
            batch = []
            for row in rows:
                eeg = np.load(folder / "files" / f"{row}.npy", allow_pickle=False)
                line = interp1d(np.linspace(0, 1, eeg.shape[-1]), eeg)
                batch.append(line(np.linspace(0, 1, 512)).astype(np.float32))
            np.stack(batch)

    def ours() -> None:
        for rows in batches:
            store.read(rows)

    speed = min(seconds(ours) for _ in range(5))
    return {
        "windows per second": round(len(batches) * BATCH / speed),
        "times faster": ratios(per_file, ours),
    }


def waiting(folder: Path) -> dict:
    """Share of a training step that waits for windows, of 4 and 64 channels, batches of 64."""
    import torch

    from dreamdiffusion.models.encoders.pretrain import MaskedSignalModelling
    from dreamdiffusion.training.loop import train_task

    write_windows(folder / "store", [(500, 4)] * 6 + [(500, 64)] * 6, 128)
    config = PretrainConfig.model_validate(
        {
            "data": folder / "store", "output": folder / "run", "steps": 60, "batch_size": BATCH,
            "checkpoint_every": 1000, "validate_every": 1000, "validation_fraction": 0.1,
            "encoder": {"montage": "any"}, "runtime": {"device": "cpu", "threads": 1},
        }
    )  # fmt: skip
    task, waits, ends = MaskedSignalModelling(WindowStore.load(folder / "store"), config), [], []
    read = task._read

    class Timed:
        announce = read.announce

        def __call__(self, rows: np.ndarray) -> Any:
            begin = time.perf_counter()
            batch = read(rows)
            ends.append(time.perf_counter())
            waits.append(ends[-1] - begin)
            return batch

    task._read = Timed()  # pyright: ignore[reportAttributeAccessIssue]
    task.validate = dict
    threads = torch.get_num_threads()
    train_task(task, config, folder / "run", "waiting")
    torch.set_num_threads(threads)
    steps, waits = np.diff(ends[10:]), np.array(waits[11:])  # the first steps warm up
    return {
        "step ms": round(float(np.median(steps)) * 1e3, 1),
        "share waiting": round(float(waits.sum() / steps.sum()), 5),
    }


PEAK = """
import sys
from pathlib import Path
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.recordings.find import find_recordings
from dreamdiffusion.trials.windows.cut import build_windows
inputs, output, n = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
config = PrepareConfig(kind="windows", input=[inputs], output=output, scale="robust",
                       signal=SignalConfig(l_freq=1.0, h_freq=40.0, sfreq=128.0))
build_windows(find_recordings([inputs])[:n], config)
# Of this program alone; what getrusage tells began with the memory of the process that started it.
lines = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


def memory(folder: Path) -> dict:
    """Peak memory, MB, of a process that prepares 1, 10 and 100 recordings of one minute.

    Linux only.
    """
    inputs = simulate(folder / "simulated", 100, n_chans=32, seconds=60)
    peaks = {}
    for n in (1, 10, 100):
        command = [sys.executable, "-c", PEAK, str(inputs), str(folder / str(n)), str(n)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[str(n)] = round(int(done.stdout) / 1024)
    return {"peak MB by recordings": peaks}


def simulate(folder: Path, count: int, n_chans: int, seconds: int) -> Path:
    """Write SIMULATED recordings (noise) at 256 Hz."""
    folder.mkdir(parents=True)
    names = mne.channels.make_standard_montage("standard_1005").ch_names[:n_chans]
    for number in range(count):
        noise = np.random.default_rng(number).normal(0, 20e-6, (n_chans, 256 * seconds))
        raw = mne.io.RawArray(noise, mne.create_info(names, 256.0, "eeg"))
        raw.save(folder / f"subject{number}_raw.fif")
    return folder


MEASUREMENTS: dict[str, Callable[[Path], dict]] = {
    "formats": formats,
    "prepare": prepare,
    "loader": loader,
    "waiting": waiting,
    "memory": memory,
}

if __name__ == "__main__":
    main()
