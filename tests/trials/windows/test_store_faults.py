"""What can stop or disturb a `prepare` of windows, and that nothing is lost or half done by it."""

from __future__ import annotations

import errno
import io
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest
from killed import prepare_until

import dreamdiffusion.trials.windows.cut
from dreamdiffusion.datasets.prepare import prepare
from dreamdiffusion.files.whole import HOLDER, LOCK
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.recordings.recording import Recording, hash_samples
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.duplicates import DuplicateCheck
from dreamdiffusion.trials.windows.cut import build_windows
from dreamdiffusion.trials.windows.store import WindowStore, read_header

SIGNAL = SignalConfig(l_freq=None, h_freq=None, sfreq=100.0)


def make_raw(seed: int, n_times: int = 600) -> mne.io.RawArray:
    data = np.random.default_rng(seed).normal(0, 10e-6, (2, n_times))
    return mne.io.RawArray(data, mne.create_info(["Fz", "Cz"], 100.0, "eeg"), verbose="error")


def write_recordings(folder: Path, *seeds: int, n_times: int = 600) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        path = folder / f"subject{seed}_raw.fif"
        make_raw(seed, n_times).save(path, overwrite=True, verbose="error")
    return folder


def configure(inputs: Path, output: Path, **more: Any) -> PrepareConfig:
    settings: dict[str, Any] = {"kind": "windows", "signal": SIGNAL, "scale": "robust"}
    return PrepareConfig(**(settings | {"input": [inputs], "output": output} | more))


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a store, without the lock that a killed process leaves."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name not in (LOCK, HOLDER)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def times(folder: Path) -> dict[str, int]:
    """When each shard was written."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "shards").iterdir()}


@pytest.fixture
def cut(monkeypatch) -> list[str]:
    """Names of the recordings that are cut in this process."""
    names: list[str] = []

    def counted(item, *args):
        names.append(Path(getattr(item, "source", item)).name)
        return make_shard(item, *args)

    make_shard = dreamdiffusion.trials.windows.cut.make_shard
    monkeypatch.setattr(dreamdiffusion.trials.windows.cut, "make_shard", counted)
    return names


# --- what is done is not done again ----------------------------------------------------------


def test_only_what_is_new_or_changed_is_cut_and_what_is_gone_leaves(tmp_path, cut):
    inputs = write_recordings(tmp_path / "in", 1, 2)
    config = configure(inputs, tmp_path / "out")
    prepare(config)
    assert cut == ["subject1_raw.fif", "subject2_raw.fif"]
    first, written = content(config.output), times(config.output)

    cut.clear()
    prepare(config)
    assert not cut
    assert (content(config.output), times(config.output)) == (first, written)

    write_recordings(inputs, 3)
    prepare(config)
    assert cut == ["subject3_raw.fif"]
    assert times(config.output).items() > written.items()
    store = WindowStore.load(config.output)
    assert store.metadata["subject"].tolist() == ["1"] * 12 + ["2"] * 12 + ["3"] * 12

    cut.clear()
    write_recordings(inputs, 2, n_times=500)
    prepare(config)
    assert cut == ["subject2_raw.fif"]
    store = WindowStore.load(config.output)
    assert store.metadata["subject"].tolist() == ["1"] * 12 + ["2"] * 10 + ["3"] * 12

    cut.clear()
    (inputs / "subject2_raw.fif").unlink()
    prepare(config)
    assert not cut
    assert WindowStore.load(config.output).metadata["subject"].unique().tolist() == ["1", "3"]
    assert len(list((config.output / "shards").iterdir())) == 4

    # However it came about, a store is what a single run over the same files makes.
    assert content(config.output) == content(prepare(configure(inputs, tmp_path / "afresh")))


def test_other_settings_replace_the_windows(tmp_path, cut):
    inputs = write_recordings(tmp_path / "in", 1)
    prepare(configure(inputs, tmp_path / "out"))
    prepare(configure(inputs, tmp_path / "out", window_s=1.0))
    assert len(cut) == 2
    assert len(list((tmp_path / "out" / "shards").iterdir())) == 2
    assert WindowStore.load(tmp_path / "out").n_times == 100


def test_windows_of_the_older_format_are_replaced(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "info.json").write_text('{"kind": "windows"}')
    for name in ("windows.npy", "windows.csv"):
        (folder / name).write_text("")
    prepare(configure(write_recordings(tmp_path / "in", 1), folder))
    assert sorted(path.name for path in folder.iterdir()) == ["info.json", "shards"]
    assert len(WindowStore.load(folder)) == 12


def test_a_folder_that_is_no_store_stays_as_it_is(tmp_path):
    inputs = write_recordings(tmp_path / "in", 1)
    (tmp_path / "photos" / "shards").mkdir(parents=True)
    (tmp_path / "photos" / "shards" / "000.npy").write_text("")
    with pytest.raises(FileExistsError, match=r"000\.npy is no part of a store.*another output"):
        prepare(configure(inputs, tmp_path / "photos"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("")
    with pytest.raises(FileExistsError, match="does not hold windows"):
        prepare(configure(inputs, tmp_path / "other"))
    assert [p.name for p in tmp_path.glob("[op]*/**/*") if p.is_file()] == ["notes.txt", "000.npy"]


# --- one broken file -------------------------------------------------------------------------


def test_a_broken_file_is_reported_and_the_rest_goes_on(tmp_path, caplog, cut):
    inputs = write_recordings(tmp_path / "in", 1, 2, 3)
    broken = inputs / "subject2_raw.fif"
    broken.write_bytes(broken.read_bytes()[:2000])
    config = configure(inputs, tmp_path / "out")
    prepare(config)
    store = WindowStore.load(config.output)
    assert store.metadata["subject"].unique().tolist() == ["1", "3"]
    assert list(store.info["skipped"]) == [str(broken)]
    assert f"left out: {broken} cannot be read" in caplog.text
    assert store.info["datasets"]["in"]["skipped"] == 1
    write_recordings(inputs, 2)
    cut.clear()
    prepare(config)
    assert cut == ["subject2_raw.fif"]
    assert not WindowStore.load(config.output).info["skipped"]


def test_a_recording_too_short_to_compare_is_no_reason_to_leave_another_out(tmp_path):
    """4,096 samples are needed for a slow course; these two have nearly the same length."""
    items = []
    for seed, n_times in ((1, 4090), (2, 4100)):
        raw = make_raw(seed, n_times)
        items.append(Recording(raw, "1", "1", "1", Path(f"{seed}.edf"), None, hash_samples(raw)))
    check = DuplicateCheck()
    for item in items:
        check.add(item)
    store = WindowStore.load(build_windows(items, configure(tmp_path, tmp_path / "out")))
    assert (store.info["n_recordings"], store.info["skipped"]) == (2, {})


# --- kill -9 ---------------------------------------------------------------------------------


@pytest.fixture
def start(monkeypatch) -> Callable[..., Any]:
    """Run a function in a process of its own, forked from one that has all modules loaded."""
    root = Path(__file__).parents[3]
    monkeypatch.setenv("PYTHONPATH", f"{root / 'src'}{os.pathsep}{root / 'tests' / 'support'}")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killed", "mne.io"])

    def run(function: Callable[..., Any], *args: Any) -> Any:
        process = context.Process(target=function, args=args)
        process.start()
        return process

    return run


def check_nothing_is_partial(folder: Path, whole: dict[str, bytes]) -> None:
    """Whatever has its final name has its final content; without an index nothing opens."""
    there = content(folder) if folder.exists() else {}
    for name, found in there.items():
        if not name.endswith(".unfinished"):
            assert found == whole[name], name
    for name in whole:
        key = Path(name).stem
        if name.endswith(".json") and key != "info" and read_header(folder, key) is not None:
            assert there[f"shards/{key}.npy"] == whole[f"shards/{key}.npy"]
    if "info.json" not in there:
        with pytest.raises(FileNotFoundError):
            WindowStore.load(folder)


def test_killed_20_times_at_random_moments(tmp_path, start):
    inputs = write_recordings(tmp_path / "in", *range(1, 13))
    whole = content(prepare(configure(inputs, tmp_path / "whole")))
    start(prepare, configure(inputs, tmp_path / "first")).join()
    begin = time.monotonic()
    start(prepare, configure(inputs, tmp_path / "timed")).join()
    lasts = time.monotonic() - begin
    assert content(tmp_path / "timed") == whole

    rng, kills = np.random.default_rng(), 0
    config = configure(inputs, tmp_path / "killed")
    done: dict[str, int] = {}
    while kills < 20:
        process = start(prepare, config)
        process.join(rng.uniform(0, lasts / 4))
        process.kill()
        process.join()
        if process.exitcode == 0:  # too late; begin anew
            assert content(config.output) == whole
            shutil.rmtree(config.output)
            done.clear()
            continue
        assert process.exitcode == -signal.SIGKILL
        kills += 1
        check_nothing_is_partial(config.output, whole)
        if (config.output / "shards").exists():
            found = times(config.output)
            assert found.items() >= done.items()  # nothing lost, nothing done twice
            done = {n: t for n, t in found.items() if Path(n).with_suffix(".json").name in found}
            done = {n: t for n, t in done.items() if not n.endswith(".unfinished")}
    prepare(config)
    assert content(config.output) == whole
    assert times(config.output).items() >= done.items()


def test_killed_at_every_moment_of_writing(tmp_path, start):
    """Each of 5 files (two shards of two files, the index) is flushed, renamed, its folder flushed.

    The kill also hits the second run, which finds what the first one left.
    """
    inputs = write_recordings(tmp_path / "in", 1, 2)
    whole = content(prepare(configure(inputs, tmp_path / "whole")))
    for moment in range(16):
        config = configure(inputs, tmp_path / str(moment))
        for again in range(2):
            process = start(prepare_until, config, moment if not again else moment // 2)
            process.join()
            if moment == 15:
                assert process.exitcode == 0
                break
            # What the first run has finished needs no writing in the second.
            assert process.exitcode in ((0, -signal.SIGKILL) if again else (-signal.SIGKILL,))
            check_nothing_is_partial(config.output, whole)
        prepare(config)
        assert content(config.output) == whole, moment


class Deadly(mne.io.RawArray):
    """Ends the process that is given it."""

    def __reduce__(self):
        return os._exit, (1,)


def test_a_worker_that_is_killed(tmp_path):
    raw = make_raw(1)
    deadly = Deadly(raw.get_data(), raw.info, verbose="error")
    item = Recording(deadly, "1", "1", "1", Path("a.edf"), None, hash_samples(raw))
    with pytest.raises(ChildProcessError, match=r"killed.*lower jobs \(now 2\).*same command"):
        build_windows([item], configure(tmp_path, tmp_path / "out", jobs=2))


# --- a full disk -----------------------------------------------------------------------------


class Disk:
    """So many bytes of room for what the store writes."""

    def __init__(self, room: float, monkeypatch) -> None:
        self.room = room
        disk, open_path = self, Path.open

        class File(io.FileIO):
            def write(self, data: Any) -> int:
                size = memoryview(data).nbytes
                if size > disk.room:
                    super().write(bytes(data)[: int(disk.room)])
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                disk.room -= size
                return super().write(data)

        def open_file(path: Path, mode: str = "r", *args: Any, **more: Any) -> Any:
            if path.suffix == ".unfinished":
                return File(str(path), mode)
            return open_path(path, mode, *args, **more)

        monkeypatch.setattr(Path, "open", open_file)


def test_no_room_for_any_of_the_files(tmp_path, monkeypatch, cut):
    inputs = write_recordings(tmp_path / "in", 1, 2)
    whole = prepare(configure(inputs, tmp_path / "whole"))
    expected = content(whole)
    shards = json.loads(expected["info.json"])["shards"]
    files = [f"shards/{shard['key']}.{kind}" for shard in shards for kind in ("npy", "json")]
    disk, room = Disk(0, monkeypatch), 0
    for number, name in enumerate([*files, "info.json"]):
        config = configure(inputs, tmp_path / str(number))
        disk.room = room + len(expected[name]) - 1
        with pytest.raises(OSError) as caught:
            prepare(config)
        assert caught.value.errno == errno.ENOSPC
        # The file, and the recording that it was to hold.
        broken = name if name == "info.json" else f"{Path(name).with_suffix('.npy')}"
        assert caught.value.filename == str(config.output / broken)
        if name != "info.json":
            told = f"subject{1 + number // 2}_raw.fif; the recordings in .* done stay"
            with pytest.raises(OSError, match=told):
                raise caught.value
        n_done = number // 2
        left = {path: found for path, found in content(config.output).items() if path in expected}
        if "info.json" in left:  # room was left for the index of what is done
            assert WindowStore.load(config.output).info["n_recordings"] == n_done
            del left["info.json"]
        assert left == {path: expected[path] for path in files[: 2 * n_done]}
        assert not list(config.output.rglob("*.unfinished"))
        cut.clear()
        disk.room = np.inf
        prepare(config)
        assert cut == [f"subject{i}_raw.fif" for i in (1, 2)[n_done:]]
        assert content(config.output) == expected
        room += len(expected[name])


def test_a_disk_that_is_full(tmp_path, cut):
    """A real one: 128 KiB of memory, mounted."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(small)]
    if os.name == "nt" or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this root may not mount a small disk")
    try:
        inputs = write_recordings(tmp_path / "in", 1, 2, 3, 4, n_times=3000)
        config = configure(inputs, small / "out")
        ballast = small / "ballast"
        ballast.write_bytes(bytes(80 << 10))
        with pytest.raises(OSError, match=r"No space left.*subject\d_raw\.fif; the recordings"):
            prepare(config)
        done = [path for path in (small / "out" / "shards").iterdir() if path.suffix == ".json"]
        assert 0 < len(done) < 4
        ballast.unlink()
        cut.clear()
        prepare(config)
        assert len(cut) == 4 - len(done)
        expected = content(prepare(configure(inputs, tmp_path / "whole")))
        assert content(config.output) == expected
    finally:
        subprocess.run(["umount", str(small)], check=True)


# --- a cluster -------------------------------------------------------------------------------


def test_a_cluster_of_two_workers_makes_the_same_store(tmp_path, monkeypatch):
    distributed = pytest.importorskip(
        "distributed", reason="dask and distributed are not installed (extra: cluster)"
    )
    inputs = write_recordings(tmp_path / "in", 1, 2, 3, 4)
    (inputs / "subject5_raw.fif").write_bytes(b"no")
    expected = content(prepare(configure(inputs, tmp_path / "here")))
    monkeypatch.chdir(tmp_path)  # relative names, as they are given on a command line
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as two:

        def not_here(*args: object) -> None:
            raise AssertionError("cut in this process and not on the cluster")

        monkeypatch.setattr(dreamdiffusion.trials.windows.cut, "_cut", not_here)
        config = configure(Path("in"), Path("out"), scheduler=two.scheduler_address)
        prepare(config)
        found = content(config.output)
        shards = {name for name in expected if name.endswith(".npy")}
        assert {name for name in found if name.endswith(".npy")} == shards and len(shards) == 4
        assert all(found[name] == expected[name] for name in shards)
        written = times(config.output)
        prepare(config)
        assert times(config.output) == written
    assert len(WindowStore.load(config.output)) == 48
    assert (
        "cannot be read" in WindowStore.load(config.output).info["skipped"]["in/subject5_raw.fif"]
    )
