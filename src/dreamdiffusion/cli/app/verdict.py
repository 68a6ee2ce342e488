"""Is it better than chance? In words, for one recording."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

N_PERMUTATIONS = 1999
ALPHA = 0.05
LEAST = 10
"""Pictures below which nothing is said."""


@dataclass(frozen=True)
class Verdict:
    """What the recording shows: a heading and a sentence or two; `kind` colours it."""

    kind: Literal["above", "chance", "unknown"]
    head: str
    text: str


def judge_recording(
    named: Sequence[str], seen: Sequence[str], known: Collection[str], rng: np.random.Generator
) -> Verdict:
    """Compare the kinds that the EEG names with those that were shown.

    Parameters
    ----------
    named, seen
        Of every picture, n names.
    known
        The kinds that the model can name.
    rng
        Of the permutations: how often the kinds, dealt out anew, fit as well.
    """
    rows = [place for place, name in enumerate(seen) if name in known]
    if not named:
        return Verdict(
            "unknown",
            "Nobody can tell.",
            "This model names no kinds, so there is nothing to count.",
        )
    if not rows:
        kinds = ", ".join(sorted({name for name in seen if name})[:3]) or "nothing"
        return Verdict(
            "unknown",
            "Nobody can tell whether these images are right.",
            f"The markers of this recording say {kinds}; the model knows "
            f"{', '.join(sorted(known)[:3])} and {max(0, len(known) - 3)} more kinds. "
            "Look at the control: where it is no worse, the images say nothing.",
        )
    given, true = np.array([named[i] for i in rows]), np.array([seen[i] for i in rows])
    n, right = len(rows), int((given == true).sum())
    dealt = np.array([(given == rng.permutation(true)).sum() for _ in range(N_PERMUTATIONS)])
    p = float((1 + (dealt >= right).sum()) / (1 + N_PERMUTATIONS))
    counted = (
        f"The EEG names the right kind in {right} of {n} pictures ({100 * right / n:.0f} %); "
        f"guessing gives {100 * dealt.mean() / n:.0f} %"
    )
    if n < LEAST:
        text = f"{counted}. {n} pictures are too few to tell; {LEAST} are needed at least."
        return Verdict("unknown", "Too few pictures.", text)
    if p < ALPHA:
        text = f"{counted} (p = {p:.2g}). A single image can still be wrong."
        return Verdict("above", "Better than chance.", text)
    text = (
        f"{counted} (p = {p:.2g}). The images below say nothing about what was seen. A "
        "model that was fitted on this person, more repeats or better contact of the "
        "electrodes may help."
    )
    return Verdict("chance", "No better than chance.", text)
