"""The linear baseline against values worked out by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from dreamdiffusion.decoders.linear import LinearDecoder, fit_lda, window_means


def test_window_means_by_hand():
    data = np.arange(16.0).reshape(1, 2, 8)
    means = window_means(data, sfreq=100.0, width_s=0.02)
    np.testing.assert_allclose(means, [[0.5, 2.5, 4.5, 6.5, 8.5, 10.5, 12.5, 14.5]])


def test_window_means_use_every_sample():
    data = np.arange(7.0).reshape(1, 1, 7)
    means = window_means(data, sfreq=100.0, width_s=0.02)  # 7 samples in 3 windows: 2, 3, 2
    np.testing.assert_allclose(means, [[0.5, 3.0, 5.5]])


def test_window_means_shape_of_the_default():
    assert window_means(np.zeros((3, 64, 128)), 256.0).shape == (3, 64 * 16)


@pytest.mark.parametrize(
    ("shape", "width", "message"),
    [
        ((4, 8), 0.03, r"shape \(4, 8\), expected \(n, n_chans, n_times\)"),
        ((4, 2, 8), 0.1, r"width_s is 0.1 s = 10 samples at 100.0 Hz, expected 1 to 8"),
        ((4, 2, 8), 0.001, r"= 0 samples"),
    ],
)
def test_window_means_name_what_is_wrong(shape, width, message):
    with pytest.raises(ValueError, match=message):
        window_means(np.zeros(shape), 100.0, width)


def two_classes(n: int, shift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Correlated Gaussian trials; class "b" is shifted in the first window of channel 1."""
    rng = np.random.default_rng(seed)
    labels = np.array(["a", "b"])[np.arange(n) % 2]
    data = rng.standard_normal((n, 3, 20)) + 2 * rng.standard_normal((n, 1, 20))
    data[labels == "b", 0, :5] += shift
    return data, labels


@pytest.mark.parametrize("covariance", ["class", "pooled"])
def test_decoder_reaches_the_optimum_of_gaussian_classes(covariance):
    data, labels = two_classes(1200, 1.0)
    decoder = fit_lda(data[:600], labels[:600], 100.0, width_s=0.05, covariance=covariance)
    accuracy = np.mean(decoder.predict(data[600:]) == labels[600:])
    # One window of five samples: noise of variance 1/5 on each channel, 4/5 in common, so
    # d' squared = (Sigma^-1)_11 = 5 * (1 - 4 / 13) and the optimum is Phi(d' / 2) = 0.824.
    assert accuracy == pytest.approx(0.824, abs=0.035)


@pytest.mark.parametrize("covariance", ["class", "pooled"])
def test_probabilities(covariance):
    data, labels = two_classes(200, 1.0)
    decoder = fit_lda(1e-5 * data, labels, 100.0, width_s=0.05, covariance=covariance)
    probability = decoder.predict_proba(1e-5 * data)
    assert decoder.classes == ["a", "b"]
    np.testing.assert_allclose(probability.sum(axis=1), 1.0)
    named = np.array(decoder.classes)[probability.argmax(axis=1)]
    np.testing.assert_array_equal(named, decoder.predict(1e-5 * data))
    # Volts or microvolts: the same decision.
    same = fit_lda(data, labels, 100.0, width_s=0.05, covariance=covariance).predict(data)
    np.testing.assert_array_equal(same, named)


def test_class_covariance_is_that_of_scikit_learn():
    data, labels = two_classes(120, 0.5)
    features = window_means(data, 100.0, 0.05)
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(scaled, labels)
    decoder = fit_lda(data, labels, 100.0, width_s=0.05)
    np.testing.assert_allclose(decoder.predict_proba(data), reference.predict_proba(scaled))


def test_chance_without_information():
    rng = np.random.default_rng(5)
    data = rng.standard_normal((800, 3, 20))
    labels = rng.permutation(np.array(list("abcd"))[np.arange(800) % 4])
    decoder = fit_lda(data[:400], labels[:400], 100.0)
    assert np.mean(decoder.predict(data[400:]) == labels[400:]) == pytest.approx(0.25, abs=0.08)


def test_wrong_input_is_named():
    data, labels = two_classes(8, 0.0)
    with pytest.raises(ValueError, match="8 trials but 7 labels"):
        fit_lda(data, labels[:7], 100.0)
    with pytest.raises(ValueError, match=r"'b': 1\} trials"):
        fit_lda(data[:7], list("aaaaaab"), 100.0)
    with pytest.raises(ValueError, match="covariance is 'full'"):
        fit_lda(data, labels, 100.0, covariance="full")  # type: ignore[arg-type]
    fitted = fit_lda(data, labels, 100.0)
    with pytest.raises(ValueError, match="use the same channels and times"):
        fitted.predict(data[:, :2])
    data[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        fit_lda(data, labels, 100.0)


@pytest.mark.parametrize("covariance", ["class", "pooled"])
def test_saved_decoder_says_the_same(tmp_path, covariance):
    data, labels = two_classes(60, 1.0)
    labels = np.array([f"{label}{i % 2}" for i, label in enumerate(labels)])
    decoder = fit_lda(1e-5 * data, labels, 100.0, width_s=0.05, covariance=covariance)
    decoder.save(tmp_path / "decoder.safetensors")
    again = LinearDecoder.load(tmp_path / "decoder.safetensors")
    np.testing.assert_allclose(
        again.predict_proba(1e-5 * data), decoder.predict_proba(1e-5 * data), atol=1e-4
    )
    assert again.classes == decoder.classes


def test_what_is_no_decoder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors does not exist"):
        LinearDecoder.load(tmp_path / "nothing.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(ValueError, match="is not a linear decoder"):
        LinearDecoder.load(tmp_path / "junk.safetensors")
