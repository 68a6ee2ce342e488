"""Does anything but the response predict the class? Drift, the time before onset; units, rates."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors

from dreamdiffusion.evidence.audit.blocks import not_checked
from dreamdiffusion.evidence.audit.findings import ALPHA, Finding, Floats, Ints
from dreamdiffusion.evidence.audit.trial_order import TrialOrder, excess, max_p, rounded
from dreamdiffusion.recordings.amplitude import HIGHEST_V, LOWEST_V
from dreamdiffusion.recordings.bad_channels import CLIPPED_SHARE
from dreamdiffusion.recordings.clipping import clipped_samples
from dreamdiffusion.trials.trials import Trials

MOST_CLASSES = 64
MOST_DIMENSIONS = 32
N_FOLDS = 5
LEAST_PER_CLASS = 4
LEAST_BEFORE = 4
"""Samples before onset from which mean and slope are taken."""


def drift(trials: Trials, design: TrialOrder, time_predicts: bool, seed: int) -> list[Finding]:
    """Does the slow part of the trials predict the class, and does it before onset?

    Looked at are the mean and the slope of each channel: what drift below 1 Hz, which is slower
    than a trial, leaves in it. They predict the class also where a response has a slow part, so by
    themselves they are a note. They are severe where time predicts the class as well, for then
    drift is the plain reason; and where the slow part of the time before onset predicts the class
    too and no high-pass can have carried the response back there, for then it is no response.

    Parameters
    ----------
    time_predicts
        A check of the design found that the class can be predicted from time.

    Returns
    -------
    findings
        `drift`, then `prestimulus_signal`.
    """
    high_pass = trials.signal.get("l_freq")
    about = {"high_pass_hz": high_pass, "n_times": trials.n_times}
    p, figures = decode_slow(slow_part(trials.data, design.rows), design, seed)
    early = trials.times < -1e-9
    p_early, figures_early = 1.0, {"n_classes": 0}
    if early.sum() >= LEAST_BEFORE:
        p_early, figures_early = decode_slow(
            slow_part(trials.data[:, :, early], design.rows), design, seed
        )
    too_few = f"it needs a recording of two classes and {LEAST_PER_CLASS} trials of each"
    no_response = time_predicts or (p_early < ALPHA and not high_pass)
    if not figures["n_classes"]:
        whole = not_checked("drift", too_few)
    elif p >= ALPHA:
        what = "Mean and slope of the trials do not predict the class."
        whole = Finding("drift", "passed", what, rounded(about | figures))
    elif no_response:
        also = "so does time" if time_predicts else "so they do before onset"
        whole = Finding(
            "drift",
            "severe",
            f"Mean and slope of the trials predict the class, and {also}: drift carries the label.",
            rounded(about | figures),
            "A decoder scores above chance by recognising when a trial was recorded, or in what "
            "state, with no response to the picture.",
            "High-pass the recordings (signal.l_freq 1.0) and hold out whole recordings whose "
            "order differs. A high-pass alone does not remove what is faster than its edge.",
        )
    else:
        whole = Finding(
            "drift",
            "note",
            "Mean and slope of the trials predict the class, though time does not: a slow response "
            "to the picture, or a movement of the eyes, explains it.",
            rounded(about | figures),
            "Part of what is decoded lies below 1 Hz or is cut off by the ends of the trial.",
            "Compare the score with recordings that are high-passed at 1 Hz.",
        )
    about = about | {"n_times": int(early.sum())}
    if early.sum() < LEAST_BEFORE:
        why = f"the trials begin {trials.tmin:g} s from onset; prepare with tmin below 0 for it"
        return [whole, not_checked("prestimulus_signal", why)]
    if not figures_early["n_classes"]:
        return [whole, not_checked("prestimulus_signal", too_few)]
    return [whole, _before_onset(p_early, no_response, rounded(about | figures_early))]


def _before_onset(p: float, no_response: bool, figures: dict[str, object]) -> Finding:
    """Judge whether the time before onset tells the class."""
    name = "prestimulus_signal"
    if p >= ALPHA:
        return Finding(
            name, "passed", "The signal before onset does not predict the class.", figures
        )
    return Finding(
        name,
        "severe" if no_response else "warning",
        "The signal before onset predicts the class of a picture that was not yet shown.",
        figures,
        "Drift, expectation, what is left of the trial before, or a zero-phase high-pass that "
        "carries the response back in time: none of them is the response.",
        "Look at the order and the intervals; filter causally or with a lower edge; decode "
        "the time before onset as a control of the score.",
    )


def slow_part(data: np.ndarray, rows: Ints) -> Floats:
    """Return means, then slopes of the channels, (n_trials, 2 * n_chans), a block at a time."""
    course = np.linspace(-1, 1, data.shape[2], dtype=np.float32)
    weights = np.stack([np.ones_like(course) / len(course), course / (course @ course)], axis=1)
    parts = [
        np.asarray(data[some]) @ weights for some in np.array_split(rows, len(rows) // 256 + 1)
    ]
    both = np.concatenate(parts).astype(float)  # (n_trials, n_chans, 2)
    return both.transpose(0, 2, 1).reshape(len(rows), -1)


def decode_slow(features: Floats, design: TrialOrder, seed: int) -> tuple[float, dict[str, object]]:
    """Test whether slow parts ``(n_trials, d)`` predict the class within and across recordings.

    Within a recording: do the five trials nearest in their means have the same class? That needs
    no straight boundary, as drift has none. Across: linear discriminant analysis with a shrunk
    covariance (Ledoit and Wolf 2004), recordings held out in up to five parts. The covariance is
    that of all trials, not of deviations from class means: the same discriminant for two classes,
    and it need not be fitted again when labels are permuted. Labels are permuted within runs.

    Returns
    -------
    p
        Of both together.
    figures
        n_classes (0 where nothing could be tested), shares, chances, p.
    """
    values, counts = np.unique(design.labels, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    kept = [int(values[i]) for i in order[:MOST_CLASSES] if counts[i] >= LEAST_PER_CLASS]
    if len(kept) < 2 or not design.varied:
        return 1.0, {"n_classes": 0}  # nothing to distinguish
    chosen = np.isin(design.labels, kept) & np.isfinite(features).all(axis=1)
    labels = np.searchsorted(np.sort(kept), design.labels[chosen])
    runs = design.runs[chosen]
    x = _center(features[chosen], runs)
    means = _whiten(x[:, : x.shape[1] // 2])
    own = TrialOrder(
        np.arange(len(x)), runs, design.subjects[chosen], design.onsets[chosen], labels,
        [design.names[i] for i in sorted(kept)], design.run_names,
    )  # fmt: skip
    dealt = labels[own.shuffles(runs, seed)]
    near, across = _neighbours(means, runs, dealt), _held_out(_whiten(x), runs, dealt, len(kept))
    p = max_p(np.stack([near, across], axis=1))
    return p, {
        "n_trials": len(x), "n_classes": len(kept),
        "n_classes_not_looked_at": len(counts) - len(kept),
        "neighbours_share_class": near[0], "chance_neighbours": near[1:].mean(),
        "lda_balanced_accuracy": across[0], "chance_lda": across[1:].mean(),
        "excess": max(excess(near[0], near[1:].mean()), excess(across[0], across[1:].mean())),
        "p": p,
    }  # fmt: skip


def _center(x: Floats, runs: Ints) -> Floats:
    """Take the mean of its recording from every trial: offsets between recordings are no class."""
    result = x.copy()
    for run in np.unique(runs):
        result[runs == run] -= x[runs == run].mean(axis=0)
    return result


def _whiten(x: Floats) -> Floats:
    """Return the strongest directions, each of unit variance under a shrunk covariance."""
    spread = x.std(axis=0)
    x = x / np.where(spread > 0, spread, 1.0)
    covariance = LedoitWolf(assume_centered=True, store_precision=False).fit(x).covariance_
    power, directions = np.linalg.eigh(covariance)
    strongest = slice(-min(MOST_DIMENSIONS, len(power)), None)
    power = np.maximum(power[strongest], 1e-9)
    return (x @ directions[:, strongest] / np.sqrt(power)).astype(np.float32)


def _neighbours(x: Floats, runs: Ints, dealt: Ints) -> Floats:
    """Return for each row of labels how often the nearest five of the run share the class."""
    hits, total = np.zeros(len(dealt)), 0
    for run in np.unique(runs):
        own = np.flatnonzero(runs == run)
        k = min(5, len(own) - 1)
        if k < 1:
            continue
        nearest = NearestNeighbors(n_neighbors=k).fit(x[own]).kneighbors(return_distance=False)
        for column in nearest.T:
            hits += (dealt[:, own] == dealt[:, own[column]]).sum(axis=1)
        total += k * len(own)
    return hits / max(total, 1)


def _held_out(x: Floats, runs: Ints, dealt: Ints, n_classes: int) -> Floats:
    """Return for each row of labels the balanced accuracy on held-out parts."""
    part = runs % N_FOLDS
    if len(np.unique(part)) < 2:  # one recording: stretches of it
        part = np.arange(len(runs)) * N_FOLDS // len(runs)
    # Permuting keeps how often each class is shown, so a hit counts the same in every row.
    worth = 1 / (n_classes * np.bincount(dealt[0], minlength=n_classes))
    result = np.zeros(len(dealt))
    for held in np.unique(part):
        test, train = part == held, part != held
        for some in np.array_split(np.arange(len(dealt)), len(dealt) // 50 + 1):
            truth = dealt[some][:, test]
            means = _class_means(x[train], dealt[some][:, train], n_classes)
            scores = x[test] @ means.T - 0.5 * (means**2).sum(axis=1)
            guess = scores.reshape(test.sum(), len(some), n_classes).argmax(axis=2).T
            result[some] += ((guess == truth) * worth[truth]).sum(axis=1)
    return result


def _class_means(x: Floats, labels: Ints, n_classes: int) -> Floats:
    """Return the mean of every class for each row of labels, (n_rows * n_classes, n_features)."""
    n_rows, n = labels.shape
    places = (labels + n_classes * np.arange(n_rows)[:, None]).ravel()
    ones = np.ones(len(places), np.float32)
    shape = (n_rows * n_classes, n)
    member = csr_matrix((ones, (places, np.tile(np.arange(n), n_rows))), shape=shape)
    sizes = np.bincount(places, minlength=n_rows * n_classes)
    return (member @ x) / np.maximum(sizes, 1)[:, None].astype(np.float32)


def units(trials: Trials, design: TrialOrder) -> Finding:
    """Are the amplitudes those of scalp EEG in volts, and alike in channels and recordings?"""
    some = design.rows
    if len(some) > 2000:  # spread over all recordings; more add nothing
        some = some[np.linspace(0, len(some) - 1, 2000).astype(int)]
    spreads, n_wrong = [], 0
    for rows in np.array_split(some, len(some) // 256 + 1):
        block = np.asarray(trials.data[rows])
        n_wrong += int((~np.isfinite(block)).sum())
        spreads.append(block.std(axis=2))
    table = np.concatenate(spreads)  # (n, n_chans)
    typical = float(np.nanmedian(table))
    by_channel = np.nanmedian(table, axis=0)
    of_run = {int(row): int(run) for row, run in zip(design.rows, design.runs, strict=True)}
    runs = np.array([of_run[int(row)] for row in some])
    by_run = np.array([np.nanmedian(table[runs == run]) for run in np.unique(runs)])
    quietest = max(float(by_run.min()), 1e-15)
    figures = {
        "n_trials": len(some), "n_values_not_finite": n_wrong, "typical_uv": typical * 1e6,
        "quietest_channel_uv": by_channel.min() * 1e6, "loudest_channel_uv": by_channel.max() * 1e6,
        "loudest_over_quietest_run": float(by_run.max()) / quietest,
    }  # fmt: skip
    problems, severity = [], "passed"
    if n_wrong:
        problems.append(f"{n_wrong} values are missing or infinite")
        severity = "severe"
    if not LOWEST_V <= typical <= HIGHEST_V:
        problems.append(
            f"the typical amplitude is {typical * 1e6:.3g} uV, expected "
            f"{LOWEST_V * 1e6:g} to {HIGHEST_V * 1e6:g}"
        )
        severity = "severe"
    if figures["loudest_over_quietest_run"] >= 100:
        problems.append("recordings differ a hundredfold in amplitude: their units differ")
        severity = "severe"
    off = [
        f"{name} ({level * 1e6:.3g} uV)"
        for name, level in zip(trials.ch_names, by_channel, strict=True)
        if not np.median(by_channel) / 20 <= level <= np.median(by_channel) * 20
    ]
    if off:
        problems.append(f"channels unlike the others by a factor of 20: {', '.join(off)}")
        severity = "warning" if severity == "passed" else severity
    if clipped := _clipped(trials, some):
        problems.append(
            "channels with values at the end of their range: "
            + ", ".join(f"{name} ({share:.1%})" for name, share in clipped.items())
        )
        severity = "warning" if severity == "passed" else severity
    if not problems:
        return Finding("units", "passed", "Amplitudes are those of scalp EEG.", rounded(figures))
    return Finding(
        "units",
        severity,
        f"Amplitudes are not those of scalp EEG in volts: {'; '.join(problems)}.",
        rounded(figures),
        "A scale that is fitted on some recordings is wrong for others; a channel that is no EEG "
        "drowns the rest.",
        "Give the unit when reading, name the EEG channels in signal.picks, and prepare again.",
    )


def _clipped(trials: Trials, rows: Ints) -> dict[str, float]:
    """Return channel -> share of its values that are clipped, where it is more than 1 %."""
    found = {
        name: float(clipped_samples(np.asarray(trials.data[rows, place]).ravel()).mean())
        for place, name in enumerate(trials.ch_names)
    }
    return {name: share for name, share in found.items() if share > CLIPPED_SHARE}


def rates(trials: Trials, design: TrialOrder) -> Finding:
    """Do rate, window, filter and onsets fit each other?"""
    lasts = trials.n_times / trials.sfreq
    gaps = np.diff(design.onsets)[design.runs[1:] == design.runs[:-1]]
    gaps = gaps[np.isfinite(gaps)]
    interval = float(np.median(gaps)) if len(gaps) else None
    figures = {"sfreq": trials.sfreq, "trial_s": lasts, "median_interval_s": interval}
    problems = []
    if not 50 <= trials.sfreq <= 20000:
        problems.append(f"the rate is {trials.sfreq:g} Hz, expected 50 to 20,000")
    if not 0.05 <= lasts <= 20:
        problems.append(f"a trial lasts {lasts:.3g} s, expected 0.05 to 20: the rate may be wrong")
    low_pass = trials.signal.get("h_freq")
    if low_pass and low_pass >= trials.sfreq / 2:
        problems.append(f"the low-pass at {low_pass:g} Hz is not below half the rate")
    if interval is not None and not 0.02 <= interval <= 120:
        problems.append(
            f"onsets are {interval:.3g} apart, expected 0.02 to 120 s: they may be samples or "
            "milliseconds"
        )
    if not problems:
        return Finding("rates", "passed", "Rate, window and onsets fit.", rounded(figures))
    return Finding(
        "rates",
        "warning",
        f"Rate, window or onsets do not fit: {'; '.join(problems)}.",
        rounded(figures),
        "Trials are cut at the wrong moments, or last as long as no response does.",
        "Check the rate and the unit of onsets in the recording, and prepare again.",
    )
