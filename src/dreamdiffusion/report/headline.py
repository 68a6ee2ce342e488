"""The top of the report: what is claimed, by how much, and why it can be believed."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from dreamdiffusion.evidence.controls import CONTROLS, controls_of_kind
from dreamdiffusion.evidence.headline import metrics_beyond_category
from dreamdiffusion.evidence.scores import Score, Scores
from dreamdiffusion.report.words import (
    REMEDIES,
    control_name,
    difference,
    interval,
    metric_name,
    number,
    plural,
)

_YES, _NO, _OPEN = ("ok", "&#10003;"), ("no", "&#10007;"), ("open", "?")
_NOTE = ("open", "&ndash;")


def banner(scores: Scores) -> str:
    """Say in HTML, where it is so, that the EEG is simulated and how easy it was made."""
    if not scores.simulated:
        return ""
    level = scores.noise_level
    levels = level if isinstance(level, list) else [level]
    known = [x for x in levels if x is not None]
    if len(known) < len(levels) or not known:
        told, easy = "noise level not stated", True
    else:
        told = "noise level " + ", ".join(f"{x:g}" for x in known)
        easy = min(known) < 1
    life = "far easier than life" if easy else "as noisy as life is thought to be"
    return (
        f'<div class="banner"><b>SIMULATED EEG, {escape(told)}, {life}</b>'
        "No person was recorded. The signals come from a model of a viewer; noise level 1 is meant "
        "to be realistic, 0 is none. These scores do not carry over to real recordings.</div>"
    )


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


def headline(scores: Scores) -> str:
    """Write the claim in HTML, or why there is none, with the evidence below it."""
    write = {"above": _above, "not above": _not_above, "withheld": _withheld}
    verdict = scores.headline.verdict
    style = verdict.replace(" ", "-")
    return (
        f'<div class="hero {style}">{write[verdict](scores)}{_of_known(scores)}'
        f'<ul class="checks">{"".join(_checks(scores))}</ul></div>'
    )


def _above(scores: Scores) -> str:
    head, score = scores.headline, headline_score(scores)
    big = difference(score.metric, head.difference)
    figure, _, unit = big.partition("&nbsp;")
    unit = f"<small>{unit}</small>" if unit else ""
    return (
        f'<p class="verdict">Above {_all_controls(score)}</p>'
        f'<div class="claim"><p class="big">{figure}{unit}</p>'
        f"<p>{_sentence(scores)} The whole 95&nbsp;% interval of the difference, "
        f"{interval(score.metric, head.difference_ci95, of_difference=True)}, lies above "
        f"zero.</p></div>{_figures(scores)}"
    )


def _not_above(scores: Scores) -> str:
    head, score = scores.headline, headline_score(scores)
    return (
        '<p class="verdict">Nothing is claimed</p>'
        '<p class="said">Not above the strongest control</p>'
        f"<p>{_sentence(scores)} The 95&nbsp;% interval of the difference is "
        f"{interval(score.metric, head.difference_ci95, of_difference=True)}; these images do not "
        f"show that the EEG added anything.</p>{_figures(scores)}"
    )


def _withheld(scores: Scores) -> str:
    findings = (scores.audit or {}).get("findings", [])
    remedies = REMEDIES | {finding["name"]: finding["remedy"] for finding in findings}
    items = []
    for reason in scores.headline.reasons:
        remedy = remedies.get(reason.name)
        told = f"<br><i>{escape(remedy)}</i>" if remedy else ""
        items.append(f"<li><b>{escape(reason.name)}</b>{escape(reason.what)}{told}</li>")
    n = len(items)
    return (
        '<p class="verdict">No score of this evaluation may be quoted</p>'
        '<p class="said">Headline withheld</p>'
        f"<p>{'One thing stands' if n == 1 else f'{n} things stand'} against it. Such a thing can "
        "make a score without any decoding, so the figures below are no evidence of it:</p>"
        f'<ul class="reasons">{"".join(items)}</ul>'
        "<p><b>What to do:</b> mend each of these in the recordings, the split or the choice of "
        "the model, train again, and evaluate once. The figures further down were measured, and "
        "are shown so that the fault can be found.</p>"
    )


def _of_known(scores: Scores) -> str:
    """Say, where pictures of training are scored, that the claim is no larger than that."""
    if not scores.headline.known_pictures:
        return ""
    return (
        "<p><b>The claim is which of the known pictures was seen.</b> Pictures that are scored "
        "were shown in training too. That pictures never seen are reconstructed is not claimed.</p>"
    )


def _sentence(scores: Scores) -> str:
    """Say the value against the strongest control, in one form for every metric."""
    head, score = scores.headline, headline_score(scores)
    control = score.controls.get(head.strongest)
    against = (
        f"{number(score.metric, control.value)} from the strongest control, "
        f"<b>{control_name(head.strongest)}</b>"
        if control
        else f"the strongest control, <b>{control_name(head.strongest)}</b>"
    )
    known = CONTROLS.get(head.strongest)
    told = known.description.partition(":")[0] if known else ""
    return (
        f"<b>{metric_name(score.metric)}</b>: {number(score.metric, score.value)} decoded from "
        f"EEG, against {against}{f' ({escape(told)})' if told else ''}."
    )


def _all_controls(score: Score) -> str:
    n = sum(name in controls_of_kind("without_brain") for name in score.controls)
    return "the control without a brain" if n == 1 else f"all {n} controls without a brain"


def _figures(scores: Scores) -> str:
    head, score = scores.headline, headline_score(scores)
    metric = score.metric
    control = score.controls.get(head.strongest)
    items = [
        (
            number(metric, score.value),
            "decoded from EEG",
            f"95&nbsp;% interval {interval(metric, score.ci95)}",
        )
    ]
    if control:
        name = control_name(head.strongest)
        items.append((number(metric, control.value), name, "the strongest control"))
    items.append((number(metric, score.chance), "chance", "these images, truths dealt at random"))
    corrected = score.p_corrected is not None
    items.append(
        (
            f"{score.p_corrected if corrected else score.p:.2g}",
            "p, corrected (Holm)" if corrected else "p",
            "truths permuted within runs",
        )
    )
    return (
        '<ul class="figures">'
        + "".join(
            f'<li><b>{big}</b>{what}<br><span class="soft">{more}</span></li>'
            for big, what, more in items
        )
        + "</ul>"
    )


def _checks(scores: Scores) -> list[str]:
    """List what speaks for and against believing the score."""
    score = headline_score(scores)
    yes, no, open_ = _YES, _NO, _OPEN
    found: list[tuple[tuple[str, str], str]] = []
    beyond = metrics_beyond_category(scores.scores)
    if beyond is None:
        found.append((open_, "Whether the images show more than a named category is not known: no "
                             "control drew from the name alone."))  # fmt: skip
    elif beyond:
        where = ", ".join(metric_name(metric) for metric in beyond)
        but = "" if score.metric in beyond else f" Not in: {metric_name(score.metric)}."
        found.append((yes, f"Beats what the name of the category alone gives. In: {where}.{but}"))
    else:
        found.append((no, "Does not beat what the name of the category alone gives: this is "
                          "classification, then drawing."))  # fmt: skip
    found.append(_audit_check(scores.audit))
    n_models = len({look.model for look in scores.looks})
    if not scores.looks:
        found.append((open_, "Looks at the held-out trials were not logged."))
    elif scores.looks[-1].number == 1:
        found.append((yes, "The first look at these held-out trials."))
    else:
        found.append((no if n_models > 1 else open_,
                      f"Look number {scores.looks[-1].number} at these held-out trials, of "
                      f"{plural(n_models, 'model')}."))  # fmt: skip
    if scores.followed is None:
        found.append((open_, "No protocol was followed."))
    else:
        name, n = escape(scores.followed.name), len(scores.followed.departures)
        found.append((no, f"Protocol <b>{name}</b>, with {plural(n, 'departure')} from it.") if n
                     else (yes, f"Follows the protocol <b>{name}</b>."))  # fmt: skip
    people = plural(score.n_people, "person")
    only = "; it says nothing of other people" if score.n_people == 1 else ""
    k = len(scores.trials["judged_category"][0]) if "judged_category" in scores.trials else 1
    images = "" if k == 1 else f", {k} images of each, every image counted"
    found.append((yes if score.n_people > 1 else _NOTE,
                  f"{plural(score.n, 'trial')} of {people}{images}{only}."))  # fmt: skip
    found.append((_NOTE, f"Trials: {escape(scores.split)}."))
    return [f'<li><i class="{style}">{mark}</i>{text}</li>' for (style, mark), text in found]


def _audit_check(audit: Mapping[str, Any] | None) -> tuple[tuple[str, str], str]:
    if audit is None:
        return _OPEN, "The training trials were not audited."
    severe = [f["name"] for f in audit["findings"] if f["severity"] == "severe"]
    passed = sum(f["severity"] == "passed" for f in audit["findings"])
    if severe:
        return _NO, f"The audit of the training trials found {escape(', '.join(severe))}."
    return _YES, f"The audit of the training trials found nothing severe; {passed} checks passed."
