"""The likelihood of the EEG given a picture: by hand, on a known system, and its files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from trial_rows import metadata

from dreamdiffusion.decoders.prior.likelihood import Likelihood, _whitener, log_likelihood
from dreamdiffusion.trials.trials import Trials

N_CHANS, N_WINDOWS, N_FEATURES, SFREQ = 5, 6, 4, 32.25
"""At this rate a window is one sample, so that window means are the data themselves."""


def noise_covariance() -> tuple[np.ndarray, np.ndarray]:
    """Of channels, and of time."""
    mixing = np.random.default_rng(1).standard_normal((N_CHANS, N_CHANS))
    time = np.arange(N_WINDOWS)
    return mixing @ mixing.T + np.eye(N_CHANS), 0.7 ** np.abs(time[:, None] - time)


def simulate(n: int, seed: int, size: float = 1.0) -> tuple[Trials, np.ndarray, np.ndarray]:
    """Return trials, the features of their pictures, and the true effects of two patterns."""
    rng = np.random.default_rng(seed)
    fixed = np.random.default_rng(2)
    effects = fixed.standard_normal((N_FEATURES, 2)) @ fixed.standard_normal((2, 30))
    features = rng.standard_normal((n, N_FEATURES))
    channels, time = (np.linalg.cholesky(part) for part in noise_covariance())
    noise = channels @ rng.standard_normal((n, N_CHANS, N_WINDOWS)) @ time.T
    data = (features @ effects).reshape(noise.shape) + size * noise + 3.0
    names = [f"E{i}" for i in range(N_CHANS)]
    trials = Trials(data, names, SFREQ, 0.0, metadata(["a"] * n))
    return trials, features, effects


def fit(trials: Trials, features: np.ndarray) -> Likelihood:
    width = features.shape[1]
    return Likelihood.fit(
        trials, np.arange(len(features)), features, np.zeros(width), np.ones(width)
    )


def test_the_log_likelihood_by_hand() -> None:
    got = log_likelihood(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [1.0, 2.0], [0.0, 0.0]]))
    assert got.tolist() == [[0.5, 2.5, 0.0]]  # -|z - p|^2 / 2 + |z|^2 / 2
    normal = [multivariate_normal([*p]).logpdf([1.0, 2.0]) for p in ((1, 0), (1, 2), (0, 0))]
    np.testing.assert_allclose(got[0].numpy() - got[0, 2].item(), np.subtract(normal, normal[2]))


def test_it_is_that_of_the_known_system() -> None:
    trials, features, effects = simulate(4000, seed=0)
    likelihood = fit(trials, features)
    assert likelihood.bank.shape[1] == 2  # as many patterns as there are
    new, shown, _ = simulate(50, seed=3)
    got = log_likelihood(likelihood.respond(new), likelihood.predict(shown)).numpy()
    covariance = np.kron(*noise_covariance())
    means = shown @ effects + 3.0
    true = np.array(
        [
            [multivariate_normal(mean, covariance).logpdf(trial) for mean in means]
            for trial in np.asarray(new.data).reshape(50, -1)
        ]
    )
    got, true = (part - part.mean(axis=1, keepdims=True) for part in (got, true))
    slope = (got * true).sum() / (true**2).sum()
    assert slope == pytest.approx(1, abs=0.06)
    assert np.corrcoef(got.ravel(), true.ravel())[0, 1] > 0.99


def test_the_true_picture_is_first_when_noise_is_small() -> None:
    trials, features, _ = simulate(300, seed=0, size=0.05)
    likelihood = fit(trials, features)
    new, shown, _ = simulate(40, seed=5, size=0.05)
    scores = log_likelihood(likelihood.respond(new), likelihood.predict(shown))
    assert (scores.argmax(dim=1).numpy() == np.arange(40)).mean() > 0.95
    swapped = log_likelihood(likelihood.respond(new), likelihood.predict(shown[::-1]))
    assert (swapped.argmax(dim=1).numpy() == np.arange(40)).mean() < 0.1


def test_noise_is_white_after_the_whitener() -> None:
    trials, features, effects = simulate(6000, seed=7)
    noise = np.asarray(trials.data).reshape(6000, -1) - features @ effects - 3.0
    white = noise @ _whitener(noise.reshape(-1, N_CHANS, N_WINDOWS))
    np.testing.assert_allclose(np.cov(white.T), np.eye(30), atol=0.08)


def test_other_rows_have_no_say() -> None:
    trials, features, _ = simulate(200, seed=0)
    rows = np.arange(120)
    ones = (np.zeros(N_FEATURES), np.ones(N_FEATURES))
    first = Likelihood.fit(trials, rows, features[:120], *ones)
    trials.data[120:] = 1e6
    again = Likelihood.fit(trials, rows, features[:120], *ones)
    np.testing.assert_array_equal(first.project, again.project)
    np.testing.assert_array_equal(first.effects, again.effects)


def test_an_empty_channel_does_no_harm() -> None:
    """A reference electrode reads 0 throughout."""
    trials, features, _ = simulate(200, seed=0)
    trials.data[:, 2] = 0
    responses = fit(trials, features).respond(trials)
    assert np.isfinite(responses).all()
    trials.data[3, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        fit(trials, features)


def test_it_comes_back_from_its_file(tmp_path: Path) -> None:
    trials, features, _ = simulate(200, seed=0)
    likelihood = fit(trials, features)
    likelihood.bank = likelihood.predict(features[:7])
    path = tmp_path / "likelihood.safetensors"
    likelihood.save(path)
    again = Likelihood.load(path)
    assert (again.ch_names, again.sfreq, again.penalty) == (
        likelihood.ch_names,
        likelihood.sfreq,
        likelihood.penalty,
    )
    np.testing.assert_allclose(again.bank, likelihood.bank, atol=2e-2, rtol=1e-3)
    np.testing.assert_allclose(again.respond(trials), likelihood.respond(trials), atol=1e-4)
    path.write_bytes(b"x")
    with pytest.raises(ValueError, match="is not a likelihood of pictures"):
        Likelihood.load(path)
    shorter = replace(trials, data=trials.data[..., :4])
    with pytest.raises(ValueError, match="use the same channels and times"):
        likelihood.respond(shorter)
