"""The linear baseline: shrinkage LDA on window means (Blankertz et al. 2011, NeuroImage 56).

Single-trial evoked responses are close to Gaussian with a common covariance, for which linear
discriminant analysis is optimal; shrinkage (Ledoit and Wolf 2004) makes it work with fewer trials
than features. Every other decoder has to be compared with it on the same trials.

Two estimates of that covariance are offered, and they differ much with many classes of few trials:
``"class"`` is scikit-learn's ``LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")``, which
shrinks the covariance of each class by itself and averages; ``"pooled"`` shrinks once, with the
deviations of all trials from their class means, as the papers above do. It needs less shrinkage and
is the stronger baseline: report it too before claiming that a decoder is better than a linear one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open
from scipy.special import softmax
from sklearn.covariance import LedoitWolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from dreamdiffusion.files.whole import write_tensors

FloatArray = NDArray[np.floating]
Covariance = Literal["class", "pooled"]


def window_means(data: FloatArray, sfreq: float, width_s: float = 0.03) -> FloatArray:
    """Average trials over consecutive windows of time.

    Parameters
    ----------
    data : array, shape (n, n_chans, n_times)
        Trials, in any unit.
    sfreq : float
        Hz.
    width_s : float
        Length of a window in seconds; rounded to whole samples. Windows cover all samples: where
        the length is not a multiple of the window, windows differ by one sample.

    Returns
    -------
    array, shape (n, n_chans * n_windows)
        Channel by channel.

    Raises
    ------
    ValueError
        If data has not three axes, or a window is shorter than a sample or longer than the trial.
    """
    if data.ndim != 3:
        raise ValueError(f"data has shape {data.shape}, expected (n, n_chans, n_times)")
    n_times = data.shape[2]
    width = round(width_s * sfreq)
    if not 1 <= width <= n_times:
        raise ValueError(
            f"width_s is {width_s} s = {width} samples at {sfreq} Hz, expected 1 to {n_times}"
        )
    edges = np.linspace(0, n_times, n_times // width + 1).round().astype(int)
    means = np.add.reduceat(data, edges[:-1], axis=2) / np.diff(edges)
    return means.reshape(len(data), -1)


@dataclass(frozen=True)
class LinearDecoder:
    """A fitted shrinkage LDA that takes trials: an affine map of window means, and its labels.

    Made by :func:`fit_lda`.

    Parameters
    ----------
    sfreq : float
        Hz, of the trials it is fitted on and applied to.
    width_s : float
        Length of the windows in seconds.
    classes : list of str, length n_classes
        Labels, in the order of the scores.
    weights : array, shape (n_classes, n_features)
    bias : array, shape (n_classes,)
    """

    sfreq: float
    width_s: float
    classes: list[str]
    weights: FloatArray
    bias: FloatArray

    def _scores(self, data: FloatArray) -> FloatArray:
        features = window_means(data, self.sfreq, self.width_s)
        if features.shape[1] != self.weights.shape[1]:
            raise ValueError(
                f"trials of shape {data.shape[1:]} give {features.shape[1]} features, the decoder "
                f"was fitted on {self.weights.shape[1]}; use the same channels and times"
            )
        return features @ self.weights.T + self.bias

    def predict(self, data: FloatArray) -> NDArray:
        """Most probable label of each trial, shape (n,)."""
        return np.array(self.classes)[self._scores(data).argmax(axis=1)]

    def predict_proba(self, data: FloatArray) -> FloatArray:
        """Probability of each label, shape (n, n_classes), in the order of :attr:`classes`."""
        return softmax(self._scores(data), axis=1)

    def save(self, path: Path) -> None:
        """Write the decoder as safetensors."""
        settings = {"sfreq": self.sfreq, "width_s": self.width_s, "classes": self.classes}
        # Written byte by byte as they lie in memory, so they must lie in rows.
        arrays = {"weights": self.weights, "bias": self.bias}
        write_tensors(
            path,
            {name: np.ascontiguousarray(a, dtype=np.float32) for name, a in arrays.items()},
            metadata={"decoder": json.dumps(settings)},
        )

    @classmethod
    def load(cls, path: Path) -> LinearDecoder:
        """Read a decoder that :meth:`save` wrote.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such file, or it is something else.
        """
        if not path.is_file():
            raise FileNotFoundError(f"linear decoder {path} does not exist")
        try:
            with safe_open(path, framework="numpy") as file:
                settings = json.loads((file.metadata() or {})["decoder"])
                weights, bias = file.get_tensor("weights"), file.get_tensor("bias")
        except (SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is not a linear decoder: {error}") from error
        return cls(weights=weights.astype(float), bias=bias.astype(float), **settings)


def _pooled(features: FloatArray, index: NDArray, n_classes: int) -> tuple[FloatArray, FloatArray]:
    """LDA with one Ledoit-Wolf estimate of the covariance within classes: weights and bias."""
    means = np.stack([features[index == i].mean(axis=0) for i in range(n_classes)])
    estimate = LedoitWolf(assume_centered=True, store_precision=False)
    covariance = estimate.fit(features - means[index]).covariance_
    weights = np.linalg.solve(covariance, means.T).T
    prior = np.bincount(index) / len(index)
    return weights, np.log(prior) - 0.5 * np.sum(means * weights, axis=1)


def _by_class(
    features: FloatArray, index: NDArray, n_classes: int
) -> tuple[FloatArray, FloatArray]:
    """scikit-learn's LDA, which shrinks the covariance of each class: weights and bias."""
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(features, index)
    if n_classes == 2:  # scikit-learn keeps the difference of the two scores only
        return np.vstack([0 * lda.coef_, lda.coef_]), np.array([0.0, lda.intercept_[0]])
    return lda.coef_, lda.intercept_


def fit_lda(
    train_data: FloatArray,
    labels: ArrayLike,
    sfreq: float,
    width_s: float = 0.03,
    covariance: Covariance = "class",
) -> LinearDecoder:
    """Fit a shrinkage LDA on the window means of training trials.

    Parameters
    ----------
    train_data : array, shape (n, n_chans, n_times)
        Trials, in any unit; features are standardised on these trials.
    labels : array-like, shape (n,)
        Two or more different labels, each with two trials or more.
    sfreq : float
        Hz.
    width_s : float
        Length of the windows in seconds.
    covariance : {"class", "pooled"}
        How the covariance within classes is estimated; see the module.

    Returns
    -------
    LinearDecoder
        With ``predict`` and ``predict_proba``.

    Raises
    ------
    ValueError
        If lengths differ, a value is not finite, or a label is alone.
    """
    names, counts = np.unique(np.asarray(labels), return_counts=True)
    if counts.sum() != len(train_data):
        raise ValueError(f"{len(train_data)} trials but {counts.sum()} labels")
    if len(names) < 2 or counts.min() < 2:
        raise ValueError(
            f"labels have {dict(zip(names.tolist(), counts.tolist(), strict=True))} trials, "
            "expected two labels or more with two trials or more each"
        )
    if not np.isfinite(train_data).all():
        raise ValueError("train_data holds NaN or infinite values; reject those trials first")
    if covariance not in ("class", "pooled"):
        raise ValueError(f"covariance is {covariance!r}, expected 'class' or 'pooled'")
    features = window_means(train_data, sfreq, width_s)
    center, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    index = np.searchsorted(names, np.asarray(labels))
    fit = _by_class if covariance == "class" else _pooled
    weights, bias = fit((features - center) / spread, index, len(names))
    weights = weights / spread
    return LinearDecoder(
        float(sfreq), width_s, [str(name) for name in names], weights, bias - weights @ center
    )
