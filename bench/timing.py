"""Timing side by side: the machine may slow down, but then it does so for both."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

SLACK = 1.25
"""How far a figure may lie over its target before the run fails: shared machines are noisy."""


@dataclass(frozen=True)
class Comparison:
    """Medians of two actions that ran in turn.

    Attributes:
        ours, peer: seconds.
        best: the ratio of the quickest runs: what others do on the machine shows least in it.
    """

    ours: float
    peer: float
    best: float

    @property
    def ratio(self) -> float:
        """Ours for each of the peer's."""
        return self.ours / self.peer

    @property
    def detail(self) -> str:
        """The times behind the ratio."""
        ours, peer = self.ours * 1e3, self.peer * 1e3
        return f"{ours:.2f} ms against {peer:.2f} ms; quickest: {self.best:.2f} x"


def seconds(action: Callable[[], object]) -> float:
    """Wall-clock seconds of one run; what it returns is dropped outside of the time."""
    gc.collect()
    began = time.perf_counter()
    result = action()
    took = time.perf_counter() - began
    del result
    return took


def compare(
    ours: Callable[[], object], peer: Callable[[], object], *, budget: float = 6.0
) -> Comparison:
    """Run both in turn, after one run each that does not count.

    Args:
        ours, peer: what to time.
        budget: seconds to spend; at least 5 and at most 200 runs of each are made.
    """
    # What is there already is not collected each time: that empties the caches of the processor.
    gc.collect()
    gc.freeze()
    first = seconds(ours) + seconds(peer)
    runs = max(5, min(200, int(budget / max(first, 1e-6))))
    ours_took, peer_took = [], []
    for _ in range(runs):
        ours_took.append(seconds(ours))
        peer_took.append(seconds(peer))
    gc.unfreeze()
    best = min(ours_took) / min(peer_took)
    return Comparison(statistics.median(ours_took), statistics.median(peer_took), best)


def median_seconds(action: Callable[[], object], *, runs: int) -> float:
    """Median wall-clock seconds of ``runs`` runs, after one that does not count."""
    action()
    took = []
    for _ in range(runs):
        began = time.perf_counter()
        action()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


@dataclass(frozen=True)
class Figure:
    """One line of the report.

    Attributes:
        what: what was measured.
        value: the figure.
        unit: ``x`` for a ratio, ``ms``, ``us`` …
        target: what it should be at most; None where nothing was promised.
        detail: the absolute times behind it.
    """

    what: str
    value: float
    unit: str
    target: float | None
    detail: str

    @property
    def verdict(self) -> str:
        """``ok``, ``over`` (within the slack) or ``FAILED``."""
        if self.target is None:
            return ""
        if self.value <= self.target:
            return "ok"
        return "over" if self.value <= self.target * SLACK else "FAILED"

    def __str__(self) -> str:
        target = "" if self.target is None else f"at most {self.target:g}"
        return (
            f"{self.what:<62} {self.value:9.3f} {self.unit:<3} {target:<13} {self.verdict:<7}"
            f" {self.detail}"
        )
