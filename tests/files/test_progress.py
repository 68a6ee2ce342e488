"""Progress: a line every 10 % where nobody watches, a bar on a terminal."""

from __future__ import annotations

import io
import sys

import pytest

from dreamdiffusion.files import progress as module
from dreamdiffusion.files.progress import Lines, progress


class Clock:
    """Each look at it is a second later."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second passes between two looks at the clock."""
    monkeypatch.setattr(module, "time", Clock())


def test_a_log_has_a_line_every_tenth_and_no_carriage_return(
    slow: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(progress(range(200), "trials", unit="recording")) == list(range(200))
    text = capsys.readouterr().err
    lines = text.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"trials: {p} %" for p in range(10, 101, 10)]
    assert lines[0].startswith("trials: 10 %, recording 20 of 200, ") and " s left" in lines[0]
    assert lines[-1].startswith("trials: 100 %, recording 200 of 200, ")
    assert "left" not in lines[-1] and "\r" not in text


def test_a_training_that_goes_on_counts_what_was_done(
    slow: None, capsys: pytest.CaptureFixture[str]
) -> None:
    bar = progress(desc="pretrain", total=10, initial=5, unit="step")
    assert isinstance(bar, Lines)
    bar.set_postfix({"loss": "0.25"})
    bar.update()
    bar.close()
    assert capsys.readouterr().err == "pretrain: 60 %, step 6 of 10, 2 s, 8 s left, loss 0.25\n"


def test_what_takes_no_second_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in progress(range(50), "scenes", unit="picture"):
        pass
    assert capsys.readouterr().err == "scenes: 100 %, picture 50 of 50, 0 s\n"


def test_an_unknown_length_is_said_at_the_end(
    slow: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(progress(iter("abc"), "files", unit="file")) == ["a", "b", "c"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("files: 100 %, file 3 of 3, ")
    with progress(desc="x.zip", total=2_000_000, unit="B") as bar:
        bar.update(2_000_000)
    assert "100 %, B 2.00M of 2.00M" in capsys.readouterr().err


def test_a_terminal_shows_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress(range(3), "trials", unit="recording")) == [0, 1, 2]
    assert "\r" in terminal.getvalue() and "trials: 100%" in terminal.getvalue()


def test_the_others_of_several_processes_show_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert list(progress(range(3), "trials")) == [0, 1, 2]
    assert list(progress(range(3), "trials", disable=True)) == [0, 1, 2]
    assert capsys.readouterr().err == ""
