"""`run` from files of consumer headsets: what is read is what was written, up to the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
from headset_files import Session, write_brainflow, write_mind_monitor, write_openbci, write_xdf
from mne.filter import filter_data
from photo_space import stand_in
from PIL import Image
from recording_files import SFREQ, edf

from dreamdiffusion.cli.config import RunConfig
from dreamdiffusion.cli.own import plan
from dreamdiffusion.cli.own.command import run
from dreamdiffusion.recordings.find import find_recordings
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.trials.trials import Trials

CHANNELS = ["TP9", "AF7", "AF8", "TP10"]
PICTURES = ["cats/tom.png", "cats/kit.png", "dogs/rex.png", "dogs/max.png"]
N_TRIALS, STEP, N_TIMES = 60, 154, 40 * SFREQ
ROWS = 100 + STEP * np.arange(N_TRIALS)
"""Samples of the onsets."""


class Way(NamedTuple):
    """A format, and how its owner says what was shown."""

    write: Callable[[Path, Session], Path]
    table: Callable[[int, str, int], str] | None = None
    """Trial, picture, its code -> row of `events.csv`; None: the markers say it."""
    head: str = ""
    stated: Mapping[str, Any] = MappingProxyType({})
    named: bool = False
    """Markers are the pictures' names."""


def as_edf(folder: Path, session: Session) -> Path:
    return edf(folder / "a.edf", CHANNELS, annotations=False, samples=session.data)


WAYS = {
    "mind monitor, class folders": Way(
        lambda folder, session: write_mind_monitor(folder, CHANNELS, session=session),
        stated={"codes": {"cats": 1, "dogs": 2}},
    ),
    "openbci gui, a table of codes": Way(
        lambda folder, session: write_openbci(folder, session=session),
        lambda trial, picture, code: f"{code},{picture}",
        "code,picture",
        {"file_channels": CHANNELS},
    ),
    "brainflow, a table in order": Way(
        lambda folder, session: write_brainflow(folder, session=session),
        lambda trial, picture, code: picture,
        "picture",
        {"board": "MUSE_2_BOARD"},
    ),
    "xdf, markers that name pictures": Way(
        lambda folder, session: write_xdf(folder, CHANNELS, session=session), named=True
    ),
    "edf, a table of onsets": Way(
        as_edf,
        lambda trial, picture, code: f"{ROWS[trial] / SFREQ},{picture}",
        "onset,picture",
    ),
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "LEAST_STEPS", 10)
    monkeypatch.setattr(plan, "MOST_STEPS", 10)
    monkeypatch.setitem(plan.FEW_OF_CLASSES, "ensemble", 1)
    monkeypatch.setattr(plan, "lite_installed", lambda: True)
    stand_in(monkeypatch)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for grey, name in enumerate(PICTURES):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (60 * grey,) * 3).save(path)
    return tmp_path / "pictures"


def session_of(way: Way) -> tuple[Session, list[str]]:
    """Return 60 trials of four pictures, each with an answer of its own, and what was shown."""
    rng = np.random.default_rng(3)
    data = rng.normal(0, 8, (len(CHANNELS), N_TIMES)).round(1)
    order = rng.permutation(np.resize(np.arange(len(PICTURES)), N_TRIALS))
    answers = 40 * rng.choice([-1, 1], (len(PICTURES), len(CHANNELS)))
    marked: dict[int, Any] = {}
    for row, picture in zip(ROWS, order, strict=True):
        data[:, row + 40 : row + 80] += answers[picture][:, None]
        code = picture // 2 + 1 if way.stated.get("codes") else picture + 1
        marked[int(row)] = PICTURES[picture] if way.named else int(code)
    return Session(data, marked), [PICTURES[picture] for picture in order]


@pytest.mark.parametrize("name", WAYS)
def test_from_the_file_of_a_headset_to_its_report(name: str, tmp_path: Path, pictures: Path):
    way = WAYS[name]
    session, shown = session_of(way)
    (tmp_path / "eeg").mkdir()
    path = way.write(tmp_path / "eeg", session)
    asked: dict[str, Any] = dict(way.stated)
    if way.table is not None:
        rows = [way.table(n, one, PICTURES.index(one) + 1) for n, one in enumerate(shown)]
        rows = list(dict.fromkeys(rows)) if way.head.startswith("code") else rows
        asked["events"] = tmp_path / "events.csv"
        asked["events"].write_text("\n".join([way.head, *rows]) + "\n")
    own = tmp_path / "own"
    found = run(RunConfig(recordings=[path], pictures=pictures, output=own, **asked))

    (kept,) = find_recordings([own / "bids"])
    raw = read_recording(kept).raw
    samples = raw.get_data(picks=CHANNELS)[:, :N_TIMES] * 1e6
    np.testing.assert_allclose(samples, session.data, atol=0.02)
    trials = Trials.load(own / "trials")
    assert (trials.ch_names, trials.sfreq, len(trials)) == (CHANNELS, SFREQ, N_TRIALS)
    np.testing.assert_allclose(trials.metadata["onset"], ROWS / SFREQ, atol=0.5 / SFREQ)
    assert trials.metadata["category"].tolist() == [one.split("/")[0] for one in shown]
    if "codes" not in asked:  # else only the class is known
        assert trials.metadata["stim_file"].tolist() == shown
    filtered = filter_data(session.data * 1e-6, SFREQ, 1.0, 30.0, verbose="error")
    cut = np.stack([filtered[:, row : row + trials.n_times] for row in ROWS])
    np.testing.assert_allclose(np.asarray(trials.data), cut, atol=5e-8)
    assert "Nothing is drawn" in (own / "scores" / "report.html").read_text("utf-8")
    assert (own / "result.txt").read_text("utf-8") == found["result"] + "\n"
    assert list(found) == ["scores", "steps", "result", "report"]  # the last is read first
    assert Path(found["steps"]).is_file() and Path(found["report"]).is_file()
    assert set(found["scores"]) >= {"category_top1"}
