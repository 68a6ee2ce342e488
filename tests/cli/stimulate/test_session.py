"""The files of a session, and the clocks, worked by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from dreamdiffusion.cli.config import StimulateConfig
from dreamdiffusion.cli.stimulate.clocks import drift_ms, fit_clock
from dreamdiffusion.cli.stimulate.markers import Markers
from dreamdiffusion.cli.stimulate.plan import Picture, Trial
from dreamdiffusion.cli.stimulate.session import Session
from dreamdiffusion.recordings.events import read_events_table

PICTURES = [Picture("car/a.png", "car", Path("a")), Picture("cat/b.png", "cat", Path("b"))]
BLOCK = [Trial(1, 0.5, False), Trial(0, 0.5, True), Trial(1, 0.5, False)]
AHEAD = [[10.0, 110.004, 10.008], [10.1, 110.101, 10.102], [10.2, 110.25, 10.3]]
"""Exchanges with a server that is 100 s ahead; the second is the quickest and exact."""


class Recorded(Markers):
    """Markers that are kept in a list, on a clock that stands at 50 s."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: 50.0)
        self.pushed: list[tuple[float, str, int]] = []

    def push(self, time_s: float, picture: str, code: int) -> None:
        self.pushed.append((time_s, picture, code))


def begin(folder: Path, **changed: object) -> Session:
    config = StimulateConfig.model_validate({"output": folder, **changed})
    session = Session(config, PICTURES, Recorded())
    session.begin([])
    return session


def show(session: Session) -> None:
    session.begin_block(session.blocks_done + 1, BLOCK, AHEAD)
    session.show(0, shown=12.016)
    session.end_trial(0, drawn=12.0, shown=12.016, gone=12.516, missed=0)
    session.answer(shown=13.0, response_s=0.4321)
    session.end_trial(1, drawn=14.0, shown=14.016, gone=14.532, missed=1)
    session.end_trial(2, drawn=15.0, shown=15.016, gone=15.516, missed=0)


def test_the_quickest_exchange_counts():
    fit = fit_clock([tuple(one) for one in AHEAD])
    assert (fit.page, fit.offset, fit.round_trip) == pytest.approx((10.101, 100.0, 0.002))
    later = fit_clock([(70.0, 170.0015, 70.001)])
    assert drift_ms(fit, later) == pytest.approx(1.0)


@pytest.mark.parametrize("exchanges", [[], [(2.0, 1.0, 1.9)], [(1.0, 1.0, float("nan"))]])
def test_clocks_that_say_nothing(exchanges):
    with pytest.raises(ValueError, match=r"clock"):
        fit_clock(exchanges)


def test_events_are_those_that_bids_reads(tmp_path):
    session = begin(tmp_path)
    show(session)
    session.end_block([[20.0, 120.0015, 20.001]], {"count": 200, "missed": 1})
    path = tmp_path / "sub-01/ses-01/eeg/sub-01_ses-01_task-viewing_run-01_events.tsv"
    assert session.events_path == path
    events = read_events_table(path.with_name(path.name.replace("events.tsv", "eeg.edf")))
    assert events is not None
    assert events["onset"].tolist() == pytest.approx([62.016, 64.016, 65.016])  # +100 s, -50 s
    assert events["duration"].tolist() == pytest.approx([0.5, 0.516, 0.5])
    assert events["category"].tolist() == ["cat", "car", "cat"]
    assert events["stim_file"].tolist() == ["cat/b.png", "car/a.png", "cat/b.png"]
    assert events["code"].tolist() == [2, 1, 2]
    assert events["repeat"].tolist() == [0, 0, 1]
    assert events["missed_frames"].tolist() == [0, 1, 0]
    assert events["lsl_time"].isna().all()
    described = json.loads(path.with_suffix(".json").read_text())
    assert list(described)[:-1] == path.read_text().splitlines()[0].split("\t")
    answers = pd.read_csv(path.with_name(path.name.replace("events", "answers")), sep="\t")
    assert answers.to_dict("records") == [{"onset": 63.0, "response_time": 0.4321, "block": 1}]
    (block,) = json.loads((tmp_path / "session.json").read_text())["blocks"]
    assert block["clock_drift_ms"] == pytest.approx(1.0)
    assert isinstance(session.markers, Recorded)
    assert session.markers.pushed == [(pytest.approx(112.016), "cat/b.png", 2)]


def test_a_block_that_was_broken_off_is_not_done_and_its_trials_stay(tmp_path):
    session = begin(tmp_path)
    show(session)
    session.show(1, shown=16.016)  # its marker is sent, so it has a row as well
    assert session.abort_block("Escape was pressed")
    assert not session.abort_block("again")
    assert session.blocks_done == 0
    rows = session.events_path.read_text().splitlines()
    assert len(rows) == 5
    assert rows[-1].split("\t")[:5] == ["66.016000", "n/a", "car", "car/a.png", "1"]
    with pytest.raises(ValueError, match="no block was shown"):
        session.show(0, 1.0)
    # The same folder goes on, as another run.
    again = begin(tmp_path)
    show(again)
    again.end_block(AHEAD, {"count": 1, "missed": 0})
    assert "run-02" in again.events_path.name
    assert begin(tmp_path).blocks_done == 1
    record = json.loads((tmp_path / "session.json").read_text())
    assert record["aborted"] == [{"block": 1, "run": 1, "why": "Escape was pressed"}]


def test_another_person_or_other_pictures_do_not_go_on(tmp_path):
    begin(tmp_path)
    with pytest.raises(ValueError, match="holds a session of the subject '01'"):
        begin(tmp_path, subject="02")
    with pytest.raises(ValueError, match="holds a session of other pictures"):
        Session(StimulateConfig(output=tmp_path), PICTURES[:1], Recorded())
    (tmp_path / "session.json").write_text("[]")
    with pytest.raises(ValueError, match="is not the record of a session"):
        begin(tmp_path)


def test_a_name_breaks_no_row(tmp_path):
    odd = [Picture("c/a\tb\n.png", "c\td", Path("a"))]
    session = Session(StimulateConfig(output=tmp_path), odd, Recorded())
    session.begin([])
    session.begin_block(1, [Trial(0, 0.5, False)], AHEAD)
    session.end_trial(0, shown=1.0, drawn=1.0, gone=2.0, missed=0)
    rows = session.events_path.read_text().splitlines()
    assert [row.count("\t") for row in rows] == [10, 10]
