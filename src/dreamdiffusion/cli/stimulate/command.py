"""The stage `stimulate`: pictures on the screen, their moments in `events.tsv` and as markers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dreamdiffusion.cli.config import StimulateConfig
from dreamdiffusion.cli.stimulate.markers import Markers
from dreamdiffusion.cli.stimulate.plan import Block, block_counts, find_pictures, plan
from dreamdiffusion.cli.stimulate.session import Session
from dreamdiffusion.cli.web import require_packages, serve
from dreamdiffusion.files.output import writes_output
from dreamdiffusion.files.schema import write_yaml
from dreamdiffusion.files.whole import write_json

if TYPE_CHECKING:
    from uvicorn import Server

logger = logging.getLogger(__name__)

CONSENT = Path(__file__).parent / "static" / "consent.txt"
UNKNOWN = (
    "not known: the lag between a frame and the light of the screen; measure it with a photodiode "
    "(--photodiode, docs/stimulate.md)"
)


def show_pictures(config: StimulateConfig) -> dict[str, Any]:
    """Show pictures in a browser until the session ends, or measure the browser's timing.

    Returns
    -------
    dict
        What was shown, where its events are, and how frames and clocks went.

    Raises
    ------
    FileNotFoundError, ValueError
        If pictures, consent or packages are missing, or the folder holds another session.
    OSError
        If the port is taken.
    """
    require_packages("stimulate")
    markers = Markers.open(config.lsl)
    if config.check:
        return check_timing(config, markers)
    if config.pictures is None:
        raise ValueError("no pictures are given; name their folder: stimulate PICTURES")
    pictures = find_pictures(config.pictures)
    session = Session(config, pictures, markers)
    n_blocks, n_trials = block_counts(config)
    left = n_blocks - session.blocks_done
    if left < 1:
        raise ValueError(
            f"the session in {config.output} is complete ({session.blocks_done} blocks); give "
            "another --output"
        )
    blocks, findings = plan(pictures, config, left, n_trials, [config.seed, session.run])
    logger.info(
        "%d blocks of %d pictures; the order passed the audit of orders; markers go to %s",
        left, n_trials, "events.tsv and LSL" if markers.streams else "events.tsv alone",
    )  # fmt: skip
    session.begin(findings)
    write_yaml(config, config.output / "config.yaml")
    _serve(config, session, blocks, markers)
    return summary(session, n_blocks)


def check_timing(config: StimulateConfig, markers: Markers) -> dict[str, Any]:
    """Measure refresh, left-out frames and clocks in the browser that opens the page."""
    measured = _serve(config, None, [], markers)
    if not measured:
        raise ValueError("the page was not opened, or closed before its measurement ended")
    figures = {k: round(v, 3) if isinstance(v, float) else v for k, v in measured.items()}
    result = {**figures, "lag_of_the_screen": UNKNOWN}
    config.output.mkdir(parents=True, exist_ok=True)
    write_json(config.output / "check.json", result)
    return result


def summary(session: Session, n_blocks: int) -> dict[str, Any]:
    """Return what a session came to, of all its runs."""
    blocks = session.record["blocks"]
    frames = [block["frames"] for block in blocks]
    return {
        "output": str(session.config.output),
        "events": str(session.events_path),
        "blocks": f"{len(blocks)} of {n_blocks}",
        "aborted_blocks": len(session.record["aborted"]),
        "missed_frames": sum(int(one["missed"]) for one in frames),
        "frames": sum(int(one["count"]) for one in frames),
        "largest_clock_drift_ms": round(
            max((abs(block["clock_drift_ms"]) for block in blocks), default=0.0), 3
        ),
        "lag_of_the_screen": UNKNOWN,
    }


def _serve(
    config: StimulateConfig, session: Session | None, blocks: list[Block], markers: Markers
) -> dict[str, Any]:
    """Serve the page until it is done; return what it measured."""
    from dreamdiffusion.cli.stimulate.server import StimulatePage  # which needs starlette

    measured: dict[str, Any] = {}
    running: list[Server] = []

    def done(found: dict[str, Any]) -> None:
        measured.update(found)
        running[0].should_exit = True

    text = _consent(config.consent)
    rng = np.random.default_rng([config.seed, session.run if session else 0, 1])
    page = StimulatePage(config, session, blocks, text, done, markers.clock, rng)
    serve(page.app(), config.port, lambda address, server: running.append(server), 1 << 20)
    return measured


def _consent(path: Path | None) -> str:
    return (path or CONSENT).read_text(encoding="utf-8").strip()


stimulate = writes_output()(show_pictures)
