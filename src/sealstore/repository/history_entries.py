"""Entries of the history and their rows: proven against a head, and written."""

from __future__ import annotations

from typing import Final

from sealstore.errors import LedgerTamperedError
from sealstore.ledger.consistency import Nodes
from sealstore.ledger.head import AccessHead, Head
from sealstore.ledger.history import HistoryEntry, decode_history_entry
from sealstore.ledger.inclusion import inclusion_proof, verify_inclusion
from sealstore.ledger.merkle import leaf_hash
from sealstore.storage.catalogue.ledger_rows import EntryRow

Detail = bool | int | str | None

REBUILT: Final = "rebuilt"
"""The detail, true, of an entry that a rebuild made of a signed statement."""


class CachedNodes:
    """Stored nodes, each fetched once. Implements ``ledger.Nodes``."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._found: dict[tuple[int, int], bytes | None] = {}

    def get(self, level: int, index: int) -> bytes | None:
        """See ``ledger.Nodes``."""
        node = (level, index)
        if node not in self._found:
            self._found[node] = self._nodes.get(level, index)
        return self._found[node]


def require_included(row: EntryRow, nodes: Nodes, head: Head | AccessHead) -> None:
    """Return if the entry in a row is the one that a verified head has in this place.

    Raises:
        LedgerTamperedError: it is a different one.
    """
    index = row.sequence - 1
    if not 0 <= index < head.size:
        raise LedgerTamperedError(
            f"The chain has no entry {row.sequence}: its signed head says {head.size}."
        )
    proof = inclusion_proof(nodes, index, head.size)
    verify_inclusion(leaf_hash(row.entry), index, head.size, bytes.fromhex(head.root), proof)


def proven_entry(row: EntryRow, nodes: Nodes, head: Head) -> HistoryEntry:
    """The entry in a row, proven to be in the history that a verified head sums up.

    Raises:
        LedgerTamperedError: it is a different one, or its row does not say what it says.
        LedgerFormatError: it does not decode strictly.
    """
    require_included(row, nodes, head)
    entry = decode_history_entry(row.entry, row.sequence)
    if row != history_row(entry, row.entry):
        raise LedgerTamperedError(f"The row of the history's entry {row.sequence} was changed.")
    return entry


def history_row(entry: HistoryEntry, data: bytes) -> EntryRow:
    """The row of an entry whose bytes are ``data``."""
    event, at, name, tag = searched_columns(entry)
    return EntryRow(entry.sequence, data, event, at, name, tag)


def searched_columns(entry: HistoryEntry) -> tuple[str, str, str | None, str | None]:
    """What stands beside an entry, to be searched: event, time, name and tag."""
    artifact = entry.artifact
    if artifact is not None:
        return entry.event, entry.at, artifact.name, artifact.tag
    name, tag = entry.details.get("name"), entry.details.get("tag")
    return (
        entry.event,
        entry.at,
        name if isinstance(name, str) else None,
        tag if isinstance(tag, str) else None,
    )
