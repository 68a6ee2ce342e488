"""Repair of single trials' channels: what departs is replaced, nothing else is touched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import reader_config

from dreamdiffusion.decoders.base import Decoder
from dreamdiffusion.decoders.baselines import fit_baselines, load_baselines
from dreamdiffusion.decoders.config import EncodingConfig
from dreamdiffusion.decoders.encoding import Encoding
from dreamdiffusion.decoders.fit import fit, make_split
from dreamdiffusion.decoders.lda import LDA
from dreamdiffusion.decoders.reader.decoder import Reader
from dreamdiffusion.decoders.registry import registry
from dreamdiffusion.decoders.repair import ChannelRepair
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials


def correlated(n: int, seed: int = 0) -> np.ndarray:
    """Six channels that see two sources, and a little noise of their own; volts."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(9).standard_normal((6, 2))
    sources = rng.standard_normal((n, 2, 50))
    return 1e-5 * (mixing @ sources + 0.1 * rng.standard_normal((n, 6, 50)))


def test_a_loose_electrode_is_replaced_by_what_the_others_say(tmp_path: Path) -> None:
    repair = ChannelRepair.fit(correlated(200), 4.0)
    clean = correlated(30, seed=1)
    np.testing.assert_array_equal(repair(clean), clean)
    spoilt = clean.copy()
    spoilt[3, 2] += 1e-4 * np.random.default_rng(2).standard_normal(50)
    got = repair(spoilt)
    assert np.std(got[3, 2] - clean[3, 2]) < 0.2e-5 < np.std(spoilt[3, 2] - clean[3, 2])
    np.testing.assert_array_equal(np.delete(got, 3, axis=0), np.delete(clean, 3, axis=0))
    np.testing.assert_array_equal(np.delete(got[3], 2, axis=0), np.delete(clean[3], 2, axis=0))
    repair.save(tmp_path)
    again = ChannelRepair.load(tmp_path)
    assert again is not None
    np.testing.assert_allclose(again(spoilt), got)


def test_where_half_the_channels_depart_the_rest_cannot_tell() -> None:
    repair = ChannelRepair.fit(correlated(200), 4.0)
    spoilt = correlated(2, seed=1)
    spoilt[0, :4] = 1e-3 * np.random.default_rng(2).standard_normal((4, 50))
    np.testing.assert_array_equal(repair(spoilt), spoilt)


@pytest.mark.global_rng
def test_a_reader_repairs_what_it_reads_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = reader_config(tmp_path, repair_channels=4.0)
    trials = Trials.load(config.data)
    reader = Reader.fit(trials, make_split(trials, config), config)
    assert reader.repair is not None
    plain = Reader(reader.processor, reader.networks, reader.linear, reader.pooling)
    trials.data = np.array(trials.data)
    trials.data[5, 0] *= 500
    with caplog.at_level("INFO"):
        got = reader.decode(trials).embeddings
    assert "were replaced" in caplog.text
    trials.data = reader.repair(trials.data)
    assert np.allclose(got, plain.decode(trials).embeddings, atol=1e-5)  # type: ignore[arg-type]
    reader.save(tmp_path / "saved")
    assert Reader.load(tmp_path / "saved").repair is not None


@pytest.mark.global_rng
def test_a_reader_learns_from_repaired_trials(tmp_path: Path) -> None:
    config = reader_config(tmp_path, repair_channels=4.0)
    trials = Trials.load(config.data)
    split = make_split(trials, config)
    trials.data = np.array(trials.data)
    trials.data[split.train[0], 0] *= 500
    reader = Reader.fit(trials, split, config)
    repair = ChannelRepair.fit(trials.data[split.train], 4.0)
    clean = repair(trials.data)
    assert not np.array_equal(clean[split.train[0], 0], trials.data[split.train[0], 0])
    linear = EncodingConfig(attributes=list(reader.attributes), width_s=config.linear_widths_s[0])
    expected = Encoding.fit(replace(trials, data=clean), split, linear)
    np.testing.assert_allclose(reader.linear[0].weights, expected.weights)


def spoilt_trials(tmp_path: Path) -> tuple[Trials, Split]:
    """Trials of two categories, one source of each; a loose electrode in every sixth trial."""
    config = reader_config(tmp_path)
    trials = Trials.load(config.data)
    data = correlated(len(trials))
    second = trials.metadata["category"].eq(trials.metadata["category"].iloc[0]).to_numpy()
    data[second] += correlated(1, seed=2)[0] / 2
    data[::6, 0] += 1e-4 * np.random.default_rng(3).standard_normal((len(data[::6]), 50))
    ch_names = [f"E{number}" for number in range(6)]
    return replace(trials, data=data, ch_names=ch_names), make_split(trials, config)


@pytest.mark.global_rng
@pytest.mark.parametrize("name", ["lda", "encoding"])
def test_linear_decoders_learn_from_and_read_repaired_trials(name: str, tmp_path: Path) -> None:
    trials, split = spoilt_trials(tmp_path)
    repair = ChannelRepair.fit(trials.data[split.train], 4.0)
    schema, decoder = registry.schema(name), registry[name]
    fitted = decoder.fit(trials, split, schema(repair_channels=4.0))
    repaired = replace(trials, data=repair(trials.data))
    of_clean = decoder.fit(repaired, split, schema())
    of_spoilt = decoder.fit(trials, split, schema())
    fitted.save(tmp_path / "saved")
    for one in (fitted, decoder.load(tmp_path / "saved")):
        got, expected = named(one, trials), named(of_clean, repaired)
        np.testing.assert_allclose(got, expected, atol=1e-4)
        assert np.abs(got - named(of_clean, trials)).max() > 0.01  # it repairs what it reads
        assert np.abs(got - named(of_spoilt, repaired)).max() > 0.01  # and what it learns from


def named(decoder: Decoder, trials: Trials) -> np.ndarray:
    """Return the probabilities of the categories."""
    tables = decoder.decode(trials).probabilities
    assert tables is not None
    return tables["category"].to_numpy()


@pytest.mark.global_rng
def test_baselines_repair_as_their_model_does(tmp_path: Path) -> None:
    trials, split = spoilt_trials(tmp_path)
    for threshold in (None, 4.0):
        fit_baselines(trials, split, tmp_path / "model", threshold)
        for baseline in load_baselines(tmp_path / "model").values():
            assert isinstance(baseline, LDA)
            assert (baseline.repair and baseline.repair.threshold) == threshold


@pytest.mark.global_rng
def test_a_fit_says_once_in_how_many_trials_channels_were_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trials, split = spoilt_trials(tmp_path)
    with caplog.at_level("INFO"):
        fit(trials, split, "lda", output=tmp_path / "lda", repair_channels=4.0)
    said = [text for text in caplog.messages if "were replaced" in text]
    n = len(trials)
    assert said == [f"channels of {len(range(0, n, 6))} of {n} trials were replaced"]


def test_trials_that_are_not_finite_are_no_ground_for_a_repair() -> None:
    data = correlated(3)
    data[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite values"):
        ChannelRepair.fit(data, 4.0)
