"""The page's server: the page, its jobs, and the state of a live session."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from dreamdiffusion.cli.app.jobs import Jobs, Order, QueueFullError
from dreamdiffusion.cli.app.live_folder import LiveFolder
from dreamdiffusion.cli.app.pages import About, fill
from dreamdiffusion.cli.app.uploads import ACCEPTED, RefusedError, Uploads
from dreamdiffusion.cli.web import static

STATIC = Path(__file__).parent / "static"
MOST_MOMENTS = 6


class AppPage:
    """One page in three steps.

    Parameters
    ----------
    samples, models
        What can be chosen.
    jobs, uploads
        What is done, and with which files.
    live
        The folder of a live session; None: there is none.
    """

    def __init__(
        self,
        samples: Sequence[About],
        models: Sequence[About],
        jobs: Jobs,
        uploads: Uploads,
        live: LiveFolder | None,
    ) -> None:
        self.samples = {one.name: one for one in samples}
        self.models = {one.name: one for one in models}
        self.jobs, self.uploads, self.live = jobs, uploads, live

    def app(self) -> Starlette:
        """Return the application; `cli.web.serve` guards it."""
        return Starlette(
            routes=[
                Route("/", self._page),
                Route("/static/{name}", lambda asked: static(STATIC, asked.path_params["name"])),
                Route("/jobs", self._add, methods=["POST"]),
                Route("/jobs/{token}", self._ask, methods=["GET"]),
                Route("/jobs/{token}", self._cancel, methods=["DELETE"]),
                Route("/live", self._live),
                Route("/live/picture", self._live_picture),
            ]
        )

    def _page(self, request: Request) -> Response:
        return HTMLResponse(
            fill(
                "page",
                samples=self.samples.values(),
                models=self.models.values(),
                accepted=",".join(ACCEPTED),
                most_mb=self.uploads.most_mb,
                most_moments=MOST_MOMENTS,
                live=self.live is not None,
            )
        )

    async def _add(self, request: Request) -> Response:
        try:
            self.jobs.check_room()
            order = await self._order(request)
            return JSONResponse({"job": self.jobs.add(order)}, 202)
        except QueueFullError as error:
            return _refused(str(error), 503)
        except RefusedError as error:
            return _refused(str(error), error.status)
        except ClientDisconnect:
            return _refused("The upload was broken off.", 400)

    async def _order(self, request: Request) -> Order:
        """Read what is asked for; an upload is taken last, when all else is right."""
        asked = request.query_params
        sample, model = asked.get("sample", ""), asked.get("model", "")
        if model not in self.models:
            raise RefusedError("There is no such model; load the page anew.", 400)
        if sample and sample not in self.samples:
            raise RefusedError("There is no such sample recording; load the page anew.", 400)
        try:
            moments = int(asked.get("moments", "3"))
            dial = float(asked["dial"]) if asked.get("dial") else None
        except ValueError:
            raise RefusedError("Moments and dial are numbers.", 400) from None
        about = self.models[model]
        if not 1 <= moments <= MOST_MOMENTS:
            raise RefusedError(f"Between 1 and {MOST_MOMENTS} moments are drawn.", 400)
        if dial is not None and not (about.dial and about.dial.least <= dial <= about.dial.most):
            raise RefusedError("The dial stands outside its range.", 400)
        text = " ".join(asked.get("text", "").split())
        if len(text) > 200:
            raise RefusedError("A text has 200 characters at most.", 400)
        upload, name = None, asked.get("name", "")
        if not sample:
            length = request.headers.get("content-length", "")
            size = int(length) if length.isdigit() else None
            upload = await self.uploads.take(name, size, request.stream())
        return Order(sample, upload, name, model, moments, dial, text)

    async def _ask(self, request: Request) -> Response:
        found = self.jobs.ask(request.path_params["token"])
        if found is None:
            return _refused("There is no such job, or its answer was handed out already.", 404)
        return JSONResponse(found)

    async def _cancel(self, request: Request) -> Response:
        self.jobs.cancel(request.path_params["token"])
        return Response(status_code=204)

    def _live(self, request: Request) -> Response:
        if self.live is None:
            return _refused("No live session is shown; start the page with --live FOLDER.", 404)
        return JSONResponse({"answer": fill("live", state=self.live.state())})

    def _live_picture(self, request: Request) -> Response:
        picture = self.live.picture() if self.live is not None else None
        if picture is None:
            return PlainTextResponse("there is no picture yet", 404)
        return Response(picture, media_type="image/png")


def _refused(sentence: str, status: int) -> Response:
    return JSONResponse({"error": sentence}, status)
