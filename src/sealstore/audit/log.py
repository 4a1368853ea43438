"""The ledger for reading: entries that fit, each proven; and what is appended while one looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args

import msgspec

from sealstore import limits
from sealstore.audit.chains import (
    AuditedChain,
    ChainName,
    ChainSource,
    Entry,
    checkpoint_of,
    decode_entry,
    entry_values,
    other_columns,
    row_differences,
    searched_values,
)
from sealstore.audit.findings import Finding
from sealstore.audit.verifying import REFUSALS
from sealstore.errors import LedgerTamperedError, SealstoreError
from sealstore.ledger.entries import Act, Outcome
from sealstore.ledger.head import AccessHead, Head
from sealstore.ledger.history import Event
from sealstore.ledger.merkle import Frontier, verify_entries
from sealstore.repository.history_entries import CachedNodes
from sealstore.storage.catalogue.chain_rows import entry_rows, newest_rows
from sealstore.storage.catalogue.ledger_rows import EntryRow

HISTORY_EVENTS: Final = get_args(Event)
ACTS: Final = get_args(Act)
OUTCOMES: Final = get_args(Outcome)
_MAX_CLAIM_CHARACTERS: Final = 256
_LAST: Final = "\U0010ffff"
"""Comes behind every time."""


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which entries are shown; every condition given must hold.

    All but ``actor`` are looked for in columns beside the entries. An entry that is shown says what
    its columns say; that no entry hides behind other columns is what verifying the chain finds.

    Attributes:
        name, tag: of the artifact.
        events: of the history, or acts of the access log.
        outcome: of the access log only.
        actor: what the actor, or the user, is called.
        since, until: UTC times, or beginnings of one; ``until`` is not included.
    """

    name: str | None = None
    tag: str | None = None
    events: tuple[str, ...] = ()
    outcome: str | None = None
    actor: str | None = None
    since: str | None = None
    until: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether every entry fits."""
        return self == LogFilter()

    def stored_events(self, chain: ChainName) -> tuple[str, ...] | None:
        """What stands in the column of events, () for anything; None if nothing of a chain fits."""
        if chain is ChainName.HISTORY:
            if self.outcome is not None:
                return None
            fitting = tuple(event for event in self.events if event in HISTORY_EVENTS)
            return None if self.events and not fitting else fitting
        if not self.events and self.outcome is None:
            return ()
        acts = [act for act in ACTS if not self.events or act in self.events]
        outcomes = OUTCOMES if self.outcome is None else (self.outcome,)
        return tuple(f"{act} {outcome}" for act in acts for outcome in outcomes) or None

    def fits(self, chain: ChainName, entry: Entry) -> bool:
        """Whether an entry meets every condition."""
        events = self.stored_events(chain)
        event, at, name, tag = searched_values(entry)
        return (
            events is not None
            and (not events or event in events)
            and self.name in (None, name)
            and self.tag in (None, tag)
            and (self.since is None or at >= self.since)
            and (self.until is None or at < self.until)
            and self.fits_actor(entry)
        )

    def fits_actor(self, entry: Entry) -> bool:
        """Whether the actor is the one that is asked for."""
        return self.actor in (None, entry.by.actor, entry.by.user)


@dataclass(frozen=True, slots=True)
class LogLine:
    """An entry that is proven, or the reason why what is there is refused.

    Attributes:
        chain: which.
        sequence: of the entry; of a refused row what it claims.
        at: when; of a refused row what it claims, "" where nothing is claimed.
        entry: the proven entry; None where it was refused.
        error: why it was refused.
    """

    chain: ChainName
    sequence: int
    at: str
    entry: Entry | None
    error: SealstoreError | None = None

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        shown: dict[str, Any] = {
            "chain": self.chain.value,
            "sequence": self.sequence,
            "proven": self.error is None,
        }
        if self.error is None:
            return shown | {"entry": msgspec.to_builtins(self.entry)}
        finding = Finding.of(self.error)
        refusal = {"code": finding.code, "message": finding.message, "toDo": finding.hint}
        return shown | {"refusal": refusal}


@dataclass(frozen=True, slots=True)
class LogPage:
    """A page of one chain, the newest entries first.

    Attributes:
        lines: what is shown.
        next_after: where the next page goes on; None where there is none.
    """

    lines: tuple[LogLine, ...]
    next_after: int | None


# ── pages ────────────────────────────────────────────────────────────────────


def log_page(source: ChainSource, wanted: LogFilter, *, limit: int, after: int | None) -> LogPage:
    """A page of one chain.

    Args:
        source: which chain.
        wanted: which entries.
        limit: how many at most.
        after: only entries before this one: the page before says so.

    Raises:
        VerificationError: the head is refused.
        SealstoreError: the database or the keys failed.
    """
    lines: list[LogLine] = []
    with source.open() as chain:
        for line in _lines(chain, wanted, limit + 1, after):
            lines.append(line)
            if len(lines) > limit:
                break
    more = len(lines) > limit
    shown = tuple(lines[:limit])
    return LogPage(shown, shown[-1].sequence if more else None)


def merged(pages: Sequence[LogPage], limit: int) -> list[LogLine]:
    """Lines of several chains, the newest first by what their clocks said."""
    keyed: list[tuple[str, LogLine]] = []
    for page in pages:
        # Within a chain the order is that of the sequence, whatever the clocks said.
        key = _LAST
        for line in page.lines:
            key = min(key, line.at or key)
            keyed.append((key, line))
    keyed.sort(key=lambda each: each[0], reverse=True)
    return [line for _, line in keyed[:limit]]


def _lines(
    chain: AuditedChain, wanted: LogFilter, rows: int, after: int | None
) -> Iterator[LogLine]:
    events = wanted.stored_events(chain.name)
    if events is None:
        return
    nodes = CachedNodes(chain.reader)
    cursor = after
    # Where every entry is shown, one that is missing shows, too.
    expected = chain.head.size if after is None else min(after - 1, chain.head.size)
    # For an actor no column can be asked: what fits may be rare.
    page = limits.MAX_LIST_ROWS if wanted.actor else min(rows, limits.MAX_LIST_ROWS)
    while True:
        found = newest_rows(
            chain.reader,
            limit=page,
            before_sequence=cursor,
            name=wanted.name,
            tag=wanted.tag,
            events=events,
            since=wanted.since,
            until=wanted.until,
        )
        for row in found:
            if wanted.is_open and row.sequence < expected:
                yield _gap(chain.name, row.sequence + 1, expected)
            expected = min(expected, row.sequence - 1)
            line = _line(chain, row, nodes)
            if line.entry is None or wanted.fits_actor(line.entry):
                yield line
        if len(found) < page:
            break
        cursor = found[-1].sequence
    if wanted.is_open and expected > 0:
        yield _gap(chain.name, 1, expected)


def _line(chain: AuditedChain, row: EntryRow, nodes: CachedNodes) -> LogLine:
    try:
        entry = chain.proven_entry(row, nodes)
    except REFUSALS as error:
        at = row.at[:_MAX_CLAIM_CHARACTERS] if isinstance(row.at, str) else ""
        return LogLine(chain.name, row.sequence, at, None, error)
    return LogLine(chain.name, row.sequence, entry.at, entry)


def _gap(chain: ChainName, first: int, last: int) -> LogLine:
    what = f"Entry {first} is" if first == last else f"Entries {first} to {last} are"
    return LogLine(chain, first, "", None, LedgerTamperedError(f"{what} missing."))


# ── following ────────────────────────────────────────────────────────────────


def follow(
    sources: Sequence[ChainSource], wanted: LogFilter, pause: Callable[[], bool]
) -> Iterator[LogLine]:
    """What is appended from now on, oldest first, each entry proven by the head that has it.

    Every entry is hashed, whether it fits or not: between two heads nothing can be left out.

    Args:
        sources: the chains.
        wanted: which entries.
        pause: waits, and says whether to go on.

    Raises:
        VerificationError: a head is refused: what is there does not follow what was there before.
        SealstoreError: the database or the keys failed.
    """
    seen: dict[ChainName, tuple[bytes, Head | AccessHead]] = {}
    while True:
        for source in sources:
            with source.open() as chain:
                known = seen.get(source.name)
                seen[source.name] = chain.envelope, chain.head
                if known is None or known[0] == chain.envelope:
                    continue
                chain.require_extends(checkpoint_of(known[1]))
                lines = list(_appended(chain, known[1].tree(), wanted))
            yield from lines
        if not pause():
            return


def _appended(chain: AuditedChain, start: Frontier, wanted: LogFilter) -> Iterator[LogLine]:
    rows = list(entry_rows(chain.reader, start.size, chain.head.size))
    verify_entries((row.entry for row in rows), chain.head.size, chain.root, start=start)
    for row in rows:
        entry = decode_entry(chain.name, row.entry, row.sequence)
        if not wanted.fits(chain.name, entry):
            continue
        differences = row_differences(entry_values(row), entry)
        error = None
        if differences:
            error = other_columns(row.sequence, differences)
        yield LogLine(chain.name, row.sequence, entry.at, None if error else entry, error)
