"""Records of ``scores.json`` for tests, from the least to one that holds everything."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dreamdiffusion.evidence.scores import (
    Bin,
    Confidence,
    ControlScore,
    Curve,
    DistributionScore,
    Followed,
    Headline,
    Look,
    Occlusion,
    Reason,
    Score,
    Scores,
)

NAMES = ["cup", "fish", "<script>owl</script>", "tree", "house", "clock"]
CONTROLS = {
    "shuffled_eeg": 0.045,
    "phase_randomised_eeg": 0.052,
    "mean_embedding": 0.0417,
    "no_eeg_prior": 0.0625,
    "label_only": 0.41,
    "nearest_training_image": 0.33,
    "time_removed_eeg": 0.44,
}


def score(metric="category_top1", value=0.457, scale=1.0, controls=CONTROLS, **changes) -> Score:
    """Return a score with controls; ``scale`` multiplies theirs and the intervals."""
    compared = {
        name: ControlScore(
            value=scale * of,
            difference=value - scale * of,
            difference_ci95=(value - scale * (of + 0.08), value - scale * (of - 0.08)),
        )
        for name, of in controls.items()
    }
    brainless = [name for name in compared if name in list(CONTROLS)[:4]]
    strongest = max(brainless, key=lambda name: compared[name].value)
    fields = {
        "metric": metric, "value": value, "n": 96, "chance": scale * 0.042, "p": 0.0005,
        "ci95": (value - 0.08 * scale, value + 0.08 * scale), "controls": compared,
        "strongest": strongest, "difference": compared[strongest].difference,
        "difference_ci95": compared[strongest].difference_ci95,
    }  # fmt: skip
    return Score(**(fields | changes))


def headline(of: Score, verdict="above", reasons=(), **changes) -> Headline:
    return Headline(
        metric=of.metric, verdict=verdict, difference=of.difference,
        difference_ci95=of.difference_ci95, strongest=of.strongest, reasons=list(reasons),
        **changes,
    )  # fmt: skip


def shown_and_named(n: int, k: int, accuracy: float, seed: int = 0) -> dict:
    """Return ``trials`` in which each trial has a share of right images of its own."""
    rng = np.random.default_rng(seed)
    shown = [NAMES[i % len(NAMES)] for i in range(n)]
    named = []
    for truth in shown:
        share = rng.beta(accuracy, 1 - accuracy)
        named.append([truth if rng.random() < share else str(rng.choice(NAMES)) for _ in range(k)])
    return {"category": shown, "judged_category": named}


def confusion_of(trials: dict) -> dict:
    counts = np.zeros((len(NAMES),) * 2, dtype=int)
    for truth, row in zip(trials["category"], trials["judged_category"], strict=True):
        for name in row:
            counts[NAMES.index(truth), NAMES.index(name)] += 1
    return {"names": NAMES, "counts": counts.tolist()}


def minimal(n: int = 6, k: int = 1, **changes) -> Scores:
    """The least that a record can hold: one score with one control."""
    one = score(controls={"shuffled_eeg": 0.045}, n=n)
    trials = shown_and_named(n, k, 0.45)
    fields = {
        "split": "test: run 8", "simulated": False, "headline": headline(one), "scores": [one],
        "not_scored": {}, "protocol": {}, "judge": {"trained_on": "photos"},
        "confusion": confusion_of(trials), "trials": trials,
    }  # fmt: skip
    return Scores(**(fields | changes))


def full(n: int = 96, k: int = 4, **changes) -> Scores:
    """Everything that a record can hold."""
    main = score(n=n, n_people=3, p_corrected=0.0025)
    trials = shown_and_named(n, k, 0.45)
    noise = np.random.default_rng(1)
    times = np.arange(-0.05, 0.45, 0.05)
    confidence = np.linspace(0.95, 0.05, 20)
    fields = {
        "simulated": True,
        "noise_level": 0.35,
        "headline": headline(main, beyond_category=True),
        "scores": [
            main,
            score("color_top1", 0.377, n=n, n_people=3, p_corrected=0.0025),
            score("clip_retrieval_top1", 0.294, 0.5, n=n, n_people=3, p_corrected=0.0025),
            score("ssim", 0.326, 0.55, n=n, n_people=3, p_corrected=0.012),
            score("pcc", -0.021, 0.4, n=n, n_people=3, p=0.61, p_corrected=0.61),
        ],
        "baselines": [score("lda_pooled_category_top1", 0.77, 1.1, {"shuffled_eeg": 0.05}, n=n)],
        "distributions": [
            DistributionScore(metric="kid", value=0.0213, n_generated=n * k, n_seen=n,
                              shuffled_eeg=0.0219),
            DistributionScore(metric="fid", value=84.31, n_generated=n * k, n_seen=n,
                              note="biased upwards below thousands of images"),
        ],
        "curves": [
            Curve(metric="category_top1", n_averaged=[1, 2, 4, 8, 16], n=[96, 48, 24, 12, 6],
                  value=[0.457, 0.56, 0.68, 0.77, 0.83],
                  ci95=[(0.38, 0.54), (0.46, 0.66), (0.54, 0.8), (0.6, 0.9), (0.62, 0.96)],
                  chance=[0.042, 0.043, 0.044, 0.05, 0.05]),
        ],
        "confidence": Confidence(
            fitted_on="the validation trials", n_fitted=64, n=n, accuracy=0.46, auc=0.87,
            calibration_error=0.034, error_if_perfect=0.03, error_if_perfect_95=0.05,
            bins=[Bin(confidence=c, accuracy=c + d, n=m) for c, d, m in
                  ((0.12, -0.03, 30), (0.35, 0.04, 22), (0.55, -0.02, 18), (0.8, 0.03, 26))],
            coverage=np.linspace(0.05, 1, 20).tolist(),
            risk=(0.03 + 0.5 * np.linspace(0.05, 1, 20) ** 1.5).tolist(),
            risk_limit=0.2, threshold=0.61, kept=0.42, risk_kept=0.17,
            of_trial=np.resize(confidence, n).tolist(),
        ),
        "occlusion": Occlusion(
            metric="category_top1", value=0.457, n=n, ch_names=["Oz", "Pz", "Fz"], radius=0.0,
            channel_drop=[0.21, 0.07, -0.01], channel_se=[0.04, 0.03, 0.02],
            times=times.tolist(), width=0.05,
            time_drop=(0.2 * np.exp(-((times - 0.17) ** 2) / 0.004)).tolist(),
            time_se=[0.03] * len(times),
            evoked=noise.normal(scale=1e-6, size=(3, 8)).tolist(),
            evoked_times=np.linspace(-0.1, 0.5, 8).tolist(),
        ),
        "not_scored": {"lpips": "needs the extra <nsd>"},
        "protocol": {
            "samples": f"{k} images per trial, all scored, never the best of",
            "category_top1": "6-way top-1 by the judge's argmax; even guessing is 0.1667",
            "clip_retrieval_top1": "cosine in the space of the CLIP that the EEG was aligned to, "
            "so not independent; gallery of 96: the pictures shown in the split, each once",
            "chance": "the same images with the truths dealt to the trials at random",
            "ci95": "percentile bootstrap over people, and trials within them, 2000 draws",
        },
        "followed": Followed(name="simulated-viewer", sha256="9f" * 32,
                             departures=["limit 96 in place of all 240 trials"]),
        "looks": [
            Look(number=i, when=f"2026-11-{20 + i}T10:0{i}:00+00:00", model=model * 32,
                 config="c0ffee" * 10)
            for i, model in ((1, "a1"), (2, "b2"), (3, "b2"))
        ],
        "judge": {"trained_on": "drawn scenes", "category_accuracy_on_seen": 0.99},
        "confusion": confusion_of(trials),
        "trials": trials,
        "audit": audit(),
        "made": {
            "command": "dreamdiffusion evaluate --config runs/evaluate-scenes/config.yaml",
            "config": {"model": "runs/finetune", "split": "test", "n_permutations": 2000},
            "versions": {"python": "3.11.9", "torch": "2.13.0"},
            "hashes": {"trials": "5d" * 32, "model": "b2" * 32},
        },
    }  # fmt: skip
    return minimal(n, k, **(fields | changes))


def not_above(**changes) -> Scores:
    """Images that follow the generator and no EEG."""
    main = score(value=0.06, p=0.31, p_corrected=0.62, n_people=1)
    trials = shown_and_named(96, 4, 0.06)
    return full(
        scores=[main], headline=headline(main, "not above", beyond_category=False), curves=[],
        trials=trials, confusion=confusion_of(trials), confidence=None, occlusion=None,
        simulated=False, noise_level=None, followed=None, baselines=[], distributions=[],
        **changes,
    )  # fmt: skip


def withheld(**changes) -> Scores:
    """A high score that a block design explains, on a test side that was looked at often."""
    main = score(value=0.983, n_people=1)
    reasons = [
        Reason(name="block_design", what="Trials that are near in time show the same class."),
        Reason(
            name="judge_saw_the_pictures",
            what="the judge was trained on 12 of the 96 pictures.",
        ),
    ]
    return full(
        scores=[main], headline=headline(main, "withheld", reasons), baselines=[],
        simulated=False, noise_level=None, audit=audit(severe=True), **changes,
    )  # fmt: skip


def audit(severe: bool = False) -> dict:
    """What `audit.audit` gives."""
    block = {
        "name": "block_design", "severity": "severe",
        "what": "Trials that are near in time show the same class.",
        "consequence": "Anything that changes slowly tells the class.",
        "remedy": "Show the classes in random order.",
        "evidence": {"n": 960, "neighbours_alike": 0.91, "chance": 0.05, "p": 0.0025, "x": None},
    }  # fmt: skip
    passed = [
        {"name": name, "severity": "passed", "what": f"No {name}.", "consequence": "",
         "remedy": "", "evidence": {"p": 0.4}}
        for name in ("drift", "duplicate_trials", "fixed_order")
    ]  # fmt: skip
    return {
        "findings": [*([block] if severe else []), *passed],
        "acknowledged": ["block_design"] if severe else [],
    }


def pictures(n: int = 96, k: int = 4, size: int = 16) -> tuple[Tensor, Tensor]:
    """Return generated (n, k, 3, size, size) and seen (n, 3, size, size) noise in [0, 1]."""
    g = torch.Generator().manual_seed(0)
    images = torch.rand(n, k + 1, 3, size, size, generator=g)
    return images[:, :k], images[:, k]
