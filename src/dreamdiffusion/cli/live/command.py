"""The stage `live`: a session, or the check before one."""

from __future__ import annotations

import contextlib
from pathlib import Path

from dreamdiffusion.cli.config import LiveConfig
from dreamdiffusion.cli.live.check import Checked, check
from dreamdiffusion.cli.live.model import LiveModel
from dreamdiffusion.cli.live.session import Session
from dreamdiffusion.cli.live.sources import open_source
from dreamdiffusion.files.output import writes_output

STAYS = "what was recorded until now stays in {output}/recording"


@writes_output(STAYS)
def live(config: LiveConfig) -> Path | Checked:
    """Record a stream and decode it until it ends, or until Ctrl-C.

    Returns
    -------
    Path or Checked
        ``config.output`` with ``recording/`` (BIDS), ``latest.png`` and ``latest.json`` (the newest
        window), ``images/`` (of the last 64 windows) and ``log.jsonl``. With ``config.check`` what
        the check found.

    Raises
    ------
    FileNotFoundError, ValueError, OSError
        If there is no such stream or model, or the stream does not fit the model.
    """
    if config.check:
        return check(config)
    model = None
    if not config.record_only:
        model = LiveModel(config.model, config.judge, config.sample, config.device)
    with contextlib.closing(open_source(config)) as source:
        session = Session(config, model, source)
        try:
            session.run()
        except KeyboardInterrupt:
            session.screen.line("stopping")
        finally:
            session.close()
    return config.output
