"""What an audit finds, and the design it looks at: classes in the order of their onsets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]
Severity = Literal["severe", "warning", "note", "passed"]

N_PERMUTATIONS = 399
ALPHA = 0.0055
"""Each of nine tests can make a severe finding: 0.0495 in all at most, by Bonferroni."""


@dataclass(frozen=True)
class Finding:
    """One thing that an audit looked at.

    Attributes
    ----------
    name
        Stable: what `acknowledge` refers to.
    severity
        `severe` stops a fine-tuning unless it is acknowledged; `passed`: looked at, not found.
    what
        One sentence.
    evidence
        Figures: n, statistic, what chance gives, p.
    consequence, remedy
        What it does to a score, and what to do about it; empty where the check passed.
    """

    name: str
    severity: Severity
    what: str
    evidence: dict[str, Any] = field(default_factory=dict)
    consequence: str = ""
    remedy: str = ""
