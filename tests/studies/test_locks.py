"""Lock files: one at a time, stale ones taken over, those of other machines waited for."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dreamdiffusion.studies.locks import locked


def write_lock(path: Path, pid: int, host: str) -> None:
    path.write_text(json.dumps({"pid": pid, "host": host, "since": 0.0}), encoding="utf-8")


def gone() -> int:
    """Return the number of a process that ran and ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_file_names_its_holder_and_goes_with_the_block(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.lock"
    with locked(path, "work"):
        told = json.loads(path.read_text("utf-8"))
        assert (told["pid"], told["host"]) == (os.getpid(), socket.gethostname())
    assert list(path.parent.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), locked(path, "work"):
        raise KeyboardInterrupt
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("who", ["gone", "own"])
def test_a_lock_whose_process_is_gone_is_taken_over(tmp_path: Path, who: str, caplog) -> None:
    path = tmp_path / "a.lock"
    pid = gone() if who == "gone" else os.getpid()
    write_lock(path, pid, socket.gethostname())
    with caplog.at_level(logging.WARNING), locked(path, "pre-training x"):
        assert json.loads(path.read_text("utf-8"))["since"] > 0
    assert f"pre-training x: taking over the lock of process {pid}" in caplog.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_lock_is_waited_for_with_a_message(tmp_path: Path, where: str, caplog) -> None:
    """A living process of this machine, and any of another machine, whose life is not seen."""
    path = tmp_path / "a.lock"
    pid, host = (os.getppid(), socket.gethostname()) if where == "here" else (gone(), "node7")
    write_lock(path, pid, host)
    entered = threading.Event()

    def enter() -> None:
        with locked(path, "pre-training x", poll_s=0.01):
            entered.set()

    with caplog.at_level(logging.INFO):
        thread = threading.Thread(target=enter)
        thread.start()
        time.sleep(0.3)
        assert not entered.is_set()
        path.unlink()
        thread.join(timeout=20)
    assert entered.is_set()
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        f"pre-training x: waiting for process {pid} on {host}; if that is gone, delete {path}"
    ]


def test_of_many_processes_one_at_a_time_works(tmp_path: Path) -> None:
    """Each reads a number, waits and writes the next: without the lock, increments are lost."""
    counter = tmp_path / "counter"
    counter.write_text("0", encoding="utf-8")
    write_lock(tmp_path / "a.lock", gone(), socket.gethostname())  # all find it stale at once
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from dreamdiffusion.studies.locks import locked\n"
        "root = Path(sys.argv[1])\n"
        "for _ in range(4):\n"
        "    with locked(root / 'a.lock', 'count', poll_s=0.002):\n"
        "        n = int((root / 'counter').read_text())\n"
        "        time.sleep(0.005)\n"
        "        (root / 'counter').write_text(str(n + 1))\n"
    )
    source = str(Path(__file__).parents[2] / "src")
    command = [sys.executable, "-c", script, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": source}
    running = [subprocess.Popen(command, env=environment) for _ in range(3)]
    assert [process.wait(timeout=120) for process in running] == [0, 0, 0]
    assert counter.read_text("utf-8") == "12"
