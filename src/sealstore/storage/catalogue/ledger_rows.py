"""Entries, nodes and head of a chain, as a load reads them and appends to the access log.

``ChainReader`` is a ``ledger.Nodes``: proofs are made from what it gives, and verified like anybody
else's. A value that is larger than it may be is not fetched: NULL stands in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sealstore import limits
from sealstore.storage.catalogue.connections import catalogue_errors
from sealstore.storage.catalogue.statements import CHAINS, Chain

if TYPE_CHECKING:
    from sealstore.storage.catalogue.contract import Connection

HASH_BYTES: Final = 32
ENTRY_CAP: Final = {"cap": limits.MAX_ENTRY_BYTES}
_ENTRIES_A_FETCH: Final = 2_000
_HEAD: Final = {"id": 1, "cap": limits.MAX_HEAD_ENVELOPE_BYTES}


@dataclass(frozen=True, slots=True)
class EntryRow:
    """An entry as it is stored; the columns beside its bytes repeat them, to be searched.

    Attributes:
        sequence: place in the chain, counted from 1.
        entry: the bytes.
        event: what happened; of an access log the act and its outcome, as ``load granted``.
        at: UTC time by the clock of who did it.
        name, tag: of the artifact concerned.
    """

    sequence: int
    entry: bytes
    event: str
    at: str
    name: str | None
    tag: str | None


EntryValues = tuple[int, bytes, str, str, str | None, str | None]
"""What an ``EntryRow`` is made of, in its order: making one takes as long as fetching its row."""


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node of a chain's Merkle tree, as ``ledger.Node`` names it."""

    level: int
    node_index: int
    digest: bytes


class ChainReader:
    """One chain, as a connection sees it.

    Attributes:
        connection: to ask for more than is asked here.
        name: of the chain.
    """

    def __init__(self, connection: Connection, chain: Chain) -> None:
        self.connection = connection
        self.name = chain
        self._texts = CHAINS[chain]

    def head(self) -> bytes | None:
        """The head's envelope; None where there is none, or one that cannot be one."""
        with catalogue_errors("The ledger cannot be read"):
            return as_bytes(value_of(self.connection.execute(self._texts.head, _HEAD)))

    def get(self, level: int, index: int) -> bytes | None:
        """See ``ledger.Nodes``."""
        asked = {"level": level, "node_index": index, "cap": HASH_BYTES}
        with catalogue_errors("The ledger cannot be read"):
            return as_bytes(value_of(self.connection.execute(self._texts.node, asked)))

    def newest_sequence(self) -> int:
        """The largest sequence that a row has; 0 where there is no row."""
        with catalogue_errors("The ledger cannot be read"):
            return int(value_of(self.connection.execute(self._texts.newest_sequence)) or 0)

    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes of the entries from index ``start`` up to ``stop``, counted from 0.

        Rows that are missing are passed over: whoever verifies sees that there are too few.
        """
        for batch in self.batches(start, stop):
            for values in batch:
                yield values[1]

    def batches(self, start: int, stop: int) -> Iterator[list[EntryValues]]:
        """The same entries with their other columns, all that one fetch gives at a time."""
        after = start
        while after < stop:
            asked = {"after": after, "last": stop, "most": _ENTRIES_A_FETCH, **ENTRY_CAP}
            with catalogue_errors("The ledger cannot be read"):
                rows = self.connection.execute(self._texts.entries, asked).fetchall()
            found = list(map(entry_values, rows))
            if found:
                yield found
            if len(found) < _ENTRIES_A_FETCH:
                return
            after = found[-1][0]


class ChainWriter(ChainReader):
    """One chain, in a transaction that excludes other writers."""

    def append(self, rows: Iterable[EntryRow], nodes: Iterable[NodeRow], head: bytes) -> None:
        """Add entries with the nodes that they complete, and replace the head."""
        with catalogue_errors("The ledger cannot be changed"):
            self.connection.executemany(self._texts.add_entry, map(fields_of, rows))
            self.connection.executemany(self._texts.add_node, map(fields_of, nodes))
            self.replace_head(head)

    def replace_head(self, head: bytes) -> None:
        """Put another head in the place of the one that is there, if any."""
        with catalogue_errors("The ledger cannot be changed"):
            self.connection.execute(self._texts.remove_head)
            self.connection.execute(self._texts.add_head, {"id": _HEAD["id"], "envelope": head})


def as_bytes(value: object) -> bytes | None:
    """Bytes of any driver; None for whatever else stands where bytes should."""
    if isinstance(value, memoryview):
        return bytes(value)
    return value if isinstance(value, bytes) else None


def value_of(found: Any) -> Any:
    """The first value of the first row that a statement gave; None where it gave none."""
    row = found.fetchone()
    return None if row is None else row[0]


def fields_of(row: Any) -> dict[str, Any]:
    """A row's values by the names of their columns."""
    return {name: getattr(row, name) for name in row.__slots__}


def entry_values(row: Any) -> EntryValues:
    """The values of an ``EntryRow``, from its columns."""
    sequence, entry, event, at, name, tag = row
    # What is no bytes is no entry: verifying the chain, or decoding this one, says so.
    if type(entry) is not bytes:
        entry = as_bytes(entry) or b""
    return sequence, entry, event, at, name, tag
