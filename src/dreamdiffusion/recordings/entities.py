"""Who and when: subject, session and run from the names of a file and its folders."""

from __future__ import annotations

import re
from pathlib import Path

# Names that public data sets give: eegmmidb, and eegmat (`_1` rest, `_2` arithmetic).
_SHORT = (r"S(?P<subject>\d+)R(?P<run>\d+)", r"Subject(?P<subject>\d+)_(?P<run>\d+)")


def entities_from_path(path: Path, stem: str) -> dict[str, str]:
    """Return `subject`, `session` and `run` of a recording.

    From BIDS names (`sub-01_ses-1_run-2`), else from names like `subject1/session2`, else from
    those of data sets (`S001R03`, `Subject00_1`). Where nothing says it, the subject is "unknown",
    the session "1", and the run the file's name.

    Parameters
    ----------
    path
        The recording.
    stem
        Its name without the extension.
    """
    path = path.absolute()
    text = "/".join([*path.parts[-4:-1], stem.split("_eeg")[0]])
    found: dict[str, str] = {}
    for pattern in _SHORT:
        match = re.fullmatch(pattern, stem)
        if match:
            found |= match.groupdict()
    for key, short in (("subject", "sub"), ("session", "ses"), ("run", "run")):
        bids = re.findall(rf"(?:^|[/_]){short}-([A-Za-z0-9]+)", text)
        words = re.findall(rf"(?:^|[/_]){key}[-_ ]?(\d[A-Za-z0-9]*)", text, flags=re.IGNORECASE)
        if bids or words:
            found[key] = (bids or words)[-1]
    return {"subject": "unknown", "session": "1", "run": stem, **found}
