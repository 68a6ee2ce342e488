"""Which electrodes to trust: automatic relevance determination for the linear encoding model.

What a picture does to the EEG is drawn, before any trial was seen, from a normal distribution:
smooth in time, independent between electrodes, and at each electrode of a size of its own. The
sizes are those that make the effects of the training trials, noise included, as likely as possible
(type-II maximum likelihood, MacKay 1994), given that what is seen reaches electrodes at the back of
the head most. An electrode whose effects are no larger than noise would make them gets a small
size, and its effects are pulled towards zero. No trial is held out for that and no choice of
electrodes is tried out: with 200 trials cross-validation of a choice is noise itself
(docs/n170.md).

The noise's covariance is taken to be the same at each moment (block-Toeplitz, Sosulski and
Tangermann 2022, J. Neural Eng. 19, arXiv 2202.02001), so that few trials suffice to tell it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag, cho_factor, cho_solve
from scipy.optimize import minimize

from dreamdiffusion.recordings.electrodes import electrode_positions, unknown_electrodes

Floats = NDArray[np.floating]

SIZE, FALL_M, COMMON_SPREAD, SIZE_SPREAD = 0.2, 0.1, 1.5, 0.5
"""Before any trial: effects of 0.2 sd of a trial's window beside the ears, and a third of that each
10 cm to the front; all together within a factor of exp(1.5), each by itself of exp(0.5)."""
LENGTH_S, LENGTH_SPREAD = 0.03, 0.5
"""Before any trial: effects keep their sign over 30 ms, within a factor of exp(0.5)."""
JITTER = 1e-9
FARTHEST = 4.0
"""What is learned stays within a factor of exp(4) of what was expected. Without a limit a step of
the search can be so long that a covariance is no longer one, to the precision of a computer."""


@dataclass(frozen=True)
class Relevance:
    """How large effects are at each electrode, sd ``(n_chans,)``, and how smooth, s."""

    sizes: Floats
    length_s: float

    def covariance(self, times: Floats) -> Floats:
        """Return the covariance of an effect before it was measured, channel by channel."""
        lags = times[:, None] - times[None]
        return np.kron(np.diag(self.sizes**2), np.exp(-0.5 * (lags / self.length_s) ** 2))


def block_toeplitz(covariance: Floats, n_chans: int) -> Floats:
    """Make the covariance of two channels a matter of their distance in time alone.

    Parameters
    ----------
    covariance
        ``(n_chans * n_windows,) * 2``, channel by channel.

    Returns
    -------
    array
        Of the same shape: means along the diagonals of each block, which fall off linearly with the
        distance, to 0 at the length of the trial. Distant windows share few means, and the taper
        keeps the matrix positive definite.
    """
    n_windows = len(covariance) // n_chans
    blocks = covariance.reshape(n_chans, n_windows, n_chans, n_windows)
    lags = np.arange(1 - n_windows, n_windows)
    places = np.arange(n_windows)[:, None] - np.arange(n_windows)[None] + n_windows - 1
    found = np.empty_like(blocks)
    for one in range(n_chans):
        for two in range(n_chans):
            block = blocks[one, :, two]
            means = np.array([np.diagonal(block, -lag).mean() for lag in lags])
            found[one, :, two] = (means * (1 - np.abs(lags) / n_windows))[places]
    return found.reshape(covariance.shape)


def expected_sizes(ch_names: list[str]) -> Floats:
    """Return the sizes that effects have before any trial was seen, ``(n_chans,)``.

    Where the place of one of the channels is not known, all are the same.
    """
    if unknown_electrodes(ch_names):
        return np.full(len(ch_names), SIZE)
    return SIZE * 3.0 ** (-electrode_positions(ch_names)[:, 1] / FALL_M)


def learn_relevance(contrasts: Floats, noise: Floats, times: Floats, expected: Floats) -> Relevance:
    """Find the sizes and the smoothness that make measured effects most likely.

    Parameters
    ----------
    contrasts
        Independent differences of effects, ``(n, n_chans * n_windows)``, channel by channel.
    noise
        Covariance of what the measurement of each adds, ``(n_chans * n_windows,) * 2``.
    times
        Of the windows, s ``(n_windows,)``.
    expected
        Sizes before the effects were measured, ``(n_chans,)``.
    """
    n_chans = len(noise) // len(times)
    squares = (times[:, None] - times[None]) ** 2
    unit = np.eye(len(noise))
    middle = np.append(np.log(expected), np.log(LENGTH_S))
    spread = SIZE_SPREAD**2 * np.eye(n_chans) + COMMON_SPREAD**2
    precision = block_diag(np.linalg.inv(spread), LENGTH_SPREAD**-2)

    def loss(logs: NDArray) -> tuple[float, NDArray]:
        """Return minus the log-evidence with its slope, of logarithms of sizes and length."""
        relevance = Relevance(np.exp(logs[:-1]), float(np.exp(logs[-1])))
        factor = cho_factor(relevance.covariance(times) + noise + JITTER * unit, lower=True)
        solved = cho_solve(factor, contrasts.T)
        outer = solved @ solved.T - len(contrasts) * cho_solve(factor, unit)
        blocks = outer.reshape(n_chans, len(times), n_chans, len(times))
        own = blocks[np.arange(n_chans), :, np.arange(n_chans)]
        scaled = squares / relevance.length_s**2
        kernel = np.exp(-0.5 * scaled)
        slopes = relevance.sizes**2 * np.tensordot(own, kernel, 2)
        bend = 0.5 * np.sum(relevance.sizes**2 * np.tensordot(own, kernel * scaled, 2))
        value = 0.5 * np.sum(solved.T * contrasts)
        value += len(contrasts) * np.log(np.diagonal(factor[0])).sum()
        away = logs - middle
        pull = precision @ away
        return float(value + 0.5 * away @ pull), pull - np.append(slopes, bend)

    limits = [(log - FARTHEST, log + FARTHEST) for log in middle]
    best = minimize(loss, middle, jac=True, method="L-BFGS-B", bounds=limits).x
    return Relevance(np.exp(best[:-1]), float(np.exp(best[-1])))


def shrink_effects(
    effects: Floats, design: Floats, covariance: Floats, times: Floats, expected: Floats
) -> tuple[Floats, Relevance]:
    """Pull effects towards zero as far as their electrodes are not to be trusted.

    Parameters
    ----------
    effects
        By least squares (of minimum norm), ``(k, n_chans * n_windows)``, channel by channel.
    design
        Centred, of the trials they were measured on ``(n, k)``.
    covariance
        Of the noise of one trial.
    times
        Of the windows, s ``(n_windows,)``.
    expected
        Sizes before any trial was seen (`expected_sizes`), ``(n_chans,)``.

    Returns
    -------
    effects
        Their mean given the trials.
    relevance
        What was learned of the electrodes.
    """
    powers, axes = np.linalg.eigh(design.T @ design)
    live = powers > 1e-9 * powers[-1]
    # Of contrasts that were measured on more trials and on fewer, as one: their mean.
    noise = np.mean(1 / powers[live]) * covariance
    relevance = learn_relevance(axes[:, live].T @ effects, noise, times, expected)
    before = relevance.covariance(times)
    return effects @ np.linalg.solve(before + noise, before), relevance
