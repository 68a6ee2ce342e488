"""What a protocol says, as a pydantic schema; the YAML files here are the shipped ones.

A protocol is everything that has to be the same before two scores can be compared: data, people,
channels, window, split, repeats averaged, gallery, rule of selection, judge and metrics. Its hash
goes with every result. Importing this module must stay cheap.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from dreamdiffusion.datasets.config import SimulateConfig
from dreamdiffusion.files.schema import Schema, read_yaml

FOLDER = Path(__file__).parent
LATER_SETTINGS = ("n_pictures", "n_sessions")


class Reference(Schema):
    """Where the protocol is from."""

    paper: str
    url: str
    doi: str | None = None


class Data(Schema):
    """Which data: public data sets, any of them, or the simulated viewer."""

    datasets: list[str] = Field(default_factory=list, description="names of the registry")
    simulate: SimulateConfig | None = Field(default=None, description="output does not count")

    @model_validator(mode="after")
    def _one_kind(self) -> Data:
        if bool(self.datasets) == (self.simulate is not None):
            raise ValueError("data names either datasets or simulate, not both and not neither")
        if self.simulate is not None and self.simulate.noise_level is None:
            raise ValueError("simulate has no noise_level; a protocol states it")
        return self


class TrialWindow(Schema):
    """The piece of EEG that a trial is."""

    tmin: float = Field(description="s, from stimulus onset")
    tmax: float = Field(description="s, from stimulus onset; excluded")
    sfreq: PositiveFloat | None = Field(default=None, description="Hz; empty: not prescribed")
    filter: tuple[float | None, float | None] | None = Field(
        default=None, description="Hz, high-pass and low-pass edge; empty: not prescribed"
    )
    processing: str = Field(default="", description="what else is done to the signal, in words")


class Sides(Schema):
    """Which trials train, validate and test."""

    by: str | None = Field(
        default=None, description='column of the metadata, or several joined by "+"; empty: free'
    )
    test: list[str] = Field(default_factory=list, description="values of that column held out")
    leave_one_out: bool = Field(
        default=False, description="each value is held out once, and all folds are reported"
    )
    validation: list[str] | float = Field(
        default=0.0, description="values of that column, or a fraction of the other trials"
    )
    left_out: list[str] = Field(
        default_factory=list, description="values of that column that must not be in the data"
    )
    disjoint: list[str] = Field(
        default_factory=list,
        description="columns: no value of a test trial is in training or validation",
    )

    @model_validator(mode="after")
    def _test_is_named(self) -> Sides:
        if self.by is None:
            named = [k for k in ("test", "leave_one_out", "left_out") if getattr(self, k)]
            if named:
                raise ValueError(f"{', '.join(named)} without by; name the column")
        elif bool(self.test) == self.leave_one_out:
            raise ValueError("with by, either test names the values held out or leave_one_out")
        return self


class Repeats(Schema):
    """How many trials of one picture are averaged before the model sees them; 1: single trials."""

    test: int = Field(ge=1, le=80)
    training: int = Field(default=1, ge=1, le=80)


class GalleryRule(Schema):
    """What retrieval chooses from."""

    kind: Literal["exact", "prototypes", "none"] = Field(
        description="exact: the pictures that were shown; prototypes: one mean embedding per class"
    )
    size: PositiveInt | None = Field(default=None, description="empty: not prescribed")
    made_of: str = ""


class JudgeModel(Schema):
    """A network that scores, and what it is used for."""

    kind: Literal["classifier", "embedding"]
    model: str = Field(description="hub id or published name; 'own': trained with train-judge")
    scores: str = Field(description="the metrics it is used for")


class ProtocolMetric(Schema):
    """One metric of the protocol; the first in the list is its headline."""

    name: str
    n_way: PositiveInt | None = None
    top_k: PositiveInt | None = None
    of: str = Field(description="what is scored: the generated image or the EEG's embedding")


class Protocol(Schema):
    """Everything that has to be the same before two scores can be compared."""

    name: str
    title: str
    source: Reference
    data: Data
    subjects: list[str] = Field(default_factory=list, description="empty: all of the data set")
    trained: Literal["within", "across"] = Field(
        description="within: one model for each person; across: one for all"
    )
    channels: list[str] | None = Field(default=None, description="empty: all of the data set")
    n_chans: PositiveInt | None = Field(default=None, description="empty: not prescribed")
    window: TrialWindow
    split: Sides
    repeats: Repeats
    images_per_trial: PositiveInt | None = Field(default=None, description="empty: not prescribed")
    gallery: GalleryRule
    selection: Literal["last_step", "best_on_validation"] = Field(
        description="which step of a training is scored; chosen before any look at the test side"
    )
    judges: list[JudgeModel] = Field(default_factory=list)
    metrics: list[ProtocolMetric] = Field(min_length=1)
    warnings: list[str] = Field(
        default_factory=list, description="what a score under this protocol cannot show"
    )
    unverified: list[str] = Field(
        default_factory=list, description="what could not be confirmed at the source"
    )
    notes: list[str] = Field(default_factory=list)

    def content(self) -> dict[str, Any]:
        """Return all that the protocol says, as JSON types, without what depends on a machine."""
        content = self.model_dump(mode="json")
        if content["data"]["simulate"] is not None:
            simulated = content["data"]["simulate"]
            del simulated["output"]
            # Settings that came later count where they are used, so that older hashes hold.
            for name in LATER_SETTINGS:
                if simulated[name] == SimulateConfig.model_fields[name].default:
                    del simulated[name]
        return content

    @property
    def sha256(self) -> str:
        """Hash of the content: comments, the order of keys and unsaid defaults do not count."""
        text = json.dumps(self.content(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()


def protocol_names() -> list[str]:
    """Return the names of the shipped protocols, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_protocol(name: str | Path) -> Protocol:
    """Read a shipped protocol by its name, or a YAML file by its path.

    Raises
    ------
    ValueError
        For an unknown name (the message has the nearest and all), or a file that is no protocol.
    FileNotFoundError
        If there is no such file.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        known = protocol_names()
        if str(name) not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(
                f"unknown protocol {str(name)!r}{hint}; there are {', '.join(known)}, or give the "
                "path of a YAML file"
            )
        path = FOLDER / f"{name}.yaml"
    try:
        return Protocol.model_validate(read_yaml(path))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise ValueError(f"{path} is not a protocol: {problems}") from error
