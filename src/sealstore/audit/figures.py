"""What the entries come to: loads and refusals over time, by artifact, key, host and actor."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from sealstore.audit.chains import Entry
from sealstore.ledger.entries import AccessEntry, Outcome
from sealstore.ledger.history import HistoryEntry

MAX_LISTED: Final = 500
"""Refusals that are listed one by one, the newest; a table of more is for 'audit log'."""

_HOUR: Final = timedelta(hours=1)
_WIDTHS: Final = tuple(
    _HOUR * hours
    for hours in (1, 3, 6, 12, 24, 48, 168, 336, 720, 2_160, 8_760, 87_600, 876_000, 8_760_000)
)
_HOUR_CHARACTERS: Final = 13
"""Of a time: as far as the hour."""


@dataclass(slots=True)
class Tally:
    """How often something was granted, refused, and failed after that."""

    granted: int = 0
    refused: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        """All accesses; a failure is one that was granted before."""
        return self.granted + self.refused

    def count(self, outcome: Outcome) -> None:
        """Count one."""
        setattr(self, outcome, getattr(self, outcome) + 1)

    def add(self, other: Tally) -> None:
        """Count all of another tally."""
        self.granted += other.granted
        self.refused += other.refused
        self.failed += other.failed


Tallies = dict[str, Tally]


@dataclass(frozen=True, slots=True)
class Period:
    """A stretch of time with what happened in it.

    Attributes:
        begin: its first moment, UTC.
        width: how long it is.
        tally: what happened.
    """

    begin: datetime
    width: timedelta
    tally: Tally


@dataclass(slots=True)
class Figures:
    """What the entries of both chains come to.

    Args:
        since, until: UTC times, or beginnings of one; ``until`` is not included.

    Attributes:
        accesses: all accesses.
        by_artifact, by_key, by_host, by_actor: the same by artifact, by the key that signed it, by
            host and by actor.
        acts, reasons, events: how often each occurred.
        refusals: the newest accesses that were refused or failed.
        changes: the newest entries of the history.
    """

    since: str | None = None
    until: str | None = None
    accesses: Tally = field(default_factory=Tally)
    by_artifact: Tallies = field(default_factory=dict)
    by_key: Tallies = field(default_factory=dict)
    by_host: Tallies = field(default_factory=dict)
    by_actor: Tallies = field(default_factory=dict)
    acts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    refusals: deque[AccessEntry] = field(default_factory=lambda: deque(maxlen=MAX_LISTED))
    changes: deque[HistoryEntry] = field(default_factory=lambda: deque(maxlen=MAX_LISTED))
    _by_hour: Tallies = field(default_factory=dict)

    def hear(self, entry: Entry) -> None:
        """Count an entry."""
        if self.since is not None and entry.at < self.since:
            return
        if self.until is not None and entry.at >= self.until:
            return
        if isinstance(entry, AccessEntry):
            self._hear_access(entry)
        else:
            self.events[entry.event] += 1
            self.changes.append(entry)

    def _hear_access(self, entry: AccessEntry) -> None:
        outcome, artifact = entry.outcome, entry.artifact
        self.accesses.count(outcome)
        if outcome != "failed":
            self.acts[entry.act] += 1
        about = entry.request if artifact is None else artifact
        for tallies, key in (
            (self._by_hour, entry.at[:_HOUR_CHARACTERS]),
            (self.by_artifact, f"{about.name}:{about.tag}"),
            (self.by_key, "" if artifact is None else artifact.key_id),
            (self.by_host, entry.by.host),
            (self.by_actor, entry.by.actor or entry.by.user),
        ):
            tally = tallies.get(key)
            if tally is None:
                tallies[key] = tally = Tally()
            tally.count(outcome)
        if entry.reason is not None:
            self.reasons[entry.reason] += 1
            self.refusals.append(entry)

    def periods(self, at_most: int) -> list[Period]:
        """Accesses over time, in stretches of one width, from the first to the last."""
        tallies: dict[datetime, Tally] = {}
        for text, tally in self._by_hour.items():
            try:
                hour = datetime.strptime(text, "%Y-%m-%dT%H").replace(tzinfo=UTC)
            except ValueError:
                # The form of a time does not make it a day of the calendar.
                continue
            tallies[hour] = tally
        if not tallies:
            return []
        first, last = min(tallies), max(tallies)
        width = next(width for width in _WIDTHS if (last - first) / width < at_most - 1)
        # From midnight on, so that a day is a day.
        origin = first.replace(hour=0) if width >= 24 * _HOUR else first
        periods = [
            Period(origin + number * width, width, Tally())
            for number in range((last - origin) // width + 1)
        ]
        for hour, tally in tallies.items():
            periods[(hour - origin) // width].tally.add(tally)
        return periods


def most_frequent(tallies: Tallies, at_most: int) -> list[tuple[str, Tally]]:
    """The largest tallies, the largest first."""
    order = sorted(tallies.items(), key=lambda item: (-item[1].total, -item[1].refused, item[0]))
    return order[:at_most]
