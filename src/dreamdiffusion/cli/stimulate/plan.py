"""Which picture is shown when: blocks in random order, audited before the first is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dreamdiffusion.cli.config import StimulateConfig
from dreamdiffusion.evidence.audit.findings import Finding
from dreamdiffusion.evidence.audit.run import audit_order
from dreamdiffusion.files.pictures import SUFFIXES, open_picture, pictures_in

BLOCK_S = 60.0
"""Seconds of pictures between two breaks."""
BREAK_S = 15.0
"""Seconds that a break is expected to last; the person ends it."""
BEFORE_S = 60.0
"""Seconds for consent and instructions."""
TARGET_SHARE = 1 / 12
"""Share of the trials before which the cross turns red, so that the person keeps looking."""
TARGET_S = 1.5
"""Seconds from the red cross to the ordinary gap, within which an answer counts."""
MOST_DRAWS = 20


@dataclass(frozen=True)
class Picture:
    """A picture that is shown: its name in the folder, with slashes, and its class."""

    name: str
    category: str
    path: Path


@dataclass(frozen=True)
class Trial:
    """One showing: place in the list of pictures, seconds of empty screen before, red cross."""

    picture: int
    gap_s: float
    target: bool


Block = list[Trial]


def find_pictures(folder: Path) -> list[Picture]:
    """List the pictures of class folders, or of one folder, where each is a class of its own.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no picture in it or in one of its class folders.
    ValueError
        If pictures lie beside class folders, or one cannot be opened.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"picture folder {folder} {what}; name a folder of pictures")
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
    loose = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if classes and loose:
        raise ValueError(
            f"{folder} holds the picture {loose[0]} beside the folder {classes[0]}; put every "
            "picture into the folder of its class, or all into one folder"
        )
    if not classes and not loose:
        raise FileNotFoundError(
            f"{folder} holds no picture ({', '.join(SUFFIXES)}) and no folder of pictures"
        )
    found = [
        Picture(f"{name}/{path.name}", name, path)
        for name in classes
        for path in pictures_in(folder, name)
    ] or [Picture(path.name, path.stem, path) for path in pictures_in(folder, ".")]
    for picture in found:
        open_picture(picture.path)
    return found


def block_counts(config: StimulateConfig) -> tuple[int, int]:
    """Return the number of blocks that fit the minutes, and of the trials of a block."""
    trial_s = config.picture_s + sum(config.gap_s) / 2 + TARGET_SHARE * TARGET_S
    n_trials = max(1, int(BLOCK_S // trial_s))
    n_blocks = int((60 * config.minutes - BEFORE_S + BREAK_S) // (BLOCK_S + BREAK_S))
    return max(1, n_blocks), n_trials


def draw_blocks(
    pictures: Sequence[Picture],
    n_blocks: int,
    n_trials: int,
    gap_s: tuple[float, float],
    rng: np.random.Generator,
) -> list[Block]:
    """Draw the order: every block holds the classes equally often, as near as it goes, shuffled.

    A class may follow itself. Pictures of a class come in a random order, all before any again.
    """
    categories = sorted({picture.category for picture in pictures})
    members = {
        name: [i for i, p in enumerate(pictures) if p.category == name] for name in categories
    }
    classes = _cycled(categories, rng)
    decks = {name: _cycled(members[name], rng) for name in categories}
    blocks = []
    for _ in range(n_blocks):
        dealt = [next(decks[next(classes)]) for _ in range(n_trials)]
        order = rng.permutation(n_trials)
        gaps = rng.uniform(*gap_s, n_trials)
        targets = rng.random(n_trials) < TARGET_SHARE
        blocks.append(
            [
                Trial(dealt[place], float(gap), bool(target))
                for place, gap, target in zip(order, gaps, targets, strict=True)
            ]
        )
    return blocks


def _cycled(items: Sequence[Any], rng: np.random.Generator) -> Iterator[Any]:
    """Yield all items in a random order, then all in another, without end."""
    while True:
        for place in rng.permutation(len(items)):
            yield items[place]


def plan(
    pictures: Sequence[Picture],
    config: StimulateConfig,
    n_blocks: int,
    n_trials: int,
    seed: Sequence[int],
) -> tuple[list[Block], list[Finding]]:
    """Draw orders until one passes the audit.

    Parameters
    ----------
    seed
        Whole numbers that no other plan of the session has.

    Returns
    -------
    blocks, findings
        What is shown, and what the audit says of it.

    Raises
    ------
    ValueError
        If no order passes: the pictures are too few for the classes.
    """
    findings: list[Finding] = []
    for number in range(MOST_DRAWS):
        rng = np.random.default_rng([*seed, number])
        blocks = draw_blocks(pictures, n_blocks, n_trials, config.gap_s, rng)
        findings = audit_order(planned_metadata(pictures, blocks, config.picture_s))
        if not any(finding.severity == "severe" for finding in findings):
            return blocks, findings
    severe = next(finding for finding in findings if finding.severity == "severe")
    raise ValueError(
        f"{MOST_DRAWS} random orders of {len(pictures)} pictures failed the audit ({severe.name}: "
        f"{severe.what}) Give more pictures of every class"
    )


def planned_metadata(
    pictures: Sequence[Picture], blocks: Sequence[Block], picture_s: float
) -> pd.DataFrame:
    """Return the metadata that the trials of a plan will have; every block is a run."""
    rows = []
    for number, block in enumerate(blocks):
        onset = 0.0
        for trial in block:
            onset += trial.gap_s + TARGET_S * trial.target
            picture = pictures[trial.picture]
            rows.append((f"{number + 1:02d}", onset, picture_s, picture.category, picture.name))
            onset += picture_s
    table = pd.DataFrame(rows, columns=["run", "onset", "duration", "category", "stim_file"])
    return table.assign(subject="", session="")
