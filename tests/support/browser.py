"""A headless Chromium that a test drives through its own protocol (CDP); no package but ours."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome")
                if (path := shutil.which(name))), None)  # fmt: skip
QUIET = ["background-networking", "component-update", "sync", "gpu", "quic"]


class Page:
    """One page: evaluate JavaScript in it, click, wait, take a picture."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._numbers = socket, itertools.count(1)
        self.messages: list[str] = []  # of the console, and errors

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command of the protocol and return its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message}"
                return message["result"]
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.messages.append(json.dumps(message["params"]))

    def run(self, script: str) -> Any:
        """Return the value of an expression; a promise is awaited."""
        result = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True,
            userGesture=True,
        )  # fmt: skip
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, condition: str, seconds: float = 60) -> Any:
        """Return the value of an expression once it is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(condition)):
            shown = self.run("document.body?.innerText")
            assert time.monotonic() < end, f"never: {condition}; {shown}; {self.messages}"
            time.sleep(0.05)
        return value

    def click(self, selector: str) -> None:
        """Click in the middle of an element, as a mouse does, once it can be clicked."""
        found = json.dumps(selector)
        self.wait(f"!!document.querySelector({found}) && !document.querySelector({found}).disabled")
        x, y = self.run(
            f"(() => {{ const e = document.querySelector({found}); e.scrollIntoView();"
            "const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2] })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str, code: int) -> None:
        """Press and release a key."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, text=text
            )

    def size(self, width: int, height: int) -> None:
        """Set the size of the window in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
            mobile=width < 600,
        )  # fmt: skip

    def picture(self, path: Path) -> Path:
        """Write a picture of the whole page."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))
        return path


@contextlib.contextmanager
def opened(
    address: str, folder: Path, width: int = 1280, height: int = 900, first: str = ""
) -> Iterator[Page]:
    """Open a page in a browser of its own, whose profile lies in `folder`.

    `first` is a script that runs before the page's own.
    """
    from websockets.sync.client import connect

    assert BROWSER is not None
    command = [
        BROWSER, "--headless", "--no-sandbox", "--no-first-run",
        *(f"--disable-{one}" for one in QUIET), f"--user-data-dir={folder / 'profile'}",
        "--remote-debugging-port=0", f"--window-size={width},{height}", "about:blank",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"DevTools listening on ws://([^/]+)/", line):
                break
        else:
            raise AssertionError("the browser did not start")
        place = _target(found.group(1))
        with connect(place, max_size=1 << 26) as socket:
            page = Page(socket)
            for domain in ("Page", "Runtime", "Log"):
                page.call(f"{domain}.enable")
            page.size(width, height)
            page.call("Page.addScriptToEvaluateOnNewDocument", source=first)
            page.call("Page.navigate", url=address)
            page.wait("document.readyState === 'complete' && location.href !== 'about:blank'")
            yield page
    finally:
        process.terminate()
        process.wait(timeout=20)
        assert process.stderr is not None
        process.stderr.close()


def _target(host: str) -> str:
    """Return the web socket of the browser's one page."""
    import urllib.request

    with urllib.request.urlopen(f"http://{host}/json/list", timeout=20) as answer:
        pages = [one for one in json.load(answer) if one["type"] == "page"]
    return pages[0]["webSocketDebuggerUrl"]
