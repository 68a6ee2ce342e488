"""The published suites as `evaluate` asks for them, with tiny judges on disk."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTForImageClassification

from dreamdiffusion.evaluation.config import ImageJudgesConfig
from dreamdiffusion.evaluation.metrics import suites as image_suites
from dreamdiffusion.evaluation.metrics.distribution import (
    frechet_distance,
    inception_score,
    kernel_distance,
)
from dreamdiffusion.evaluation.metrics.feature_judges import open_judge
from dreamdiffusion.evaluation.metrics.nsd import pixcorr_pairs
from dreamdiffusion.evaluation.metrics.pairs import mse_pairs, n_way_pairs, pcc_pairs, ssim_pairs
from dreamdiffusion.evaluation.metrics.suites import ImageSuites, as_published
from dreamdiffusion.evidence.scores import ControlScore, Score
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.evidence.statistics.score import chance_level

CPU = torch.device("cpu")
ALL = ["nsd", "pairwise", "distribution", "n_way"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A classifier of 9 classes and a network of features."""
    root = tmp_path_factory.mktemp("judges")
    sizes = {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16,
        "patch_size": 8,
    }  # fmt: skip
    processor = {"size": 16, "image_mean": [0.5] * 3, "image_std": [0.3] * 3}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        models = {
            "vit": ViTForImageClassification(
                ViTConfig(**sizes, num_labels=9, initializer_range=0.3)
            ),
            "dino": Dinov2Model(Dinov2Config(**sizes, initializer_range=0.3)),
        }
    for name, model in models.items():
        model.save_pretrained(root / name)
        (root / name / "preprocessor_config.json").write_text(json.dumps(processor))
    return {name: str(root / name) for name in models}


@pytest.fixture(scope="module")
def judges(folders):
    return ImageJudgesConfig(
        two_way={"dino": folders["dino"]}, distance={"vit": folders["vit"]}, perceptual=None,
        distribution=folders["vit"], classifier=folders["vit"],
    )  # fmt: skip


@pytest.fixture(scope="module")
def pictures():
    """Six trials with five pictures (the second is shown twice), and two images of each."""
    g = torch.Generator().manual_seed(5)
    seen = torch.rand(5, 3, 16, 16, generator=g)[[0, 1, 2, 1, 3, 4]]
    made = 0.8 * seen[:, None] + 0.2 * torch.rand(6, 2, 3, 16, 16, generator=g)
    return seen, made, torch.rand(6, 2, 3, 16, 16, generator=g)


@pytest.fixture(scope="module")
def suites(pictures, judges):
    return ImageSuites(pictures[0], ALL, judges, CPU, n_way=4, top=2)


@pytest.fixture(scope="module")
def own(suites, pictures):
    return suites.pairs(pictures[1])


def test_every_metric_is_the_definition_with_its_judge(own, pictures, folders):
    seen, made, _ = pictures
    pairs = own
    assert list(pairs) == [
        "nsd_pixcorr", "nsd_ssim", "two_way_dino", "distance_vit", "mse", "pcc", "ssim_color",
        "4_way_top2",
    ]  # fmt: skip
    assert all(value.shape == (6, 6) for value in pairs.values())
    assert all(np.isfinite(value).all() for value in pairs.values())
    np.testing.assert_array_equal(pairs["nsd_pixcorr"], pixcorr_pairs(seen, made))
    np.testing.assert_array_equal(pairs["mse"], mse_pairs(seen, made))
    np.testing.assert_array_equal(pairs["pcc"], pcc_pairs(seen, made))
    np.testing.assert_array_equal(pairs["ssim_color"], ssim_pairs(seen, made, color=True))

    vit, dino = open_judge(folders["vit"], CPU), open_judge(folders["dino"], CPU)
    truth = vit.probabilities(seen).argmax(1)  # on the picture shown, not a label
    assert len(np.unique(truth)) > 1
    found = vit.probabilities(made.flatten(0, 1)).reshape(6, 2, 9)
    np.testing.assert_allclose(pairs["4_way_top2"], n_way_pairs(found, truth, 4, 2), atol=1e-9)

    x, y = dino.features(seen).numpy(), dino.features(made.flatten(0, 1)).numpy()
    distinct = [0, 1, 2, 4, 5]
    for i, j in ((0, 0), (3, 1), (2, 5)):
        wins = []
        for s in range(2):
            r = [np.corrcoef(x[t], y[2 * j + s])[0, 1] for t in range(6)]
            own = 1 if i == 3 else i  # the same picture
            wins += [r[t] < r[i] for t in distinct if t != own]
        assert pairs["two_way_dino"][i, j] == pytest.approx(np.mean(wins))
    x, y = vit.features(seen).numpy(), vit.features(made.flatten(0, 1)).numpy()
    expected = 1 - np.mean([np.corrcoef(x[2], y[8 + s])[0, 1] for s in range(2)])
    assert pairs["distance_vit"][2, 4] == pytest.approx(expected, abs=1e-5)


def test_images_like_the_pictures_beat_noise_in_every_direction(suites, own, pictures):
    control = suites.pairs(pictures[2], np.arange(6))
    assert suites.lower_is_better == {"distance_vit", "mse"}
    for name in own:
        sign = -1 if name in suites.lower_is_better else 1
        gain = sign * (np.diagonal(own[name]).mean() - np.diagonal(control[name]).mean())
        assert gain > 0, name
    for name in ("nsd_pixcorr", "mse", "nsd_ssim"):
        sign = -1 if name in suites.lower_is_better else 1
        assert sign * np.diagonal(own[name]).mean() > sign * chance_level(
            own[name], Exchange.one_run(len(own[name]))
        )


def test_a_control_may_ask_for_the_diagonal_alone(suites, own, pictures):
    whole, alone = own, suites.pairs(pictures[1], np.arange(6))
    for name in ("nsd_ssim", "ssim_color"):
        np.testing.assert_allclose(np.diagonal(alone[name]), np.diagonal(whole[name]), atol=1e-6)
        assert np.isnan(alone[name]).sum() == 30
    np.testing.assert_array_equal(alone["two_way_dino"], whole["two_way_dino"])


def test_distributions_are_those_of_all_images_and_each_picture_once(suites, pictures, folders):
    seen, made, noise = pictures
    found = {record.metric: record for record in suites.distributions(made, noise)}
    assert list(found) == ["fid", "kid", "inception_score"]
    vit = open_judge(folders["vit"], CPU)
    y = vit.features(seen[[0, 1, 2, 4, 5]]).numpy()
    x, other = (vit.features(images.flatten(0, 1)).numpy() for images in (made, noise))
    assert found["fid"].value == pytest.approx(frechet_distance(x, y))
    assert found["fid"].shuffled_eeg == pytest.approx(frechet_distance(other, y))
    assert found["kid"].value == pytest.approx(kernel_distance(x, y))
    classes = vit.probabilities(made.flatten(0, 1))
    assert found["inception_score"].value == pytest.approx(inception_score(classes))
    assert (found["fid"].n_generated, found["fid"].n_seen) == (12, 5)
    assert "biased upwards" in found["fid"].note
    assert found["kid"].note == ""
    assert suites.distributions(made)[0].shuffled_eeg is None


def test_the_protocol_names_judge_size_and_direction(suites, folders):
    assert set(suites.protocol) == {
        "nsd_pixcorr", "nsd_ssim", "two_way_dino", "distance_vit", "mse", "pcc", "ssim_color",
        "4_way_top2", "fid", "kid", "inception_score",
    }  # fmt: skip
    for name in ("two_way_dino", "distance_vit", "4_way_top2", "fid", "kid", "inception_score"):
        assert folders["dino" if "dino" in name else "vit"] in suites.protocol[name]
    for name in suites.lower_is_better | {"fid", "kid"}:
        assert "lower is better" in suites.protocol[name]
    assert "share of the 4 other pictures" in suites.protocol["two_way_dino"]
    assert "the truth is what the judge names on the picture shown" in suites.protocol["4_way_top2"]
    assert suites.not_scored == {"lpips": "image_judges.perceptual names no network"}


def test_lpips_is_the_squared_distance_within_groups(pictures, judges, folders):
    seen, made, _ = pictures
    config = judges.model_copy(update={"perceptual": folders["dino"]})
    suites = ImageSuites(seen, ["pairwise"], config, CPU)
    groups = np.array([0, 0, 1, 1, 0, 1])
    pairs = suites.pairs(made, groups)["lpips"]
    assert "lpips" in suites.lower_is_better
    dino = open_judge(folders["dino"], CPU)
    x, y = dino.features(seen), dino.features(made.flatten(0, 1)).unflatten(0, (6, 2))
    for i in range(6):
        for j in range(6):
            if groups[i] == groups[j]:
                expected = (x[i] - y[j]).square().sum(1).mean()
                assert pairs[i, j] == pytest.approx(float(expected), rel=1e-4)
            else:
                assert np.isnan(pairs[i, j])


def test_only_the_suites_that_are_asked_for_open_their_judges(pictures, judges, monkeypatch):
    def refuse(source, device):
        raise AssertionError(source)

    monkeypatch.setattr(image_suites, "open_judge", refuse)
    suites = ImageSuites(pictures[0], ["pairwise"], judges, CPU)
    assert list(suites.pairs(pictures[1])) == ["mse", "pcc", "ssim_color"]
    assert suites.distributions(pictures[1]) == []
    nothing = ImageSuites(pictures[0], [], judges, CPU)
    assert nothing.pairs(pictures[1]) == {}


def test_where_only_the_category_is_known_nothing_is_scored(judges, pictures):
    suites = ImageSuites(None, ["nsd", "n_way"], judges, CPU)
    assert suites.pairs(pictures[1]) == {}
    assert suites.distributions(pictures[1]) == []
    assert list(suites.not_scored) == ["nsd", "n_way"]
    assert "only its category" in suites.not_scored["nsd"]


def test_one_picture_has_no_rivals_and_no_distribution(judges, pictures):
    seen = pictures[0][[0, 0]]
    suites = ImageSuites(seen, ["nsd", "distribution"], judges, CPU)
    assert set(suites.not_scored) == {"two_way_dino", "fid", "kid", "inception_score"}
    assert "distance_vit" in suites.pairs(pictures[1][:2])


def test_what_does_not_fit_is_refused_before_the_decoding(pictures, judges, monkeypatch):
    seen, made, _ = pictures
    with pytest.raises(ValueError, match="suite 'fid' is unknown; there are nsd, pairwise"):
        ImageSuites(seen, ["fid"], judges, CPU)
    with pytest.raises(ValueError, match="n_way is 50 and top 1; there are 9 classes"):
        ImageSuites(seen, ["n_way"], judges, CPU)
    with pytest.raises(ValueError, match="expected a square"):
        ImageSuites(seen[..., :8], ["pairwise"], judges, CPU)
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(ValueError, match=r"pip install 'dreamdiffusion\[judges\]'"):
        ImageSuites(seen, ["pairwise"], ImageJudgesConfig(perceptual="lpips:alex"), CPU)
    suites = ImageSuites(seen, ["pairwise"], judges, CPU)
    with pytest.raises(ValueError, match=r"images have shape \(5, 2, 3, 16, 16\), expected \(6, k"):
        suites.pairs(made[:5])
    with pytest.raises(ValueError, match="resize the pictures to the generator's size"):
        suites.pairs(made[..., :8, :8])
    with pytest.raises(ValueError, match=r"lies in \[-"):
        suites.pairs(made - 0.5)


def test_the_record_of_a_distance_carries_its_published_sign():
    """Statistics saw -0.2 against -0.5 of the control: better by 0.3."""
    control = ControlScore(value=-0.5, difference=0.3, difference_ci95=(0.1, 0.4))
    negated = Score(
        metric="mse", value=-0.2, n=9, chance=-0.6, ci95=(-0.25, -0.1), p=0.01,
        controls={"shuffled_eeg": control}, strongest="shuffled_eeg", difference=0.3,
        difference_ci95=(0.1, 0.4),
    )  # fmt: skip
    record = as_published(negated)
    assert record.lower_is_better
    assert (record.value, record.chance, record.ci95) == (0.2, 0.6, (0.1, 0.25))
    assert record.controls["shuffled_eeg"].value == 0.5
    assert record.controls["shuffled_eeg"].difference == 0.3
    assert (record.difference, record.difference_ci95, record.p) == (0.3, (0.1, 0.4), 0.01)
    assert negated.value == -0.2
