"""The stage `app`: the page of three steps, on this machine alone."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from dreamdiffusion.cli.config import AppConfig
from dreamdiffusion.cli.web import require_packages, serve
from dreamdiffusion.files.progress import hide_library_bars


def app(config: AppConfig) -> dict[str, Any]:
    """Serve the page until Ctrl-C; uploads and samples are deleted when it ends.

    Raises
    ------
    FileNotFoundError, ValueError
        If a model, the judge, the live folder or a package is missing.
    OSError
        If the port is taken.
    """
    require_packages("app")
    # These need starlette, and torch.
    from dreamdiffusion.cli.app.drawing import Drawing
    from dreamdiffusion.cli.app.jobs import Jobs
    from dreamdiffusion.cli.app.live_folder import LOG, LiveFolder
    from dreamdiffusion.cli.app.models import Models
    from dreamdiffusion.cli.app.samples import Samples
    from dreamdiffusion.cli.app.server import AppPage
    from dreamdiffusion.cli.app.uploads import Uploads

    hide_library_bars()
    if config.live is not None and not (config.live / LOG).is_file():
        raise FileNotFoundError(
            f"{config.live} holds no live session ({LOG}); start dreamdiffusion live first"
        )
    with tempfile.TemporaryDirectory(prefix="dreamdiffusion-app-") as private:
        folders = {name: Path(private) / name for name in ("samples", "uploads")}
        for folder in folders.values():
            folder.mkdir(mode=0o700)
        workers = [Models(config.models, config.judge, device) for device in config.device]
        for models in workers:  # what is wrong with a model is said before a page is opened
            for about in models.offered:
                models.open(about.name)
        samples = Samples(folders["samples"], config.models[0])
        drawing = [Drawing(models, samples) for models in workers]
        jobs = Jobs(drawing, config.queue, config.keep_s)
        try:
            page = AppPage(
                samples.offered,
                workers[0].offered,
                jobs,
                Uploads(folders["uploads"], config.max_upload_mb),
                None if config.live is None else LiveFolder(config.live),
            )
            serve(page.app(), config.port, lambda address, server: None)
        finally:
            jobs.close()
    return {"ended": "uploads and samples are deleted"}
