"""The report: one HTML file that opens offline, on a phone as on a desk."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from torch import Tensor

from .gallery import to_picture
from .report_parts import STYLE, audit_part, confusion_svg, legend, severe_banner, track

_NAMES = {
    "category_top1": "Right category",
    "color_top1": "Right colour",
    "clip_retrieval_top1": "Picture found by retrieval",
    "ssim": "Structural similarity",
    "pcc": "Pixel correlation",
    "lda_class_category_top1": "Linear baseline (scikit-learn): right category",
    "lda_pooled_category_top1": "Linear baseline (pooled): right category",
    "eeg_retrieval_top1": "Retrieval by the EEG embedding alone",
}
_FRACTIONS = {"ssim", "pcc"}
"""Metrics that are no percentage."""

_LARGEST = 192  # pixels of a picture inside the report


def write_report(
    path: Path,
    result: Mapping[str, Any],
    generated: Tensor,
    seen: Tensor | None = None,
    n_shown: int = 12,
) -> Path:
    """Write the report of one evaluation.

    Parameters
    ----------
    path : Path
        The HTML file. It links to nothing: style, figures and pictures are inside.
    result : mapping
        The content of ``scores.json`` (see `scoring.score_images`); ``baselines``, ``audit`` and
        ``made`` (command, configuration, versions) are shown where they are present.
    generated : Tensor, (n, k, 3, H, W)
        In [0, 1].
    seen : Tensor, (n, 3, H, W), optional
        In [0, 1].
    n_shown : int
        Trials in the gallery: the first ones, whatever their score.

    Returns
    -------
    Path
        ``path``.
    """
    sections = [
        banner(result),
        severe_banner(result.get("audit")),
        _headline(result),
        _scores(result),
        _gallery(result, generated, seen, n_shown),
        _confusion(result),
        audit_part(result.get("audit")),
        _made(result),
        _limits(result),
    ]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Images decoded from EEG: scores</title><style>{STYLE}</style></head><body><main>"
        "<h1>dreamdiffusion &middot; images decoded from EEG</h1>"
        + "\n".join(part for part in sections if part)
        + "</main></body></html>\n"
    )
    path.write_text(page, encoding="utf-8")
    return path


def banner(result: Mapping[str, Any]) -> str:
    """Say in HTML, where it is so, that the EEG is simulated and how easy it was made."""
    if not result["simulated"]:
        return ""
    level = result["noise_level"]
    levels = level if isinstance(level, list) else [level]
    if None in levels:
        told, easy = "noise level not stated", True
    else:
        told = "noise level " + ", ".join(f"{x:g}" for x in levels)
        easy = min(levels) < 1
    life = "far easier than life" if easy else "as noisy as life is thought to be"
    return (
        f'<div class="banner"><b>SIMULATED EEG, {escape(told)}, {life}</b>'
        "No person was recorded. The signals come from a model of a viewer; noise level 1 is meant "
        "to be realistic, 0 is none. These scores do not carry over to real recordings.</div>"
    )


def number(metric: str, value: float) -> str:
    """Write a score: correlations as they are, all else in per cent."""
    if metric in _FRACTIONS:
        return f"{value:.3f}"
    return f"{100 * value:.1f}&nbsp;%"


def _p(record: Mapping[str, Any]) -> str:
    return f"{record['p']:.2g}"


def _headline(result: Mapping[str, Any]) -> str:
    record = result["scores"][0]
    metric, k = record["metric"], len(result["trials"]["judged_category"][0])
    n_ways = len(result["confusion"]["names"])
    big = number(metric, record["value"]).replace("&nbsp;%", "<small>%</small>")
    if record["p"] <= 0.05 and record["ci95"][0] > record["chance"]:
        verdict = f"This is above chance (p&nbsp;=&nbsp;{_p(record)})."
    else:
        verdict = f"This is <b>not above chance</b> (p&nbsp;=&nbsp;{_p(record)})."
    low, high = (number(metric, v) for v in record["ci95"])
    shuffled = record["controls"]["shuffled_eeg"]["value"]
    return (
        f'<div class="hero"><div class="big">{big}</div><p>of the images show the category that '
        f"was seen, one of {n_ways}, as named by a classifier that had no part in making them. "
        f"{verdict}</p></div>"
        f'<ul class="against"><li><b>{number(metric, record["value"])}</b>decoded from EEG'
        f'<br><span class="soft">95&nbsp;% interval {low} to {high}</span></li>'
        f"<li><b>{number(metric, shuffled)}</b>decoded from shuffled EEG"
        '<br><span class="soft">the control: it has to lie at chance</span></li>'
        f"<li><b>{number(metric, record['chance'])}</b>chance"
        '<br><span class="soft">the same images, truths dealt at random</span></li></ul>'
        f'<p class="soft">{record["n"]} trials, {k} {_plural("image", k)} of each, every image '
        f"counted. Trials: {escape(str(result['split']))}.</p>"
    )


def _plural(word: str, n: int) -> str:
    return word if n == 1 else f"{word}s"


def _scores(result: Mapping[str, Any]) -> str:
    baselines = list(result.get("baselines", []))
    parts = ["<h2>Scores</h2>", legend()]
    for record in [*result["scores"], *baselines]:
        metric = record["metric"]
        how = result["protocol"].get(metric, "")
        parts.append(
            f'<div class="score"><span>{escape(str(_NAMES.get(metric, metric)))}'
            f"<small>{escape(how)}</small></span>"
            f"<b>{number(metric, record['value'])}</b>{track(record)}</div>"
        )
    parts.append(
        '<div class="scroll"><table><tr><th>metric</th><th>value</th><th>95&nbsp;% interval</th>'
        "<th>chance</th><th>shuffled EEG</th><th>p</th><th>trials</th></tr>"
    )
    for record in [*result["scores"], *baselines]:
        low, high = record["ci95"]
        parts.append(
            f"<tr><td><code>{escape(record['metric'])}</code></td><td>{record['value']:.3f}</td>"
            f"<td>{low:.3f} to {high:.3f}</td><td>{record['chance']:.3f}</td>"
            f"<td>{record['controls']['shuffled_eeg']['value']:.3f}</td><td>{_p(record)}</td>"
            f"<td>{record['n']}</td></tr>"
        )
    parts.append("</table></div>")
    left_out = [
        f"<li><code>{escape(metric)}</code>: {escape(why)}</li>"
        for metric, why in result["not_scored"].items()
    ]
    if left_out:
        parts.append(f'<p class="soft">Not scored:</p><ul class="soft">{"".join(left_out)}</ul>')
    return "".join(parts)


def _gallery(
    result: Mapping[str, Any], generated: Tensor, seen: Tensor | None, n_shown: int
) -> str:
    trials = result["trials"]
    n, k = min(n_shown, len(generated)), min(4, generated.shape[1])
    cards = []
    for i in range(n):
        truth, named = trials["category"][i], trials["judged_category"][i]
        shown = " ".join([trials["color"][i], truth] if "color" in trials else [truth])
        if seen is None:
            first = f'<div class="word">the picture is not recorded, only: {escape(truth)}</div>'
        else:
            first = _image(seen[i], f"seen: {shown}")
        cells = [f'<div class="seen">{first}<span>seen: <b>{escape(shown)}</b></span></div>']
        for s in range(k):
            right = named[s] == truth
            style, mark = ("ok", "&#10003;") if right else ("no", "&#10007;")
            cells.append(
                f"<div>{_image(generated[i, s], f'generated, named {named[s]}')}"
                f'<span class="{style}">{mark}&nbsp;{escape(named[s])}</span></div>'
            )
        cards.append(f'<div class="trial">{"".join(cells)}</div>')
    return (
        "<h2>What was seen, what was decoded</h2>"
        f"<p>The first {n} trials of the split, in order: not picked. Below each image is "
        'the judge\'s name for it, <span class="ok">&#10003; right</span> or '
        '<span class="no">&#10007; wrong</span>.</p>'
        f'<div class="trials">{"".join(cards)}</div>'
    )


def _image(image: Tensor, told: str) -> str:
    size = min(_LARGEST, image.shape[-1])
    buffer = io.BytesIO()
    to_picture(image, size).save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img alt="{escape(told)}" src="data:image/png;base64,{data}">'


def _confusion(result: Mapping[str, Any]) -> str:
    figure = confusion_svg(result["confusion"]["names"], result["confusion"]["counts"])
    return (
        "<h2>Which categories are mistaken for which</h2>"
        "<p>Rows: the category that was seen. Columns: the judge's name for the generated images. "
        "The stronger the shade, the larger the share of the row; outlined cells are right.</p>"
        f'<div class="scroll"><div class="matrix">{figure}</div></div>'
    )


def _made(result: Mapping[str, Any]) -> str:
    made = result.get("made", {})
    parts = ["<h2>How this was made</h2>"]
    if "command" in made:
        parts.append(f"<pre><code>{escape(made['command'])}</code></pre>")
    judge = result["judge"]
    rows = {"judge": f"trained on {judge['trained_on']}"} if judge["trained_on"] else {}
    for key, value in judge.items():
        if key.endswith("_accuracy_on_seen"):
            what = key.removesuffix("_accuracy_on_seen")
            rows[f"judge, {what}"] = f"{100 * value:.1f} % right on the pictures that were seen"
    rows |= {key: str(value) for key, value in made.get("versions", {}).items()}
    told = {"shuffled_eeg": "shuffled EEG", "ci95": "95 % interval"}
    for key in ("samples", "chance", "shuffled_eeg", "ci95", "p"):
        rows[told.get(key, key)] = result["protocol"].get(key, "")
    terms = [f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows.items() if v]
    parts.append(f"<dl>{''.join(terms)}</dl>")
    if "config" in made:
        text = json.dumps(made["config"], indent=2)
        parts.append(
            f"<details><summary>Configuration</summary><pre><code>{escape(text)}</code></pre>"
            "</details>"
        )
    return "".join(parts)


def _limits(result: Mapping[str, Any]) -> str:
    limits = []
    if result["simulated"]:
        limits.append(
            "The EEG is simulated. Real single trials carry far less about what was seen, and "
            "people, days and headsets differ in more ways than the simulation knows."
        )
    limits += [
        "The generator can draw only what it was trained to draw, so every image looks like "
        "something. That an image looks good says nothing; only the comparison with chance and "
        "with shuffled EEG does.",
        "A right category can be reached by classifying the EEG and drawing any picture of that "
        "class. Compare with the linear baseline, and look at colour, similarity and retrieval.",
        "Retrieval uses the CLIP that the EEG was aligned to; the judge does not.",
        "Intervals and p speak for these trials of these people, not for other people.",
        "This is reconstruction of a stimulus that a person looked at.",
    ]
    return f"<h2>Limits</h2><ul>{''.join(f'<li>{escape(text)}</li>' for text in limits)}</ul>"
