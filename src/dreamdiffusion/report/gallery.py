"""The pictures of the report: what was seen beside what was generated, chosen by rank."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping
from html import escape
from typing import Any

from torch import Tensor

from dreamdiffusion.evidence.scores import Scores
from dreamdiffusion.report.contact_sheet import rank_trials, to_picture, trial_values
from dreamdiffusion.report.words import metric_name, number

_LARGEST = 192  # pixels of a picture inside the report
_LOSSLESS = 64  # pixels up to which PNG is small enough
_N_IMAGES = 4  # of a trial

_TITLES = {
    "best": "Best",
    "median": "Median",
    "worst": "Worst",
}


def gallery_part(scores: Scores, generated: Tensor, seen: Tensor | None, n_each: int) -> str:
    """Show the best, the median and the worst trials, and say by which rule."""
    trials = scores.trials
    metric, values = trial_values(scores.headline.metric, trials)
    if len(values) != len(generated):
        raise ValueError(
            f"{len(generated)} trials of images, but scores.json has {len(values)} of them"
        )
    groups = rank_trials(values, n_each)
    n, k = len(values), generated.shape[1]
    place = {int(t): r for r, t in enumerate(rank_trials(values, n)["all"], 1)}
    ties = Counter(values)
    some = f" The first {_N_IMAGES} of {k} images of each are shown." if k > _N_IMAGES else ""
    parts = [
        '<h2 id="gallery">What was seen, what was decoded</h2>',
        f"<p>The {n} trials are sorted by {_rule(scores, metric)}, ties by their number; shown are "
        "the first, the middle and the last of that order. Nobody chose them."
        f"{some}</p>",
    ]
    if "judged_category" in trials:
        parts.append(
            '<p class="soft">Below each image is the judge\'s name for it: '
            '<span class="ok">&#10003; right</span>, <span class="no">&#10007; wrong</span>.</p>'
        )
    for name, title in _TITLES.items():
        if not len(groups[name]):
            continue
        cards = []
        for i in groups[name]:
            value = values[i]
            told = _value(metric, value, k)
            rank = f"<span>rank {place[int(i)]} of {n} (trial {i})</span><span>{told}</span>"
            shown = None if seen is None else seen[i]
            cards.append(_card(trials, i, generated[i, :_N_IMAGES], shown, rank))
        value = values[groups[name][0]]
        tied = ""
        if metric and ties[value] > 1:
            tied = (
                f'<p class="soft">{_value(metric, value, k)}: so are {ties[value]} of the {n} '
                "trials.</p>"
            )
        parts.append(f'<h3>{title}</h3>{tied}<div class="trials">{"".join(cards)}</div>')
    return "".join(parts)


def picture(image: Tensor, told: str) -> str:
    """Write an image (3, H, W) in [0, 1] into the page: PNG where it is small, else JPEG."""
    size = min(_LARGEST, image.shape[-1])
    kind = "png" if size <= _LOSSLESS else "jpeg"
    buffer = io.BytesIO()
    to_picture(image, size).save(buffer, kind.upper(), optimize=True, quality=85)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img alt="{escape(told)}" src="data:image/{kind};base64,{data}">'


def _card(
    trials: Mapping[str, Any], i: int, generated: Tensor, seen: Tensor | None, rank: str
) -> str:
    truth = trials["category"][i]
    shown = " ".join([trials["color"][i], truth] if "color" in trials else [truth])
    if seen is None:
        first = f'<div class="word">the picture is not recorded, only: {escape(truth)}</div>'
    else:
        first = picture(seen, f"seen: {shown}")
    cells = [
        f'<p class="rank">{rank}</p>'
        f'<div class="seen">{first}<span>seen: <b>{escape(shown)}</b></span></div>'
    ]
    named = trials["judged_category"][i] if "judged_category" in trials else None
    for s, image in enumerate(generated):
        if named is None:
            cells.append(f"<div>{picture(image, 'generated')}</div>")
            continue
        style, mark = ("ok", "&#10003;") if named[s] == truth else ("no", "&#10007;")
        cells.append(
            f"<div>{picture(image, f'generated, named {named[s]}')}"
            f'<span class="{style}">{mark}&nbsp;{escape(named[s])}</span></div>'
        )
    # Four images stand in a square beside what was seen, fewer of them in one row with it.
    form = {1: "two", 2: "three"}.get(len(generated), "many")
    return f'<div class="trial {form}">{"".join(cells)}</div>'


def _rule(scores: Scores, metric: str) -> str:
    if metric == "":
        return "nothing, as no value of a trial is recorded"
    told = f"the headline metric, {metric_name(metric)}"
    if metric != scores.headline.metric:
        told = (
            f"{metric_name(metric)}, as the headline metric "
            f"{metric_name(scores.headline.metric)} is not recorded trial by trial"
        )
    if metric.endswith("_top1"):
        told += " (the share of a trial's images that are named right)"
    return told


def _value(metric: str, value: float, k: int) -> str:
    if metric.endswith("_top1"):
        return f"{round(value * k)} of {k} right"
    return number(metric, value) if metric else ""
