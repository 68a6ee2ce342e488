"""A session: read a stream, record it, decode it as it comes."""

from __future__ import annotations

import math
import time

from dreamdiffusion.cli.config import LiveConfig
from dreamdiffusion.cli.live.answers import Answers
from dreamdiffusion.cli.live.decoding import Decoded
from dreamdiffusion.cli.live.model import LiveModel
from dreamdiffusion.cli.live.outputs import Outputs
from dreamdiffusion.cli.live.pictures import NamedPictures
from dreamdiffusion.cli.live.screen import Screen, signal_words
from dreamdiffusion.recordings.streams.player import PAUSE, Player
from dreamdiffusion.recordings.streams.quality import SECONDS, signal_quality
from dreamdiffusion.recordings.streams.recorder import Recorder, finish_all
from dreamdiffusion.recordings.streams.ring import Ring
from dreamdiffusion.recordings.streams.source import Chunk, Source, StreamInfo, StreamLost
from dreamdiffusion.recordings.streams.watchdog import CountedRate, Watchdog

_SPARE = 5.0
"""s of signal that the ring keeps beyond the longest window."""
_DRIFT = 0.001
"""Share by which the counted rate is off before it is said."""
_BEHIND = 0.05
"""Share of a played stream that did not come in time before it is said."""
_LOGGED = 10.0
"""s between two lines of status in the log."""


class Session:
    """One stream that is recorded and decoded.

    Parameters
    ----------
    config, source
        What is recorded, and where to.
    model
        What decodes; None: the stream is recorded alone.

    Raises
    ------
    ValueError
        If the stream does not fit the model.
    """

    def __init__(self, config: LiveConfig, model: LiveModel | None, source: Source) -> None:
        info = source.info
        self._config, self._source = config, source
        self.screen = Screen()
        self._answers = None if model is None else Answers(config, model, info)
        seconds = 0.0 if self._answers is None else self._answers.seconds + _SPARE
        self._ring = Ring(len(info.ch_names), info.sfreq, max(seconds, SECONDS + 1))
        self._pictures = None if config.pictures is None else NamedPictures(config.pictures)
        recording = config.output / "recording"
        for path in finish_all(recording):
            self.screen.line(f"{path}: completed, its session had not ended properly")
        self._recorder = Recorder(recording, config.subject, info)
        self._outputs = Outputs(config.output)
        if self._answers is not None:
            self._answers.begin(self._ring, source.clock)
        self._rate = CountedRate()
        self._quality = [""] * len(info.ch_names)
        self._n_gaps, self._stopped, self._ended = 0, False, False
        self._began = self._logged = time.monotonic()
        self._watchdog = Watchdog(self._began)
        self._introduce(info, model)

    def _introduce(self, info: StreamInfo, model: LiveModel | None) -> None:
        for warning in self._source.warnings:
            self.screen.line(warning)
        if info.simulated:
            self.screen.line("SIMULATED EEG: no person is recorded.")
        to = "recorded, not decoded"
        if model is not None:
            expected = model.expected
            to = (
                f"{model.decoder.name}: {len(expected.ch_names)} channels, windows of "
                f"{expected.seconds:g} s at {expected.signal.sfreq:g} Hz"
            )
        channels = f"{len(info.ch_names)} channels, {info.sfreq:g} Hz"
        self.screen.line(f"{info.name}: {channels} -> {to}")
        self.screen.line(f"recording to {self._recorder.path}; Ctrl-C ends the session")
        self._outputs.note(
            "begin", source=self._config.source, stream=info.name, channels=info.ch_names,
            sfreq=info.sfreq, model=None if model is None else str(self._config.model),
            recording=str(self._recorder.path),
            lag_s=None if self._answers is None else self._answers.lag,
        )  # fmt: skip

    def run(self) -> None:
        """Go on until the stream ends, or for as long as the configuration says."""
        while not self._stopped and self.lasted < (self._config.duration or math.inf):
            try:
                chunk = self._source.read()
            except StreamLost as error:
                self._tell(self._watchdog.lose(time.monotonic()), str(error))
                time.sleep(0.1)
                chunk = Chunk.empty(len(self._source.info.ch_names))
            if chunk is None:
                self._ended = True
                return
            self._take(chunk)
            self._tell(self._watchdog.update(len(chunk.times), time.monotonic()))
            if self._answers is not None:
                self._show(self._answers, self._answers.done())
            self._report()

    def stop(self) -> None:
        """End `run`, from another thread."""
        self._stopped = True

    @property
    def is_lost(self) -> bool:
        """Whether the stream is silent or gone."""
        return self._watchdog.lost

    @property
    def lasted(self) -> float:
        """How long the session has lasted, s."""
        return time.monotonic() - self._began

    def _take(self, chunk: Chunk) -> None:
        markers = shown = chunk.markers
        if self._pictures is not None:
            markers = [self._pictures.find(marker) for marker in markers]
            shown = [marker for marker in markers if marker.picture is not None]
        gaps = self._ring.append(chunk.data, chunk.times, chunk.lost)
        self._recorder.append(chunk.data, chunk.times, gaps, markers)
        self._rate.add(chunk.times, bool(gaps))
        for _, seconds in gaps:
            self._n_gaps += 1
            self._outputs.note("gap", seconds=round(seconds, 3))
        for marker in markers:
            self._outputs.note("marker", value=marker.value)
        if self._answers is not None:
            self._answers.take(shown, self._source.clock())

    def _tell(self, change: str | None, why: str = "") -> None:
        """Say that the stream is lost or back, and look for it."""
        if change == "lost":
            self.screen.line(f"signal lost{f' ({why})' if why else ''}; recording goes on")
        elif change == "resumed":
            self.screen.line("signal is back")
        if change in ("lost", "resumed"):
            self._outputs.note(change)
        if change in ("lost", "retry") and self._source.reopen():
            self._outputs.note("reopened")

    def _show(self, answers: Answers, found: list[Decoded]) -> None:
        for done in found:
            self._outputs.show(done, answers.count(done, self._source.speed))

    def _report(self) -> None:
        if not self.screen.is_due():
            return
        info = self._source.info
        self._quality = signal_quality(self._ring.last(SECONDS), info.sfreq)
        parts = [
            f"{self.lasted:.0f} s",
            "SIGNAL LOST" if self._watchdog.lost else signal_words(info.ch_names, self._quality),
        ]
        parts += [] if self._answers is None else self._answers.words()
        if math.isfinite(hz := self._rate.hz):
            off = hz / info.sfreq - 1
            of = f" ({off:+.2%} of {info.sfreq:g})" if abs(off) > _DRIFT else ""
            parts.append(f"{hz:.2f} Hz{of}")
        self.screen.status(" | ".join(parts))
        if time.monotonic() - self._logged >= _LOGGED:
            self._logged = time.monotonic()
            self._outputs.note("status", **self.summary())

    def summary(self) -> dict[str, object]:
        """Return what is known of the session until now."""
        info, hz = self._source.info, self._rate.hz
        names = zip(info.ch_names, self._quality, strict=True)
        answers = {} if self._answers is None else self._answers.summary()
        return {
            "lasted_s": round(self.lasted, 1),
            **answers,
            "lost": self._watchdog.n_lost,
            "gaps": self._n_gaps,
            "samples": self._recorder.n_times,
            "counted_hz": round(hz, 4) if math.isfinite(hz) else None,
            "bad_channels": {name: what for name, what in names if what},
        }

    def close(self) -> None:
        """End the session: wait for the last window, complete the recording."""
        self.screen.close()
        recorded = self._recorded_words()
        self._recorder.close()
        if self._answers is not None:
            self._show(self._answers, self._answers.finish())
        summary = self.summary()
        self._outputs.note("end", **summary)
        self._outputs.close()
        words = [] if self._answers is None else self._answers.last_words()
        for line in [*words, *recorded]:
            self.screen.line(line)

    def _recorded_words(self) -> list[str]:
        """Say how much was recorded, and whether a played stream came slower than was asked."""
        samples, source = self._recorder.n_times, self._source
        seconds, asked = samples / source.info.sfreq, self.lasted * source.speed
        lines = [f"{self._n_gaps} gaps, {samples} samples recorded ({seconds:.0f} s)"]
        newest = self._ring.newest
        if self._ended or newest is None or not isinstance(source, Player):
            return lines
        if source.clock() - newest > max(PAUSE, _BEHIND * asked) and seconds < asked:
            lines.append(
                f"only {seconds:.0f} s of the {asked:.0f} s that {self.lasted:.0f} s at --speed "
                f"{source.speed:g} should bring: this machine is too slow for it; give a lower "
                "--speed and a longer --duration"
            )
        return lines
