"""Parts of the report below the scores: audit, looks, protocol, confidence, occlusion, limits."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from html import escape
from typing import Any

from dreamdiffusion.evidence.scores import Occlusion, Scores
from dreamdiffusion.report.charts import (
    confusion_svg,
    curve_figure,
    reliability_figure,
    risk_figure,
)
from dreamdiffusion.report.words import is_share, metric_name, number, plural


def severe_banner(audit: Mapping[str, Any] | None, told: Collection[str] = ()) -> str:
    """Say in HTML what makes the scores doubtful; empty where nothing does, or ``told`` has it."""
    severe = [
        f
        for f in (audit or {}).get("findings", [])
        if f["severity"] == "severe" and f["name"] not in told
    ]
    if not severe:
        return ""
    items = [
        f"<li><b>{escape(f['name'])}</b>{escape(f['what'])} {escape(f['consequence'])}</li>"
        for f in severe
    ]
    return (
        '<div class="banner"><b>The audit of the training trials found what can make these scores '
        f"without any decoding; it was acknowledged to go on.</b><ul>{''.join(items)}</ul></div>"
    )


def audit_part(audit: Mapping[str, Any] | None) -> str:
    """List every finding of the audit with its figures, those that passed folded away."""
    head = '<h2 id="audit">Audit of the training trials and their split</h2>'
    if audit is None:
        return f'{head}<p class="soft">The trials of this model were not audited.</p>'
    shown: dict[bool, list[str]] = {True: [], False: []}
    for finding in audit["findings"]:
        figures = ", ".join(
            f"{name} {value}" for name, value in finding["evidence"].items() if value is not None
        )
        told = " ".join(
            escape(finding[key]) for key in ("what", "consequence", "remedy") if finding[key]
        )
        style = ' class="no"' if finding["severity"] == "severe" else ""
        shown[finding["severity"] == "passed"].append(
            f"<dt>{escape(finding['name'])}<br><b{style}>{escape(finding['severity'])}</b></dt>"
            f'<dd>{told}<br><span class="soft">{escape(figures)}</span></dd>'
        )
    parts = [head]
    if audit["acknowledged"]:
        names = escape(", ".join(audit["acknowledged"]))
        parts.append(f"<p><b>Acknowledged to go on: {names}.</b></p>")
    if shown[False]:
        parts.append(f"<dl>{''.join(shown[False])}</dl>")
    parts.append(
        f"<details><summary>{len(shown[True])} checks passed</summary>"
        f"<dl>{''.join(shown[True])}</dl></details>"
    )
    return "".join(parts)


def confusion_part(scores: Scores) -> str:
    """Draw which category was taken for which."""
    if not scores.confusion.get("names"):
        return ""
    figure = confusion_svg(scores.confusion["names"], scores.confusion["counts"])
    return (
        '<h2 id="confusion">Which categories are mistaken for which</h2>'
        "<p>Rows: the category that was seen. Columns: the judge's name for the generated images. "
        "The stronger the shade, the larger the share of the row; outlined cells are right.</p>"
        f'<div class="scroll">{figure}</div>'
    )


def curves_part(scores: Scores, figures: Mapping[str, str]) -> str:
    """Draw what averaging more trials of one picture gives."""
    if not scores.curves:
        return ""
    drawn = [
        f"<figure>{curve_figure(curve)}<figcaption>{metric_name(curve.metric)}, with 95&nbsp;% "
        f"interval; dashed: chance. Averages scored at each point: {', '.join(map(str, curve.n))}."
        "</figcaption></figure>"
        for curve in scores.curves
    ]
    given = figures.get("n_trial")
    return (
        '<h2 id="curves">From one trial to many</h2>'
        "<p>The EEG of several trials of one picture or class, averaged before it was decoded. "
        "Only the point at 1 speaks of single trials.</p>"
        f'<div class="charts">{given or "".join(drawn)}</div>'
    )


def confidence_part(scores: Scores, figures: Mapping[str, str]) -> str:
    """Say how far the confidence of a trial can be trusted, and what is gained by abstaining."""
    c = scores.confidence
    if c is None:
        return ""
    asked = f"at most {100 * c.risk_limit:g}&nbsp;% of the kept trials may be wrong"
    if c.threshold is None:
        told = f"No threshold reaches the risk asked for ({asked}), so no trial would be kept."
    else:
        wrong = (
            "no trial was kept here"
            if c.risk_kept is None
            else f"{100 * c.risk_kept:.1f}&nbsp;% of these are wrong"
        )
        told = (
            f"Asked that {asked}, the model answers where its confidence is {c.threshold:.2f} or "
            f"more: that keeps {100 * c.kept:.0f}&nbsp;% of the trials here, and {wrong}."
        )
    reliability = figures.get("reliability") or (
        f"<figure>{reliability_figure(c)}<figcaption>Reliability: share of right trials among "
        "those of like confidence. On the dashed line it means what it says; larger points hold "
        "more trials.</figcaption></figure>"
    )
    risk = figures.get("risk_coverage") or (
        f"<figure>{risk_figure(c)}<figcaption>Risk and coverage: share of wrong trials among those "
        "kept, the most confident first. The point is where the threshold lies.</figcaption>"
        "</figure>"
    )
    return (
        '<h2 id="confidence">Confidence, and when to say nothing</h2>'
        f"<p>{told}</p><p>Expected calibration error: <b>{c.calibration_error:.3f}</b>, on "
        f"{plural(c.n, 'trial')}; a perfect confidence would show {c.error_if_perfect:.3f} at this "
        f"n (95&nbsp;% of the time up to {c.error_if_perfect_95:.3f}). "
        f"Fitted on {escape(c.fitted_on)} ({plural(c.n_fitted, 'trial')})."
        f'</p><div class="charts">{reliability}{risk}</div>'
    )


def occlusion_part(scores: Scores, figures: Mapping[str, str]) -> str:
    """Say which channels and times the model used."""
    o = scores.occlusion
    if o is None:
        return ""
    channels = sorted(zip(o.channel_drop, o.ch_names, strict=True), reverse=True)[:3]
    times = sorted(zip(o.time_drop, o.times, strict=True), reverse=True)[:3]
    by_channel = [f"{escape(name)} ({_drop(o, drop)})" for drop, name in channels if drop > 0]
    by_time = [
        f"{1000 * (t - o.width / 2):.0f} to {1000 * (t + o.width / 2):.0f}&nbsp;ms "
        f"({_drop(o, drop)})".replace("-", "&minus;")
        for drop, t in times
        if drop > 0
    ]
    return (
        '<h2 id="occlusion">What the model used</h2>'
        f"<p>{metric_name(o.metric)} is {number(o.metric, o.value)} with nothing covered. Covering "
        f"one channel costs most at {', '.join(by_channel) or 'none'}; covering "
        f"{1000 * o.width:.0f}&nbsp;ms costs most at {', '.join(by_time) or 'no time'}, counted "
        "from onset.</p>" + figures.get("occlusion", "")
    )


def _drop(o: Occlusion, value: float) -> str:
    return f"{100 * value:.1f}&nbsp;points" if is_share(o.metric) else f"{value:.3f}"


def looks_part(scores: Scores) -> str:
    """Say how often these held-out trials were looked at, and which protocol was followed."""
    parts = ['<h2 id="looks">Protocol, and looks at the held-out trials</h2>']
    if scores.followed is None:
        parts.append("<p>No named protocol was followed; the configuration below says it all.</p>")
    else:
        f = scores.followed
        parts.append(
            f"<p>Protocol <b>{escape(f.name)}</b>, sha256 <code>{escape(f.sha256)}</code>. "
            + ("Departures from it:" if f.departures else "Nothing was done otherwise.")
            + "</p>"
        )
        if f.departures:
            parts.append(f"<ul>{''.join(f'<li>{escape(d)}</li>' for d in f.departures)}</ul>")
    if not scores.looks:
        parts.append('<p class="soft">Looks at the held-out trials were not logged.</p>')
        return "".join(parts)
    n_models = len({look.model for look in scores.looks})
    parts.append(
        f"<p>This is <b>look number {scores.looks[-1].number}</b> at this side of this split, of "
        f"{plural(n_models, 'model')}. A score that was chosen among looks is too high.</p>"
        '<div class="scroll"><table><tr><th>look</th><th>when</th><th>model</th>'
        "<th>configuration</th></tr>"
    )
    for look in scores.looks:
        parts.append(
            f"<tr><td>{look.number}</td><td>{escape(look.when)}</td>"
            f"<td><code>{escape(look.model[:12])}</code></td>"
            f"<td><code>{escape(look.config[:12])}</code></td></tr>"
        )
    return "".join([*parts, "</table></div>"])


def made_part(scores: Scores) -> str:
    """Say everything that is needed to make this again."""
    made = dict(scores.made)
    command, config = made.pop("command", None), made.pop("config", None)
    parts = ['<h2 id="made">How this was made</h2>']
    if command is not None:
        parts.append(f'<pre class="command"><code>{escape(str(command))}</code></pre>')
    rows = {"judge": str(scores.judge.get("trained_on") or "")}
    for key, value in scores.judge.items():
        if key.endswith("_accuracy_on_seen"):
            what = key.removesuffix("_accuracy_on_seen")
            rows[f"judge, {what}"] = f"{100 * value:.1f} % right on the pictures that were seen"
        elif key != "trained_on":
            rows[f"judge, {key}"] = str(value)
    for key, value in made.items():
        entries = value.items() if isinstance(value, Mapping) else [("", value)]
        rows |= {f"{key} {name}".strip(): str(entry) for name, entry in entries}
    how = {key: told for key, told in scores.protocol.items() if told}
    parts.append(f"<h3>Judge, versions, hashes</h3>{_terms(rows)}")
    parts.append(f"<details><summary>How each figure is computed</summary>{_terms(how)}</details>")
    if config is not None:
        text = json.dumps(config, indent=2)
        parts.append(
            f"<details><summary>Configuration</summary><pre><code>{escape(text)}</code></pre>"
            "</details>"
        )
    return "".join(parts)


def _terms(rows: Mapping[str, str]) -> str:
    terms = [f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows.items() if v]
    return f"<dl>{''.join(terms)}</dl>"


def limits_part(scores: Scores) -> str:
    """Say what the scores do not."""
    limits = []
    if scores.simulated:
        limits.append(
            "The EEG is simulated. Real single trials carry far less about what was seen, and "
            "people, days and headsets differ in more ways than the simulation knows."
        )
    limits += [
        "The generator can draw only what it was trained to draw, so every image looks like "
        "something. That an image looks good says nothing; only the comparison with the controls "
        "does.",
        "A right category can be reached by classifying the EEG and drawing any picture of that "
        "class. Compare with the label-only control and the linear baseline, and look at colour, "
        "similarity and retrieval.",
        "Retrieval uses the CLIP that the EEG was aligned to; the judge does not.",
        "Intervals and p speak for these trials of these people, not for other people.",
        "This is reconstruction of a stimulus that a person looked at.",
    ]
    items = "".join(f"<li>{escape(text)}</li>" for text in limits)
    return f'<h2 id="limits">Limits</h2><ul>{items}</ul>'
