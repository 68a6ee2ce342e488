"""The style sheet of the report: phone and desk, light and dark, nothing loaded."""

STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf7; --card: #ffffff; --ink: #1c2026;
  --soft: #5d6470; --line: #e2dfd8; --accent: #2557c7; --good: #167a3e; --bad: #c42a2a;
  --warn: #fff1cc; --warn-ink: #5c4300; --warn-line: #e8bf4d; --cell: 37 87 199;
  --good-tint: #e5f3e9; --bad-tint: #fdeceb; }
@media (prefers-color-scheme: dark) { :root { --paper: #14161a; --card: #1c1f25; --ink: #e9e8e4;
  --soft: #a2a8b3; --line: #32363f; --accent: #86aaff; --good: #62cf90; --bad: #ff8a80;
  --warn: #3a2f12; --warn-ink: #ffe2a0; --warn-line: #8a6d1f; --cell: 134 170 255;
  --good-tint: #17301f; --bad-tint: #3a1f1e; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 28px 24px 72px; }
h1 { font-size: 1.02rem; font-weight: 600; margin: 0 0 20px; color: var(--soft); }
h2 { font-size: 1.4rem; line-height: 1.25; margin: 60px 0 10px; letter-spacing: -.01em; }
h3 { font-size: 1.06rem; line-height: 1.3; margin: 30px 0 6px; }
p { margin: 0 0 12px; max-width: 68ch; }
li { max-width: 68ch; }
a { color: var(--accent); }
code { font-family: ui-monospace, SFMono-Regular, Menlo, monospace; font-size: .92em;
  overflow-wrap: anywhere; }
.soft, figcaption { color: var(--soft); font-size: .92rem; }
.banner { background: var(--warn); color: var(--warn-ink); border: 1px solid var(--warn-line);
  border-radius: 10px; padding: 12px 16px; margin: 0 0 24px; }
.banner > b { display: block; font-size: 1.06rem; line-height: 1.35; }
.banner li > b { display: block; }
.banner ul { margin: 6px 0 0; padding-left: 1.2em; }

.hero { background: var(--card); border: 1px solid var(--line); border-radius: 16px;
  padding: 26px 28px 22px; border-top: 6px solid var(--soft); }
.hero.above { border-top-color: var(--good); } .hero.withheld { border-top-color: var(--bad); }
.verdict { display: inline-block; font-weight: 650; font-size: .95rem; line-height: 1.3;
  padding: 4px 12px; border-radius: 14px; margin: 0 0 14px; background: var(--line); }
.above .verdict { background: var(--good-tint); color: var(--good); }
.withheld .verdict { background: var(--bad-tint); color: var(--bad); }
.claim { display: flex; flex-wrap: wrap; gap: 8px 34px; align-items: flex-end; }
.big { font-size: clamp(3.5rem, 12vw, 6rem); line-height: .95; font-weight: 700;
  letter-spacing: -.035em; white-space: nowrap; margin: 0; }
.big small { font-size: .3em; font-weight: 600; letter-spacing: 0; margin-left: .25em; }
.said { font-size: clamp(2rem, 6vw, 3.1rem); line-height: 1.08; font-weight: 700;
  letter-spacing: -.025em; margin: 0 0 12px; }
.claim p:not(.big) { flex: 1 1 320px; font-size: 1.12rem; line-height: 1.45; margin: 0; }
.reasons { margin: 14px 0; padding: 0; list-style: none; }
.reasons li { border-left: 3px solid var(--bad); padding: 2px 0 2px 14px; margin: 0 0 14px; }
.reasons li b { display: block; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr));
  gap: 14px 22px; margin: 26px 0 4px; padding: 0; list-style: none; }
.figures li { border-top: 3px solid var(--line); padding-top: 8px; line-height: 1.4; }
.figures li:first-child { border-color: var(--accent); }
.figures b { font-size: 1.4rem; display: block; line-height: 1.2;
  font-variant-numeric: tabular-nums; }
.checks { list-style: none; margin: 18px 0 0; padding: 0; display: grid; gap: 2px 30px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); }
.checks li { padding: 9px 0 9px 30px; position: relative; border-bottom: 1px solid var(--line);
  line-height: 1.45; font-size: .97rem; }
.checks li > i { position: absolute; left: 2px; top: 9px; font-style: normal; font-weight: 700; }
.ok { color: var(--good); } .no { color: var(--bad); } .open { color: var(--soft); }
nav { margin: 26px 0 0; font-size: .92rem; display: flex; flex-wrap: wrap; gap: 6px 18px; }
nav a { text-decoration: none; }

.score { display: grid; grid-template-columns: minmax(200px, 1fr) minmax(0, 2fr); gap: 4px 26px;
  align-items: start; padding: 18px 0 14px; border-bottom: 1px solid var(--line); }
.score h3 { margin: 0 0 2px; } .score .now { font-size: 1.5rem; font-weight: 650;
  font-variant-numeric: tabular-nums; line-height: 1.2; margin: 0 0 4px; }
.score .now small { font-size: .6em; font-weight: 500; color: var(--soft); }
.score .now.quiet { font-size: 1rem; font-weight: 400; }
.score p { margin: 0; font-size: .9rem; line-height: 1.4; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { paint-order: stroke; stroke: var(--paper); stroke-width: 3.5px; fill: var(--soft);
  font-size: 10.5px; font-family: inherit; }
svg .ink { fill: var(--ink); } svg .strong { fill: var(--ink); font-weight: 650; }
.charts h3 + p { margin: 0; } .charts dl { display: block; } .charts dd { margin-bottom: 10px; }
.charts > div > h3:first-child { margin-top: 0; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 360px), 1fr));
  gap: 26px 34px; margin: 18px 0; }
figure { margin: 0; min-width: 0; max-width: 520px; } figure.wide { max-width: 760px; }
figcaption { margin-top: 8px; line-height: 1.45; }
figure img { width: 100%; height: auto; display: block; background: #fff; border-radius: 8px; }
.scroll { overflow-x: auto; margin: 14px 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .86rem;
  width: 100%; }
th, td { text-align: right; padding: 7px 0 7px 12px; border-bottom: 1px solid var(--line);
  white-space: nowrap; vertical-align: top; }
th { color: var(--soft); font-weight: 500; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }

.trials { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr));
  gap: 14px; margin: 12px 0 0; }
.trial { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 12px; display: grid; grid-template-columns: 1.5fr 1fr 1fr; gap: 8px 10px; }
.trial.two { grid-template-columns: 1fr 1fr; } .trial.three { grid-template-columns: 1fr 1fr 1fr; }
.trial div { min-width: 0; } .trial .seen { align-self: center; }
.trial.many .seen { grid-row: span 2; }
.trial .rank { grid-column: 1 / -1; margin: 0; font-size: .84rem; color: var(--soft);
  display: flex; justify-content: space-between; gap: 10px; }
.trial img, .word { width: 100%; aspect-ratio: 1; border-radius: 7px; display: block; }
.word { display: grid; place-items: center; border: 1px dashed var(--soft); padding: 6px;
  text-align: center; font-size: .85rem; color: var(--soft); overflow-wrap: anywhere; }
.trial span { display: block; font-size: .8rem; line-height: 1.3; margin-top: 3px;
  overflow-wrap: anywhere; }
.trial .rank span { margin: 0; font-size: inherit; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px;
  overflow-x: auto; font-size: .84rem; line-height: 1.45; }
pre.command { white-space: pre-wrap; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: minmax(110px, 220px) 1fr; gap: 6px 18px;
  margin: 12px 0; font-size: .95rem; }
dt { color: var(--soft); overflow-wrap: anywhere; }
dd { margin: 0; min-width: 0; max-width: 76ch; overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--accent); margin: 12px 0; }
@media (max-width: 640px) { main { padding: 18px 16px 48px; } h2 { margin-top: 46px; }
  .hero { padding: 18px 16px; border-radius: 12px; }
  .figures { grid-template-columns: 1fr 1fr; } .score { grid-template-columns: minmax(0, 1fr); }
  dl { grid-template-columns: minmax(0, 1fr); gap: 0; } dd { margin-bottom: 10px; } }
@media print { details > * { display: block; } .hero, .trial, figure { break-inside: avoid; } }
"""
