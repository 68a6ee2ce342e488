"""The prior: its posterior by hand, the fit of its weights, its bank."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from tiny import prior_config

from dreamdiffusion.decoders.base import Answer
from dreamdiffusion.decoders.config import PriorSampleConfig
from dreamdiffusion.decoders.fit import make_split
from dreamdiffusion.decoders.prior.bank import Bank
from dreamdiffusion.decoders.prior.decoder import Prior
from dreamdiffusion.decoders.prior.features import low_level
from dreamdiffusion.decoders.prior.posterior import (
    FLOOR,
    Evidence,
    PosteriorWeights,
    choose,
    fit_class_weight,
    fit_weights,
    marginals,
    most_likely,
)
from dreamdiffusion.trials.trials import Trials

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng


def embed(images: torch.Tensor) -> torch.Tensor:
    """Embed pictures by their mean colour."""
    return F.normalize(images.mean(dim=(2, 3)), dim=1)


def test_posterior_by_hand() -> None:
    answer = Answer(
        embeddings=torch.tensor([[1.0, 0.0]]),
        probabilities={
            "category": pd.DataFrame([[0.8, 0.2]], columns=["cat", "key"]),  # type: ignore[arg-type]
            "mood": pd.DataFrame([[0.5, 0.5]], columns=["a", "b"]),  # type: ignore[arg-type]
        },
    )
    pictures = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    shown = pd.DataFrame({"category": ["cat", "key", "house"]})
    evidence = Evidence.of(answer, pictures, shown)
    unknown = (np.log(0.8) + np.log(0.2)) / 2  # of what the reader has no word for: the mean
    expected = np.array([2 + np.log(0.8), 1.2 + np.log(0.2), 0 + unknown])
    got = evidence.log_posterior(PosteriorWeights(2.0, 1.0)).exp()[0].numpy()
    np.testing.assert_allclose(got, np.exp(expected) / np.exp(expected).sum(), rtol=1e-5)
    cold = evidence.log_posterior(PosteriorWeights(2.0, 1.0), 0.01).exp()[0]
    assert float(cold[0]) > 0.999
    assert choose(evidence.log_posterior(PosteriorWeights(2.0, 1.0)), 2, None).tolist() == [[0, 1]]
    sure = pd.DataFrame([[1.0, 0.0]], columns=["cat", "key"])  # type: ignore[arg-type]
    floor = Evidence.of(Answer(embeddings=answer.embeddings, probabilities={"category": sure}),
                        pictures, shown)  # fmt: skip
    assert float(floor.log_probability[0, 1]) == pytest.approx(np.log(FLOOR), rel=1e-5)


def test_pictures_that_are_alike_likely_take_turns():
    """Only the class is known: every picture of it is shown, and a trial always gets the same."""
    scores = torch.tensor([[0.0, 3.0, 3.0, 1.0, 3.0], [5.0, 4.0, 3.0, 2.0, 1.0]]).repeat(40, 1)
    log_posterior, numbers = scores.log_softmax(dim=1), np.arange(80)
    places = most_likely(log_posterior, 4, numbers)
    assert {tuple(row) for row in places[::2]} == {(1, 2, 4, 3), (2, 4, 1, 3), (4, 1, 2, 3)}
    assert {tuple(row) for row in places[1::2]} == {(0, 1, 2, 3)}
    one = most_likely(log_posterior, 1, numbers)
    np.testing.assert_array_equal(one, places[:, :1])
    counts = np.bincount(one[::2, 0], minlength=5)
    assert counts[[0, 3]].tolist() == [0, 0] and min(counts[[1, 2, 4]]) >= 6  # 13 on average
    some = np.array([7, 30, 61])
    np.testing.assert_array_equal(most_likely(log_posterior[some], 4, some), places[some])


def test_the_weights_are_found_again() -> None:
    """Trials whose picture is drawn from a posterior with known weights."""
    generator = torch.Generator().manual_seed(0)
    n, m = 3000, 40
    similarity = torch.randn(n, m + 1, generator=generator)
    words = torch.randn(n, m + 1, generator=generator)
    drawn = torch.multinomial((1.5 * similarity + 0.7 * words).softmax(1), 1, generator=generator)
    rest = torch.ones(n, m + 1, dtype=torch.bool).scatter(1, drawn, False)
    bank = Evidence(similarity[rest].view(n, m), words[rest].view(n, m))
    own = Evidence(torch.diag(similarity.gather(1, drawn)[:, 0]),
                   torch.diag(words.gather(1, drawn)[:, 0]))  # fmt: skip
    found = fit_weights(bank, own)
    assert found.similarity == pytest.approx(1.5, abs=0.1)
    assert found.attributes == pytest.approx(0.7, abs=0.1)


def test_the_likelihood_has_its_weight() -> None:
    generator = torch.Generator().manual_seed(0)
    n, m = 3000, 40
    parts = torch.randn(3, n, m + 1, generator=generator)
    true = torch.tensor([1.5, 0.7, 0.4])
    drawn = torch.multinomial(torch.einsum("i,inm->nm", true, parts).softmax(1), 1,
                              generator=generator)  # fmt: skip
    rest = torch.ones(n, m + 1, dtype=torch.bool).scatter(1, drawn, False)
    bank = Evidence(*(part[rest].view(n, m) for part in parts))
    own = Evidence(*(torch.diag(part.gather(1, drawn)[:, 0]) for part in parts))
    found = fit_weights(bank, own)
    got = [found.similarity, found.attributes, found.likelihood]
    np.testing.assert_allclose(got, true, atol=0.1)
    by_hand = true[0] * parts[0] + true[1] * parts[1] + true[2] * parts[2]
    log_posterior = Evidence(*parts).log_posterior(PosteriorWeights(*true.tolist()))
    torch.testing.assert_close(log_posterior, by_hand.log_softmax(dim=1))


def test_marginals_by_hand() -> None:
    log_posterior = torch.tensor([[0.5, 0.3, 0.2]]).log()
    shown = pd.DataFrame({"category": ["cat", "key", "cat"]})
    table = pd.DataFrame([[0.9, 0.1]], columns=["key", "cat"])  # type: ignore[arg-type]
    mood = pd.DataFrame([[1.0]], columns=["a"])  # type: ignore[arg-type]
    found = marginals(log_posterior, shown, {"category": table, "mood": mood})
    np.testing.assert_allclose(found["category"].to_numpy(), [[0.3, 0.7]], rtol=1e-6)
    assert found["mood"] is mood  # the pictures do not say
    owl = table.assign(owl=0.0)
    assert marginals(log_posterior, shown, {"category": owl})["category"] is owl  # no picture of it


def test_the_weight_of_classes_is_found_again() -> None:
    """Trials whose class is drawn from a tempered answer; one class has two pictures."""
    generator = torch.Generator().manual_seed(0)
    logs = torch.randn(4000, 2, generator=generator).log_softmax(1)
    words = logs[:, [0, 0, 1]]  # of the bank's pictures
    picture = torch.multinomial((0.6 * words).softmax(1), 1, generator=generator)[:, 0]
    shown = torch.tensor([0, 0, 1])[picture]
    bank = Evidence(torch.randn(4000, 3, generator=generator), words)
    found = fit_class_weight(bank, torch.tensor([0, 0, 1])[None] == shown[:, None])
    assert found.similarity == 0
    assert found.attributes == pytest.approx(0.6, abs=0.1)
    inverted = fit_class_weight(bank, torch.tensor([0, 0, 1])[None] != shown[:, None])
    assert inverted.attributes == 0.01  # the likelier class stays in front


def test_trials_whose_class_alone_is_known(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = prior_config(tmp_path)
    trials = Trials.load(config.data)
    for number, path in enumerate(sorted(trials.stimuli_root.glob("*.png"))):  # type: ignore[union-attr]
        name = trials.metadata["category"].iloc[number]
        copy = tmp_path / "classes" / name / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    metadata = trials.metadata.assign(stim_file="", pool=trials.metadata["category"])
    trials = replace(trials, metadata=metadata, stimuli_root=tmp_path / "classes")
    split = make_split(trials, config)
    config = prior_config(tmp_path, bank=tmp_path / "classes")
    prior = Prior.fit(trials, split, config)
    assert "no picture of the bank" not in caplog.text
    assert prior.weights.similarity == 0 and prior.weights.attributes > 0.1
    test = trials.select(split.test)
    assert prior.likelihood is None  # which pictures were seen is not known
    answer, evidence = prior.compare(test)
    sample = PriorSampleConfig(temperature=0, num_images_per_prompt=2)
    places = prior.choose(evidence, sample, np.arange(len(test)))
    shown = prior.bank.attributes["category"].to_numpy()[places]
    assert (shown == np.array(answer.labels)[:, None]).all()
    shutil.copytree(tmp_path / "classes" / "square", tmp_path / "bank" / "square")
    less = prior_config(tmp_path, bank=tmp_path / "bank", output=tmp_path / "less")
    caplog.clear()
    with pytest.raises(ValueError, match="the bank has no picture of disc, which validation"):
        Prior.fit(trials, split, less)
    assert "no picture of the bank shows disc, so images of such trials" in caplog.text


def test_draws_follow_the_posterior() -> None:
    log_posterior = torch.tensor([[0.7, 0.2, 0.1]]).log()
    numbers = [[torch.Generator().manual_seed(i) for i in range(4000)]]
    places = choose(log_posterior, 4000, numbers)
    shares = np.bincount(places[0], minlength=3) / 4000
    np.testing.assert_allclose(shares, [0.7, 0.2, 0.1], atol=0.03)


def test_a_bank_of_scenes_is_a_function_of_its_seed(tmp_path: Path) -> None:
    bank = Bank.of_scenes(6, 16, 3, embed)
    bank.save(tmp_path / "bank")
    again = Bank.load(tmp_path / "bank")
    assert again.attributes.equals(bank.attributes)
    assert torch.equal(again.pictures(np.array([4, 1])), bank.pictures(np.array([4, 1])))
    torch.testing.assert_close(again.embeddings, bank.embeddings, atol=1e-3, rtol=1e-3)
    pictures = bank.pictures(np.arange(6))
    assert pictures.shape == (6, 3, 16, 16) and pictures.min() >= 0 and pictures.max() <= 1
    torch.testing.assert_close(embed(pictures), bank.embeddings)
    assert not bank.attributes.equals(Bank.of_scenes(6, 16, 4, embed).attributes)


def test_a_saved_bank_of_the_same_scenes_and_clip_is_not_drawn_again(tmp_path: Path) -> None:
    saved = Bank.of_scenes(40, 16, 3, embed)
    saved.save(tmp_path / "bank")
    counts: list[int] = []

    def counted(pictures: torch.Tensor) -> torch.Tensor:
        counts.append(len(pictures))
        return embed(pictures)

    fewer = Bank.of_scenes(36, 16, 3, counted, known=tmp_path / "bank")
    assert counts == [32] and len(fewer) == len(fewer.scenes) == len(fewer.attributes) == 36
    torch.testing.assert_close(fewer.embeddings, saved.embeddings[:36], atol=1e-3, rtol=1e-3)
    assert fewer.describe(np.array([35])) == saved.describe(np.array([35]))
    cells = low_level(fewer.pictures(np.arange(36)))
    torch.testing.assert_close(fewer.described(), cells, atol=1e-3, rtol=1e-3)
    fewer.cells = None  # of a folder from before they were kept
    torch.testing.assert_close(fewer.described(), cells)

    def other(pictures: torch.Tensor) -> torch.Tensor:
        counts.append(len(pictures))
        return -embed(pictures)

    for n, size, seed, function in [
        (41, 16, 3, counted), (36, 24, 3, counted), (36, 16, 4, counted), (36, 16, 3, other),
    ]:  # fmt: skip
        counts.clear()
        drawn = Bank.of_scenes(n, size, seed, function, known=tmp_path / "bank")
        assert counts[-1] == n, "all pictures are embedded anew"
        torch.testing.assert_close(drawn.embeddings, function(drawn.pictures(np.arange(n))))


def test_a_bank_of_a_folder(tmp_path: Path) -> None:
    for name, colour in (("cat", (200, 0, 0)), ("key", (0, 0, 200))):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        Image.new("RGB", (20, 20), colour).save(tmp_path / "pictures" / name / "1.png")
    bank = Bank.of_folder(tmp_path / "pictures", 8, embed)
    assert bank.attributes["category"].tolist() == ["cat", "key"]
    bank.save(tmp_path / "bank")
    again = Bank.load(tmp_path / "bank")
    assert torch.equal(again.pictures(np.array([1])), bank.pictures(np.array([1])))
    assert again.attributes.equals(bank.attributes)
    with pytest.raises(FileNotFoundError, match="holds no pictures"):
        Bank.of_folder(tmp_path / "pictures" / "cat", 8, embed)
    record = tmp_path / "bank" / "bank.json"
    record.write_text(record.read_text("utf-8").replace("cat/1.png", "../1.png"), "utf-8")
    with pytest.raises(ValueError, match="not named by its category and its file"):
        Bank.load(tmp_path / "bank")
    record.write_text("{}", "utf-8")
    with pytest.raises(ValueError, match="is not a bank of pictures"):
        Bank.load(tmp_path / "bank")
    with pytest.raises(FileNotFoundError, match="holds no bank"):
        Bank.load(tmp_path)


def test_strength_goes_from_the_bank_to_the_generator(tmp_path: Path) -> None:
    config = prior_config(tmp_path)
    trials = Trials.load(config.data)
    prior = Prior.fit(trials, make_split(trials, config), config)
    few = trials.select(np.arange(2))
    sample = PriorSampleConfig(
        num_images_per_prompt=2, temperature=0, strength=0, num_inference_steps=4
    )
    places = prior.choose(prior.compare(few)[1], sample, np.arange(2))
    looked_up = prior.decode(few, sample).images
    assert looked_up is not None
    for trial, chosen in zip(looked_up, places, strict=True):
        assert torch.equal(trial, prior.bank.pictures(chosen))
        assert len(set(chosen)) == 2  # the best and the second best
    drawn = [
        prior.decode(few, sample.model_copy(update={"strength": value})).images
        for value in (0.3, 0.7, 1.0)
    ]
    assert not torch.equal(drawn[0], looked_up)  # type: ignore[arg-type]
    assert not torch.equal(drawn[1], drawn[2])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="understands captions alone"):
        prior.decode(few, condition="embedding")
    caption = prior.decode(few, sample.model_copy(update={"strength": 1, "condition": "caption"}))
    torch.testing.assert_close(caption.images, drawn[2])  # this generator reads nothing else
    drawn_at_1 = {"num_images_per_prompt": 2, "num_inference_steps": 4, "temperature": 1}
    again = prior.decode(few, **drawn_at_1, seed=1).images
    other = prior.decode(few, **drawn_at_1, seed=2).images
    assert not torch.equal(again, other)  # type: ignore[arg-type]


def test_the_likelihood_is_of_training_trials_alone_and_is_kept(tmp_path: Path) -> None:
    config = prior_config(tmp_path)
    trials = Trials.load(config.data)
    split = make_split(trials, config)
    prior = Prior.fit(trials, split, config)
    likelihood = prior.likelihood
    assert likelihood is not None and len(likelihood.bank) == len(prior.bank)
    prior.save(tmp_path / "saved")
    again = Prior.load(tmp_path / "saved")
    test = trials.select(split.test)
    evidence, same = prior.compare(test)[1], again.compare(test)[1]
    assert evidence.likelihood is not None and same.likelihood is not None
    torch.testing.assert_close(same.likelihood, evidence.likelihood, atol=0.05, rtol=0.01)
    said = prior.decode(test, PriorSampleConfig(strength=0)).probabilities
    posterior = evidence.log_posterior(prior.weights)
    assert said is not None
    right = marginals(posterior, prior.bank.attributes, {"category": said["category"]})
    np.testing.assert_allclose(said["category"], right["category"], rtol=1e-5)
    read = prior.read(test).probabilities
    assert read is not None and read["category"].equals(said["category"])
    # Trials that do not train are others now; what was learned is not.
    data = np.array(trials.data)
    data[np.concatenate([split.validation, split.test])] *= -3
    other = Prior.fit(replace(trials, data=data), split, prior_config(tmp_path / "other"))
    assert other.likelihood is not None
    np.testing.assert_array_equal(other.likelihood.project, likelihood.project)
    np.testing.assert_array_equal(other.likelihood.effects, likelihood.effects)
    # A folder from before there was a likelihood has two weights, and none.
    (tmp_path / "saved" / "likelihood.safetensors").unlink()
    record = tmp_path / "saved" / "decoder.json"
    content = json.loads(record.read_text("utf-8"))
    del content["weights"]["likelihood"]
    record.write_text(json.dumps(content), "utf-8")
    older = Prior.load(tmp_path / "saved")
    assert older.likelihood is None and older.weights.likelihood == 0
    assert older.decode(test, PriorSampleConfig(strength=0)).images is not None
    likelihood.bank = likelihood.bank[1:]
    likelihood.save(tmp_path / "saved" / "likelihood.safetensors")
    with pytest.raises(ValueError, match="save both from one fit"):
        Prior.load(tmp_path / "saved")


def test_without_validation_trials_there_is_no_scale(tmp_path: Path) -> None:
    config = prior_config(tmp_path, split={"by": "run", "test": ["3"], "validation_fraction": 0})
    trials = Trials.load(config.data)
    with pytest.raises(ValueError, match="scaled on validation trials, and the split has none"):
        Prior.fit(trials, make_split(trials, config), config)
