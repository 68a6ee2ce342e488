"""What a session writes: `events.tsv` as BIDS has it, the answers, and a record of the blocks.

A run is one start of the command: its times count from there. A block that was broken off is shown
again, in another order; what was seen of it stays in `events.tsv`, since it was seen.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dreamdiffusion.cli.config import StimulateConfig
from dreamdiffusion.cli.stimulate.clocks import ClockFit, drift_ms, fit_clock
from dreamdiffusion.cli.stimulate.markers import Markers
from dreamdiffusion.cli.stimulate.plan import Block, Picture, Trial
from dreamdiffusion.evidence.audit.findings import Finding
from dreamdiffusion.files.whole import write_json

RECORD = "session.json"
TASK = "viewing"
COLUMNS = {
    "onset": "s from the start of this run (StartTime); the frame after the picture was drawn",
    "duration": "s, from that frame to the frame after it was taken away; n/a: broken off",
    "trial_type": "class of the picture",
    "stim_file": "picture, relative to the folder of the pictures",
    "value": "code of the class, as in the numeric LSL stream",
    "block": "block of the session",
    "repeat": "how often the picture was seen before in this run",
    "missed_frames": "frames that the browser left out while the picture was on",
    "drawn_to_onset": "s between drawing and onset: one frame where none was missed",
    "lsl_time": "s on the clock of the Lab Streaming Layer; n/a without streams",
    "unix_time": "s since 1970 of this machine's clock",
}
ANSWERS = ("onset", "response_time", "block")


class Session:
    """The files of one run, and the block that is shown.

    Parameters
    ----------
    config
        Of the command.
    pictures
        All that can be shown.
    markers
        Where markers go, and the clock.
    """

    def __init__(self, config: StimulateConfig, pictures: list[Picture], markers: Markers) -> None:
        self.config, self.pictures, self.markers = config, pictures, markers
        self.started = markers.clock()
        self.unix_minus_clock = time.time() - self.started
        self.record = _open_record(config, pictures)
        self.run = len(self.record["runs"]) + 1
        names = sorted({picture.category for picture in pictures})
        self.codes = {name: number + 1 for number, name in enumerate(names)}
        self._seen = [0] * len(pictures)
        self._fit: ClockFit | None = None
        self._block: tuple[int, Block] | None = None
        self._open: tuple[int, float] | None = None  # place and onset of a picture that is on

    @property
    def blocks_done(self) -> int:
        """Number of blocks that were shown to their end, in earlier runs too."""
        return len(self.record["blocks"])

    @property
    def events_path(self) -> Path:
        """The `events.tsv` of this run."""
        return self._path("events.tsv")

    def _path(self, ending: str) -> Path:
        who = f"sub-{self.config.subject}", f"ses-{self.config.session}"
        name = "_".join([*who, f"task-{TASK}", f"run-{self.run:02d}", ending])
        return self.config.output.joinpath(*who, "eeg", name)

    def begin(self, findings: list[Finding]) -> None:
        """Write the heads of the files of this run, and that it began."""
        self.events_path.parent.mkdir(parents=True, exist_ok=True)
        _append(self.events_path, list(COLUMNS))
        described = {name: {"Description": text} for name, text in COLUMNS.items()}
        start = {"StartTime": {"Description": "s since 1970", "Value": self._unix(self.started)}}
        write_json(self._path("events.json"), {**described, **start})
        self.record["runs"].append(
            {
                "run": self.run,
                "start_unix": self._unix(self.started),
                "lsl": self.markers.streams,
                "audit_of_the_order": [asdict(finding) for finding in findings],
            }
        )
        self._save()

    def agree(self, text: str) -> None:
        """Keep that the person agreed, when, and to what."""
        self.record["consent"].append({"unix": time.time(), "text": text})
        self._save()

    def begin_block(self, number: int, block: Block, exchanges: list[Any]) -> None:
        """Set the clock for a block that begins."""
        self._fit = fit_clock([tuple(one) for one in exchanges])
        self._block = (number, block)

    def show(self, place: int, shown: float) -> None:
        """Send the marker of a trial's onset: ``place`` in the block, page time in s."""
        picture = self.pictures[self._trial(place).picture]
        self.markers.push(self.to_server(shown), picture.name, self.codes[picture.category])
        self._open = (place, shown)

    def end_trial(
        self,
        place: int,
        shown: float,
        drawn: float | None = None,
        gone: float | None = None,
        missed: int | None = None,
    ) -> None:
        """Append a trial that was seen; page times in s. None: it was broken off, so not known."""
        self._open = None
        trial = self._trial(place)
        picture = self.pictures[trial.picture]
        onset = self.to_server(shown)
        row = {
            "onset": f"{onset - self.started:.6f}",
            "duration": "n/a" if gone is None else f"{gone - shown:.6f}",
            "trial_type": picture.category,
            "stim_file": picture.name,
            "value": self.codes[picture.category],
            "block": self._number,
            "repeat": self._seen[trial.picture],
            "missed_frames": "n/a" if missed is None else missed,
            "drawn_to_onset": "n/a" if drawn is None else f"{shown - drawn:.6f}",
            "lsl_time": f"{onset:.6f}" if self.markers.streams else "n/a",
            "unix_time": f"{self._unix(onset):.6f}",
        }
        self._seen[trial.picture] += 1
        _append(self.events_path, [row[name] for name in COLUMNS])

    def answer(self, shown: float, response_s: float | None) -> None:
        """Append a red cross, page time in s, and how long the answer took; None: no answer."""
        path = self._path("answers.tsv")
        onset = self.to_server(shown)
        if not path.exists():
            _append(path, list(ANSWERS))
        took = "n/a" if response_s is None else f"{response_s:.4f}"
        _append(path, [f"{onset - self.started:.6f}", took, self._number])

    def end_block(self, exchanges: list[Any], frames: dict[str, Any]) -> None:
        """Keep that the block was shown whole, how its frames went and how the clocks moved."""
        assert self._fit is not None
        after = fit_clock([tuple(one) for one in exchanges])
        self.record["blocks"].append(
            {
                "block": self._number,
                "run": self.run,
                "clock_before": asdict(self._fit),
                "clock_after": asdict(after),
                "clock_drift_ms": drift_ms(self._fit, after),
                "frames": frames,
            }
        )
        self._block = self._fit = None
        self._save()

    def abort_block(self, why: str) -> bool:
        """Keep that the block was broken off; False: none was shown."""
        if self._block is None:
            return False
        if self._open is not None:  # its marker is out, so it has its row too
            self.end_trial(*self._open)
        self.record["aborted"].append({"block": self._number, "run": self.run, "why": why})
        self._block = self._fit = None
        self._save()
        return True

    def to_server(self, page_s: float) -> float:
        """Return the moment of `Markers.clock` at a page time, s."""
        if self._fit is None:
            raise ValueError("a time came while no block was shown")
        return page_s + self._fit.offset

    @property
    def _number(self) -> int:
        if self._block is None:
            raise ValueError("a trial came while no block was shown")
        return self._block[0]

    def _trial(self, place: int) -> Trial:
        if self._block is None:
            raise ValueError("a trial came while no block was shown")
        if not 0 <= place < len(self._block[1]):
            raise ValueError(f"there is no trial {place} in the block that is shown")
        return self._block[1][place]

    def _unix(self, clock_s: float) -> float:
        return clock_s + self.unix_minus_clock

    def _save(self) -> None:
        write_json(self.config.output / RECORD, self.record)


def _append(path: Path, values: list[Any]) -> None:
    """Append a row; it is on its way to the disk when this returns."""
    cells = [" ".join(str(value).split()) for value in values]
    with path.open("a", encoding="utf-8") as file:
        file.write("\t".join(cells) + "\n")


def _open_record(config: StimulateConfig, pictures: list[Picture]) -> dict[str, Any]:
    """Return the record of the session in the folder, or one of a session that begins.

    Raises
    ------
    ValueError
        If the folder holds something else, or a session of other pictures or another person.
    """
    own = {
        "subject": config.subject,
        "session": config.session,
        "pictures": [picture.name for picture in pictures],
    }
    path = config.output / RECORD
    if not path.is_file():
        return {**own, "runs": [], "blocks": [], "aborted": [], "consent": []}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        kept = {name: record[name] for name in own}
        lists = [record[name] for name in ("runs", "blocks", "aborted", "consent")]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the record of a session: {error!r}") from error
    if not all(isinstance(one, list) for one in lists):
        raise ValueError(f"{path} is not the record of a session; give another --output")
    for name, value in own.items():
        if kept[name] != value:
            what = "other pictures" if name == "pictures" else f"the {name} {kept[name]!r}"
            raise ValueError(
                f"{config.output} holds a session of {what}; go on with those, or give another "
                "--output"
            )
    return record
