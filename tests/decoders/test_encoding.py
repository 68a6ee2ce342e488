"""The linear encoding model: against brute force, against LDA, and where it explains away."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf

from dreamdiffusion.decoders.config import EncodingConfig
from dreamdiffusion.decoders.encoding import Encoding
from dreamdiffusion.decoders.linear import fit_lda, window_means
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

SPACE = {"category": ["cat", "house", "key"], "color": ["blue", "red"]}


def make_trials(n: int, effects: dict[str, np.ndarray], noise: float, seed: int = 0) -> Trials:
    """Trials of 2 channels and 4 time points, a sum of one effect of each attribute."""
    rng = np.random.default_rng(seed)
    metadata = pd.DataFrame({name: rng.choice(SPACE[name], n) for name in effects})
    data = noise * rng.standard_normal((n, 2, 4))
    for name, of in effects.items():
        data += of[[SPACE[name].index(value) for value in metadata[name]]]
    metadata = metadata.assign(subject="1", session="1", run="1", stim_file="")
    metadata["onset"] = np.arange(n) * 1.0
    if "category" not in metadata:
        metadata["category"] = "thing"
    return Trials(
        data=(1e-6 * data).astype(np.float32), ch_names=["C1", "C2"], sfreq=100.0, tmin=0.0,
        metadata=metadata, stimuli_root=Path("none"), simulated=True,
    )  # fmt: skip


def fit(trials: Trials, train: np.ndarray) -> Encoding:
    nothing = np.arange(0)
    config = EncodingConfig(width_s=0.02)
    return Encoding.fit(trials, Split(train, nothing, nothing, "by hand"), config)


@pytest.fixture
def effects() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {name: rng.standard_normal((len(of), 2, 4)) for name, of in SPACE.items()}


def test_the_posterior_is_that_of_all_combinations(effects: dict[str, np.ndarray]) -> None:
    trials = make_trials(120, effects, 1.0)
    train = np.arange(100)
    features = window_means(np.asarray(trials.data), 100.0, 0.02)
    features = (features - features[train].mean(axis=0)) / features[train].std(axis=0)
    hot = [
        np.stack([trials.metadata[name] == value for value in of], axis=1).astype(float)
        for name, of in SPACE.items()
    ]
    design = np.concatenate([np.ones((120, 1)), *hot], axis=1)
    effect = np.linalg.lstsq(design[train], features[train], rcond=None)[0]
    noise = LedoitWolf(assume_centered=True).fit(features[train] - design[train] @ effect)
    frequent = [part[train].mean(axis=0) for part in hot]
    joint = np.zeros((20, 3, 2))
    for i, j in itertools.product(range(3), range(2)):
        mean = effect[0] + effect[1 + i] + effect[4 + j]
        density = multivariate_normal(mean, noise.covariance_).pdf(features[100:])
        joint[:, i, j] = density * frequent[0][i] * frequent[1][j]
    joint /= joint.sum(axis=(1, 2), keepdims=True)
    got = fit(trials, train).decode(trials.select(np.arange(100, 120))).probabilities
    assert got is not None
    np.testing.assert_allclose(got["category"], joint.sum(axis=2), atol=1e-4)
    np.testing.assert_allclose(got["color"], joint.sum(axis=1), atol=1e-4)


def test_one_attribute_is_linear_discriminant_analysis(effects: dict[str, np.ndarray]) -> None:
    trials = make_trials(120, {"category": effects["category"]}, 1.0)
    train = np.arange(100)
    data = np.asarray(trials.data)
    labels = trials.metadata["category"].to_numpy()[train]
    lda = fit_lda(data[train], labels, 100.0, 0.02, "pooled")
    got = fit(trials, train).decode(trials).probabilities
    assert got is not None and list(got) == ["category"]
    np.testing.assert_allclose(got["category"], lda.predict_proba(data), atol=1e-4)


def test_it_explains_away_what_another_attribute_does(effects: dict[str, np.ndarray]) -> None:
    effects["color"] *= 4
    trials = make_trials(600, effects, 1.0)
    train, test = np.arange(400), np.arange(400, 600)
    true = trials.metadata["category"].to_numpy()[test]
    joint = np.array(fit(trials, train).decode(trials.select(test)).labels)
    data = np.asarray(trials.data)
    labels = trials.metadata["category"].to_numpy()[train]
    lda = fit_lda(data[train], labels, 100.0, 0.02, "pooled").predict(data[test])
    assert np.mean(joint == true) > np.mean(lda == true) + 0.05


def test_what_is_not_finite_is_refused(effects: dict[str, np.ndarray]) -> None:
    trials = make_trials(20, effects, 1.0)
    trials.data[3, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        fit(trials, np.arange(20))


def test_with_relevance_noise_at_an_electrode_counts_for_less() -> None:
    effects = {"category": np.zeros((3, 2, 4))}
    effects["category"][:, 0] = 0.5 * np.array([[1.0], [0.0], [-1.0]])  # none at the second
    trials = make_trials(200, effects, 1.0)
    nothing = np.arange(0)
    split = Split(np.arange(200), nothing, nothing, "by hand")
    plain, learned = (
        Encoding.fit(trials, split, EncodingConfig(width_s=0.02, electrode_relevance=on))
        for on in (False, True)
    )
    assert plain.relevance is None and learned.relevance is not None
    assert learned.relevance[1] < learned.relevance[0] / 2

    def says_nothing(model: Encoding) -> float:
        """Return how much of the weights' size is at the second electrode."""
        sizes = np.abs(model.weights).sum(axis=0).reshape(2, -1).sum(axis=1)
        return float(sizes[1] / sizes.sum())

    assert says_nothing(learned) < 0.8 * says_nothing(plain)
