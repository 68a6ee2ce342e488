"""The pictures of the report: what was seen beside what was generated, chosen by rank."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dreamdiffusion.evidence.scores import Scores
from dreamdiffusion.report.contact_sheet import rank_trials, to_picture, trial_values
from dreamdiffusion.report.words import metric_name, number

_LARGEST = 192  # pixels of a picture inside the report
_LOSSLESS = 64  # pixels up to which PNG is small enough
_N_IMAGES = 4  # of a trial

_TITLES = {"best": "Best", "median": "Median", "worst": "Worst"}


def gallery(
    scores: Scores,
    generated: Tensor,
    seen: Tensor | None,
    n_each: int,
    draws: Tensor | None = None,
) -> dict[str, Any]:
    """Choose the best, the median and the worst trials, and say by which rule.

    Parameters
    ----------
    generated : Tensor, (n, k, 3, H, W)
        In [0, 1].
    seen : Tensor, (n, 3, H, W), optional
        In [0, 1].
    n_each : int
        Trials of each group.
    draws : Tensor, (n, m, 3, H, W), optional
        Further images of the same EEG.

    Returns
    -------
    dict
        What the template ``gallery.html.jinja`` shows.

    Raises
    ------
    ValueError
        If scores and images are of different numbers of trials.
    """
    trials = scores.trials
    metric, values = trial_values(scores.headline.metric, trials)
    if len(values) != len(generated):
        raise ValueError(
            f"{len(generated)} trials of images, but scores.json has {len(values)} of them"
        )
    n, k = len(values), generated.shape[1]
    place = {int(t): r for r, t in enumerate(rank_trials(values, n)["all"], 1)}
    ties = Counter(values)
    chosen = rank_trials(values, n_each)
    groups = []
    for name, title in _TITLES.items():
        if not len(chosen[name]):
            continue
        value = values[chosen[name][0]]
        tied = ""
        if metric and ties[value] > 1:
            tied = f"{_value(metric, value, k)}: so are {ties[value]} of the {n} trials."
        cards = [
            {
                "rank": f"rank {place[int(i)]} of {n} (trial {i})",
                "value": _value(metric, values[i], k),
                **_card(trials, i, generated[i, :_N_IMAGES], None if seen is None else seen[i]),
                "draws": [] if draws is None else _draws(trials, i, draws[i, :_N_IMAGES]),
            }
            for i in chosen[name]
        ]
        groups.append({"title": title, "tied": tied, "cards": cards})
    some = f"The first {_N_IMAGES} of {k} images of each are shown." if k > _N_IMAGES else ""
    return {"n": n, "rule": _rule(scores, metric), "some": some, "groups": groups}


def picture_source(image: Tensor) -> str:
    """Return an image (3, H, W) in [0, 1] as a data URL: PNG where it is small, else JPEG."""
    size = min(_LARGEST, image.shape[-1])
    kind = "png" if size <= _LOSSLESS else "jpeg"
    buffer = io.BytesIO()
    to_picture(image, size).save(buffer, kind.upper(), optimize=True, quality=85)
    return data_url(buffer.getvalue(), kind)


def data_url(data: bytes, kind: str) -> str:
    """Return the bytes of a picture as a URL that holds them."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _card(
    trials: Mapping[str, Any], i: int, generated: Tensor, seen: Tensor | None
) -> dict[str, Any]:
    truth = trials["category"][i]
    named = trials["judged_category"][i] if "judged_category" in trials else None
    images = [
        {
            "source": picture_source(image),
            "named": None if named is None else named[s],
            "right": named is not None and named[s] == truth,
            "drawn_from": trials["drawn_from"][i][s] if "drawn_from" in trials else None,
        }
        for s, image in enumerate(generated)
    ]
    return {
        "truth": truth,
        "shown": " ".join([trials["color"][i], truth] if "color" in trials else [truth]),
        "seen": None if seen is None else picture_source(seen),
        "images": images,
        # Four images stand in a square beside what was seen, fewer of them in one row with it.
        "form": {1: "two", 2: "three"}.get(len(generated), "many"),
    }


def _draws(trials: Mapping[str, Any], i: int, draws: Tensor) -> list[dict[str, Any]]:
    """Return images that were drawn by their probability, which are no part of the score."""
    named = trials["judged_draws"][i] if "judged_draws" in trials else [None] * len(draws)
    return [
        {"source": picture_source(image), "named": name, "right": name == trials["category"][i]}
        for image, name in zip(draws, named, strict=False)
    ]


def _rule(scores: Scores, metric: str) -> str:
    if metric == "":
        return "nothing, as no value of a trial is recorded"
    rule = f"the headline metric, {metric_name(metric)}"
    if metric != scores.headline.metric:
        rule = (
            f"{metric_name(metric)}, as the headline metric "
            f"{metric_name(scores.headline.metric)} is not recorded trial by trial"
        )
    if metric.endswith("_top1") and "images" not in scores.not_scored:
        named = "named " if f"judged_{metric.removesuffix('_top1')}" in scores.trials else ""
        rule += f" (the share of a trial's images that are {named}right)"
    return rule


def _value(metric: str, value: float, k: int) -> str:
    if metric.endswith("_top1"):
        return f"{round(value * k)} of {k} right"
    return number(metric, value) if metric else ""
