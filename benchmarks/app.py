"""The page of `app` under many people at once: errors, waiting, memory, uploads that stay.

    python benchmarks/app.py                                  # 50 people, 10 minutes
    python benchmarks/app.py --without_model                  # the page alone: nothing is drawn

The program runs as its users run it, with the bundled model. Each person uploads a SIMULATED
recording, waits for the picture, and begins again; every third takes a sample recording instead,
and every tenth upload is no recording at all. ``--without_model`` reads the upload and gives a page
of half a megabyte a quarter of a second later. Writes ``docs/results/app.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np

ASK_S = 0.7
WORK_S = 0.25


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--output", type=Path, default=Path("docs/results/app.json"))
    parser.add_argument("--without_model", action="store_true")
    options = parser.parse_args()
    opened = page_alone if options.without_model else program
    with tempfile.TemporaryDirectory() as folder:
        with opened(Path(folder)) as (place, pid, uploads, recording):
            found = load(
                place, options.people, options.seconds, recording, uploads,
                lambda: resident_mb(pid),
            )  # fmt: skip
        found["uploads_left_after_the_end"] = len([*uploads.glob("*")])
    result = json.loads(options.output.read_text("utf-8")) if options.output.exists() else {}
    result["page_alone" if options.without_model else "with_the_bundled_model"] = found
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def load(
    place: str,
    people: int,
    seconds: float,
    recording: bytes,
    uploads: Path,
    memory_mb: Callable[[], float],
) -> dict[str, Any]:
    """Let people use a page at once.

    Parameters
    ----------
    place
        ``127.0.0.1:port`` of the page.
    recording
        What is uploaded.
    uploads
        Folder of the page in which uploads lie meanwhile.
    memory_mb
        Tells the memory of the program, MB.

    Returns
    -------
    dict
        Counts of answers, waiting times, memory at the quarters of the time, uploads left.
    """
    counts: Counter[str] = Counter()
    waited: list[float] = []
    lock = threading.Lock()
    end = time.monotonic() + seconds

    def person(number: int) -> None:
        rng = random.Random(number)
        while time.monotonic() < end:
            begun = time.monotonic()
            try:
                outcome = visit(place, recording, rng)
            except (OSError, http.client.HTTPException, KeyError) as error:
                outcome = f"error: {error!r}"
            with lock:
                counts[outcome] += 1
                if outcome == "pictures":
                    waited.append(time.monotonic() - begun)
            time.sleep(rng.uniform(0.1, 1.0))

    threads = [threading.Thread(target=person, args=(number,)) for number in range(people)]
    for thread in threads:
        thread.start()
    memory: list[float] = []
    while any(thread.is_alive() for thread in threads):
        memory.append(memory_mb())
        time.sleep(min(1.0, seconds / 40))
    quarters = [float(np.max(part)) for part in np.array_split(memory, 4)]
    return {
        "people": people,
        "seconds": seconds,
        **{name: counts[name] for name in ("pictures", "refused_as_they_should", "queue_full")},
        "errors": {name: n for name, n in counts.items() if name.startswith("error")},
        "waited_s": {
            name: round(float(np.quantile(waited, share)), 1)
            for name, share in (("p50", 0.5), ("p95", 0.95), ("max", 1.0))
            if waited
        },
        "largest_memory_mb_by_quarter": [round(one) for one in quarters],
        "uploads_left": len([*uploads.iterdir()]),
    }


def visit(place: str, recording: bytes, rng: random.Random) -> str:
    """Ask for one picture and wait for it; return what came of it."""
    asked: dict[str, Any] = {"model": rng.choice(models(place)), "moments": 1}
    broken = rng.random() < 0.1
    if not broken and rng.random() < 1 / 3:
        asked["sample"], body = "known", b""
    else:
        asked["name"], body = "brain.edf", b"no recording" if broken else recording
    status, answer = ask(place, "POST", f"/jobs?{urlencode(asked)}", body)
    if status == 503:
        return "queue_full"
    if status != 202:
        return f"error {status}: {answer}"
    while True:
        status, found = ask(place, "GET", f"/jobs/{answer['job']}")
        if status != 200:
            return f"error {status}: {found}"
        if found["state"] == "done":
            return "error: a picture of no recording" if broken else "pictures"
        if found["state"] == "failed":
            return "refused_as_they_should" if broken else f"error: {found['answer']}"
        time.sleep(ASK_S)


def models(place: str) -> list[str]:
    """Return the names of the models that the page offers."""
    connection = http.client.HTTPConnection(place, timeout=60)
    connection.request("GET", "/")
    page = connection.getresponse().read().decode()
    connection.close()
    return re.findall(r'name="model" value="([^"]+)"', page)


def ask(place: str, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    """Return status and content of an answer."""
    connection = http.client.HTTPConnection(place, timeout=60)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        content = answer.read()
        of_json = answer.headers.get_content_type() == "application/json"
        return answer.status, json.loads(content) if of_json else content.decode()
    finally:
        connection.close()


@contextlib.contextmanager
def program(folder: Path) -> Iterator[tuple[str, int, Path, bytes]]:
    """Run the program; gives its place, process, folder of uploads, and a recording to upload."""
    recording = simulated(folder / "recording")
    private = folder / "private"
    private.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "dreamdiffusion", "app"],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(private)},
    )  # fmt: skip
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(r"http://(127\.0\.0\.1:\d+)/", line):
                break
        else:
            raise RuntimeError("the program did not start")
        # What it says from now on is read, so that it never waits for a reader.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        time.sleep(1.0)
        (uploads,) = private.glob("dreamdiffusion-app-*/uploads")
        yield found.group(1), process.pid, uploads, recording
    finally:
        process.terminate()
        process.wait(timeout=60)


@contextlib.contextmanager
def page_alone(folder: Path) -> Iterator[tuple[str, int, Path, bytes]]:
    """Serve the page in this process, with a wait in place of the model; gives what `program` does.

    The memory that is measured is then that of the people too.
    """
    from dreamdiffusion.cli.app.jobs import Jobs, Order, Tell
    from dreamdiffusion.cli.app.pages import About
    from dreamdiffusion.cli.app.server import AppPage
    from dreamdiffusion.cli.app.uploads import Uploads
    from dreamdiffusion.cli.web import serve

    recording = np.random.default_rng(0).bytes(1_200_000)

    def work(order: Order, tell: Tell) -> str:
        if order.upload is not None and order.upload.read_bytes() != recording:
            raise ValueError(f"{order.upload} is no recording")
        time.sleep(WORK_S)
        return "x" * 500_000

    uploads = folder / "uploads"
    uploads.mkdir()
    jobs = Jobs([work], most=64, keep_s=300)
    samples, models = [About("known", "", "")], [About("m", "", "")]
    page = AppPage(samples, models, jobs, Uploads(uploads, 200), None)
    state: dict[str, Any] = {}
    server = threading.Thread(
        target=serve,
        args=(page.app(), 0, lambda address, server: state.update(at=address, server=server)),
    )
    server.start()
    while "server" not in state or not state["server"].started:
        time.sleep(0.05)
    try:
        yield re.sub(r"http://|/", "", state["at"]), os.getpid(), uploads, recording
    finally:
        state["server"].should_exit = True
        server.join()
        jobs.close()


def simulated(folder: Path) -> bytes:
    """Return a SIMULATED recording of the person whom the bundled model knows, as EDF."""
    from dreamdiffusion.cli.app.samples import Samples
    from dreamdiffusion.files.shipped import find_weights

    return Samples(folder, Path(find_weights("weights/eeg-scenes"))).path("known").read_bytes()


def resident_mb(pid: int) -> float:
    """Return the memory of a process that is in use, MB."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(found.group(1)) / 1000 if found else float("nan")


if __name__ == "__main__":
    main()
