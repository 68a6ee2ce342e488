"""Which settings fit a recording and its trials: window, filter, split, decoder and its sizes."""

from __future__ import annotations

import logging
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dreamdiffusion.decoders.config import (
    ATTRIBUTES,
    EncodingConfig,
    FitConfig,
    PriorConfig,
    ReaderConfig,
    ReaderOptimConfig,
)
from dreamdiffusion.files.shipped import find_weights
from dreamdiffusion.models.config import CompactConfig
from dreamdiffusion.models.embedder import PHOTOS
from dreamdiffusion.models.lite import lite_installed
from dreamdiffusion.recordings.config import SignalConfig, StatedConfig
from dreamdiffusion.recordings.formats.sidecar import read_json
from dreamdiffusion.trials.config import PrepareConfig, SplitConfig
from dreamdiffusion.trials.trials import Trials

logger = logging.getLogger(__name__)

LONGEST_S, SHORTEST_S = 0.75, 0.4
"""Of a trial; it ends where the next picture comes."""
REJECT_UV = (100.0, 150.0, 250.0, 400.0, 800.0)
REJECTED = 0.2
"""The lowest limit that leaves out at most this share of the trials is taken."""
FEW_CHANNELS, FEW_CLASSES = 8, 8
MOST_PICTURES = 200
LEAST_OF_PICTURE = 4
"""Training trials of a picture, in the median, so that it can be learned as such."""
LEAST_TRIALS = 40
LEAST_OF_CLASS = 8
"""Trials of the most frequent class; with fewer none of them can be set aside to validate."""
LEAST_STEPS, MOST_STEPS = 300, 600
"""Of the training: a minute on 4 channels, ten on 64, with 2 cores."""
PART, N_PARTS = "part", 5
PHOTO_SIZE = 224
"""Pixels of a photograph of the bank: as Lite0 looks at them."""
FEW: dict[str, Any] = {
    # What was chosen on the Muse of the N170 recordings: files/configs/fit-reader-n170.yaml.
    "compact": CompactConfig(
        n_temporal=16, kernel_size=25, pool_size=24, pool_stride=8, dropout=0.5
    ),
    "scale": "trial",
    "linear_widths_s": [0.024, 0.031, 0.04, 0.047],
    "electrode_relevance": True,
    "contrastive_weight": 0.1,
    "shift_augment": 2,
    "batch_size": 128,
    "optim": ReaderOptimConfig(lr=1e-3, weight_decay=0.1, warmup_steps=60),
}
"""Of the reader, on up to `FEW_CHANNELS`."""
_FEW_STEPS = 120
FEW_OF_CLASSES: dict[str, Any] = {
    "ensemble": 4,
    "steps": _FEW_STEPS,
    "checkpoint_every": _FEW_STEPS,
    "validate_every": _FEW_STEPS,
    "batch_size": 64,
    "optim": ReaderOptimConfig(lr=1e-3, weight_decay=0.1, warmup_steps=40),
}
"""Where only the class of each picture is known: after more, it knows its trials by heart
(docs/n170.md)."""


def plan_prepare(
    inputs: list[Path], shown: list[dict[str, Any]], output: Path, stated: StatedConfig
) -> PrepareConfig:
    """Choose rate, filter and window for recordings.

    Parameters
    ----------
    inputs
        What is prepared.
    shown
        What `describe_recording` says of each recording; `soa`: the median time from event to
        event, s.
    output
        Folder of the trials.
    stated
        What the owner states of the files.
    """
    sfreq = min(256.0, *(found["sfreq"] for found in shown))
    left = _channels(shown)
    soa = min(found["soa"] for found in shown)
    window = max(SHORTEST_S, min(LONGEST_S, math.floor(soa * 20) / 20))
    signal = SignalConfig(
        **stated.stated(), l_freq=1.0, h_freq=min(30.0, 0.4 * sfreq), sfreq=sfreq,
        picks=None if all(found["ch_names"] == left for found in shown) else left,
    )  # fmt: skip
    return PrepareConfig(input=inputs, output=output, signal=signal, tmax=window)


def _channels(shown: list[dict[str, Any]]) -> list[str]:
    """Return the channels that work in all recordings; a warning says which are left out, and why.

    Raises
    ------
    ValueError
        Where those are less than half of the channels that a recording has.
    """
    why: dict[str, str] = {}
    for found in shown:
        for name, reason in found["bad_channels"].items():
            if "flat" in reason or "missing" in reason:
                why.setdefault(name, f"{name}: {reason} in {found['file']}")
    names = list(dict.fromkeys(name for found in shown for name in found["ch_names"]))
    for name in names:
        lacking = next((found for found in shown if name not in found["ch_names"]), None)
        if lacking is not None:
            why.setdefault(name, f"{name}: not in {lacking['file']}")
    left = [name for name in names if name not in why]
    if not left or 2 * len(left) < max(len(found["ch_names"]) for found in shown):
        raise ValueError(
            f"of {len(names)} channels {len(left)} work in all recordings "
            f"({'; '.join(list(why.values())[:8])}); leave out the recording that lacks them, or "
            "name the channels alike (--file_channels)"
        )
    if why:
        logger.warning("channels that are left out of all recordings: %s", "; ".join(why.values()))
    return left


def reject_limit(trials: Trials) -> float | None:
    """Return the peak-to-peak limit, microvolts: the lowest that leaves out a fifth at most."""
    highest = np.ptp(np.asarray(trials.data), axis=2).max(axis=1) * 1e6
    return next((limit for limit in REJECT_UV if np.mean(highest > limit) <= REJECTED), None)


def add_parts(trials: Trials) -> bool:
    """Number the fifths of each recording in the column `part`; False: there are runs enough."""
    metadata = trials.metadata
    if len(set(metadata["run"].astype(str))) >= 3:
        return False
    groups = metadata.groupby(["subject", "session", "run"])["onset"]
    share = groups.rank(method="first", pct=True)
    metadata[PART] = np.ceil(share * N_PARTS).clip(1, N_PARTS).astype(int).astype(str)
    return True


def plan_split(trials: Trials) -> SplitConfig:
    """Hold out the last runs, a fifth of them; of one or two runs, the last fifth of each."""
    metadata = trials.metadata
    by = PART if PART in metadata else "run"
    values = sorted(metadata[by].astype(str).unique(), key=lambda text: (len(text), text))
    test = values[-max(1, round(len(values) / 5)) :]
    shared = False
    if trials.pairing == "stim_file":
        is_test = metadata[by].astype(str).isin(test)
        names = metadata["stim_file"]
        shared = bool(set(names[is_test]) & set(names[~is_test]))
    return SplitConfig(
        by=by, test=test, validation_fraction=0.15, allow_shared_stimuli=shared,
        validation_by="trial" if shared or trials.pairing == "category" else None,
    )  # fmt: skip


def draws_these(trials: Trials) -> bool:
    """Whether the bundled generator and judge know such pictures: simulated scenes of theirs."""
    if trials.pairing != "stim_file" or not trials.simulated:
        return False
    config = Path(find_weights(Path("weights/judge"))) / "config.json"
    if not config.is_file():
        return False
    known = set(read_json(config).get("categories", []))
    return set(trials.metadata["category"].astype(str)) <= known


def plan_fit(trials: Trials, split: SplitConfig, data: Path, output: Path) -> FitConfig:
    """Choose decoder and sizes.

    The prior where its pictures can be drawn, and over one's own photographs where only their class
    is known; the linear encoding model where there are no pictures; else the reader.
    """
    common: dict[str, Any] = {"data": data, "output": output, "split": split}
    metadata = trials.metadata
    if not has_pictures(trials):
        # With more classes what is learned of electrodes costs more than it gives.
        learned = trials.n_chans <= FEW_CHANNELS and len(set(metadata["category"])) <= FEW_CLASSES
        return EncodingConfig(**common, attributes=["category"], electrode_relevance=learned)
    train = metadata.iloc[np.flatnonzero(~np.isin(metadata[split.by].astype(str), split.test))]
    steps = int(np.clip(len(train) // 2, LEAST_STEPS, MOST_STEPS))
    common |= {"steps": steps, "checkpoint_every": steps, "validate_every": steps}
    if draws_these(trials):
        return PriorConfig(**common, attributes=ATTRIBUTES, bank_size=6000)
    if lite_installed():
        common["clip"] = PHOTOS
    common["attributes"] = list(ATTRIBUTES)
    one_by_one = _learned_one_by_one(trials, split, train)
    if one_by_one:
        common["attributes"] = ["category", "stim_file"]
    if trials.n_chans <= FEW_CHANNELS:
        common |= FEW
        if trials.pairing == "category":
            common |= FEW_OF_CLASSES
        if trials.pairing == "stim_file" and not one_by_one:
            common["contrastive_weight"] = 1.0  # the embedding alone tells the picture
    bank = trials.stimuli_root
    if trials.pairing == "category" and bank is not None and _names_classes(bank, trials):
        return PriorConfig(**common, bank=bank, image_size=PHOTO_SIZE)
    return ReaderConfig(**common)


def has_pictures(trials: Trials) -> bool:
    """Whether anything is known of the pictures but the names of their classes."""
    return trials.pairing == "category" or bool((trials.metadata["stim_file"] != "").any())


def _learned_one_by_one(trials: Trials, split: SplitConfig, train: pd.DataFrame) -> bool:
    """Whether each picture was shown often enough in training to be learned as such."""
    if not split.allow_shared_stimuli or trials.pairing != "stim_file":
        return False
    counts = list(Counter(train["stim_file"]).values())
    return 2 <= len(counts) <= MOST_PICTURES and bool(np.median(counts) >= LEAST_OF_PICTURE)


def _names_classes(bank: Path, trials: Trials) -> bool:
    """Whether the folders of a bank are called as the classes are, letter by letter."""
    names = {path.name for path in bank.iterdir() if path.is_dir()}
    return set(trials.metadata["category"].astype(str)) <= names


def check_enough(trials: Trials, by: str) -> None:
    """Raise a ValueError where nothing can be learned of these trials, saying what is missing."""
    counts = Counter(trials.metadata["category"].astype(str))
    shown = ", ".join(f"{name} {n} times" for name, n in counts.most_common(8))
    if len(counts) < 2 and len(set(trials.metadata["stim_file"])) < 2:
        raise ValueError(
            f"every trial shows the same ({shown}); there is nothing to tell apart: show two "
            "classes of pictures, or two pictures"
        )
    if len(trials) < LEAST_TRIALS:
        raise ValueError(
            f"{len(trials)} trials are left ({shown}), expected {LEAST_TRIALS} or more, better "
            f"some hundreds; left out: {_reasons(trials)}"
        )
    most = max(counts.values())
    if most < LEAST_OF_CLASS:
        raise ValueError(
            f"the trials show {len(counts)} classes, each {most} times at most ({shown}), expected "
            f"{LEAST_OF_CLASS} times or more, better 50: show fewer classes, or each more often"
        )
    if len(set(trials.metadata[by].astype(str))) < 2:
        raise ValueError(f"the trials have one {by}, so none can be held out; record two or more")


def _reasons(trials: Trials) -> str:
    return ", ".join(f"{n} {why}" for why, n in trials.rejected.items() if n) or "none"
