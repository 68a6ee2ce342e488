"""A reader on another headset: what its channels tell of the reader's, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import SIZES, reader_config

from dreamdiffusion.decoders.config import ReaderConfig
from dreamdiffusion.decoders.fit import make_split
from dreamdiffusion.decoders.reader.decoder import Reader
from dreamdiffusion.decoders.reader.montage import CapEstimate
from dreamdiffusion.recordings.electrodes import electrode_positions
from dreamdiffusion.trials.trials import Trials

CAP = ["Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "T7", "C3", "Cz", "C4", "T8"]
CAP += ["P7", "P3", "Pz", "P4", "P8", "O1", "O2"]
SOURCES = np.array([[0.05, 0.06, 0.06], [-0.05, -0.03, 0.08], [0.02, -0.07, 0.05]])  # m


def record(names: list[str], n: int, seed: int = 0) -> Trials:
    """Three sources that spread smoothly over the head, and a little noise of each electrode."""
    rng = np.random.default_rng(seed)
    distance = np.linalg.norm(electrode_positions(names)[:, None] - SOURCES, axis=2)
    mixing = np.exp(-0.5 * (distance / 0.06) ** 2)
    source = rng.standard_normal((n, len(SOURCES), 40))
    noise = 0.02 * rng.standard_normal((n, len(names), 40))
    metadata = {name: ["x"] * n for name in ("subject", "session", "run", "category", "stim_file")}
    return Trials(
        data=(1e-5 * (mixing @ source + noise)).astype(np.float32), ch_names=list(names),
        sfreq=100.0, tmin=0.0, metadata=pd.DataFrame(metadata | {"onset": np.arange(n) * 1.0}),
    )  # fmt: skip


@pytest.fixture(scope="module")
def cap() -> CapEstimate:
    trials = record(CAP, 100)
    return CapEstimate.fit(np.asarray(trials.data), CAP)


def off(got: Trials, wanted: Trials) -> float:
    """Return the deviation of trials from others, as a share of theirs."""
    return float(np.std(got.data - wanted.data) / np.std(wanted.data))


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(len(CAP))))
def test_the_order_of_channels_does_not_matter(cap: CapEstimate, order: list[int]) -> None:
    trials = record(CAP, 2, seed=1)
    mixed = replace(trials, data=trials.data[:, order], ch_names=[CAP[i] for i in order])
    np.testing.assert_array_equal(cap(mixed).data, trials.data)
    more = replace(mixed, data=mixed.data[:, 1:], ch_names=mixed.ch_names[1:])
    rest = sorted(range(1, len(CAP)), key=lambda i: order[i])
    same = replace(mixed, data=mixed.data[:, rest], ch_names=[mixed.ch_names[i] for i in rest])
    np.testing.assert_allclose(cap(more).data, cap(same).data, atol=1e-9)


def test_channels_that_nobody_asks_for_are_left_out(cap: CapEstimate) -> None:
    trials = record([*CAP, "Oz"], 3, seed=1)
    got = cap(trials)
    assert got.ch_names == CAP
    np.testing.assert_array_equal(got.data, trials.data[:, : len(CAP)])


def test_an_absent_channel_is_what_its_neighbours_say(
    cap: CapEstimate, caplog: pytest.LogCaptureFixture
) -> None:
    trials = record(CAP, 20, seed=1)
    kept = [i for i, name in enumerate(CAP) if name not in ("Pz", "C4")]
    fewer = replace(trials, data=trials.data[:, kept], ch_names=[CAP[i] for i in kept])
    with caplog.at_level("WARNING"):
        got = cap(fewer)
    assert "lacks 2 of the reader's 19 channels (C4, Pz); they are estimated from the 17" in (
        caplog.text
    )
    # Those that are there stay, but for what they share: another reference could be its cause.
    shift = got.data[:, kept] - trials.data[:, kept]
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :1], shift.shape), atol=1e-8)
    assert off(got, trials) < 0.05
    lost = [CAP.index("Pz"), CAP.index("C4")]
    assert np.std(got.data[:, lost] - trials.data[:, lost]) < 0.1 * np.std(trials.data[:, lost])
    unplugged = replace(trials, data=np.array(trials.data))
    unplugged.data[3:, lost] = np.nan
    both = cap(unplugged).data
    np.testing.assert_array_equal(both[:3], trials.data[:3])  # whole trials stay as they are
    np.testing.assert_allclose(both[3:], got.data[3:], atol=1e-12)


def test_other_places_and_another_reference() -> None:
    both = record([*CAP, "F1", "FC3", "FC4", "CP1", "CP2", "PO3", "PO4", "CPz", "FT8"], 100, seed=2)
    mine = replace(both, data=both.data[:, : len(CAP)], ch_names=CAP)
    others = both.ch_names[len(CAP) :]
    estimate = CapEstimate.fit(np.asarray(mine.data), CAP)
    theirs = both.data[:, len(CAP) :]
    got = estimate(replace(both, data=theirs, ch_names=others))
    assert off(got, mine) < 0.6  # nine electrodes, none of them the cap's
    shifted = estimate(replace(both, data=theirs - theirs[:, :1], ch_names=others))
    np.testing.assert_allclose(shifted.data, got.data, atol=3e-7)


def test_what_has_no_place_is_named(cap: CapEstimate) -> None:
    trials = record(CAP[:4], 2)
    for name, why in (("EMG", "no position is known for EMG"), ("C3-Cz", "C3-Cz are bipolar")):
        other = replace(trials, ch_names=[*CAP[:3], name])
        with pytest.raises(ValueError, match=why):
            cap(other)
        with pytest.raises(ValueError, match=why):
            CapEstimate.fit(np.asarray(trials.data), other.ch_names)
    empty = replace(trials, data=np.full_like(trials.data, np.nan))
    with pytest.raises(ValueError, match="trial 0 has no channel that is not NaN"):
        cap(empty)


def test_saved_and_opened_it_gives_the_same(cap: CapEstimate, tmp_path: Path) -> None:
    cap.save(tmp_path / "cap.safetensors")
    trials = record(CAP[::2], 3)
    again = CapEstimate.load(tmp_path / "cap.safetensors")
    np.testing.assert_array_equal(again(trials).data, cap(trials).data)


@pytest.mark.global_rng
@pytest.mark.parametrize("encoder", ["compact", "mae"])
def test_a_reader_opens_on_another_headset(tmp_path: Path, encoder: str) -> None:
    sizes: dict[str, Any] = {"encoder": encoder, "mae": SIZES, "montage": "any"}
    config = reader_config(tmp_path, **sizes, repair_channels=50.0)
    trials = Trials.load(config.data)
    reader = Reader.fit(trials, make_split(trials, config), config)
    order = [2, 0, 1]
    mixed = replace(
        trials, data=trials.data[:, order], ch_names=[trials.ch_names[i] for i in order]
    )
    torch.testing.assert_close(reader.decode(mixed).embeddings, reader.decode(trials).embeddings)
    reader.save(tmp_path / "saved")
    opened = Reader.load(tmp_path / "saved")
    fewer = replace(trials, data=trials.data[:, :2], ch_names=[trials.ch_names[0], "CPz"])
    answer = opened.decode(fewer)
    torch.testing.assert_close(answer.embeddings, reader.decode(fewer).embeddings)
    assert np.isfinite(answer.probabilities["category"].to_numpy()).all()  # type: ignore[index]
    fixed = Reader(reader.processor, reader.networks)
    with pytest.raises(ValueError, match="lacks the channels"):
        fixed.decode(fewer)


def test_the_montage_of_the_encoder_alone_is_no_setting_of_a_reader() -> None:
    with pytest.raises(ValueError, match="set montage: any"):
        ReaderConfig(mae={"montage": "any"})  # type: ignore[arg-type]
