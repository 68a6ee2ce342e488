"""The page's server: it hands out pictures and blocks, and keeps what the page says of them."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio.to_thread
import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from dreamdiffusion.cli.config import StimulateConfig
from dreamdiffusion.cli.stimulate.plan import TARGET_S, Block
from dreamdiffusion.cli.stimulate.session import Session
from dreamdiffusion.cli.web import static
from dreamdiffusion.files.pictures import read_image

logger = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"


class StimulatePage:
    """One page, one person: what it asks and what it is told.

    Parameters
    ----------
    session
        What is written; None: the timing is measured and no picture is shown.
    blocks
        Those that are left to show.
    consent
        Text that is shown first.
    done
        Called once, with what the page measured, when all is shown or measured.
    clock
        Of the server, s.
    rng
        Of the order of a block that is shown again.
    """

    def __init__(
        self,
        config: StimulateConfig,
        session: Session | None,
        blocks: list[Block],
        consent: str,
        done: Callable[[dict[str, Any]], None],
        clock: Callable[[], float],
        rng: np.random.Generator,
    ) -> None:
        self.config, self.session, self.blocks = config, session, blocks
        self.consent, self.done, self.clock, self.rng = consent, done, clock, rng
        self.n_blocks = len(blocks) + (session.blocks_done if session else 0)
        self._taken = False

    def app(self) -> Starlette:
        """Return the application; `cli.web.serve` guards it."""
        return Starlette(
            routes=[
                Route("/", lambda asked: FileResponse(STATIC / "index.html")),
                Route(
                    "/static/{name}", lambda request: static(STATIC, request.path_params["name"])
                ),
                Route("/picture/{number:int}", self._picture),
                WebSocketRoute("/session", self._talk),
            ]
        )

    async def _picture(self, request: Request) -> Response:
        number = request.path_params["number"]
        pictures = self.session.pictures if self.session else []
        if number >= len(pictures):
            return PlainTextResponse("there is no such picture", 404)
        png = await anyio.to_thread.run_sync(self._png, pictures[number].path)
        return Response(png, media_type="image/png")

    def _png(self, path: Path) -> bytes:
        buffer = io.BytesIO()
        pixels = read_image(path, self.config.size, self.config.picture_fit)
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

    async def _talk(self, socket: WebSocket) -> None:
        await socket.accept()
        if self._taken:
            await socket.send_json(
                {"type": "error", "text": "The session is open in another window; close that."}
            )
            await socket.close()
            return
        self._taken = True
        try:
            await socket.send_json(self._welcome())
            while True:
                answer = self.receive(await socket.receive_json())
                if answer is not None:
                    await socket.send_json(answer)
        except WebSocketDisconnect:
            self._abort("the page was closed")
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("the page said what was not understood: %r", error)
            self._abort(f"the page said what was not understood: {error!r}")
            await socket.close(1003)
        finally:
            self._taken = False

    def _welcome(self) -> dict[str, Any]:
        config = self.config
        return {
            "type": "welcome",
            "check": self.session is None,
            "consent": self.consent,
            "picture_s": config.picture_s,
            "photodiode": config.photodiode,
            "target_s": TARGET_S,
            "size": config.size,
        }

    def receive(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """Take one message of the page and return the answer, if there is one.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the message is none that the page sends at this moment.
        """
        kind = message["type"]
        if kind == "ping":
            return {"type": "pong", "sent": message["sent"], "server": self.clock()}
        if kind == "checked":
            self.done(message["measured"])
            return {"type": "done"}
        session = self.session
        if session is None:
            raise ValueError(f"{kind} came, and no pictures are shown")
        if kind == "agree":
            session.agree(self.consent)
        elif kind == "next":
            return self._next()
        elif kind == "block_start":
            session.begin_block(session.blocks_done + 1, self.blocks[0], message["exchanges"])
        elif kind == "onset":
            session.show(message["trial"], message["shown"])
        elif kind == "offset":
            session.end_trial(
                message["trial"],
                message["shown"],
                message["drawn"],
                message["gone"],
                int(message["missed"]),
            )
        elif kind == "target":
            session.answer(message["shown"], message["response"])
        elif kind == "block_end":
            session.end_block(message["exchanges"], message["frames"])
            self.blocks.pop(0)
        elif kind == "abort":
            self._abort(str(message["why"])[:200])
        else:
            raise ValueError(f"{kind!r} is no message of the page")
        return None

    def _next(self) -> dict[str, Any]:
        assert self.session is not None
        if not self.blocks:
            self.done({})
            return {"type": "done"}
        trials = [
            {"picture": trial.picture, "gap_s": trial.gap_s, "target": trial.target}
            for trial in self.blocks[0]
        ]
        number = self.session.blocks_done + 1
        return {"type": "block", "number": number, "of": self.n_blocks, "trials": trials}

    def _abort(self, why: str) -> None:
        if self.session is not None and self.session.abort_block(why):
            again = self.blocks[0]
            self.blocks[0] = [again[place] for place in self.rng.permutation(len(again))]
