"""How much is read from SIMULATED EEG, by noise level, beside real recordings.

    python benchmarks/decodability.py

writes ``docs/results/decodability.json`` and ``.png`` (about half an hour on one core, most of it
for the curve of `noise_curve.py`). The comparison with real recordings is made only where
``../shared/data/muse_n170`` exists. Each part is kept in ``--parts`` and not computed again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import mne
import numpy as np
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from noise_curve import CHANCE, LDA_ROW, noise_curve
from reader import FINAL
from scipy.signal import welch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dreamdiffusion.datasets.simulation.bids import balanced_scenes
from dreamdiffusion.datasets.simulation.person import Viewer
from dreamdiffusion.datasets.simulation.scenes import CATEGORIES, random_scene, render
from dreamdiffusion.datasets.simulation.viewer import DEFAULT_NOISE_LEVEL, simulate_run
from dreamdiffusion.decoders.linear import fit_lda, window_means
from dreamdiffusion.recordings.formats.muse import read_muse_csv

ROOT = Path(__file__).parents[1]
REAL = ROOT.parent / "shared" / "data" / "muse_n170"
SFREQ = 256.0
N_RUNS = 9
HELD_OUT = (1, 9)
LEVELS = (0.2, 0.27, DEFAULT_NOISE_LEVEL, 0.5, 0.7, 1.0)
PAIRS = 8


def filtered(data: np.ndarray, low: float, high: float) -> np.ndarray:
    """Band-pass as a laboratory would, volts."""
    return mne.filter.filter_data(data, SFREQ, low, high, method="iir", verbose="error")


def cut(data: np.ndarray, onsets: np.ndarray, n_times: int) -> np.ndarray:
    """Trials (n, n_chans, n_times) from the samples at which pictures appear."""
    return np.stack([data[:, onset : onset + n_times] for onset in onsets])


def samples(onsets) -> np.ndarray:
    return np.round(np.asarray(onsets) * SFREQ).astype(int)


def within_person(subject: int, levels: tuple[float, ...]) -> list[dict]:
    """Accuracy on held-out runs of one person with 64 channels.

    The recordings are those that ``dreamdiffusion simulate`` writes with 9 runs and seed 0.
    """
    viewer = Viewer.create(subject, "easycap64", 0)
    generators = [np.random.default_rng([0, subject, r, 2]) for r in range(1, N_RUNS + 1)]
    scenes = [balanced_scenes(rng, 240) for rng in generators]
    states = [rng.bit_generator.state for rng in generators]
    pictures = [[render(scene) for scene in run] for run in scenes]
    everything = [scene for run in scenes for scene in run]
    run_of = np.repeat(np.arange(1, N_RUNS + 1), 240)
    records = []
    for level in levels:
        trials = []
        for rng, state, shown, drawn in zip(generators, states, scenes, pictures, strict=True):
            rng.bit_generator.state = state
            raw, events = simulate_run(
                viewer, shown, pictures=drawn, noise_level=level, sfreq=SFREQ, rng=rng
            )
            trials.append(cut(filtered(raw.get_data(), 0.5, 40.0), samples(events.onset), 128))
        data = np.concatenate(trials)
        asked = [("category", "class"), ("category", "pooled")]
        if level in (DEFAULT_NOISE_LEVEL, 1.0):
            asked += [("color", "class"), ("place", "class")]
        for target, covariance in asked:
            labels = np.array([getattr(scene, target) for scene in everything])
            predicted, true = [], []
            for held_out in HELD_OUT:
                train = run_of != held_out
                decoder = fit_lda(data[train], labels[train], SFREQ, covariance=covariance)
                predicted.append(decoder.predict(data[~train]))
                true.append(labels[~train])
            predicted, true = np.concatenate(predicted), np.concatenate(true)
            # EEG of other trials: what the decoder scores when EEG and picture do not match.
            rng = np.random.default_rng(3)
            shuffled = [np.mean(rng.permutation(predicted) == true) for _ in range(200)]
            accuracy = float(np.mean(predicted == true))
            half = 1.96 * float(np.sqrt(accuracy * (1 - accuracy) / len(true)))
            records.append(
                {
                    "simulated": True,
                    "subject": subject,
                    "montage": "easycap64",
                    "noise_level": level,
                    "target": target,
                    "covariance": covariance,
                    "split": "single trials of runs 1 and 9, each by a decoder of the other 8 runs",
                    "n": len(true),
                    "accuracy": accuracy,
                    "ci95": [accuracy - half, accuracy + half],
                    "chance": 1 / len(set(labels)),
                    "shuffled_eeg": float(np.mean(shuffled)),
                }
            )
            print(f"simulated person {subject}, noise {level}, {target}, covariance {covariance}: "
                  f"{accuracy:.3f}", flush=True)  # fmt: skip
    return records


def pair_auc(data: np.ndarray, labels: np.ndarray) -> tuple[float, float, int]:
    """AUC of TP9+TP10 as measured on the real recordings: 12-sample means, 100 uV rejection.

    Returns the AUC, that with labels shuffled, and the number of trials.
    """
    kept = np.ptp(data, axis=2).max(axis=1) < 100e-6
    data, labels = data[kept], labels[kept]
    features = window_means(data[:, :, : data.shape[2] // 12 * 12], SFREQ, 12 / SFREQ)
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    model = make_pipeline(StandardScaler(), lda)
    scores = []
    for y in (labels, np.random.default_rng(0).permutation(labels)):
        values = cross_val_predict(model, features, y, cv=folds, method="decision_function")
        scores.append(float(roc_auc_score(y, values)))
    return scores[0], scores[1], len(labels)


def headset_pairs(levels: tuple[float, ...]) -> tuple[list[dict], list[float]]:
    """AUC of two categories with a Muse, for pairs of categories each seen by another person.

    Returns the records and the spectrum at noise level 1.
    """
    rng = np.random.default_rng(5)
    records, spectra = [], []
    for i in range(PAIRS):
        viewer = Viewer.create(i + 1, "muse4", 0)
        pair = [str(name) for name in rng.choice(CATEGORIES, 2, replace=False)]
        runs = []
        for r in range(5):
            draw = np.random.default_rng([6, i, r])
            scenes = [random_scene(draw, category=c) for c in draw.permutation(pair * 120)]
            runs.append((scenes, [render(scene) for scene in scenes]))
        labels = np.array([scene.category == pair[0] for scenes, _ in runs for scene in scenes])
        for level in levels:
            trials = []
            for r, (scenes, pictures) in enumerate(runs):
                raw, events = simulate_run(
                    viewer, scenes, pictures=pictures, noise_level=level, sfreq=SFREQ,
                    rng=np.random.default_rng([7, i, r]),
                )  # fmt: skip
                data = raw.get_data()[[0, 3]]
                trials.append(cut(filtered(data, 1.0, 30.0), samples(events.onset), 204))
                if level == 1.0:
                    spectra.append(spectrum(data))
            auc, shuffled, n = pair_auc(np.concatenate(trials), labels)
            records.append(
                {
                    "simulated": True,
                    "subject": i + 1,
                    "montage": "muse4 (TP9, TP10)",
                    "noise_level": level,
                    "target": " or ".join(pair),
                    "split": "5-fold over trials",
                    "n": n,
                    "auc": auc,
                    "chance": 0.5,
                    "shuffled_labels": shuffled,
                }
            )
            print(f"simulated Muse, {pair}, noise level {level}: AUC {auc:.3f}", flush=True)
    return records, np.median(spectra, axis=0).tolist()


def spectrum(data: np.ndarray) -> np.ndarray:
    """Median over windows and channels of the power spectral density, uV^2/Hz, 2-s windows."""
    return welch(1e6 * data, SFREQ, nperseg=512, average="median")[1].mean(axis=0)


def real_faces_houses() -> tuple[list[dict], list[float] | None]:
    """The same measure on the real recordings of people who saw faces and houses."""
    records, spectra = [], []
    for subject in (1, 2):
        trials, labels = [], []
        for path in sorted((REAL / f"subject{subject}").glob("session*/*.csv")):
            raw, events = read_muse_csv(path)
            data = raw.get_data(picks=["TP9", "TP10"])
            spectra.append(spectrum(data))
            onsets = samples(events.onset)
            inside = onsets + 204 <= data.shape[1]
            trials.append(cut(filtered(data, 1.0, 30.0), onsets[inside], 204))
            labels.append(events.category.to_numpy()[inside] == "2")
        if trials:
            auc, shuffled, n = pair_auc(np.concatenate(trials), np.concatenate(labels))
            records.append(
                {
                    "simulated": False,
                    "subject": subject,
                    "montage": "Muse (TP9, TP10)",
                    "target": "face or house",
                    "split": "5-fold over trials",
                    "n": n,
                    "auc": auc,
                    "chance": 0.5,
                    "shuffled_labels": shuffled,
                }
            )
            print(f"real Muse N170, person {subject}: AUC {auc:.3f}", flush=True)
    return records, np.median(spectra, axis=0).tolist() if spectra else None


def evoked() -> mne.EvokedArray:
    """Average response of one person to 240 pictures at noise level 1, average reference."""
    rng = np.random.default_rng(8)
    viewer = Viewer.create(1, "easycap64", 0)
    raw, events = simulate_run(viewer, balanced_scenes(rng, 240), noise_level=1.0, rng=rng)
    data = filtered(raw.get_data(), 0.5, 40.0)
    onsets = samples(events.onset) - 26
    trials = cut(data, onsets, 192)
    trials = trials[np.ptp(trials, axis=2).max(axis=1) < 200e-6]
    mean = trials.mean(axis=0) - trials[:, :, :26].mean(axis=(0, 2))[:, None]
    average = mne.EvokedArray(mean - mean.mean(axis=0), raw.info, tmin=-26 / SFREQ)
    return average


def draw_curve(curve: dict[str, dict], figure: Figure, grid: GridSpec) -> None:
    """Category, colour and both by noise level: LDA, the reader, the prior's images."""
    levels = sorted(curve, key=float)
    names = {LDA_ROW: "LDA, channels repaired", "reader": "reader", FINAL: "prior, image"}
    for i, metric in enumerate(("category", "color", "both")):
        axes = figure.add_subplot(grid[1, 2 * i : 2 * i + 2])
        for shift, (row, label) in zip((0.98, 1, 1.02), names.items(), strict=True):
            entries = [curve[level]["rows"][row][metric] for level in levels]
            values = np.array([entry["value"] for entry in entries])
            low, high = np.array([entry["ci95"] for entry in entries]).T
            axes.errorbar(
                [shift * float(level) for level in levels], 100 * values,
                100 * np.array([values - low, high - values]), fmt="o-", capsize=2, label=label,
            )  # fmt: skip
        axes.axhline(100 * CHANCE[metric], color="k", ls=":", label="chance")
        axes.set(xscale="log", xlabel="noise level (1 = realistic)", ylim=(0, 100))
        axes.set_xticks([float(level) for level in levels], levels)
        axes.minorticks_off()
        title = {"color": "colour", "both": "category and colour"}.get(metric, metric)
        axes.set_title(f"SIMULATED: {title} right, %, single trials", fontsize=10)
        axes.legend(fontsize=8)


def draw(result: dict, path: Path) -> None:
    """One figure: accuracy, AUC, the noise curve, topographies, average, spectrum."""
    figure = plt.figure(figsize=(13, 12), layout="constrained")
    grid = figure.add_gridspec(3, 6)
    draw_curve(result["noise_curve"], figure, grid)
    axes = figure.add_subplot(grid[0, :3])
    category = [r for r in result["within_person"] if r["target"] == "category"]
    for covariance, marker in (("class", "o"), ("pooled", "s")):
        chosen = [r for r in category if r["covariance"] == covariance]
        first = [r for r in chosen if r["subject"] == 1]
        (line,) = axes.plot(
            [r["noise_level"] for r in first], [100 * r["accuracy"] for r in first],
            marker + "-", label=f"person 1, covariance {covariance}",
        )  # fmt: skip
        others = [r for r in chosen if r["subject"] != 1]
        axes.plot(
            [r["noise_level"] for r in others], [100 * r["accuracy"] for r in others],
            marker, color=line.get_color(), mfc="none", label="persons 2 to 4",
        )  # fmt: skip
    axes.axhline(100 / len(CATEGORIES), color="k", ls=":", label="chance")
    axes.axvline(DEFAULT_NOISE_LEVEL, color="0.6", ls="--", label="default")
    axes.set(
        xscale="log", xlabel="noise level (1 = realistic)", ylabel="accuracy, %", ylim=(0, 100)
    )
    axes.set_xticks(LEVELS, [f"{x:g}" for x in LEVELS])
    axes.minorticks_off()
    axes.set_title("SIMULATED: 24-way shrinkage LDA, 64 channels, single trials", fontsize=10)
    axes.legend(fontsize=8)

    axes = figure.add_subplot(grid[0, 3:])
    groups = [
        (f"simulated pairs\nnoise level {level:g}",
         [r["auc"] for r in result["headset_pairs"] if r["noise_level"] == level])
        for level in sorted({r["noise_level"] for r in result["headset_pairs"]})
    ]  # fmt: skip
    groups.append(("REAL face/house", [r["auc"] for r in result["real"]]))
    for i, (_, values) in enumerate(groups):
        axes.plot(i + np.linspace(-0.15, 0.15, len(values)), values, "o")
        if values:
            axes.hlines(np.median(values), i - 0.25, i + 0.25, color="k")
    axes.axhline(0.5, color="k", ls=":")
    axes.set_xticks(range(len(groups)), [name for name, _ in groups])
    axes.set(ylabel="AUC", ylim=(0.45, 1))
    axes.set_title("Muse TP9+TP10, two categories, single trials", fontsize=10)

    average = evoked()
    for i, when in enumerate((0.1, 0.17, 0.28)):
        axes = figure.add_subplot(grid[2, i])
        data = 1e6 * average.data[:, average.time_as_index(when)[0]]
        limit = np.abs(data).max()
        mne.viz.plot_topomap(data, average.info, axes=axes, show=False, vlim=(-limit, limit))
        axes.set_title(f"SIMULATED {1000 * when:.0f} ms\n±{limit:.1f} µV", fontsize=9)
    axes = figure.add_subplot(grid[2, 3:5])
    freqs = np.fft.rfftfreq(512, 1 / SFREQ)
    for name, values in result["spectra"].items():
        if values is not None:
            axes.loglog(freqs[1:], values[1:], label=name)
    axes.loglog(freqs[4:90], 30 / freqs[4:90], "k:", label="1/f")
    axes.set(xlabel="Hz", ylabel="µV²/Hz", title="TP9, TP10, noise level 1")
    axes.legend(fontsize=8)
    axes = figure.add_subplot(grid[2, 5])
    for name in ("Oz", "PO8", "TP10", "Cz"):
        axes.plot(
            1000 * average.times, 1e6 * average.data[average.ch_names.index(name)], label=name
        )
    axes.set(xlabel="ms", title="SIMULATED, µV")
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """Return a part that is kept, or make and keep it."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(make()) + "\n", "utf-8")
    return json.loads(path.read_text("utf-8"))


def compute(parts: Path) -> dict[str, Any]:
    """Return all figures; parts that are kept are not made again."""
    curve = noise_curve(parts / "noise-curve")
    pairs, simulated = kept(parts / "pairs.json", lambda: headset_pairs((DEFAULT_NOISE_LEVEL, 1.0)))
    within = kept(parts / "person-1.json", lambda: within_person(1, LEVELS))
    for subject in (2, 3, 4):
        within += kept(
            parts / f"person-{subject}.json",
            lambda subject=subject: within_person(subject, (DEFAULT_NOISE_LEVEL,)),
        )
    real, measured = real_faces_houses()
    return {
        "default_noise_level": DEFAULT_NOISE_LEVEL,
        "within_person": within,
        "noise_curve": curve,
        "headset_pairs": pairs,
        "real": real,
        "real_available": bool(real),
        "spectra": {"SIMULATED": simulated, "REAL (N170)": measured},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results")
    parser.add_argument("--parts", type=Path, default=ROOT / "runs" / "decodability")
    parser.add_argument("--draw", action="store_true", help="draw anew what is in the output")
    args = parser.parse_args()
    start, path = time.monotonic(), args.output / "decodability.json"
    if not args.draw:
        args.output.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(compute(args.parts), indent=1, default=float) + "\n", "utf-8")
    draw(json.loads(path.read_text("utf-8")), path.with_suffix(".png"))
    print(f"done in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
