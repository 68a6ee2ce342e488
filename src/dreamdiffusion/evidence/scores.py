"""What ``scores.json`` holds, as pydantic schemas; ``docs/scores.schema.json`` is made of them.

One evaluation gives one record. No number stands in it without its split, its n, its chance level
and its controls. Importing this module must stay cheap, so it imports no torch.

Notation: n trials, k images of each trial.
"""

from __future__ import annotations

import json
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from dreamdiffusion.files.schema import Schema


class ControlScore(Schema):
    """The same metric on images that were made without what a decoder is meant to use."""

    value: float
    difference: float = Field(description="score minus control, over the same trials")
    difference_ci95: tuple[float, float] = Field(description="paired bootstrap")


class Score(Schema):
    """One metric with everything that it needs to be read.

    ``chance`` is what this very set of images scores when truths are dealt at random to the trials,
    its expectation: it contains the generator's habits. ``p`` is one-sided.
    """

    metric: str
    value: float = Field(description="mean over images and trials, never the best of")
    n: int = Field(description="trials")
    n_people: int = 1
    chance: float
    ci95: tuple[float, float] = Field(description="bootstrap over people, and trials within them")
    p: float = Field(description="truths permuted within runs, blocks as a whole")
    p_corrected: float | None = Field(default=None, description="Holm, over the metrics beside it")
    lower_is_better: bool = Field(
        default=False, description="a distance; differences are turned, so that above 0 is better"
    )
    controls: dict[str, ControlScore] = Field(description="by name; shuffled_eeg is always there")
    strongest: str = Field(description="the control with the highest score")
    difference: float = Field(description="score minus the strongest control")
    difference_ci95: tuple[float, float] = Field(
        description="paired bootstrap that chooses the strongest control anew in every draw"
    )


class DistributionScore(Schema):
    """A metric of the whole set of images, which no trial has: FID, IS, KID."""

    metric: str
    value: float
    n_generated: int
    n_seen: int
    shuffled_eeg: float | None = Field(default=None, description="of the shuffled control's images")
    note: str = ""


class Reason(Schema):
    """Why a headline is withheld: a name that documentation explains, and what was found."""

    name: str
    what: str


class Headline(Schema):
    """The one sentence of an evaluation: by how much it beats the strongest control, or why not."""

    metric: str
    verdict: Literal["above", "not above", "withheld"]
    difference: float
    difference_ci95: tuple[float, float]
    strongest: str
    reasons: list[Reason] = Field(description="empty unless withheld")
    beyond_category: bool | None = Field(
        default=None,
        description="whether something beats what the name of the category alone gives; None: no "
        "such control was drawn",
    )
    known_pictures: bool = Field(
        default=False,
        description="pictures that were scored were shown in training too, as the split allows or "
        "in another recording: the claim is which of the known pictures was seen, not that unseen "
        "ones are reconstructed",
    )

    @model_validator(mode="after")
    def _is_borne_out(self) -> Self:
        if (self.verdict == "withheld") != bool(self.reasons):
            raise ValueError(
                f"the verdict is {self.verdict!r} with {len(self.reasons)} reasons; a headline "
                "that is withheld has reasons, and no other has"
            )
        if self.verdict == "above" and not self.difference_ci95[0] > 0:
            raise ValueError(
                f"the verdict is 'above', but the interval of the difference begins at "
                f"{self.difference_ci95[0]:g}; expected a number above 0"
            )
        return self


class Curve(Schema):
    """A metric against how many trials of one picture (or class) were averaged before decoding."""

    metric: str
    n_averaged: list[int]
    n: list[int] = Field(description="averages that were scored")
    value: list[float]
    ci95: list[tuple[float, float]]
    chance: list[float]


class Bin(Schema):
    """Trials of like confidence, in a reliability diagram."""

    confidence: float = Field(description="mean")
    accuracy: float
    n: int


class Confidence(Schema):
    """How well the confidence of each trial predicts whether the image's category is right."""

    fitted_on: str
    n_fitted: int
    n: int
    accuracy: float = Field(description="share of trials whose most frequent category is right")
    auc: float | None = Field(
        description="how well the confidence ranks right above wrong; None: all are one of them"
    )
    calibration_error: float = Field(description="expected: mean |confidence - accuracy| of bins")
    error_if_perfect: float = Field(
        description="the calibration error of a perfect confidence at this n: mean of simulations"
    )
    error_if_perfect_95: float = Field(description="the same, 95 % quantile of simulations")
    bins: list[Bin]
    coverage: list[float] = Field(description="share of trials kept, the most confident first")
    risk: list[float] = Field(description="share of wrong ones among those kept")
    risk_limit: float = Field(description="the risk asked for")
    threshold: float | None = Field(description="confidence to keep; None: no threshold reaches it")
    kept: float = Field(description="share of trials at or above the threshold")
    risk_kept: float | None = Field(description="of those, on the trials scored here")
    of_trial: list[float] = Field(description="confidence of each trial")


class Occlusion(Schema):
    """What a metric loses where channels or times are covered, beside the evoked response."""

    metric: str
    value: float = Field(description="with nothing covered")
    n: int = Field(description="trials")
    ch_names: list[str]
    radius: float = Field(
        description="m: electrodes so near a channel are covered with it; 0: none"
    )
    channel_drop: list[float] = Field(description="loss with that channel covered")
    channel_se: list[float] = Field(description="its standard error over trials")
    times: list[float] = Field(description="s, middle of each covered window")
    width: float = Field(description="s, of a covered window")
    time_drop: list[float]
    time_se: list[float]
    evoked: list[list[float]] = Field(description="volts, (channels, time points), mean of trials")
    evoked_times: list[float]


class Look(Schema):
    """One look at the locked side of a split."""

    number: int
    when: str
    model: str = Field(description="hash of the model's weights")
    config: str = Field(description="hash of the evaluation's configuration, output aside")


class Followed(Schema):
    """The protocol that an evaluation followed."""

    name: str
    sha256: str
    departures: list[str] = Field(description="what was done otherwise, in words")


class Scores(Schema):
    """The content of ``scores.json``.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dreamdiffusion import Scores
    >>> scores = Scores.model_validate_json(Path("scores.json").read_text("utf-8"))
    >>> scores.headline.metric, scores.simulated
    ('category_top1', True)
    """

    version: Literal[2] = 2
    split: str
    simulated: bool
    noise_level: float | list[float] | None = None
    headline: Headline
    scores: list[Score]
    baselines: list[Score] = Field(default_factory=list, description="decoders without images")
    distributions: list[DistributionScore] = Field(default_factory=list)
    curves: list[Curve] = Field(default_factory=list)
    confidence: Confidence | None = None
    occlusion: Occlusion | None = None
    not_scored: dict[str, str] = Field(description="metric -> why")
    protocol: dict[str, str] = Field(description="metric -> how it is computed")
    followed: Followed | None = None
    looks: list[Look] = Field(
        default_factory=list, description="at this side of this split, this one last"
    )
    judge: dict[str, Any]
    confusion: dict[str, Any] = Field(description="names, counts: shown x named, over all images")
    trials: dict[str, Any] = Field(description="what was shown and what the judge named")
    audit: dict[str, Any] | None = None
    made: dict[str, Any] = Field(
        default_factory=dict, description="command, config, versions, hashes"
    )


def json_schema() -> str:
    """Return the JSON schema of ``scores.json`` as text; ``make docs`` writes it to docs/."""
    content = Scores.model_json_schema(mode="serialization")
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps({"$schema": dialect, **content}, indent=1) + "\n"
