"""Locks: who holds a folder; the second is refused or waits; the killed hold nothing."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dreamdiffusion.files.locks import hold, wait_for
from dreamdiffusion.files.whole import HOLDER, LOCK, is_unused, new_folder, write_json

SOURCE = str(Path(__file__).parents[2] / "src")
HOLDING = """
import sys, time
from pathlib import Path
from dreamdiffusion.files.locks import hold, wait_for

with {lock}(Path(sys.argv[1]), "pretrain"):
    print("held", flush=True)
    sys.stdin.read()
"""


def start(lock: str, path: Path) -> subprocess.Popen[str]:
    """Start a process that holds a lock until it is killed or its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING.format(lock=lock), str(path)],
        env={**os.environ, "PYTHONPATH": SOURCE},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_folder_names_its_holder_while_it_is_held(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    with hold(folder, "pretrain"):
        holder = json.loads((folder / HOLDER).read_text("utf-8"))
        assert (holder["command"], holder["pid"]) == ("pretrain", os.getpid())
        assert holder["host"] == socket.gethostname() and holder["since"][:2] == "20"
        (folder / "weights").touch()
    assert [path.name for path in folder.iterdir()] == ["weights"]


def test_what_the_block_leaves_empty_goes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such data"), hold(tmp_path / "runs" / "a", "pretrain"):
        raise ValueError("no such data")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with hold(tmp_path / "mine", "pretrain"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]  # it was there before


def test_another_process_is_refused_and_the_lock_of_a_killed_one_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "a"
    other = start("hold", folder)
    wanted = (
        rf"{folder} is in use by pretrain \(process {other.pid} on \S+, since 20\S+ \S+\); wait"
    )
    with pytest.raises(BlockingIOError, match=wanted), hold(folder, "finetune"):
        pass
    assert (folder / LOCK).exists()  # the refused one leaves it alone
    other.send_signal(signal.SIGKILL)
    other.wait()
    left = f"report.html.{other.pid}-0123abcd.unfinished"
    alive = f"report.html.{os.getpid()}-0123abcd.unfinished"
    for name in (left, alive, "thesis.unfinished"):
        (folder / name).touch()
    (tmp_path / f".a.{other.pid}.unfinished").mkdir()
    with caplog.at_level(logging.WARNING), hold(folder, "finetune"):
        assert {path.name for path in folder.glob("*.unfinished")} == {alive, "thesis.unfinished"}
        assert [path.name for path in tmp_path.iterdir()] == ["a"]
        assert json.loads((folder / HOLDER).read_text("utf-8"))["pid"] == os.getpid()
    assert f"taken over from pretrain (process {other.pid}" in caplog.text
    assert not (folder / HOLDER).exists() and not (folder / LOCK).exists()


def test_a_command_may_run_another_on_its_folder_but_not_on_another_thread(tmp_path: Path) -> None:
    said: list[str] = []

    def enter() -> None:
        try:
            with hold(tmp_path, "evaluate"):
                said.append("entered")
        except BlockingIOError as error:
            said.append(str(error))

    with hold(tmp_path, "demo"):
        with hold(tmp_path / "." / ".." / tmp_path.name, "evaluate"):
            pass
        assert (tmp_path / HOLDER).exists()  # still the outer one's
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
    assert len(said) == 1 and f"in use by demo (process {os.getpid()}" in said[0]


def test_of_the_processes_of_one_training_the_first_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hold(tmp_path, "finetune"):
        monkeypatch.setenv("RANK", "1")
        with hold(tmp_path, "finetune"):
            pass
        assert (tmp_path / LOCK).exists()


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    wanted = pytest.raises(FileExistsError, match="a is a file, expected a folder")
    with wanted, hold(tmp_path / "a", "pretrain"):
        pass


def test_a_folder_that_is_replaced_stays_locked(tmp_path: Path) -> None:
    folder = tmp_path / "trials"
    for text in ("first", "second"):
        with hold(folder, "prepare"):
            assert is_unused(folder) is (text == "first")
            with new_folder(folder, "trials") as inside:
                write_json(inside / "info.json", {"kind": "trials", "text": text})
            script = HOLDING.format(lock="hold")
            refused = subprocess.run(
                [sys.executable, "-c", script, str(folder)], input="", capture_output=True,
                env={**os.environ, "PYTHONPATH": SOURCE}, text=True, check=False,
            )  # fmt: skip
            assert f"in use by prepare (process {os.getpid()}" in refused.stderr
        assert [path.name for path in folder.iterdir()] == ["info.json"]
    assert json.loads((folder / "info.json").read_text("utf-8"))["text"] == "second"


def test_a_lock_is_waited_for_with_a_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "deep" / "a.lock"
    other = start("wait_for", path)
    entered = threading.Event()

    def enter() -> None:
        with wait_for(path, "pre-training x", poll_s=0.01):
            entered.set()

    with caplog.at_level(logging.INFO):
        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.3)
        other.send_signal(signal.SIGKILL)  # without it, nobody would ever release the lock
        other.wait()
        thread.join(timeout=20)
    assert entered.is_set() and list(path.parent.iterdir()) == []
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"pre-training x: waiting for pretrain (process {other.pid} on ")


def test_of_many_processes_one_at_a_time_works(tmp_path: Path) -> None:
    """Each reads a number, waits and writes the next: without the lock, increments are lost."""
    counter = tmp_path / "counter"
    counter.write_text("0", encoding="utf-8")
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from dreamdiffusion.files.locks import wait_for\n"
        "root = Path(sys.argv[1])\n"
        "for _ in range(4):\n"
        "    with wait_for(root / 'a.lock', 'count', poll_s=0.002):\n"
        "        n = int((root / 'counter').read_text())\n"
        "        time.sleep(0.005)\n"
        "        (root / 'counter').write_text(str(n + 1))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    running = [subprocess.Popen(command, env=environment) for _ in range(3)]
    assert [process.wait(timeout=120) for process in running] == [0, 0, 0]
    assert counter.read_text("utf-8") == "12"
