"""A queue of jobs, one at a time per worker: what is asked for, where it stands, its answer, once.

A file that was uploaded lives as long as its job. An answer is handed out once and is then gone;
one that nobody fetches, and a job that nobody asks about any more, go after a while.
"""

from __future__ import annotations

import logging
import re
import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

logger = logging.getLogger(__name__)

State = Literal["waiting", "running", "done", "failed"]
MOST_CHARS = 400
"""Of an error: some quote the file, which may be anything."""
UNASKED_S = 60.0
"""Seconds after which a job that waits and is not asked about is dropped: its page was closed."""


@dataclass(frozen=True)
class Order:
    """What a job is to do.

    Attributes
    ----------
    sample
        Name of a sample recording; empty where a file was uploaded.
    upload
        The file, alone in a folder of its own.
    name
        What the person calls the file.
    model
        Name of the model.
    moments
        Pictures that are drawn.
    dial
        How strictly the EEG is followed, or how much is drawn anew; None: the model's own.
    text
        Drawn beside, from the text alone; empty: nothing.
    """

    sample: str
    upload: Path | None
    name: str
    model: str
    moments: int
    dial: float | None = None
    text: str = ""


Tell = Callable[[str], None]
Work = Callable[[Order, Tell], str]
"""Does an order, tells its stage, and returns the HTML of its answer."""


class QueueFullError(Exception):
    """No more jobs are taken for now."""


@dataclass
class _Job:
    order: Order
    state: State = "waiting"
    stage: str = ""
    answer: str = ""
    asked: float = field(default_factory=time.monotonic)
    finished: float = 0.0


class Jobs:
    """Threads that work, and the jobs that wait for them.

    Parameters
    ----------
    workers
        What is done with an order, by one thread each; ValueError and OSError are told to the
        person in a sentence.
    most
        Jobs that wait at most.
    keep_s
        How long an answer waits to be fetched, s.
    """

    def __init__(self, workers: Sequence[Work], most: int, keep_s: float) -> None:
        self._most, self._keep_s = most, keep_s
        self._jobs: dict[str, _Job] = {}
        self._waiting: deque[str] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._run, args=(work,), name="jobs", daemon=True)
            for work in workers
        ]
        for thread in self._threads:
            thread.start()

    def check_room(self) -> None:
        """Raise `QueueFullError` where a job would not be taken."""
        with self._changed:
            self._sweep()
            if len(self._waiting) >= self._most:
                raise QueueFullError(f"{self._most} people wait already; try again in a minute")

    def add(self, order: Order) -> str:
        """Take a job and return its secret name.

        Raises
        ------
        QueueFullError
            If too many wait; the upload is deleted.
        """
        try:
            self.check_room()
        except QueueFullError:
            delete_upload(order.upload)
            raise
        token = secrets.token_urlsafe(16)
        with self._changed:
            self._jobs[token] = _Job(order)
            self._waiting.append(token)
            self._changed.notify_all()
        return token

    def ask(self, token: str) -> dict[str, str | int] | None:
        """Return where a job stands; an answer is handed out and forgotten. None: no such job."""
        with self._changed:
            self._sweep()
            job = self._jobs.get(token)
            if job is None:
                return None
            job.asked = time.monotonic()
            if job.state == "waiting":
                return {"state": "waiting", "position": self._waiting.index(token) + 1}
            if job.state == "running":
                return {"state": "running", "stage": job.stage}
            del self._jobs[token]
            return {"state": job.state, "answer": job.answer}

    def cancel(self, token: str) -> None:
        """Forget a job; one that is being worked on ends by itself, and its answer is dropped."""
        with self._changed:
            job = self._jobs.pop(token, None)
            if job is not None and token in self._waiting:
                self._waiting.remove(token)
                delete_upload(job.order.upload)

    def close(self) -> None:
        """Take no more jobs, delete the uploads of those that wait, and end."""
        with self._changed:
            self._closed = True
            for token in [*self._waiting]:
                self.cancel(token)
            self._jobs.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=30)

    def __len__(self) -> int:
        """Number of jobs that are kept, whatever their state."""
        return len(self._jobs)

    def _sweep(self) -> None:
        now = time.monotonic()
        for token, job in [*self._jobs.items()]:
            forgotten = job.state == "waiting" and now - job.asked > UNASKED_S
            unfetched = job.finished and now - job.finished > self._keep_s
            if forgotten or unfetched:
                self.cancel(token)

    def _run(self, work: Work) -> None:
        while True:
            with self._changed:
                # Wakes now and then, so that what nobody fetches goes even when nobody asks.
                while not self._waiting and not self._closed:
                    self._changed.wait(timeout=min(5.0, self._keep_s))
                    self._sweep()
                if self._closed:
                    return
                job = self._jobs[self._waiting.popleft()]
                job.state = "running"
            state, answer = self._do(job, work)
            with self._changed:
                job.state, job.answer, job.finished = state, answer, time.monotonic()

    def _do(self, job: _Job, work: Work) -> tuple[State, str]:
        def tell(stage: str) -> None:
            job.stage = stage

        try:
            return "done", work(job.order, tell)
        except (ValueError, OSError) as error:
            return "failed", sentence(error, job.order)
        except Exception as error:
            logger.exception("a job failed")
            return "failed", (
                f"This did not work, for a reason that nobody has thought of "
                f"({type(error).__name__}); the terminal says more."
            )
        finally:
            delete_upload(job.order.upload)


def sentence(error: Exception, order: Order) -> str:
    """Return an error in one line that calls the upload by the person's name for it."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"\s*\([^()]*--\w[^()]*\)", "", text)  # options: this page has none
    if order.upload is not None:
        text = text.replace(str(order.upload), order.name).replace(order.upload.name, order.name)
        text = text.replace(str(order.upload.parent), "the upload")
    return text if len(text) <= MOST_CHARS else f"{text[:MOST_CHARS]} ..."


def delete_upload(upload: Path | None) -> None:
    """Delete an uploaded file and its folder."""
    if upload is not None:
        shutil.rmtree(upload.parent, ignore_errors=True)
