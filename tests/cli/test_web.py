"""The guard of the pages: foreign hosts and origins, headers, files outside the folder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from dreamdiffusion.cli.web import HEADERS, Guard, static


def ask(host: str, origin: str | None = None, kind: str = "http") -> list[dict[str, Any]]:
    """Return what a guarded application sends for one request."""
    app = Guard(Starlette(routes=[Route("/", lambda request: PlainTextResponse("in"))]))
    headers = [(b"host", host.encode())]
    headers += [(b"origin", origin.encode())] if origin else []
    scope = {
        "type": kind, "method": "GET", "path": "/", "raw_path": b"/", "query_string": b"",
        "headers": headers, "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 1),
        "scheme": "http", "http_version": "1.1", "root_path": "", "asgi": {"version": "3.0"},
        "subprotocols": [], "extensions": {},
    }  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    asyncio.run(app(scope, receive, send))
    return sent


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000"])
@pytest.mark.parametrize("origin", [None, "http://127.0.0.1:8000", "http://localhost:8000"])
def test_this_machine_is_answered_with_the_headers(host, origin):
    start, body = ask(host, origin)
    assert (start["status"], body["body"]) == (200, b"in")
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert headers.items() >= HEADERS.items()
    assert "access-control-allow-origin" not in headers
    assert "default-src 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize(
    "host", ["evil.example:8000", "127.0.0.1", "127.0.0.1:9", "", "127.0.0.1.evil.example:8000"]
)
def test_a_foreign_name_is_refused_in_a_sentence(host):
    start, body = ask(host)
    assert start["status"] == 421
    assert body["body"].startswith(b"this page is called 127.0.0.1:8000 or localhost:8000;")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9"])
def test_another_site_is_refused(origin):
    start, body = ask("127.0.0.1:8000", origin)
    assert (start["status"], body["body"]) == (421, b"a page of another site may not ask this one")
    (closed,) = ask("127.0.0.1:8000", origin, "websocket")
    assert closed["type"] == "websocket.close"


@pytest.mark.parametrize("name", ["../web.py", "/etc/passwd", "consent.txt", "..", "", "x.js"])
def test_static_files_are_those_of_the_folder(name, tmp_path: Path):
    (tmp_path / "page.js").write_text("1")
    (tmp_path / "consent.txt").write_text("1")
    assert static(tmp_path, name).status_code == 404
    assert static(tmp_path, "page.js").body == b"1"
