"""A page's application served on loopback in a thread, and plain requests to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an application behind the guard; gives ``127.0.0.1:port``."""
    from dreamdiffusion.cli.web import serve

    state: dict[str, Any] = {}
    thread = threading.Thread(
        target=serve, args=(app, 0, lambda address, server: state.update(at=address, server=server))
    )
    thread.start()
    end = time.monotonic() + 30
    while "server" not in state or not state["server"].started:
        assert thread.is_alive() and time.monotonic() < end
        time.sleep(0.01)
    try:
        yield state["at"].removeprefix("http://").rstrip("/")
    finally:
        state["server"].should_exit = True
        thread.join(timeout=20)
        assert not thread.is_alive()


def request(
    place: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers (lower case) and body of an answer; the path is sent as it is."""
    connection = http.client.HTTPConnection(place, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, found, answer.read()
    finally:
        connection.close()


def finished(place: str, token: str, seconds: float = 60.0) -> dict[str, Any]:
    """Return the answer of a job once it is there."""
    end = time.monotonic() + seconds
    while True:
        status, _, body = request(place, "GET", f"/jobs/{token}")
        found = json.loads(body)
        if status != 200 or found["state"] in ("done", "failed"):
            return found
        assert time.monotonic() < end, found
        time.sleep(0.05)
