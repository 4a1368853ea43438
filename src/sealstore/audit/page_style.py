"""How the auditor's report looks; in light and dark, on a screen and on paper."""

from __future__ import annotations

from typing import Final

from sealstore.audit.markup import Markup

STYLE: Final = Markup("""
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #1b2330; --quiet: #66707f;
  --line: #e2e6ec; --granted: #2f7d6d; --refused: #c8442f; --sound: #e5f3ee; --unsound: #fbe7e3; }
@media (prefers-color-scheme: dark) { :root { --page: #12161c; --card: #1b212a; --ink: #e4e8ee;
  --quiet: #97a1b0; --line: #2e3743; --granted: #4fb09b; --refused: #ec7561; --sound: #173029;
  --unsound: #43211c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
header, main, footer { max-width: 1120px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 36px; }
footer { padding: 8px 24px 48px; color: var(--quiet); font-size: 13px; }
h1 { margin: 0; font-size: 28px; letter-spacing: -0.01em; }
h2 { margin: 0 0 12px; font-size: 17px; } h3 { margin: 16px 0 6px; font-size: 14px;
  text-transform: capitalize; }
header p { margin: 4px 0 20px; color: var(--quiet); }
code { font: 13px/1.4 ui-monospace, "SF Mono", Menlo, Consolas, monospace;
  overflow-wrap: anywhere; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 20px 22px; margin: 0 0 18px; min-width: 0; }
.verdict { border-left: 6px solid; } .sound { border-left-color: var(--granted);
  background: var(--sound); } .unsound { border-left-color: var(--refused);
  background: var(--unsound); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 0; }
dt, .quiet { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
.findings { margin: 10px 0 0; padding-left: 20px; } .findings strong { color: var(--refused); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
  padding: 0; border: 0; background: none; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 14px 18px; }
.tile b { display: block; font-size: 26px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile span { color: var(--quiet); font-size: 13px; } .bad b { color: var(--refused); }
.columns-2 { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr));
  gap: 18px; margin-bottom: 18px; align-items: start; } .columns-2 section { margin: 0; }
.legend { margin: -4px 0 8px; color: var(--quiet); font-size: 13px; }
.key { margin-right: 16px; } .key::before { content: ""; display: inline-block; width: 10px;
  height: 10px; border-radius: 2px; margin-right: 6px; }
.key.granted::before { background: var(--granted); } .key.refused::before {
  background: var(--refused); }
svg.columns { display: block; width: 100%; height: auto; } svg text { fill: var(--quiet);
  font-size: 12px; } .grid { stroke: var(--line); }
rect.granted { fill: var(--granted); } rect.refused { fill: var(--refused); }
svg.bar { display: block; width: 100%; min-width: 90px; height: 10px; border-radius: 3px; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; color: var(--quiet); font-weight: 500; font-size: 13px;
  white-space: nowrap; }
th, td { padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); vertical-align: middle;
  overflow-wrap: anywhere; } th:last-child, td:last-child { padding-right: 0; }
tbody tr:last-child td { border-bottom: 0; } .columns-2 td:nth-child(2):has(svg) { width: 38%; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.entries td:nth-child(-n+2), .entries code { white-space: nowrap; overflow-wrap: normal; }
@media print { body { background: #fff; } section { break-inside: avoid; } }
""")
