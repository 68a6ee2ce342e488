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

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from sklearn.covariance import LedoitWolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler

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


class _PooledLDA:
    """LDA with one Ledoit-Wolf estimate of the covariance within classes."""

    def fit(self, features: FloatArray, labels: NDArray) -> _PooledLDA:
        self.classes_, index = np.unique(labels, return_inverse=True)
        means = np.stack([features[index == i].mean(axis=0) for i in range(len(self.classes_))])
        estimate = LedoitWolf(assume_centered=True, store_precision=False)
        covariance = estimate.fit(features - means[index]).covariance_
        self._weights = np.linalg.solve(covariance, means.T)
        prior = np.bincount(index) / len(index)
        self._bias = np.log(prior) - 0.5 * np.sum(means.T * self._weights, axis=0)
        return self

    def predict(self, features: FloatArray) -> NDArray:
        return self.classes_[np.argmax(features @ self._weights + self._bias, axis=1)]

    def predict_proba(self, features: FloatArray) -> FloatArray:
        return softmax(features @ self._weights + self._bias, axis=1)


class LinearDecoder:
    """A fitted shrinkage LDA that takes trials. Made by :func:`fit_lda`.

    Parameters
    ----------
    sfreq : float
        Hz, of the trials it is fitted on and applied to.
    width_s : float
        Length of the windows in seconds.
    covariance : {"class", "pooled"}
        See the module.
    """

    def __init__(self, sfreq: float, width_s: float, covariance: Covariance = "class") -> None:
        self.sfreq = sfreq
        self.width_s = width_s
        self._scaler = StandardScaler()
        self._lda: LinearDiscriminantAnalysis | _PooledLDA
        if covariance == "class":
            self._lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        elif covariance == "pooled":
            self._lda = _PooledLDA()
        else:
            raise ValueError(f"covariance is {covariance!r}, expected 'class' or 'pooled'")

    @property
    def classes(self) -> NDArray:
        """Labels in the order of :meth:`predict_proba`'s columns."""
        return self._lda.classes_

    def _fit(self, data: FloatArray, labels: ArrayLike) -> LinearDecoder:
        features = window_means(data, self.sfreq, self.width_s)
        self._lda.fit(self._scaler.fit_transform(features), np.asarray(labels))
        return self

    def _features(self, data: FloatArray) -> FloatArray:
        features = window_means(data, self.sfreq, self.width_s)
        if features.shape[1] != self._scaler.n_features_in_:
            raise ValueError(
                f"trials of shape {data.shape[1:]} give {features.shape[1]} features, the decoder "
                f"was fitted on {self._scaler.n_features_in_}; use the same channels and times"
            )
        return self._scaler.transform(features)

    def predict(self, data: FloatArray) -> NDArray:
        """Most probable label of each trial, shape (n,)."""
        return self._lda.predict(self._features(data))

    def predict_proba(self, data: FloatArray) -> FloatArray:
        """Probability of each label, shape (n, n_classes), in the order of :attr:`classes`."""
        return self._lda.predict_proba(self._features(data))


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
    return LinearDecoder(sfreq, width_s, covariance)._fit(train_data, labels)
