"""The scores in the report: every one beside its controls, as figures and as a table."""

from __future__ import annotations

from collections import defaultdict
from html import escape

from dreamdiffusion.evidence.controls import CONTROLS, controls_of_kind
from dreamdiffusion.evidence.scores import DistributionScore, Score, Scores
from dreamdiffusion.report.headline import headline_score
from dreamdiffusion.report.strips import forest, strip
from dreamdiffusion.report.words import control_name, difference, interval, metric_name, number


def controls_part(scores: Scores) -> str:
    """Explain each control that is present, beside the headline metric's difference to it."""
    score = headline_score(scores)
    present = {name for record in scores.scores for name in record.controls}
    groups = [
        (
            "Without a brain",
            "The claim is the difference to the strongest.",
            controls_of_kind("without_brain"),
        ),
        (
            "Without reconstruction",
            "What does not beat these shows a class that was named, or a picture looked up.",
            controls_of_kind("without_image"),
        ),
        ("Without drift", "What is lost here came from drift.", controls_of_kind("without_time")),
        ("Others", "", sorted(present - set(CONTROLS))),
    ]
    described = defaultdict(str, {name: one.description for name, one in CONTROLS.items()})
    told = []
    for title, use, controls in groups:
        terms = [
            f"<dt>{control_name(name)}</dt><dd>{escape(described.get(name, ''))}</dd>"
            for name in controls
            if name in present
        ]
        if terms:
            used = f'<p class="soft">{use}</p>' if use else ""
            told.append(f"<h3>{title}</h3>{used}<dl>{''.join(terms)}</dl>")
    return (
        '<h2 id="controls">Controls</h2>'
        "<p>The same trials, decoded without something that a decoder is meant to use.</p>"
        f'<div class="charts"><figure>{forest(score)}<figcaption>{metric_name(score.metric)}: '
        "by how much it is better than each control, with 95&nbsp;% intervals. An interval that "
        "reaches the line at zero shows no difference.</figcaption></figure>"
        f"<div>{''.join(told)}</div></div>"
    )


def scores_part(scores: Scores) -> str:
    """Draw every score beside its controls, and write the table of all of it."""
    parts = ['<h2 id="scores">Scores</h2>']
    if scores.headline.verdict == "withheld":
        parts.append("<p><b>Measured, and not to be quoted: the headline is withheld.</b></p>")
    parts.append(_legend())
    parts += [_row(score, scores) for score in scores.scores]
    if scores.baselines:
        parts.append("<h3>Decoders that draw nothing, on the same trials</h3>")
        parts += [_row(score, scores) for score in scores.baselines]
    parts.append(_table([*scores.scores, *scores.baselines]))
    if scores.distributions:
        parts.append(_distributions(scores.distributions))
    if scores.not_scored:
        left_out = [
            f"<li><code>{escape(metric)}</code>: {escape(why)}</li>"
            for metric, why in scores.not_scored.items()
        ]
        parts.append(f'<p class="soft">Not scored:</p><ul class="soft">{"".join(left_out)}</ul>')
    return "".join(parts)


def _row(score: Score, scores: Scores) -> str:
    metric = score.metric
    how = scores.protocol.get(metric, "")
    quiet = " quiet" if scores.headline.verdict == "withheld" else ""
    return (
        f'<div class="score"><div><h3>{metric_name(metric)}</h3>'
        f'<p class="now{quiet}">{number(metric, score.value)} '
        f"<small>{difference(metric, score.difference)} against "
        f"{control_name(score.strongest)}</small></p>"
        f'<p class="soft">{escape(how)}</p></div>{strip(score)}</div>'
    )


def _legend() -> str:
    return (
        '<p class="soft"><span style="color:var(--accent)">&#9679;</span> score with its 95&nbsp;% '
        'interval; <span style="color:var(--bad)">&#9675;</span> control without a brain; '
        "&#9633; without reconstruction; &#9671; without drift; dashed: chance. Each line begins "
        "at zero or below, and its ends are written under it.</p>"
    )


def _table(records: list[Score]) -> str:
    """One line a score; one line for each of its controls in a table that is folded away."""
    head = '<div class="scroll"><table><tr><th>metric</th>'
    parts = [
        f"{head}<th>value</th><th>95&nbsp;% interval</th><th>chance</th><th>difference</th>"
        "<th>its 95&nbsp;% interval</th><th>strongest control</th><th>p</th><th>p corrected</th>"
        "<th>trials</th><th>people</th></tr>"
    ]
    controls = [
        f"{head}<th>control</th><th>value</th><th>difference</th><th>95&nbsp;% interval</th></tr>"
    ]
    for score in records:
        metric = score.metric
        name = f"<td><code>{escape(metric)}</code></td>"
        corrected = "" if score.p_corrected is None else f"{score.p_corrected:.2g}"
        parts.append(
            f"<tr>{name}<td>{number(metric, score.value)}</td>"
            f"<td>{interval(metric, score.ci95)}</td><td>{number(metric, score.chance)}</td>"
            f"{_difference_cells(metric, score.difference, score.difference_ci95)}"
            f"<td>{control_name(score.strongest)}</td><td>{score.p:.2g}</td><td>{corrected}</td>"
            f"<td>{score.n}</td><td>{score.n_people}</td></tr>"
        )
        for control, of in score.controls.items():
            controls.append(
                f"<tr>{name}<td>{control_name(control)}</td><td>{number(metric, of.value)}</td>"
                f"{_difference_cells(metric, of.difference, of.difference_ci95)}</tr>"
            )
    return (
        f"<h3>The same in figures</h3>{''.join(parts)}</table></div>"
        '<p class="soft">Difference: score minus the strongest control, in percentage points where '
        "the score is in per cent.</p>"
        f"<details><summary>Every control of every metric</summary>{''.join(controls)}</table>"
        "</div></details>"
    )


def _difference_cells(metric: str, value: float, ends: tuple[float, float]) -> str:
    unit = "&nbsp;points"
    low_to_high = interval(metric, ends, of_difference=True).removesuffix(unit)
    return f"<td>{difference(metric, value).removesuffix(unit)}</td><td>{low_to_high}</td>"


def _distributions(records: list[DistributionScore]) -> str:
    """Metrics of the whole set, never without its size."""
    rows = [
        f"<tr><td><code>{escape(record.metric)}</code></td><td>{record.value:.4g}</td>"
        f"<td>{'' if record.shuffled_eeg is None else f'{record.shuffled_eeg:.4g}'}</td>"
        f"<td>{record.n_generated:,}</td><td>{record.n_seen:,}</td></tr>"
        for record in records
    ]
    notes = [
        f"<li><code>{escape(record.metric)}</code>: {escape(record.note)}</li>"
        for record in records
        if record.note
    ]
    listed = f'<ul class="soft">{"".join(notes)}</ul>' if notes else ""
    return (
        "<h3>Of the whole set of images</h3><p>These say whether the images look like pictures, "
        "not whether they are the right ones.</p>"
        '<div class="scroll"><table><tr><th>metric</th><th>value</th><th>shuffled EEG</th>'
        f"<th>N generated</th><th>N seen</th></tr>{''.join(rows)}</table></div>{listed}"
    )
