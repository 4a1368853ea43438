"""HTML and SVG that cannot be broken out of: whatever is no ``Markup`` is escaped.

Names, actors, hosts and contexts come from outside, and may say anything.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sealstore.audit.figures import Period, Tally
from sealstore.errors import printable

# ── elements ─────────────────────────────────────────────────────────────────


class Markup(str):
    """Text that is markup already; only this module makes it of anything but a literal."""

    __slots__ = ()


def escaped(text: object) -> Markup:
    """Text as markup shows it; control, format and separator characters are made visible."""
    return text if type(text) is Markup else Markup(html.escape(printable(str(text))))


def joined(*children: object) -> Markup:
    """Several pieces, one behind the other."""
    return Markup("".join(escaped(child) for child in children))


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element.

    Args:
        name: of the element: a literal.
        children: what is in it.
        attributes: by name, a literal in which ``_`` stands for ``-`` and is dropped at the end;
            None leaves an attribute out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{joined(*children)}</{name}>")


# ── charts: columns over time, and bars within a table ───────────────────────


_WIDTH: Final = 960
_HEIGHT: Final = 250
_LEFT: Final = 52
_RIGHT: Final = 8
_TOP: Final = 10
_BOTTOM: Final = 26
_TICKS: Final = 4
_LABELS: Final = 8
_GAP: Final = 0.22
"""Of a column's width."""


def columns(periods: Sequence[Period]) -> Markup:
    """Accesses over time: a column for each period, of those granted and refused."""
    step, ticks = _scale(max(period.tally.total for period in periods))
    top = step * ticks
    plot_height = _HEIGHT - _TOP - _BOTTOM
    width = (_WIDTH - _LEFT - _RIGHT) / len(periods)
    parts: list[Markup] = []
    for tick in range(ticks + 1):
        y = _TOP + plot_height * (1 - tick / ticks)
        parts.append(
            element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=_n(y), y2=_n(y), class_="grid")
        )
        parts.append(
            element("text", f"{step * tick:,}", x=_LEFT - 8, y=_n(y + 4), text_anchor="end")
        )
    every = max(1, -(-len(periods) // _LABELS))
    for number, period in enumerate(periods):
        x = _LEFT + number * width
        parts.append(_column(period, x, width, top))
        if number % every == 0:
            label = _label(period)
            parts.append(element("text", label, x=_n(x + width * _GAP / 2), y=_HEIGHT - 8))
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label="Accesses over time, granted and refused",
        class_="columns",
    )


def _column(period: Period, x: float, width: float, top: int) -> Markup:
    plot_height = _HEIGHT - _TOP - _BOTTOM
    bottom = float(_HEIGHT - _BOTTOM)
    tally, parts = period.tally, [element("title", f"{_label(period)}: {described(period.tally)}")]
    for kind, count in (("granted", tally.granted), ("refused", tally.refused)):
        if count:
            # A refusal among thousands of loads is what is looked for: it stays visible.
            height = max(2.0, plot_height * count / top)
            bottom -= height
            parts.append(
                element(
                    "rect",
                    x=_n(x + width * _GAP / 2),
                    y=_n(bottom),
                    width=_n(width * (1 - _GAP)),
                    height=_n(height),
                    class_=kind,
                )
            )
    return element("g", *parts)


def bar(tally: Tally, largest: int) -> Markup:
    """A bar that shows a tally beside the largest of its table."""
    shares = [100 * count / max(1, largest) for count in (tally.granted, tally.refused)]
    rects = []
    x = 0.0
    for kind, share in zip(("granted", "refused"), shares, strict=True):
        if share:
            rects.append(
                element("rect", x=f"{_n(x)}%", width=f"{_n(share)}%", height="100%", class_=kind)
            )
        x += share
    return element("svg", joined(*rects), class_="bar", aria_hidden="true")


def described(tally: Tally) -> str:
    """A tally in words."""
    failed = f", {tally.failed:,} failed afterwards" if tally.failed else ""
    return f"{tally.granted:,} granted, {tally.refused:,} refused{failed}"


def _label(period: Period) -> str:
    if period.width >= timedelta(days=1):
        return period.begin.strftime("%Y-%m-%d")
    return period.begin.strftime("%m-%d %H:00")


def _scale(largest: int) -> tuple[int, int]:
    """The step between two lines, a round number, and how many steps hold the largest value."""
    step = 1
    while step * _TICKS < largest:
        # 1, 2, 5, 10, 20, 50 …
        step = step * 5 // 2 if str(step).startswith("2") else step * 2
    return step, max(1, -(-largest // step))


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


# ── the page's style ─────────────────────────────────────────────────────────


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
