"""Parts of the report: style sheet, score tracks and confusion matrix (inline SVG), the audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf7; --card: #ffffff; --ink: #1c2026;
  --soft: #5d6470; --line: #e2dfd8; --accent: #2557c7; --good: #167a3e; --bad: #c42a2a;
  --warn: #fff1cc; --warn-ink: #5c4300; --warn-line: #e8bf4d; --cell: 37 87 199; }
@media (prefers-color-scheme: dark) { :root { --paper: #14161a; --card: #1c1f25; --ink: #e9e8e4;
  --soft: #a2a8b3; --line: #32363f; --accent: #86aaff; --good: #62cf90; --bad: #ff8a80;
  --warn: #3a2f12; --warn-ink: #ffe2a0; --warn-line: #8a6d1f; --cell: 134 170 255; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 64px; }
h1 { font-size: 1.05rem; font-weight: 600; margin: 0 0 18px; color: var(--soft); }
h2 { font-size: 1.3rem; line-height: 1.25; margin: 52px 0 8px; }
p { margin: 0 0 12px; max-width: 68ch; }
.soft, figcaption { color: var(--soft); font-size: .92rem; }
.banner { background: var(--warn); color: var(--warn-ink); border: 1px solid var(--warn-line);
  border-radius: 10px; padding: 12px 16px; margin: 0 0 26px; }
.banner b { display: block; font-size: 1.08rem; line-height: 1.35; }
.hero { display: flex; flex-wrap: wrap; gap: 8px 36px; align-items: flex-end; }
.big { font-size: clamp(3.6rem, 13vw, 6.4rem); line-height: .95; font-weight: 700;
  letter-spacing: -.035em; }
.big small { font-size: .45em; font-weight: 600; letter-spacing: 0; margin-left: .06em; }
.hero p { flex: 1 1 300px; font-size: 1.16rem; line-height: 1.45; margin: 0 0 6px; }
.against { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
  margin: 24px 0 12px; padding: 0; list-style: none; }
.against li { border-top: 3px solid var(--line); padding-top: 8px; }
.against li b { font-size: 1.45rem; display: block; line-height: 1.2; }
.against li:first-child { border-color: var(--accent); }
.score { display: grid; grid-template-columns: minmax(210px, 1fr) 90px 2fr; gap: 2px 18px;
  align-items: center; padding: 14px 0; border-bottom: 1px solid var(--line); }
.score > b { font-size: 1.3rem; text-align: right; font-variant-numeric: tabular-nums; }
.score span small { display: block; color: var(--soft); line-height: 1.35; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { fill: var(--soft); font-size: 11px; font-family: inherit; }
.scroll { overflow-x: auto; margin: 14px 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem;
  width: 100%; }
th, td { text-align: right; padding: 7px 14px 7px 0; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { color: var(--soft); font-weight: 500; } th:first-child, td:first-child { text-align: left; }
.trials { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 16px;
  margin-top: 18px; }
.trial { background: var(--card); border: 1px solid var(--line); border-radius: 12px; margin: 0;
  padding: 12px; display: grid; grid-template-columns: 1.5fr 1fr 1fr; gap: 8px 10px; }
.trial div { min-width: 0; } .trial .seen { grid-row: span 2; align-self: center; }
.trial img, .word { width: 100%; aspect-ratio: 1; border-radius: 7px; display: block; }
.word { display: grid; place-items: center; border: 1px dashed var(--soft); padding: 6px;
  text-align: center; font-size: .85rem; color: var(--soft); }
.trial span { display: block; font-size: .8rem; line-height: 1.3; margin-top: 3px;
  overflow-wrap: anywhere; }
.ok { color: var(--good); } .no { color: var(--bad); }
.legend { display: flex; flex-wrap: wrap; gap: 2px 22px; }
.matrix { min-width: 560px; max-width: 800px; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px;
  overflow-x: auto; font-size: .84rem; line-height: 1.45; }
code { font-family: ui-monospace, SFMono-Regular, Menlo, monospace; }
dl { display: grid; grid-template-columns: minmax(110px, auto) 1fr; gap: 6px 18px; margin: 12px 0;
  font-size: .95rem; } dt { color: var(--soft); } dd { margin: 0; min-width: 0;
  overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--accent); margin: 12px 0; } li { max-width: 68ch; }
@media (max-width: 640px) { main { padding: 20px 16px 48px; }
  .score { grid-template-columns: 1fr auto; } .score svg { grid-column: 1 / -1; }
  .trials { grid-template-columns: 1fr; } h2 { margin-top: 42px; }
  .against { grid-template-columns: 1fr; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 10px; } }
"""


def track(record: Mapping[str, Any]) -> str:
    """Draw a score on a line from its least to its greatest value: interval, chance, control."""
    shuffled = record["controls"]["shuffled_eeg"]["value"]
    values = [record["value"], record["chance"], shuffled, *record["ci95"]]
    low = min(0.0, *values)
    high = 1.0 if low == 0 else max(1.0, *values)
    width, left = 480, 8

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (width - 2 * left)

    (a, b), value = (x(v) for v in record["ci95"]), x(record["value"])
    chance, control = x(record["chance"]), x(shuffled)
    spoken = (
        f"{record['metric']} {record['value']:.3f}, interval {record['ci95'][0]:.3f} to "
        f"{record['ci95'][1]:.3f}, chance {record['chance']:.3f}, shuffled EEG "
        f"{shuffled:.3f}"
    )
    return (
        f'<svg viewBox="0 0 {width} 26" role="img" aria-label="{escape(spoken)}">'
        f'<line x1="{left}" x2="{width - left}" y1="13" y2="13" stroke="var(--line)" '
        'stroke-width="2"/>'
        f'<line x1="{a:.1f}" x2="{b:.1f}" y1="13" y2="13" stroke="var(--accent)" '
        'stroke-width="8" stroke-linecap="round" opacity=".35"/>'
        f'<line x1="{chance:.1f}" x2="{chance:.1f}" y1="3" y2="23" stroke="var(--soft)" '
        'stroke-width="2"/>'
        f'<circle cx="{control:.1f}" cy="13" r="5" fill="var(--paper)" stroke="var(--bad)" '
        'stroke-width="2"/>'
        f'<circle cx="{value:.1f}" cy="13" r="6" fill="var(--accent)"/></svg>'
    )


def legend() -> str:
    """Explain the marks of `track`."""
    return (
        '<p class="soft legend"><span><span style="color:var(--accent)">&#9679;</span> score, '
        '95&nbsp;% interval</span><span><span style="color:var(--soft)">&#9474;</span> chance'
        '</span><span><span style="color:var(--bad)">&#9675;</span> shuffled EEG</span>'
        "<span>lines run from 0 to 1</span></p>"
    )


def severe_banner(audit: Mapping[str, Any] | None) -> str:
    """Say in HTML, where it is so, what makes the scores doubtful; empty where nothing does."""
    severe = [f for f in (audit or {}).get("findings", []) if f["severity"] == "severe"]
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
    head = "<h2>Audit of the training trials and their split</h2>"
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
        shown[finding["severity"] == "passed"].append(
            f"<dt>{escape(finding['name'])}<br>{escape(finding['severity'])}</dt>"
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


def confusion_svg(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Draw which category was shown (rows) and which the judge named (columns).

    Rows that were never shown are left out, columns that are neither shown nor named too. Shades
    are fractions of the row.
    """
    rows = [i for i, row in enumerate(counts) if sum(row)]
    columns = [
        j for j in range(len(names)) if j in rows or any(row[j] for row in counts)
    ]  # fmt: skip
    cell, left, top = 22, 92, 84
    width, height = left + cell * len(columns) + 4, top + cell * len(rows) + 4
    parts = [
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="confusion matrix" '
        f'style="max-width:{round(width * 1.35)}px">'
    ]
    for r, i in enumerate(rows):
        y = top + r * cell
        name = escape(names[i])
        parts.append(f'<text x="{left - 7}" y="{y + 15}" text-anchor="end">{name}</text>')
        total = sum(counts[i])
        for c, j in enumerate(columns):
            share = counts[i][j] / total
            edge = ' stroke="var(--accent)" stroke-width="1.2"' if i == j else ""
            told = f"shown {names[i]}, named {names[j]}: {counts[i][j]} of {total}"
            parts.append(
                f'<rect x="{left + c * cell + 1}" y="{y + 1}" width="{cell - 2}" '
                f'height="{cell - 2}" rx="3" fill="rgb(var(--cell) / {0.06 + 0.94 * share:.3f})"'
                f"{edge}><title>{escape(told)}</title></rect>"
            )
    for c, j in enumerate(columns):
        x = left + c * cell + 15
        parts.append(
            f'<text transform="translate({x} {top - 7}) rotate(-60)">{escape(names[j])}</text>'
        )
    return "".join(parts) + "</svg>"
