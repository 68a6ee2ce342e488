"""The queue: one at a time, an answer once, uploads that live as long as their job."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from dreamdiffusion.cli.app import jobs as module
from dreamdiffusion.cli.app.jobs import Jobs, Order, QueueFullError


def order(upload: Path | None = None, name: str = "a.edf") -> Order:
    return Order("", upload, name, "model", 1)


def upload(folder: Path, name: str = "x.edf") -> Path:
    path = folder / "secret" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"eeg")
    return path


def wait(jobs: Jobs, token: str) -> dict:
    end = time.monotonic() + 20
    while (found := jobs.ask(token)) is not None and found["state"] in ("waiting", "running"):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert found is not None
    return found


@pytest.fixture
def gate():
    """A work that waits for `gate.set()`."""
    event = threading.Event()
    yield event
    event.set()


def test_an_answer_is_given_once_and_the_upload_is_gone(tmp_path):
    seen = []

    def work(one, tell):
        seen.append(one.upload.read_bytes())
        return "<p>drawn</p>"

    jobs = Jobs([work], most=2, keep_s=60)
    path = upload(tmp_path)
    token = jobs.add(order(path))
    assert len(token) >= 20
    assert wait(jobs, token) == {"state": "done", "answer": "<p>drawn</p>"}
    assert seen == [b"eeg"]
    assert not path.parent.exists()
    assert jobs.ask(token) is None
    assert len(jobs) == 0
    jobs.close()


def test_several_workers_draw_at_once_each_by_itself():
    both = threading.Barrier(2, timeout=20)  # is passed only where two wait at it

    def worker(name):
        def work(one, tell):
            both.wait()
            return name

        return work

    jobs = Jobs([worker("cuda:0"), worker("cuda:1")], most=4, keep_s=60)
    tokens = [jobs.add(order(name=str(number))) for number in range(4)]
    answers = [wait(jobs, token)["answer"] for token in tokens]
    assert sorted(answers) == ["cuda:0", "cuda:0", "cuda:1", "cuda:1"]
    jobs.close()


def test_one_is_worked_on_the_others_know_their_place(gate, tmp_path):
    def work(one, tell):
        tell("Drawing.")
        gate.wait(20)
        return one.name

    jobs = Jobs([work], most=2, keep_s=60)
    first = jobs.add(order(name="first"))
    while jobs.ask(first) != {"state": "running", "stage": "Drawing."}:
        time.sleep(0.01)
    second, third = jobs.add(order(name="second")), jobs.add(order(name="third"))
    assert jobs.ask(third) == {"state": "waiting", "position": 2}
    late = upload(tmp_path)
    with pytest.raises(QueueFullError, match="2 people wait already; try again in a minute"):
        jobs.add(order(late))
    assert not late.exists()
    jobs.cancel(second)
    assert jobs.ask(third) == {"state": "waiting", "position": 1}
    assert jobs.ask(second) is None
    gate.set()
    assert wait(jobs, third)["answer"] == "third"
    jobs.close()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("{path} is cut off;\ncopy it"), "my <b>.edf is cut off; copy it"),
        (
            ValueError(
                "{path} needs its rate (prepare: --signal.file_sfreq; bids: --x), as a table"
            ),
            "my <b>.edf needs its rate, as a table",  # the page has no options
        ),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (KeyError("x"), "a reason that nobody has thought of (KeyError)"),
    ],
)
def test_an_error_is_one_sentence_without_a_path(error, told, tmp_path):
    path = upload(tmp_path)

    def work(one, tell):
        if isinstance(error, ValueError):
            raise ValueError(str(error).format(path=one.upload))
        raise error

    jobs = Jobs([work], most=2, keep_s=60)
    found = wait(jobs, jobs.add(order(path, "my <b>.edf")))
    assert found["state"] == "failed"
    assert told in str(found["answer"])
    assert str(tmp_path) not in str(found["answer"])
    assert not path.exists()
    jobs.close()


def test_what_nobody_fetches_goes(monkeypatch, gate, tmp_path):
    monkeypatch.setattr(module, "UNASKED_S", 0.2)
    jobs = Jobs([lambda one, tell: (gate.wait(20) and "") or "x"], most=5, keep_s=0.2)
    running = jobs.add(order())
    path = upload(tmp_path)
    jobs.add(order(path))
    time.sleep(0.3)
    assert jobs.ask(running) is not None  # it is being worked on
    assert not path.exists()
    gate.set()
    end = time.monotonic() + 10
    while len(jobs):  # without anybody asking
        assert time.monotonic() < end
        time.sleep(0.05)
    jobs.close()


def test_at_the_end_no_upload_is_left(gate, tmp_path):
    jobs = Jobs([lambda one, tell: str(gate.wait(20))], most=5, keep_s=60)
    jobs.add(order())
    path = upload(tmp_path)
    jobs.add(order(path))
    gate.set()
    jobs.close()
    assert not path.exists()
