"""What the pages of `stimulate` and `app` have in common: one server for this machine alone.

It listens on loopback, answers only to this machine's own names (so no foreign name that resolves
to 127.0.0.1 reaches it: DNS rebinding), takes nothing that another site's page sends, and gives no
page the right to load anything from elsewhere.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
    from uvicorn import Server

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    # Isolated from every other page, which also gives the page the finest clock of the browser.
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "same-origin",
}
_TYPES = {".css": "text/css", ".js": "text/javascript"}


def require_packages(command: str) -> None:
    """Raise a one-line error where the packages of the pages are not installed."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"{command} needs {error.name}: pip install 'dreamdiffusion[app]'"
        ) from error


class Guard:
    """ASGI: refuse foreign hosts and origins, and put `HEADERS` on every response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        if (refused := _refusal(scope)) is None:
            await self.app(scope, receive, send_with_headers)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refused})
        else:
            from starlette.responses import PlainTextResponse

            await PlainTextResponse(refused, 421)(scope, receive, send_with_headers)


def _refusal(scope: Scope) -> str | None:
    """Return why a request is not answered; None: it is."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    host = headers.get("host", "")
    port = (scope.get("server") or (None, None))[1]
    own = {name if port == 80 else f"{name}:{port}" for name in NAMES}
    if host not in own:
        return f"this page is called {' or '.join(sorted(own))}; another name is not answered"
    origin = headers.get("origin")
    if origin is not None and origin not in {f"http://{name}" for name in own}:
        return "a page of another site may not ask this one"
    return None


def static(folder: Path, name: str) -> Response:
    """Return a file of a page: one of those that lie in its folder, by its bare name."""
    from starlette.responses import PlainTextResponse, Response

    files = {path.name: path for path in folder.iterdir() if path.suffix in _TYPES}
    if name not in files:
        return PlainTextResponse("there is no such file", 404)
    return Response(files[name].read_bytes(), media_type=_TYPES[files[name].suffix])


def serve(
    app: ASGIApp,
    port: int,
    ready: Callable[[str, Server], Any],
    largest_message: int = 1 << 16,
) -> None:
    """Serve an application on loopback until it is told to end.

    Parameters
    ----------
    port
        0: a free one.
    ready
        Called with the page's address and the server, whose `should_exit` ends it.
    largest_message
        Bytes of a message of a web socket.

    Raises
    ------
    OSError
        If the port is taken.
    """
    import uvicorn

    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
        except OSError as error:
            raise OSError(
                f"port {port} of {HOST} cannot be used ({error.strerror}); name another with --port"
            ) from error
        server = uvicorn.Server(
            uvicorn.Config(
                Guard(app),
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws_max_size=largest_message,
                timeout_graceful_shutdown=2,
            )
        )
        address = f"http://{HOST}:{listening.getsockname()[1]}/"
        ready(address, server)
        print(f"open {address} in a browser of this machine; Ctrl-C ends it", file=sys.stderr)
        server.run(sockets=[listening])
