"""The top of the report: what is claimed, and what speaks for and against believing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from markupsafe import Markup

from dreamdiffusion.evidence.controls import controls_of_kind
from dreamdiffusion.evidence.headline import metrics_beyond_category
from dreamdiffusion.evidence.scores import Score, Scores
from dreamdiffusion.report.words import REMEDIES, metric_name, plural, wording


class Check(NamedTuple):
    """One line on whether a score can be believed: how it counts, its mark, what it says."""

    style: str
    mark: str
    text: str


YES, NO, OPEN = ("ok", "✓"), ("no", "✗"), ("open", "?")
NOTE = ("open", "\N{EN DASH}")


def noise_in_words(level: float | list[float] | None) -> dict[str, str]:
    """Return how noisy simulated EEG is, and how that compares with life."""
    levels = level if isinstance(level, list) else [level]
    known = [x for x in levels if x is not None]
    if len(known) < len(levels) or not known:
        stated, easy = "noise level not stated", True
    else:
        stated = "noise level " + ", ".join(f"{x:g}" for x in known)
        easy = min(known) < 1
    life = "far easier than life" if easy else "as noisy as life is thought to be"
    return {"level": stated, "life": life}


def headline_score(scores: Scores) -> Score:
    """Return the score that the headline speaks of.

    Raises
    ------
    ValueError
        If it is not among the scores.
    """
    name = scores.headline.metric
    for score in scores.scores:
        if score.metric == name:
            return score
    raise ValueError(
        f"the headline speaks of {name}, which is not among the scores: "
        f"{', '.join(score.metric for score in scores.scores)}"
    )


def all_controls(score: Score) -> str:
    """Return how many controls without a brain there are, in words."""
    n = sum(name in controls_of_kind("without_brain") for name in score.controls)
    return "the control without a brain" if n == 1 else f"all {n} controls without a brain"


def remedies(audit: Mapping[str, Any] | None) -> dict[str, str]:
    """Return what to do about each reason to withhold the headline."""
    findings = (audit or {}).get("findings", [])
    return REMEDIES | {finding["name"]: finding["remedy"] for finding in findings}


def checks(scores: Scores) -> list[Check]:
    """List what speaks for and against believing the headline's score."""
    score = headline_score(scores)
    people = plural(score.n_people, "person")
    only = "; it says nothing of other people" if score.n_people == 1 else ""
    k = len(scores.trials["judged_category"][0]) if "judged_category" in scores.trials else 1
    images = "" if k == 1 else f", {k} images of each, every image counted"
    drawing = scores.protocol.get("drawing")
    counted = f"{plural(score.n, 'trial')} of {people}{images}{only}."
    return [
        _beyond_category(scores, score),
        _audited(scores.audit),
        _looked_at(scores),
        _protocol(scores),
        Check(*(YES if score.n_people > 1 else NOTE), counted),
        Check(*NOTE, f"Trials: {scores.split}."),
        *([Check(*NOTE, f"Images: {drawing}.")] if drawing else []),
    ]


def _beyond_category(scores: Scores, score: Score) -> Check:
    beyond = metrics_beyond_category(scores.scores)
    if beyond is None:
        return Check(
            *OPEN,
            f"Whether the {wording(scores).answers} show more than a named category is not known: "
            "no control rests on the name alone.",
        )
    if not beyond:
        return Check(
            *NO,
            "Does not beat what the name of the category alone gives: this is classification, "
            "then drawing.",
        )
    where = ", ".join(metric_name(metric) for metric in beyond)
    but = "" if score.metric in beyond else f" Not in: {metric_name(score.metric)}."
    return Check(*YES, f"Beats what the name of the category alone gives. In: {where}.{but}")


def _audited(audit: Mapping[str, Any] | None) -> Check:
    if audit is None:
        return Check(*OPEN, "The training trials were not audited.")
    severe = [f["name"] for f in audit["findings"] if f["severity"] == "severe"]
    passed = sum(f["severity"] == "passed" for f in audit["findings"])
    if severe:
        return Check(*NO, f"The audit of the training trials found {', '.join(severe)}.")
    found = f"The audit of the training trials found nothing severe; {passed} checks passed."
    return Check(*YES, found)


def _looked_at(scores: Scores) -> Check:
    if not scores.looks:
        return Check(*OPEN, "Looks at the held-out trials were not logged.")
    if scores.looks[-1].number == 1:
        return Check(*YES, "The first look at these held-out trials.")
    n_models = len({look.model for look in scores.looks})
    return Check(
        *(NO if n_models > 1 else OPEN),
        f"Look number {scores.looks[-1].number} at these held-out trials, of "
        f"{plural(n_models, 'model')}.",
    )


def _protocol(scores: Scores) -> Check:
    if scores.followed is None:
        return Check(*OPEN, "No protocol was followed.")
    name, n = scores.followed.name, len(scores.followed.departures)
    if n:
        departs = Markup("Protocol <b>{}</b>, with {} from it.").format(
            name, plural(n, "departure")
        )
        return Check(*NO, departs)
    return Check(*YES, Markup("Follows the protocol <b>{}</b>.").format(name))
