"""Charts as inline SVG: columns over time, and bars within a table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sealstore.audit.figures import Period, Tally
from sealstore.audit.markup import Markup, element, joined

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
