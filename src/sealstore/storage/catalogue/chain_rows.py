"""Entries and nodes of a chain as listings, audits and changes read them, and no load.

Nothing of it is believed: whoever reads compares it with a signed head.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

from sealstore import limits
from sealstore.storage.catalogue.connections import catalogue_errors
from sealstore.storage.catalogue.ledger_rows import (
    ENTRY_CAP,
    HASH_BYTES,
    ChainReader,
    EntryRow,
    as_bytes,
    entry_values,
    value_of,
)

NEWEST_ROWS: Final = """
SELECT CHAIN_entry.sequence,
CASE WHEN (length(CHAIN_entry.entry) <= :cap) THEN CHAIN_entry.entry END,
CHAIN_entry.event, CHAIN_entry.at, CHAIN_entry.name, CHAIN_entry.tag
FROM CHAIN_entry WHERE CONDITIONS ORDER BY CHAIN_entry.sequence DESC LIMIT :most
"""
STRAYS: Final = """
SELECT CHAIN_entry.sequence FROM CHAIN_entry
WHERE CHAIN_entry.sequence < :first OR CHAIN_entry.sequence > :last
ORDER BY CHAIN_entry.sequence LIMIT :most
"""
NODES: Final = """
SELECT CHAIN_node.node_index,
CASE WHEN (length(CHAIN_node.digest) <= :cap) THEN CHAIN_node.digest END
FROM CHAIN_node WHERE CHAIN_node.level = :level
AND CHAIN_node.node_index >= :start AND CHAIN_node.node_index < :stop
ORDER BY CHAIN_node.node_index
"""
COUNT_NODES: Final = "SELECT count(*) FROM CHAIN_node"
CONDITIONS: Final = {
    "before": "sequence < :before",
    "name": "name = :name",
    "tag": "tag = :tag",
    "since": "at >= :since",
    "until": "at < :until",
}
"""Conditions of ``NEWEST_ROWS``, by the name of their value."""
IS_EVENT: Final = "event IN (WANTED)"


def entry_rows(chain: ChainReader, start: int, stop: int) -> Iterator[EntryRow]:
    """The rows of the entries from index ``start`` up to ``stop``, counted from 0."""
    for batch in chain.batches(start, stop):
        for values in batch:
            yield EntryRow(*values)


def newest_rows(
    chain: ChainReader,
    *,
    limit: int,
    before_sequence: int | None = None,
    name: str | None = None,
    tag: str | None = None,
    events: Collection[str] = (),
    since: str | None = None,
    until: str | None = None,
) -> list[EntryRow]:
    """Rows of entries, the newest first.

    Args:
        chain: which.
        limit: how many at most, up to ``limits.MAX_LIST_ROWS``.
        before_sequence: only entries before this one.
        name, tag: only entries about these.
        events: only these, if any are given.
        since, until: UTC times, or beginnings of one; ``until`` is not included.
    """
    given = {
        "before": before_sequence,
        "name": name,
        "tag": tag,
        "since": since,
        "until": until,
    }
    asked = {key: value for key, value in given.items() if value is not None}
    conditions = [CONDITIONS[key] for key in asked]
    if events:
        places, values = listed(events)
        conditions.append(IS_EVENT.replace("WANTED", places))
        asked |= values
    # SQLite takes a negative limit for no limit.
    asked |= {**ENTRY_CAP, "most": max(0, min(limit, limits.MAX_LIST_ROWS))}
    statement = where(NEWEST_ROWS, conditions).replace("CHAIN", chain.name)
    with catalogue_errors("The ledger cannot be read"):
        rows = chain.connection.execute(statement, asked).fetchall()
    return [EntryRow(*entry_values(row)) for row in rows]


def strays(chain: ChainReader, size: int, *, limit: int) -> list[int]:
    """Sequences of rows that are no entry of a chain of this size, the smallest first."""
    asked = {"first": 1, "last": size, "most": limit}
    with catalogue_errors("The ledger cannot be read"):
        found = chain.connection.execute(STRAYS.replace("CHAIN", chain.name), asked).fetchall()
        return [int(value) for (value,) in found]


def node_digests(chain: ChainReader, level: int, start: int, stop: int) -> dict[int, bytes | None]:
    """The nodes of a level from index ``start`` up to ``stop``, by their index."""
    asked = {"level": level, "start": start, "stop": stop, "cap": HASH_BYTES}
    with catalogue_errors("The ledger cannot be read"):
        found = chain.connection.execute(NODES.replace("CHAIN", chain.name), asked).fetchall()
    return {index: digest if type(digest) is bytes else as_bytes(digest) for index, digest in found}


def count_nodes(chain: ChainReader) -> int:
    """How many nodes there are."""
    with catalogue_errors("The ledger cannot be read"):
        return int(value_of(chain.connection.execute(COUNT_NODES.replace("CHAIN", chain.name))))


# ── texts that are filled in ─────────────────────────────────────────────────


def where(statement: str, conditions: Sequence[str]) -> str:
    """A statement with its conditions filled in."""
    return statement.replace("CONDITIONS", " AND ".join(conditions) or "1 = 1")


def listed(values: Collection[Any]) -> tuple[str, dict[str, Any]]:
    """A place for each of some values, and the values by the names of their places."""
    named = {f"value_{number}": value for number, value in enumerate(values)}
    return ", ".join(f":{name}" for name in named), named
