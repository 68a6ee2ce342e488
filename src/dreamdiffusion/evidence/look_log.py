"""Every look at a locked test side is written down before its scores are known.

A test side is for one look. Who looks often, with other models or other settings, and reports the
best, has chosen on the test side: the score then is too high, and nothing in it shows that. So each
evaluation appends one line to ``looks.jsonl`` in the model's folder, one in the folder of the
trials, where it meets the looks of every other model that was scored on the same trials, and one in
the user's state folder (`user_log`), where it meets looks at copies of the trials, or at trials
that were prepared from the same recordings elsewhere.

What cannot be noticed: looks on another machine; recordings that were renamed; a line that somebody
deleted from all three logs; scores computed without this package.
"""

from __future__ import annotations

import datetime
import errno
import hashlib
import json
import logging
import os
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import platformdirs
from pydantic import Field, ValidationError

from dreamdiffusion.evidence.scores import Look, Reason
from dreamdiffusion.files.schema import Schema
from dreamdiffusion.files.whole import LOOK_LOG

logger = logging.getLogger(__name__)

BASELINES_FOLDER = "baselines"
"""Folder in a model's, of what was fitted on the same trials and is no part of the model."""
_FORMER_BASELINES = ("lda_class.safetensors", "lda_pooled.safetensors")
LOCKED = ("test", "new")
SELECTION = "selection_on_test"
STATE_VARIABLE = "DREAMDIFFUSION_STATE"
"""Environment variable that names another folder than the user's state folder."""
SKETCH_SIZE = 64
LEAST_SHARED = 0.75
_IDENTITY = ("subject", "session", "run", "onset", "stim_file", "repetition")
# Where things lie and how fast they are computed; what lies there has a hash of its own.
_ASIDE = ("output", "runtime", "model", "data", "batch_size")


class LookLine(Schema):
    """One line of ``looks.jsonl``; its number is its place among the lines of its trials."""

    id: str
    when: str = Field(description="UTC, ISO 8601")
    model: str = Field(description="hash of the model's weights")
    config: str = Field(description="hash of the evaluation's configuration")
    side: str
    trials: str = Field(description="hash of the trials of that side")
    sketch: list[str] = Field(
        default=[], description="the smallest hashes of single trials, to find nearly the same side"
    )
    n_trials: int = Field(description="trials that were scored")


def log_look(
    *,
    model: Path,
    data: Path,
    metadata: pd.DataFrame,
    rows: np.ndarray,
    n_trials: int,
    side: str,
    config: Schema,
    simulated: bool = False,
) -> list[Look]:
    """Write down that a side of a split is about to be scored; return all looks at it.

    To be called before the scores are computed, so that a look that crashed counts, and by one
    process of an evaluation.

    Parameters
    ----------
    model : Path
        Folder of the model.
    data : Path
        Folder of the trials.
    metadata : DataFrame
        Of all trials of the folder.
    rows : array of int, (n,)
        All trials of the side, also where a limit leaves some out.
    n_trials : int
        How many of them are scored.
    side : str
        ``test`` and ``new`` are locked; a look at another side is not written down.
    config : Schema
        Of the evaluation.
    simulated : bool
        The EEG is simulated, so it can be made anew at will: not kept in the user's log.

    Returns
    -------
    list of Look
        From all logs, oldest first, this one last; empty for a side that is not locked. In a
        folder that cannot be written to the look is not kept, and a note is logged.

    Raises
    ------
    ValueError
        If a line of a log is not a look; the message names file and line.
    """
    if side not in LOCKED:
        return []
    line = LookLine(
        id=uuid.uuid4().hex,
        when=datetime.datetime.now(datetime.UTC).isoformat(),
        model=model_hash(model),
        config=config_hash(config),
        side=side,
        trials=trials_hash(metadata.iloc[rows]),
        sketch=trials_sketch(metadata.iloc[rows]),
        n_trials=n_trials,
    )
    paths = [folder / LOOK_LOG for folder in (data, model)]
    if not simulated:
        paths.append(user_log())
    for path in paths:
        read_looks(path)  # a broken log ends it before a line is added
    kept = [append_look(path, line) for path in paths]
    if not any(kept):
        logger.warning("this look at the %s side is in no log: no folder is writable", side)
    # Read after the line is there: of two processes at once, at least one sees the other.
    found = {look.id: look for path in paths for look in read_looks(path) if same_side(look, line)}
    found.pop(line.id, None)
    older = sorted(found.values(), key=lambda look: look.when)
    return [
        Look(number=number, when=look.when, model=look.model, config=look.config)
        for number, look in enumerate([*older, line], start=1)
    ]


def selection_suspected(looks: list[Look]) -> Reason | None:
    """Say why the looks at a test side let one suspect that something was chosen by its score.

    Several models, or several configurations of the model scored last, have looked. The same model
    with the same configuration again is harmless: it gives the same score.
    """
    if not looks:
        return None
    last = looks[-1]
    models = {look.model for look in looks}
    configs = {look.config for look in looks if look.model == last.model}
    said = []
    if len(models) > 1:
        said.append(f"{len(models)} different models have looked at it, so the model")
    if len(configs) > 1:
        said.append(
            f"this model has looked at it with {len(configs)} different configurations, so the "
            "configuration"
        )
    if not said:
        return None
    suspicion = "; ".join(f"{part} may have been chosen on test" for part in said)
    what = f"this is look {len(looks)} at these trials since {looks[0].when[:10]}: {suspicion}"
    return Reason(name=SELECTION, what=what)


def user_log() -> Path:
    """Return the path of the user's own log of looks, in their state folder.

    ``DREAMDIFFUSION_STATE`` names another folder.
    """
    named = os.environ.get(STATE_VARIABLE)
    return Path(named or platformdirs.user_state_dir("dreamdiffusion")) / LOOK_LOG


def same_side(one: LookLine, other: LookLine) -> bool:
    """Whether two looks were at the same trials, or at nearly the same (others rejected).

    The smallest hashes of two sets are a random sample of their union, so the share of that sample
    which is in both estimates the share of the union that is (Broder 1997).
    """
    if one.trials == other.trials:
        return True
    a, b = set(one.sketch), set(other.sketch)
    union = sorted(a | b)[:SKETCH_SIZE]
    return bool(a and b) and sum(x in a and x in b for x in union) >= LEAST_SHARED * len(union)


def read_looks(path: Path) -> list[LookLine]:
    """Read a log; none where there is no file.

    Raises
    ------
    ValueError
        If a line is not a look; the message names file and line.
    """
    if not path.is_file():
        return []
    looks = []
    text = path.read_bytes().decode("utf-8", errors="replace")
    for number, row in enumerate(text.splitlines(), start=1):
        try:
            looks.append(LookLine.model_validate_json(row))
        except ValidationError as error:
            raise ValueError(
                f"line {number} of {path} is not a look ({error.errors()[0]['msg']}), so "
                "the looks at the test side cannot be counted; put the line right from the other "
                "log (the model's folder and the folder of the trials have one each) or a copy"
            ) from error
    if text and not text.endswith("\n"):
        raise ValueError(
            f"line {len(looks)} of {path} has no end: the log of looks at the test side was cut "
            "off; put it right from a copy, or end the line"
        )
    return looks


def append_look(path: Path, line: LookLine) -> bool:
    """Append one line in one write, which other processes cannot cut apart; False: not writable.

    Raises
    ------
    OSError
        If the line could not be written as a whole.
    """
    row = (line.model_dump_json() + "\n").encode("utf-8")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        place = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        logger.info("%s cannot be written to: this look is not kept there", path)
        return False
    try:
        written = os.write(place, row)
        os.fsync(place)
    finally:
        os.close(place)
    if written != len(row):
        raise OSError(f"{path}: only {written} of {len(row)} bytes of a look were written")
    return True


def model_hash(folder: Path) -> str:
    """Return the sha256 of a model's weights: names and content of its safetensors files.

    Which frozen generator it draws with counts too (``adapter.json``, or the record of another
    decoder); the baselines that lie beside the weights do not.

    Raises
    ------
    FileNotFoundError
        If the folder holds no weights.
    """
    paths = sorted(
        path.as_posix()
        for path in (found.relative_to(folder) for found in folder.rglob("*.safetensors"))
        if path.parts[0] != BASELINES_FOLDER and path.as_posix() not in _FORMER_BASELINES
    )
    if not paths:
        raise FileNotFoundError(f"{folder} holds no safetensors file, so no weights of a model")
    records = [name for name in ("adapter.json", "decoder.json") if (folder / name).is_file()]
    paths += records[:1]
    total = hashlib.sha256()
    for name in paths:
        with (folder / name).open("rb") as file:
            total.update(f"{name}\n{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def config_hash(config: Schema) -> str:
    """Return the sha256 of what a configuration computes; folders, runtime and batches aside."""
    content = config.model_dump(mode="json", exclude=set(_ASIDE))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8")).hexdigest()


def trials_hash(metadata: pd.DataFrame) -> str:
    """Return the sha256 of which trials these are, in any order.

    A trial is known by subject, session, run, onset (to the millisecond), picture and repetition,
    so the same trials prepared with another filter have the same hash.
    """
    return hashlib.sha256("\n".join(sorted(trial_identities(metadata))).encode("utf-8")).hexdigest()


def trials_sketch(metadata: pd.DataFrame) -> list[str]:
    """Return the 64 smallest hashes of single trials (known as in `trials_hash`)."""
    hashes = {
        hashlib.sha256(row.encode("utf-8")).hexdigest()[:12] for row in trial_identities(metadata)
    }
    return sorted(hashes)[:SKETCH_SIZE]


def trial_identities(metadata: pd.DataFrame) -> list[str]:
    """Return what each trial is called, n texts; the same however a recording is prepared."""
    columns = [column for column in _IDENTITY if column in metadata]
    return [
        json.dumps([f"{v:.3f}" if isinstance(v, float) else str(v) for v in row])
        for row in metadata[columns].itertuples(index=False)
    ]
