"""Is anything there twice? Trials (also re-exported or trimmed recordings), and pictures."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dreamdiffusion.evidence.audit.blocks import not_checked
from dreamdiffusion.evidence.audit.changed_copies import changed_copies
from dreamdiffusion.evidence.audit.findings import Finding, Floats, Ints
from dreamdiffusion.evidence.audit.trial_order import TrialOrder, rounded
from dreamdiffusion.files.pictures import picture_path
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

LIKENESS = 0.999
MOST_LAG_S = 0.1
STEP_V = 1e-8  # samples that differ by less are the same
LEAST_REPEATS = 4  # of a stimulus, for its responses to be compared with each other


def duplicate_trials(trials: Trials, design: TrialOrder, split: Split | None) -> Finding:
    """Is a trial there twice, or a trial of one recording in another?

    Exact copies share the hash of their samples, rounded to 0.01 microvolt. A copy that was
    exported again, or whose events moved by up to 0.1 s, is first sought by its spectrum, which
    such changes leave as it is, and then has to correlate above 0.999 with its source. Copies with
    another reference, polarity, filter or noise, and averages, are found by `changed_copies`.
    """
    exact = same_samples(trials, design.rows)
    run_of = np.empty(len(design), int)
    run_of[design.rows] = design.runs
    near, likeness = nearly_same(trials, design, run_of)
    changed = changed_copies(trials, _stimuli(trials))
    pairs = {tuple(sorted(pair)) for pair in [*exact, *near, *changed.pairs]}
    apart = sorted(pair for pair in pairs if run_of[pair[0]] != run_of[pair[1]])
    side = np.zeros(len(design), int)
    if split is not None:
        side[split.train], side[split.tested] = 1, 2
    crossing = [pair for pair in pairs if {side[pair[0]], side[pair[1]]} == {1, 2}]
    figures = {
        "n_trials": len(design), "n_exact_pairs": len(exact), "n_near_pairs": len(near),
        "n_changed_pairs": len(changed.pairs), "n_compared": changed.n_compared,
        "largest_fingerprint_correlation": changed.correlation, "fingerprint_z": changed.z,
        "n_pairs_of_two_recordings": len(apart), "largest_correlation": likeness,
        "n_pairs_across_split": len(crossing) if split is not None else None,
    }  # fmt: skip
    both = two_at_once(trials, design)
    figures["n_pairs_of_one_moment"] = len(both)
    if both:
        one, other = both[0]
        return Finding(
            "duplicate_trials",
            "severe",
            f"{_pairs(len(both), 'is', 'are')} of one moment under different pictures or "
            f"categories (trials {one} and {other}).",
            rounded(figures),
            "One piece of EEG stands for two pictures, of which at most one was seen.",
            "Prepare again: such events are left out and counted (same_onset).",
        )
    if not pairs:
        what = "No trial is there twice."
        return Finding("duplicate_trials", "passed", what, rounded(figures))
    recordings: dict[str, int] = defaultdict(int)
    for one, other in apart:
        names = sorted({design.run_names[run_of[one]], design.run_names[run_of[other]]})
        recordings[" and ".join(names)] += 1
    most = sorted(recordings.items(), key=lambda item: -item[1])[:3]
    where = "; ".join(
        f"{names}: {count} {'trial' if count == 1 else 'trials'}" for names, count in most
    )
    return Finding(
        "duplicate_trials",
        "severe" if apart or crossing else "warning",
        f"{_pairs(len(pairs), 'holds', 'hold')} the same signal, or signals made from each other"
        + (f" ({where})." if where else "."),
        rounded(figures),
        "With one of a pair in training and the other tested, the model has seen the answer; "
        "within one side, n is smaller than it looks.",
        "Leave one of the two recordings, or the doubled events, out and prepare again.",
    )


def _pairs(n: int, one: str, more: str) -> str:
    return f"1 pair of trials {one}" if n == 1 else f"{n} pairs of trials {more}"


def _stimuli(trials: Trials) -> Ints:
    """Number what was shown, (n_trials,): the picture where pictures repeat, else the category."""
    for column in ("stim_file", "category"):
        names = trials.metadata[column].astype(str).to_numpy(str)
        _, numbers, counts = np.unique(names, return_inverse=True, return_counts=True)
        if np.median(counts) >= LEAST_REPEATS:
            return numbers
    return np.arange(len(trials))


def two_at_once(trials: Trials, design: TrialOrder) -> list[tuple[int, int]]:
    """Return pairs of neighbours of one recording and sample that name something different."""
    shown = trials.metadata[["category", "stim_file"]].astype(str).to_numpy(str)[design.rows]
    one = np.flatnonzero(design.runs[1:] == design.runs[:-1])
    near = np.abs(np.diff(design.onsets)[one]) * trials.sfreq < 0.5
    different = (shown[one + 1] != shown[one]).any(axis=1)
    places = one[near & different]
    pairs = np.sort(np.stack([design.rows[places], design.rows[places + 1]], axis=1), axis=1)
    return [(int(a), int(b)) for a, b in pairs]


def same_samples(trials: Trials, rows: Ints) -> list[tuple[int, int]]:
    """Return pairs of the trials at ``rows``, int ``(n,)``, with the same rounded samples."""
    first: dict[bytes, int] = {}
    pairs = []
    for row, digest in sample_digests(trials, np.sort(rows)):
        if digest in first:
            pairs.append((first[digest], row))
        else:
            first[digest] = row
    return pairs


def sample_digests(trials: Trials, rows: Ints) -> Iterator[tuple[int, bytes]]:
    """Yield each of the ``rows``, int ``(n,)``, with 16 bytes that its rounded samples give."""
    # Eight channels, spread over the cap, distinguish trials as well as all of them.
    some = np.unique(np.linspace(0, trials.n_chans - 1, min(8, trials.n_chans)).astype(int))
    for part in np.array_split(rows, len(rows) // 256 + 1):
        block = np.nan_to_num(np.asarray(trials.data[part][:, some], np.float64))
        block = np.round(block / STEP_V) + 0.0  # no negative zero
        for row, samples in zip(part.tolist(), block, strict=True):
            content = np.ascontiguousarray(samples).data
            yield row, hashlib.blake2b(content, digest_size=16).digest()


def nearly_same(
    trials: Trials, design: TrialOrder, run_of: Ints
) -> tuple[list[tuple[int, int]], float | None]:
    """Return pairs of trials of different runs, int ``(n,)``, that are alike, and how much."""
    if design.n_runs < 2:
        return [], None
    sketches = spectral_sketches(trials)
    pairs, largest = [], -1.0
    most = round(MOST_LAG_S * trials.sfreq)
    for rows in np.array_split(np.arange(len(sketches)), len(sketches) // 512 + 1):
        alike = sketches[rows] @ sketches.T
        alike[run_of[rows][:, None] == run_of[None]] = -1
        best = alike.argmax(axis=1)
        for row, other in zip(
            rows[alike.max(axis=1) > 0.5], best[alike.max(axis=1) > 0.5], strict=True
        ):
            correlation = best_correlation(trials.data[row], trials.data[other], most)
            largest = max(largest, correlation)
            if correlation > LIKENESS:
                pairs.append((int(row), int(other)))
    return list({tuple(sorted(pair)) for pair in pairs}), None if largest < 0 else largest


def spectral_sketches(trials: Trials) -> Floats:
    """Return what a shift in time leaves of a trial: unit vectors (n_trials, n_features).

    The logarithm of the amplitude spectrum up to the low-pass (40 Hz where none is recorded) of
    eight random mixtures of the channels, less the mean over trials.
    """
    highest = trials.signal.get("h_freq") or 40.0
    window = np.hanning(trials.n_times + 2)[1:-1].astype(np.float32)
    n_bins = max(4, int(min(highest, trials.sfreq / 2) * trials.n_times / trials.sfreq) + 1)
    mix = np.eye(trials.n_chans, dtype=np.float32)
    if trials.n_chans > 8:
        mix = np.random.default_rng(0).standard_normal((8, trials.n_chans)).astype(np.float32)
    parts = []
    for rows in np.array_split(np.arange(len(trials)), len(trials) // 256 + 1):
        block = np.nan_to_num(np.asarray(trials.data[rows], np.float32))
        block = mix @ (block - block.mean(axis=2, keepdims=True)) * window
        power = np.abs(np.fft.rfft(block, axis=2))[:, :, :n_bins]
        parts.append(np.log(power + 1e-12).reshape(len(rows), -1).astype(np.float32))
    table = np.concatenate(parts)
    # The level of a trial marks its recording, not itself: gains may differ between exports.
    table -= table.mean(axis=1, keepdims=True)
    table -= table.mean(axis=0)
    return table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9)


def best_correlation(one: np.ndarray, other: np.ndarray, most: int) -> float:
    """Return the largest correlation of two trials (n_chans, n_times) over lags up to `most`.

    Where they overlap by at least half; channels are centred, and all taken together.
    """
    n_times, best = one.shape[1], -1.0
    for lag in range(-min(most, n_times // 2), min(most, n_times // 2) + 1):
        a = np.asarray(one[:, max(lag, 0) : n_times + min(lag, 0)], float)
        b = np.asarray(other[:, max(-lag, 0) : n_times - max(lag, 0)], float)
        a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
        size = np.sqrt((a**2).sum() * (b**2).sum())
        if size > 0:
            best = max(best, float((a * b).sum() / size))
    return best


def shared_stimuli(trials: Trials, split: Split | None) -> Finding:
    """Is a picture on both sides of the split, also under another name?"""
    name = "shared_stimuli"
    names = trials.metadata["stim_file"].astype(str).to_numpy(str)
    known = names != ""
    figures: dict[str, object] = {"n_trials": len(trials), "n_pictures": len(set(names[known]))}
    if not known.any():
        return not_checked(name, "which picture was shown is not recorded, so sides may share them")
    if split is None:
        return Finding(
            name, "note", "Not checked: no split was given. A split by stim_file shares none.",
            figures,
        )  # fmt: skip
    train, tested = (
        sorted({str(names[row]) for row in rows if names[row]})
        for rows in (split.train, split.tested)
    )
    twins = same_files(train, tested, trials.stimuli_root)
    shared = sorted(set(train) & set(tested))
    both = set(shared) | {twin for _, twin in twins}
    n_trials = int(np.isin(names[split.tested], sorted(both)).sum())
    figures |= {
        "n_tested_pictures": len(tested), "n_shared": len(shared),
        "n_same_file_other_name": len(twins), "n_tested_trials_of_them": n_trials,
    }  # fmt: skip
    if not both:
        return Finding(name, "passed", "No picture is on both sides of the split.", figures)
    examples = [*shared[:2], *(f"{one} = {other}" for one, other in twins[:2])]
    allowed = " as the split allows" if split.shared_stimuli else ""
    return Finding(
        name,
        "note" if split.shared_stimuli else "severe",
        f"{len(both)} pictures are on both sides of the split{allowed} ({', '.join(examples)}).",
        figures,
        "The score says how well pictures of training are recognised, not whether an unseen one "
        "is reconstructed.",
        "Split by stim_file or leave the doubled pictures out; or set split.allow_shared_stimuli, "
        "and claim no more than which of the known pictures was seen.",
    )


def same_files(one: list[str], other: list[str], root: Path | None) -> list[tuple[str, str]]:
    """Return pairs of names, one of each list, whose files hold the same bytes."""
    if root is None:
        return []
    groups: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for number, names in enumerate((one, other)):
        for name in names:
            path = picture_path(root, name)
            if path.is_file():  # a missing picture ends the training by name, not the audit
                groups[path.stat().st_size].append((number, name))
    pairs = []
    for group in groups.values():
        if len({number for number, _ in group}) < 2:
            continue
        seen: dict[str, str] = {}
        for number, name in sorted(group):
            digest = hashlib.sha256((root / name).read_bytes()).hexdigest()
            if number == 0:
                seen.setdefault(digest, name)
            elif digest in seen and seen[digest] != name:
                pairs.append((seen[digest], name))
    return sorted(pairs)
