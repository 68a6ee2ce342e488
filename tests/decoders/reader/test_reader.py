"""The reader: its loss, what it averages, which attributes it reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import SIZES, reader_config

from dreamdiffusion.decoders.config import ReaderConfig
from dreamdiffusion.decoders.dreamdiffusion.pairs import Pairs
from dreamdiffusion.decoders.fit import make_split
from dreamdiffusion.decoders.reader.decoder import Reader
from dreamdiffusion.decoders.reader.network import ReaderNetwork
from dreamdiffusion.decoders.reader.pooling import FLOOR
from dreamdiffusion.decoders.reader.task import UNKNOWN, ReadingTask
from dreamdiffusion.models.encoders.eeg import EEGEncoder
from dreamdiffusion.training.random_numbers import Draw
from dreamdiffusion.trials.scaling import scale_trials
from dreamdiffusion.trials.trials import Trials

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng


def fit(config: ReaderConfig, trials: Trials | None = None) -> Reader:
    trials = trials or Trials.load(config.data)
    return Reader.fit(trials, make_split(trials, config), config)


def test_a_minute_of_training_reads_what_is_there(tmp_path: Path) -> None:
    config = reader_config(tmp_path, steps=60, batch_size=8, optim={"lr": 5e-3})
    reader = fit(config)
    trials = Trials.load(config.data)
    test = trials.select(make_split(trials, config).test)
    labels = np.array(reader.decode(test).labels)
    assert np.mean(labels == test.metadata["category"].to_numpy()) == 1.0


def test_the_loss_by_hand() -> None:
    network = ReaderNetwork(
        "compact", {"n_chans": 2, "n_times": 16, "embed_dim": 8, "dropout": 0.0},
        {"place": ["left", "right"], "category": ["a", "b", "c"]}, clip_dim=4,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    eeg = torch.randn(4, 2, 16, generator=generator)
    embeddings = F.normalize(torch.randn(3, 4, generator=generator), dim=1)
    # Trials 1 and 3 saw one picture: neither is a wrong answer for the other.
    pairs = Pairs(
        torch.empty(3, 0), embeddings, torch.tensor([0, 1, 2, 1]), torch.ones(4, dtype=torch.long)
    )
    labels = {
        "category": torch.tensor([0, 2, UNKNOWN, 2]),
        "place": torch.tensor([UNKNOWN] * 4),
    }
    config = ReaderConfig(
        noise_augment=0, shift_augment=0, label_smoothing=0.1, contrastive_weight=2, label_weight=3
    )
    task = ReadingTask(config, network, eeg, labels, pairs, np.arange(4), np.arange(0))
    got = task.loss(torch.arange(4), Draw(0, 0, 4))
    scores, embedding = network.train()(eeg)
    logits = 1 / 0.07 * embedding @ embeddings[[0, 1, 2, 1]].T
    right = torch.eye(4)
    right[1, 3] = right[3, 1] = 1
    right /= right.sum(1, keepdim=True)
    both = [-(right * part.log_softmax(1)).sum(1).mean() for part in (logits, logits.T)]
    contrastive = sum(both) / 2
    known = scores["category"][[0, 1, 3]].log_softmax(1)
    smooth = torch.full((3, 3), 0.1 / 3)
    smooth[torch.arange(3), torch.tensor([0, 2, 2])] += 0.9
    label = -(smooth * known).sum(1).mean()
    torch.testing.assert_close(got["contrastive"], contrastive, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got["label"], label, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got["loss"], 2 * contrastive + 3 * label, atol=1e-5, rtol=1e-5)
    assert task.validate() == {}


def test_dropout_is_a_function_of_the_step(tmp_path: Path) -> None:
    config = reader_config(tmp_path)
    reader = fit(config)
    trials = Trials.load(config.data)
    eeg = reader.processor(np.asarray(trials.data), trials.ch_names, trials.sfreq)
    labels = {"category": torch.zeros(len(eeg), dtype=torch.long)}
    pairs = Pairs(
        torch.empty(1, 0), torch.ones(1, 8), torch.zeros(24, dtype=torch.long),
        torch.ones(24, dtype=torch.long),
    )  # fmt: skip
    task = ReadingTask(
        config, reader.networks[0].train(), eeg, labels, pairs, np.arange(24), np.arange(0)
    )
    state = torch.get_rng_state()
    losses = [float(task.loss(torch.arange(4), Draw(0, s, 4))["loss"]) for s in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    assert torch.equal(torch.get_rng_state(), state)


def test_an_ensemble_averages_its_networks(tmp_path: Path) -> None:
    config = reader_config(tmp_path, ensemble=2, linear=False)
    both = fit(config)
    trials = Trials.load(config.data)
    assert both.facts()["ensemble"] == 2
    weights = [network.clip_head.weight for network in both.networks]
    assert not torch.equal(*weights)  # seeds of their own
    alone = [Reader(both.processor, [network]).decode(trials) for network in both.networks]
    answer = both.decode(trials)
    mean = sum(part.probabilities["category"] for part in alone) / 2  # type: ignore[index]
    np.testing.assert_allclose(answer.probabilities["category"], mean, rtol=1e-6)  # type: ignore[index]
    sums = alone[0].embeddings + alone[1].embeddings  # type: ignore[operator]
    torch.testing.assert_close(answer.embeddings, F.normalize(sums, dim=1))
    single = fit(reader_config(tmp_path, linear=False, output=tmp_path / "single"))
    torch.testing.assert_close(single.decode(trials).embeddings, alone[0].embeddings)


def test_the_linear_model_has_its_part(tmp_path: Path) -> None:
    config = reader_config(tmp_path)
    trials = Trials.load(config.data)
    reader = fit(config)
    assert len(reader.linear) == 1 and set(reader.facts()["pooling"]) == {"category"}
    alone = Reader(reader.processor, reader.networks).decode(trials).probabilities["category"]  # type: ignore[index]
    linear = reader.linear[0].decode(trials).probabilities["category"]  # type: ignore[index]
    weights = reader.pooling["category"]
    scores = weights[0] * np.log(alone) + weights[1] * np.log(np.maximum(linear, FLOOR))
    expected = np.exp(scores) / np.exp(scores).sum(axis=1).to_numpy()[:, None]
    np.testing.assert_allclose(reader.decode(trials).probabilities["category"], expected, rtol=1e-4)  # type: ignore[index]
    nothing = {"by": "run", "test": ["3"], "validation_fraction": 0}
    assert fit(reader_config(tmp_path, split=nothing, output=tmp_path / "none")).linear == []


def test_people_who_did_not_train_do_not_make_the_pool_surer_than_its_parts(tmp_path: Path) -> None:
    config = reader_config(tmp_path)
    trials = Trials.load(config.data)
    known = fit(config).pooling["category"]
    assert sum(known) > 1
    others = replace(trials, metadata=trials.metadata.assign(subject=trials.metadata["run"]))
    new = fit(reader_config(tmp_path, output=tmp_path / "new"), others).pooling["category"]
    assert new == pytest.approx([weight / sum(known) for weight in known], rel=1e-4)


def test_attributes_that_are_not_read_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    fit(reader_config(tmp_path, linear=True, linear_widths_s=[0.05, 0.1], steps=1))
    said = [line for line in caplog.messages if "not read" in line]
    assert len(said) == 1
    assert "color" in said[0]


def test_attributes_are_those_of_the_training_trials(tmp_path: Path) -> None:
    config = reader_config(tmp_path, attributes=["category", "color", "place"])
    trials = Trials.load(config.data)
    run = trials.metadata["run"]
    color = np.where(run == "3", "unseen", np.where(trials.metadata.index % 2 == 0, "red", "blue"))
    marked = replace(trials, metadata=trials.metadata.assign(color=color, place="left"))
    reader = fit(config, marked)
    assert reader.attributes == {"category": ["disc", "square"], "color": ["blue", "red"]}
    bare = replace(trials, metadata=trials.metadata.assign(category="disc"))
    with pytest.raises(ValueError, match=r"none of the attributes category, color, place"):
        fit(config, bare)


@pytest.mark.parametrize("pretrained", [False, True])
def test_the_papers_encoder_under_the_same_losses(tmp_path: Path, pretrained: bool) -> None:
    changes: dict[str, Any] = {"encoder": "mae", "mae": SIZES}
    if pretrained:
        encoder = EEGEncoder(
            n_chans=3, n_times=16, patch_size=4, embed_dim=16, depth=1, num_heads=2
        )
        encoder.save_pretrained(tmp_path / "pretrained" / "encoder")
        changes["pretrained"] = tmp_path / "pretrained"
    reader = fit(reader_config(tmp_path, **changes))
    assert isinstance(reader.networks[0].encoder, EEGEncoder)
    reader.save(tmp_path / "saved")
    trials = Trials.load(tmp_path / "trials")
    again = Reader.load(tmp_path / "saved").decode(trials)
    torch.testing.assert_close(again.embeddings, reader.decode(trials).embeddings)
    with pytest.raises(ValueError, match="pretrained goes with encoder mae"):
        fit(reader_config(tmp_path, pretrained=tmp_path, output=tmp_path / "other"))


def test_linear_models_of_several_windows_at_each_trials_own_scale(tmp_path: Path) -> None:
    config = reader_config(tmp_path, linear_widths_s=[0.02, 0.04], scale="trial")
    reader = fit(config)
    trials = Trials.load(config.data)
    assert [one.width_s for one in reader.linear] == [0.02, 0.04]
    scaled = replace(trials, data=scale_trials(trials.data))
    logs = [np.log(one.decode(scaled).probabilities["category"]) for one in reader.linear]  # type: ignore[index]
    alone = Reader(reader.processor, reader.networks).decode(trials).probabilities
    weights = reader.pooling["category"]
    scores = weights[0] * np.log(alone["category"]) + weights[1] * sum(logs) / 2  # type: ignore[index]
    expected = np.exp(scores).div(np.exp(scores).sum(axis=1), axis=0)
    answer = reader.decode(trials).probabilities["category"]  # type: ignore[index]
    np.testing.assert_allclose(answer, expected, atol=1e-5)
    larger = reader.decode(replace(trials, data=7 * trials.data)).probabilities["category"]  # type: ignore[index]
    np.testing.assert_allclose(larger, answer, atol=1e-5)
    reader.save(tmp_path / "saved")
    again = Reader.load(tmp_path / "saved").decode(trials).probabilities["category"]  # type: ignore[index]
    np.testing.assert_allclose(again, answer, atol=1e-4)


def test_a_reader_starts_from_an_earlier_one(tmp_path: Path) -> None:
    first = fit(reader_config(tmp_path, ensemble=2))
    first.save(tmp_path / "first")
    still = {"steps": 1, "optim": {"lr": 1e-12, "weight_decay": 0}}
    again = fit(reader_config(tmp_path, init=tmp_path / "first", output=tmp_path / "2", **still))
    torch.testing.assert_close(
        again.networks[0].clip_head.weight, first.networks[0].clip_head.weight
    )
    scratch = fit(reader_config(tmp_path, output=tmp_path / "3", **still))
    assert not torch.equal(scratch.networks[0].clip_head.weight, again.networks[0].clip_head.weight)
    other = {"n_temporal": 4, "embed_dim": 16}
    wrong = r"is a ReaderNetwork with sizes .* set it as it was there"
    with pytest.raises(ValueError, match=wrong):
        fit(reader_config(tmp_path, init=tmp_path / "first", output=tmp_path / "4", compact=other))


def test_a_start_knows_values_that_few_trials_do_not_show(tmp_path: Path) -> None:
    config = reader_config(tmp_path)
    trials = Trials.load(config.data)

    def with_shapes(*shapes: str) -> Trials:
        column = np.resize(np.array(shapes), len(trials))
        return replace(trials, metadata=trials.metadata.assign(shape=column))

    wanted: dict[str, Any] = {"attributes": ["category", "shape"]}
    first = fit(reader_config(tmp_path, **wanted), with_shapes("flat", "long", "round"))
    first.save(tmp_path / "first")
    wanted |= {"init": tmp_path / "first", "steps": 1, "optim": {"lr": 1e-12, "weight_decay": 0}}
    few = fit(reader_config(tmp_path, **wanted, output=tmp_path / "2"), with_shapes("flat", "long"))
    assert few.attributes["shape"] == ["flat", "long", "round"]
    torch.testing.assert_close(few.networks[0].heads[1].weight, first.networks[0].heads[1].weight)
    assert first.linear
    assert not few.linear  # which could not say how likely "round" is
    # One value alone is no attribute of its own, but the start has one.
    one = fit(reader_config(tmp_path, **wanted, output=tmp_path / "3"), with_shapes("long"))
    assert one.attributes == first.attributes
    with pytest.raises(ValueError, match="have shape thin, which the reader of init did not learn"):
        fit(
            reader_config(tmp_path, **wanted, output=tmp_path / "4"),
            with_shapes("flat", "thin"),
        )


def test_a_reader_starts_from_one_that_began_with_a_pretrained_encoder(tmp_path: Path) -> None:
    encoder = EEGEncoder(n_chans=3, n_times=16, patch_size=4, embed_dim=16, depth=1, num_heads=2)
    encoder.save_pretrained(tmp_path / "pretrained" / "encoder")
    mae: dict[str, Any] = {"encoder": "mae", "mae": SIZES}
    first = fit(reader_config(tmp_path, **mae, pretrained=tmp_path / "pretrained"))
    first.save(tmp_path / "first")
    still = {"steps": 1, "optim": {"lr": 1e-12, "weight_decay": 0}, "output": tmp_path / "2"}
    again = fit(reader_config(tmp_path, **mae, init=tmp_path / "first", **still))
    torch.testing.assert_close(
        again.networks[0].clip_head.weight, first.networks[0].clip_head.weight
    )


def test_a_pretrained_encoder_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}
    EEGEncoder(n_chans=32, n_times=16, montage="any", **sizes).save_pretrained(tmp_path / "any")
    EEGEncoder(n_chans=4, n_times=16, **sizes).save_pretrained(tmp_path / "four")
    for name, why in (("any", "knows channels by their place"), ("four", "takes 4 channels")):
        with pytest.raises(ValueError, match=why):
            fit(reader_config(tmp_path, encoder="mae", mae=SIZES, pretrained=tmp_path / name))


def test_electrodes_are_trusted_as_far_as_they_say_something(tmp_path: Path) -> None:
    config = reader_config(
        tmp_path, linear_widths_s=[0.02, 0.04], scale="trial", electrode_relevance=True
    )
    trials = Trials.load(config.data)
    rng = np.random.default_rng(0)
    data = np.array(trials.data)
    data[:, 1] = 1e-5 * rng.standard_normal(data[:, 1].shape)  # the second channel is noise
    trials = replace(trials, data=data)
    reader = fit(config, trials)
    assert [one.relevance is not None for one in reader.linear] == [False, False, True, True]
    sizes = np.mean([one.relevance for one in reader.linear[2:]], axis=0)
    np.testing.assert_allclose(reader.relevance, sizes / sizes.max())  # type: ignore[arg-type]
    facts = reader.facts()["relevance"]
    assert list(facts) == trials.ch_names and facts[trials.ch_names[1]] == min(facts.values()) < 0.9
    # The networks see each channel as large as it is relevant.
    bare = Reader(reader.processor, reader.networks)
    weighed = Reader(reader.processor, reader.networks, relevance=reader.relevance)
    scaled = torch.from_numpy(scale_trials(data)).float() * torch.tensor(reader.relevance)[:, None]
    expected = reader.networks[0](scaled)[1].detach()
    torch.testing.assert_close(weighed.decode(trials).embeddings, expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(bare.decode(trials).embeddings, expected, atol=1e-3)  # type: ignore[arg-type]
    reader.save(tmp_path / "saved")
    again = Reader.load(tmp_path / "saved")
    assert again.relevance == reader.relevance
    assert again.linear[3].relevance == reader.linear[3].relevance
    with pytest.raises(ValueError, match="goes with scale trial or robust; whiten mixes"):
        fit(config.model_copy(update={"scale": "whiten", "output": tmp_path / "whiten"}), trials)
