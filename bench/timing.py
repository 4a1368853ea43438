"""Timing side by side: the machine may slow down, but then it does so for all."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Action = Callable[[], object]

MIN_ROUNDS, MAX_ROUNDS = 5, 200

_effort = 1.0


def set_effort(effort: float) -> None:
    """Let everything run so many times as often as it would."""
    global _effort  # noqa: PLW0603 (one command line, one effort)
    _effort = effort


def runs_of(usual: int) -> int:
    """How often to run what is run so often usually."""
    return max(MIN_ROUNDS, round(usual * _effort))


def _nothing() -> None: ...


@dataclass(frozen=True)
class Contestant:
    """One of those that run in turn.

    Attributes:
        action: what is timed; what it returns is dropped outside of the time.
        prepare: runs before each time, outside of it.
    """

    action: Action
    prepare: Action = _nothing


@dataclass
class Times:
    """What the runs of one contestant took, in seconds.

    Attributes:
        each: on the clock.
        cpu: of the processors, all threads together; others on the machine move it less.
    """

    each: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Half of the runs took no longer."""
        return statistics.median(self.each)

    @property
    def quickest(self) -> float:
        """What others do on the machine shows least in it."""
        return min(self.each)


@dataclass(frozen=True)
class Race:
    """The times of all contestants, by name."""

    times: Mapping[str, Times]

    def ratio(self, ours: str, other: str) -> float:
        """The median of the one for each of the other's."""
        return self.times[ours].median / self.times[other].median

    def detail(self, ours: str, other: str) -> str:
        """The times behind the ratio."""
        mine, its = self.times[ours], self.times[other]
        cpu = statistics.median(mine.cpu) / statistics.median(its.cpu)
        return (
            f"{mine.median * 1e3:.2f} ms against {its.median * 1e3:.2f} ms;"
            f" quickest {mine.quickest / its.quickest:.3f} x, CPU {cpu:.3f} x"
        )


def race(
    contestants: Mapping[str, Contestant], *, budget: float = 6.0, collect: bool = True
) -> Race:
    """Run all in turn, a different one first in each round, after a round that does not count.

    Args:
        contestants: by name.
        budget: seconds to spend; at least 5 and at most 200 rounds are made.
        collect: whether garbage is collected before each run.
    """
    # What is there already is not collected each time: that empties the caches of the processor.
    gc.collect()
    gc.freeze()
    order = list(contestants)
    began = time.perf_counter()
    for name in order:
        _run(contestants[name], Times(), collect=collect)
    round_took = time.perf_counter() - began
    times: dict[str, Times] = {name: Times() for name in order}
    rounds = min(MAX_ROUNDS, int(budget / max(round_took, 1e-6)))
    for _ in range(runs_of(rounds)):
        for name in order:
            _run(contestants[name], times[name], collect=collect)
        order.append(order.pop(0))
    gc.unfreeze()
    return Race(times)


def _run(contestant: Contestant, times: Times, *, collect: bool) -> None:
    """Run once, and add what that took."""
    contestant.prepare()
    if collect:
        gc.collect()
    began, began_cpu = time.perf_counter(), time.process_time()
    result = contestant.action()
    times.each.append(time.perf_counter() - began)
    times.cpu.append(time.process_time() - began_cpu)
    del result


def compare(ours: Action, other: Action, *, budget: float = 6.0) -> tuple[float, str]:
    """The ratio of two actions that run in turn, and the times behind it."""
    ran = race({"ours": Contestant(ours), "other": Contestant(other)}, budget=budget)
    return ran.ratio("ours", "other"), ran.detail("ours", "other")


def repeated(action: Action, *, runs: int, prepare: Action = _nothing) -> Times:
    """What ``runs`` runs of one action take one after the other, after one that does not count.

    Args:
        action: what is timed; nothing is collected but by ``prepare``, or when Python does.
        runs: how many, usually.
        prepare: runs before each time, outside of it.
    """
    contestant, times = Contestant(action, prepare), Times()
    _run(contestant, Times(), collect=False)
    for _ in range(runs_of(runs)):
        _run(contestant, times, collect=False)
    return times


def median_seconds(action: Action, *, runs: int) -> float:
    """Median wall-clock seconds of ``runs`` runs, after one that does not count."""
    return repeated(action, runs=runs).median
