"""Trials that are there twice, the second time with another reference, polarity, filter or noise.

A fingerprint of a trial keeps what such changes leave: the average over channels is taken off (any
reference adds one signal to all of them), principal components over channels and Fourier
coefficients over time are brought to one size (so that a component that was cleaned away, or a band
that was filtered out, is a small part of it), and the sign is not looked at. How alike different
trials are by chance is estimated from the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dreamdiffusion.evidence.audit.findings import Floats, Ints
from dreamdiffusion.trials.trials import Trials

Spectra = NDArray[np.complexfloating]

LEAST_CORRELATION = 0.38
LEAST_Z = 7.0
"""A copy reaches both; what different trials reach was measured in docs/audit.md."""
LEAST_APART, N_APART = 1.9, 4
"""A copy is so many times as far from chance as the fourth most alike trial; blinks, of which there
are many, are all alike, the more the fewer the electrodes."""
SLOW_HZ, RARE = 8.0, 0.99
"""A copy is alike above the slow waves too: more than this share of random pairs is."""
LOWEST_HZ, HIGHEST_HZ = 2.0, 40.0
LAG_STEP_S, N_LAGS = 0.01, 3
"""A causal filter delays its copy: so many steps to either side are tried."""
MOST_COMPARED = 4000
"""With more trials, so many of them, spread over all, are compared with all, without delays."""
MOST_FEATURES = 1024
LEAST_TRIALS, LEAST_FEATURES = 20, 16
_BLOCK = 512


@dataclass(frozen=True)
class ChangedCopies:
    """Pairs of trials that are copies of each other.

    Attributes
    ----------
    pairs
        Rows of the metadata, the smaller first.
    correlation, z
        Of the two most alike trials: |correlation| of their fingerprints, and that many standard
        deviations away from chance; None where there was too little to compare.
    n_compared
        Trials that were compared with all others.
    """

    pairs: list[tuple[int, int]]
    n_compared: int = 0
    correlation: float | None = None
    z: float | None = None


def changed_copies(trials: Trials, stimuli: Ints) -> ChangedCopies:
    """Find trials whose fingerprints correlate more than those of different trials can.

    Parameters
    ----------
    trials : Trials
    stimuli : array of int, (n_trials,)
        Number of what was shown. Responses to one stimulus are alike without being copies, so
        the chance of such pairs is estimated from such pairs.

    Returns
    -------
    ChangedCopies
        Each trial with its best match, where that is one.
    """
    spectra, freqs = fingerprint_spectra(trials)
    n = len(spectra)
    if n < LEAST_TRIALS or 2 * spectra[0].size < LEAST_FEATURES:
        return ChangedCopies([])
    mix = _random_mix(2 * spectra[0].size)
    prints = _fingerprints(spectra, mix)
    of_same = _chance_of_same(prints, stimuli)
    best = np.zeros((4, n))  # z, |correlation|, partner, times as far as the fourth
    compared = np.unique(np.linspace(0, n - 1, min(n, MOST_COMPARED)).astype(int))
    n_lags = N_LAGS if len(compared) == n else 0
    for step in range(-n_lags, n_lags + 1):
        delay = np.exp(2j * np.pi * freqs * step * LAG_STEP_S).astype(np.complex64)
        moved = prints if step == 0 else _fingerprints(spectra * delay, mix)
        for rows in np.array_split(compared, len(compared) // _BLOCK + 1):
            found = _best_matches(prints, moved, rows, stimuli, of_same)
            best[:, rows] = np.where(found[0] > best[0, rows], found, best[:, rows])
    z, correlation, partner, apart = best
    copies = np.flatnonzero(
        (z >= LEAST_Z) & (correlation >= LEAST_CORRELATION) & (apart >= LEAST_APART)
    )
    ends = [sorted((int(row), int(partner[row]))) for row in copies]
    pairs = _alike_above_slow_waves(spectra, freqs, sorted({(one, other) for one, other in ends}))
    most = z.argmax()
    return ChangedCopies(pairs, len(compared), float(correlation[most]), float(z[most]))


def _alike_above_slow_waves(
    spectra: Spectra, freqs: Floats, pairs: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return the pairs that are alike above `SLOW_HZ` too, more than `RARE` pairs by chance.

    One slow wave, such as a blink, can fill most of a trial of few electrodes. Two trials that have
    it at one latency are alike below 8 Hz alone.
    """
    fast = freqs > SLOW_HZ
    if not pairs or 2 * spectra[0][:, fast].size < LEAST_FEATURES:
        return pairs
    rng = np.random.default_rng(0)
    some = rng.integers(0, len(spectra), (1000, 2))
    some = some[some[:, 0] != some[:, 1]]

    def likeness(of: Ints) -> Floats:
        one, other = spectra[of[:, 0]][:, :, fast], spectra[of[:, 1]][:, :, fast]
        size = np.sqrt((np.abs(one) ** 2).sum((1, 2)) * (np.abs(other) ** 2).sum((1, 2)))
        steps = np.arange(-N_LAGS, N_LAGS + 1) * LAG_STEP_S
        both = np.einsum("ncf,ncf->nf", one, other.conj())
        products = (both @ np.exp(2j * np.pi * freqs[fast][:, None] * steps)).real
        return np.abs(products).max(axis=1) / np.maximum(size, 1e-20)

    found = likeness(np.array(pairs)) > np.quantile(likeness(some), RARE)
    return [pair for pair, is_copy in zip(pairs, found, strict=True) if is_copy]


def fingerprint_spectra(trials: Trials) -> tuple[Spectra, Floats]:
    """Return the whitened spectra of all trials.

    Returns
    -------
    spectra
        complex64 (n_trials, n_components, n_freqs): every coefficient has mean 0 and mean square 1
        over trials, and none of a trial is above 3.
    freqs
        Hz, (n_freqs,); between 2 Hz and the low-pass, at most 40 Hz.
    """
    highest = min(trials.signal.get("h_freq") or HIGHEST_HZ, HIGHEST_HZ)
    freqs = np.fft.rfftfreq(trials.n_times, 1 / trials.sfreq)
    kept = (freqs >= LOWEST_HZ) & (freqs <= highest)
    window = np.hanning(trials.n_times + 2)[1:-1].astype(np.float32)
    blocks = np.array_split(np.arange(len(trials)), len(trials) // 256 + 1)
    covariance = np.zeros((trials.n_chans,) * 2)
    for rows in blocks:
        block = _levelled(trials, rows)
        covariance += np.einsum("nct,ndt->cd", block, block)
    power, directions = np.linalg.eigh(covariance)
    some = power > 1e-4 * power[-1]
    directions = (directions[:, some] / np.sqrt(power[some])).astype(np.float32)
    spectra = np.concatenate(
        [
            np.fft.rfft(directions.T @ _levelled(trials, rows) * window, axis=2)[:, :, kept]
            for rows in blocks
        ]
    ).astype(np.complex64)
    spectra -= spectra.mean(axis=0)  # the response to any stimulus
    spectra /= np.maximum(np.sqrt((np.abs(spectra) ** 2).mean(axis=0)), 1e-20)
    return spectra / np.maximum(np.abs(spectra) / 3, 1), freqs[kept]


def _levelled(trials: Trials, rows: Ints) -> Floats:
    """Return trials without reference and offset, and of one typical amplitude, float32."""
    block = np.nan_to_num(np.asarray(trials.data[rows], np.float32))
    if trials.n_chans > 2:  # of two channels, only their difference would be left
        block = block - block.mean(axis=1, keepdims=True)
    block = block - block.mean(axis=2, keepdims=True)
    size = np.abs(block).mean(axis=(1, 2), keepdims=True)
    return block / np.where(size > 0, size, 1)


def _random_mix(n_features: int) -> Floats | None:
    """Return random directions that keep correlations, (n_features, MOST_FEATURES), if many."""
    if n_features <= MOST_FEATURES:
        return None
    rng = np.random.default_rng(0)
    return rng.standard_normal((n_features, MOST_FEATURES)).astype(np.float32)


def _fingerprints(spectra: Spectra, mix: Floats | None) -> Floats:
    """Return unit vectors, float32 (n_trials, n_features)."""
    flat = np.ascontiguousarray(spectra).reshape(len(spectra), -1).view(np.float32)
    flat = flat if mix is None else flat @ mix
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)


def _chance_of_same(prints: Floats, stimuli: Ints) -> tuple[float, float]:
    """Return median and spread of Fisher's z of two trials that show the same stimulus."""
    rng = np.random.default_rng(0)
    order = np.lexsort((rng.random(len(stimuli)), stimuli))
    one, other = order[:-1], order[1:]
    both = stimuli[one] == stimuli[other]
    if not both.any():
        return 0.0, 0.0
    z = np.arctanh(np.clip((prints[one[both]] * prints[other[both]]).sum(axis=1), -0.9999, 0.9999))
    middle = float(np.median(z))
    return middle, float(1.4826 * np.median(np.abs(z - middle)))


def _best_matches(
    prints: Floats, moved: Floats, rows: Ints, stimuli: Ints, of_same: tuple[float, float]
) -> Floats:
    """Return of the best match of each row z, |correlation|, its row and `LEAST_APART`'s ratio.

    Shape (4, n_rows).
    """
    own = np.arange(len(rows))
    correlation = np.clip(prints[rows] @ moved.T, -0.9999, 0.9999)
    correlation[own, rows] = 0
    z = np.abs(np.arctanh(correlation))
    # Trials in a part of the space (a flat channel) are alike; never less than by random vectors.
    least = 1 / np.sqrt(prints.shape[1])
    chance = np.maximum(1.4826 * np.median(z, axis=1, keepdims=True), least)
    same = stimuli[rows][:, None] == stimuli
    middle, spread = of_same
    z = np.where(same, (z - max(middle, 0.0)) / np.maximum(chance, spread), z / chance)
    z[own, rows] = 0
    best = z.argmax(axis=1)
    others = np.maximum(np.partition(z, -N_APART, axis=1)[:, -N_APART], 1e-9)
    return np.stack([z[own, best], np.abs(correlation[own, best]), best, z[own, best] / others])
