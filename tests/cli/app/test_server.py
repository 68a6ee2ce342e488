"""What the page's server refuses, each in one sentence, and what it hands out."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from pages import finished, request, served

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from dreamdiffusion.cli.app.jobs import Jobs, Order, Tell
from dreamdiffusion.cli.app.live_folder import LiveFolder
from dreamdiffusion.cli.app.pages import About, Dial
from dreamdiffusion.cli.app.server import AppPage
from dreamdiffusion.cli.app.uploads import MOST_UPLOADS, Uploads
from dreamdiffusion.cli.web import HEADERS
from dreamdiffusion.recordings.read import read_recording

DIAL = Dial("strength", "How much", "little", "much", 0.0, 1.0, 0.5)
HOSTILE = "<script>document.title='ran'</script>"


class App:
    """A page whose work reads the recording and says what it read."""

    place = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.orders: list[Order] = []
        self.jobs = Jobs([self.work], most=8, keep_s=60)
        page = AppPage(
            [About("known", "Somebody", "who is simulated")],
            [About("m", HOSTILE, "text", DIAL)],
            self.jobs,
            Uploads(folder, most_mb=0.05),
            LiveFolder(folder.parent / "live"),
        )
        self.app = page.app()

    def work(self, order: Order, tell: Tell) -> str:
        self.orders.append(order)
        if order.upload is not None:
            read_recording(order.upload)
        return "<p>read</p>"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    made = App(tmp_path_factory.mktemp("app") / "uploads")
    made.folder.mkdir()
    with served(made.app) as made.place:
        yield made
    made.jobs.close()


def post(app: App, body: bytes = b"", **asked: object):
    query = urlencode({"model": "m", "moments": 1, **asked})
    status, _, answer = request(app.place, "POST", f"/jobs?{query}", body)
    return status, json.loads(answer)


def test_the_page_and_its_headers(app):
    status, headers, body = request(app.place, "GET", "/")
    assert status == 200
    assert headers.items() >= HEADERS.items()
    assert not [name for name in headers if name.startswith("access-control")]
    assert "set-cookie" not in headers
    assert HOSTILE.encode() not in body
    assert b"&lt;script&gt;" in body
    for line in body.decode().splitlines():  # nothing is loaded from elsewhere
        assert "http://" not in line and "https://" not in line


def test_a_foreign_host_reaches_nothing(app):
    for method, path in (("GET", "/"), ("POST", "/jobs?model=m&sample=known"), ("GET", "/live")):
        status, _, body = request(app.place, method, path, headers={"Host": "evil.example"})
        assert status == 421 and body.startswith(b"this page is called")


def test_another_site_starts_no_job(app):
    query = urlencode({"model": "m", "sample": "known"})
    status, _, body = request(
        app.place, "POST", f"/jobs?{query}", b"", {"Origin": "http://evil.example"}
    )
    assert (status, body) == (421, b"a page of another site may not ask this one")


@pytest.mark.parametrize(
    "path", ["/static/../server.py", "/static/%2e%2e/server.py", "/static//etc/passwd",
             "/static/..%2fserver.py", "/jobs/../../etc/passwd", "/live/picture/../../x"],
)  # fmt: skip
def test_no_path_leads_out(app, path):
    status, _, body = request(app.place, "GET", path)
    assert status == 404
    assert b"import" not in body and b"root:" not in body


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("../../etc/x.edf", "A file's name may hold neither slashes nor control characters."),
        ("..\\x.edf", "A file's name may hold neither slashes nor control characters."),
        ("a\0.edf", "A file's name may hold neither slashes nor control characters."),
        ("", "A file's name may hold neither slashes nor control characters."),
        ("x" * 300 + ".edf", "A file's name may hold neither slashes nor control characters."),
        ("brain.npy", "brain.npy is no recording; taken are .edf"),
        ("brain.pkl", "brain.pkl is no recording; taken are .edf"),
        ("brain.mat", "brain.mat is no recording; taken are .edf"),
        ("brain.vhdr", "brain.vhdr is one of three files of BrainVision; export it as EDF"),
        ("brain.zip", "brain.zip is an archive; export it as EDF"),
        ("brain.fif.gz", "brain.fif.gz is compressed; export it as EDF"),
    ],
)
def test_names_and_kinds_that_are_not_taken(app, name, told):
    before = len(app.orders)
    status, answer = post(app, b"content", name=name)
    assert status in (400, 415)
    assert answer["error"].startswith(told)
    assert len(app.orders) == before
    assert list(app.folder.iterdir()) == []


def objects() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([print], dtype=object), allow_pickle=True)
    return buffer.getvalue()


class Runs:
    def __reduce__(self):
        return (open, ("/tmp/dreamdiffusion-was-run", "w"))


@pytest.mark.parametrize("extension", [".edf", ".bdf", ".fif", ".set", ".csv", ".cnt", ".gdf"])
@pytest.mark.parametrize(
    "content", [pickle.dumps(Runs()), objects(), b"hello", b"<html>", b"PK\x03\x04" + bytes(200)],
    ids=["pickle", "npy", "text", "html", "zip"],
)  # fmt: skip
def test_what_is_no_recording_is_refused_in_a_sentence(app, extension, content):
    name = f"{HOSTILE[:8]}{extension}".replace("/", "")
    status, answer = post(app, content, name=name)
    assert status == 202
    found = finished(app.place, answer["job"])
    assert found["state"] == "failed"
    assert "\n" not in found["answer"] and len(found["answer"]) < 500
    assert str(app.folder) not in found["answer"]
    assert "nobody has thought of" not in found["answer"]
    assert not Path("/tmp/dreamdiffusion-was-run").exists()
    assert list(app.folder.iterdir()) == []


def test_a_large_file_is_refused_before_and_while_it_comes(app):
    status, answer = post(app, bytes(60_000), name="a.edf")
    assert (status, answer["error"]) == (413, "a.edf has 0 MB; at most 0.05 MB are taken.")
    # Without a length, in pieces.
    chunks = (bytes(20_000) for _ in range(9))
    query = urlencode({"model": "m", "name": "a.edf"})
    status, _, body = request(app.place, "POST", f"/jobs?{query}", chunks)
    assert status == 413
    assert json.loads(body)["error"] == "a.edf has 0 MB; at most 0.05 MB are taken."
    status, answer = post(app, b"", name="a.edf")
    assert (status, answer["error"]) == (400, "a.edf is empty.")
    assert list(app.folder.iterdir()) == []


def test_the_disk_is_not_filled(app):
    for number in range(MOST_UPLOADS):
        (app.folder / str(number)).mkdir()
        (app.folder / str(number) / "x.edf").write_bytes(bytes(50_000))
    status, answer = post(app, b"x", name="a.edf")
    assert status == 503 and "share for uploads is full" in answer["error"]
    for number in range(MOST_UPLOADS):
        (app.folder / str(number) / "x.edf").unlink()
        (app.folder / str(number)).rmdir()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"model": "../x"}, "There is no such model; load the page anew."),
        ({"sample": "../x"}, "There is no such sample recording; load the page anew."),
        ({"moments": "many"}, "Moments and dial are numbers."),
        ({"moments": 99}, "Between 1 and 6 moments are drawn."),
        ({"dial": "nan"}, "The dial stands outside its range."),
        ({"dial": 2}, "The dial stands outside its range."),
        ({"text": "x" * 201}, "A text has 200 characters at most."),
    ],
)
def test_what_cannot_be_asked_for(app, asked, told):
    status, answer = post(app, **{"sample": "known", **asked})
    assert (status, answer["error"]) == (400, told)


def test_an_order_arrives_as_it_was_given(app):
    status, answer = post(app, sample="known", moments=2, dial=0.25, text="a  red\napple")
    assert status == 202
    assert finished(app.place, answer["job"]) == {"state": "done", "answer": "<p>read</p>"}
    assert app.orders[-1] == Order("known", None, "", "m", 2, 0.25, "a red apple")
    status, _, body = request(app.place, "GET", f"/jobs/{answer['job']}")
    assert status == 404 and b"handed out already" in body
    assert request(app.place, "DELETE", f"/jobs/{answer['job']}")[0] == 204


def test_the_state_of_a_live_session(app):
    folder = app.folder.parent / "live"
    _, _, body = request(app.place, "GET", "/live")
    assert "No live session has written here yet" in json.loads(body)["answer"]
    assert request(app.place, "GET", "/live/picture")[0] == 404
    folder.mkdir()
    (folder / "latest.png").write_bytes(b"\x89PNG....")
    lines = [
        {"time": 1.0, "event": "window", "shows": HOSTILE, "latency_ms": {"total": 612.4}},
        {"time": 2.0, "event": "status"},
    ]
    text = "\n".join(map(json.dumps, lines)) + '\n{"time": 3, "ev'
    (folder / "log.jsonl").write_text(text)
    _, _, body = request(app.place, "GET", "/live")
    answer = json.loads(body)["answer"]
    assert "The session is silent for" in answer and "612 ms" in answer
    assert HOSTILE not in answer and "&lt;script&gt;" in answer
    status, headers, body = request(app.place, "GET", "/live/picture")
    assert (status, headers["content-type"], body) == (200, "image/png", b"\x89PNG....")
    (folder / "log.jsonl").write_text(json.dumps({"time": 4.0, "event": "end"}) + "\n")
    assert "The session has ended." in json.loads(request(app.place, "GET", "/live")[2])["answer"]
    (folder / "latest.png").write_bytes(b"GIF89a")
    assert request(app.place, "GET", "/live/picture")[0] == 404
