"""Rows of the ledger's chains, of map, settings and approvals. None of them is believed here.

``ChainReader`` is a ``ledger.Nodes``: proofs are made from what it gives, and verified like anybody
else's. A value that is larger than it may be is not fetched: NULL stands in its place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sealstore import limits
from sealstore.storage.catalogue import statements
from sealstore.storage.catalogue.connections import catalogue_errors
from sealstore.storage.catalogue.statements import CHAINS, Chain

if TYPE_CHECKING:
    from sealstore.storage.catalogue.contract import Connection

HASH_BYTES: Final = 32
_ENTRIES_A_FETCH: Final = 2_000
_ROWS_A_STATEMENT: Final = 500
"""SQLite before 3.32 knows no more than 999 parameters."""

_HEAD: Final = {"id": 1, "cap": limits.MAX_HEAD_ENVELOPE_BYTES}
_ENTRIES: Final = {"cap": limits.MAX_ENTRY_BYTES}
_BUCKET: Final = {"cap": limits.MAX_MAP_BUCKET_BYTES}
_APPROVALS: Final = {"cap": limits.MAX_APPROVAL_ENVELOPE_BYTES, "most": limits.MAX_APPROVALS}


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


@dataclass(frozen=True, slots=True)
class ApprovalRow:
    """An approval of a move of an alias, as it is stored.

    Attributes:
        digest: SHA-256 of the envelope, hexadecimal.
        name, alias, move: of which move.
        envelope: the bytes.
    """

    digest: str
    name: str
    alias: str
    move: int
    envelope: bytes


class ChainReader:
    """One chain, as a connection sees it."""

    def __init__(self, connection: Connection, chain: Chain) -> None:
        self._connection = connection
        self._texts = CHAINS[chain]

    def head(self) -> bytes | None:
        """The head's envelope; None where there is none, or one that cannot be one."""
        with catalogue_errors("The ledger cannot be read"):
            return as_bytes(_value(self._connection.execute(self._texts.head, _HEAD)))

    def get(self, level: int, index: int) -> bytes | None:
        """See ``ledger.Nodes``."""
        asked = {"level": level, "node_index": index, "cap": HASH_BYTES}
        with catalogue_errors("The ledger cannot be read"):
            return as_bytes(_value(self._connection.execute(self._texts.node, asked)))

    def newest_sequence(self) -> int:
        """The largest sequence that a row has; 0 where there is no row."""
        with catalogue_errors("The ledger cannot be read"):
            return int(_value(self._connection.execute(self._texts.newest_sequence)) or 0)

    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes of the entries from index ``start`` up to ``stop``, counted from 0.

        Rows that are missing are passed over: whoever verifies sees that there are too few.
        """
        for batch in self.batches(start, stop):
            for values in batch:
                yield values[1]

    def rows(self, start: int, stop: int) -> Iterator[EntryRow]:
        """The rows of the entries from index ``start`` up to ``stop``, counted from 0."""
        for batch in self.batches(start, stop):
            for values in batch:
                yield EntryRow(*values)

    def batches(self, start: int, stop: int) -> Iterator[list[EntryValues]]:
        """As ``rows``, with all the rows of a fetch at a time."""
        after = start
        while after < stop:
            asked = {"after": after, "last": stop, "most": _ENTRIES_A_FETCH, **_ENTRIES}
            with catalogue_errors("The ledger cannot be read"):
                rows = self._connection.execute(self._texts.entries, asked).fetchall()
            found = list(map(_entry_values, rows))
            if found:
                yield found
            if len(found) < _ENTRIES_A_FETCH:
                return
            after = found[-1][0]

    def strays(self, size: int, *, limit: int) -> list[int]:
        """Sequences of rows that are no entry of a chain of this size, the smallest first."""
        asked = {"first": 1, "last": size, "most": limit}
        with catalogue_errors("The ledger cannot be read"):
            found = self._connection.execute(self._texts.strays, asked).fetchall()
            return [int(value) for (value,) in found]

    def digests(self, level: int, start: int, stop: int) -> dict[int, bytes | None]:
        """The nodes of a level from index ``start`` up to ``stop``, by their index."""
        asked = {"level": level, "start": start, "stop": stop, "cap": HASH_BYTES}
        with catalogue_errors("The ledger cannot be read"):
            found = self._connection.execute(self._texts.nodes, asked).fetchall()
        return {
            index: digest if type(digest) is bytes else as_bytes(digest) for index, digest in found
        }

    def count_nodes(self) -> int:
        """How many nodes there are."""
        with catalogue_errors("The ledger cannot be read"):
            return int(_value(self._connection.execute(self._texts.count_nodes)))

    def newest_rows(
        self,
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
        conditions = [statements.NEWEST_ROWS[key] for key in asked]
        if events:
            places, values = _listed(events)
            conditions.append(statements.IS_EVENT.replace("WANTED", places))
            asked |= values
        # SQLite takes a negative limit for no limit.
        asked |= {**_ENTRIES, "most": max(0, min(limit, limits.MAX_LIST_ROWS))}
        statement = statements.where(self._texts.newest_rows, conditions)
        with catalogue_errors("The ledger cannot be read"):
            rows = self._connection.execute(statement, asked).fetchall()
        return [EntryRow(*_entry_values(row)) for row in rows]


class ChainWriter(ChainReader):
    """One chain, in a transaction that excludes other writers."""

    def append(self, rows: Iterable[EntryRow], nodes: Iterable[NodeRow], head: bytes) -> None:
        """Add entries with the nodes that they complete, and replace the head."""
        with catalogue_errors("The ledger cannot be changed"):
            self._connection.executemany(self._texts.add_entry, map(_fields, rows))
            self._connection.executemany(self._texts.add_node, map(_fields, nodes))
            self.replace_head(head)

    def replace_head(self, head: bytes) -> None:
        """Put another head in the place of the one that is there, if any."""
        with catalogue_errors("The ledger cannot be changed"):
            self._connection.execute(self._texts.remove_head)
            self._connection.execute(self._texts.add_head, {"id": _HEAD["id"], "envelope": head})


class MapRows:
    """The rows of the map and of the settings, as a connection sees them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fetch(self, positions: Collection[int]) -> dict[int, bytes]:
        """The contents of the rows at ``positions`` that are there."""
        wanted = sorted(positions)
        found: dict[int, bytes] = {}
        for start in range(0, len(wanted), _ROWS_A_STATEMENT):
            places, values = _listed(wanted[start : start + _ROWS_A_STATEMENT])
            statement = statements.MAP_ROWS.replace("WANTED", places)
            with catalogue_errors("The map cannot be read"):
                rows = self._connection.execute(statement, values | _BUCKET).fetchall()
            for position, stored in rows:
                content = as_bytes(stored)
                # What is too large, or no bytes, is as good as not there: no hash is its own.
                if content is not None:
                    found[position] = content
        return found

    def following(self, position: int, *, limit: int) -> list[tuple[int, bytes | None]]:
        """Position and content of the rows from ``position`` on, in their order; None for no bytes.

        Args:
            position: of the first.
            limit: how many at most.
        """
        asked = {"position": position, "most": limit, **_BUCKET}
        with catalogue_errors("The map cannot be read"):
            found = self._connection.execute(statements.MAP_FROM, asked).fetchall()
            return [(at, as_bytes(stored)) for at, stored in found]

    def count(self) -> int:
        """How many rows of the map there are."""
        with catalogue_errors("The map cannot be read"):
            return int(_value(self._connection.execute(statements.COUNT_MAP)))

    def get(self, position: int) -> bytes | None:
        """The content of one row."""
        return self.fetch([position]).get(position)

    def replace(self, contents: dict[int, bytes]) -> None:
        """Set the contents of rows."""
        rows = ({"position": at, "content": content} for at, content in contents.items())
        with catalogue_errors("The map cannot be changed"):
            self._connection.executemany(statements.PUT_MAP, rows)

    def settings(self, version: int) -> bytes | None:
        """The envelope of one version of the settings."""
        asked = {"version": version, "cap": limits.MAX_SETTINGS_BYTES}
        with catalogue_errors("The settings cannot be read"):
            return as_bytes(_value(self._connection.execute(statements.SETTINGS, asked)))

    def put_settings(self, version: int, envelope: bytes) -> None:
        """Keep the envelope of one version of the settings; one that is there gives way."""
        with catalogue_errors("The settings cannot be written"):
            self._connection.execute(
                statements.PUT_SETTINGS, {"version": version, "envelope": envelope}
            )


class ApprovalRows:
    """The approvals, as a connection sees them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of_move(self, name: str, alias: str, move: int) -> list[bytes]:
        """The envelopes of one move, as many as a move may have."""
        asked = {"name": name, "alias": alias, "move": move, **_APPROVALS}
        with catalogue_errors("The approvals cannot be read"):
            found = self._connection.execute(statements.APPROVALS, asked).fetchall()
            # What is no bytes is no envelope: opening it says so.
            return [as_bytes(each) or b"" for (each,) in found]

    def replace(self, name: str, alias: str, move: int, rows: Sequence[ApprovalRow]) -> None:
        """Let these be the approvals of a move; what a row in the way says is nothing."""
        with catalogue_errors("The approvals cannot be written"):
            of_move = {"name": name, "alias": alias, "move": move}
            self._connection.execute(statements.REMOVE_APPROVALS, of_move)
            digests = ({"digest": row.digest} for row in rows)
            self._connection.executemany(statements.REMOVE_APPROVAL, digests)
            self._connection.executemany(statements.ADD_APPROVAL, map(_fields, rows))


def as_bytes(value: object) -> bytes | None:
    """Bytes of any driver; None for whatever else stands where bytes should."""
    if isinstance(value, memoryview):
        return bytes(value)
    return value if isinstance(value, bytes) else None


def _value(found: Any) -> Any:
    row = found.fetchone()
    return None if row is None else row[0]


def _fields(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}


def _listed(values: Collection[Any]) -> tuple[str, dict[str, Any]]:
    """A place for each of some values, and the values by the names of their places."""
    named = {f"value_{number}": value for number, value in enumerate(values)}
    return ", ".join(f":{name}" for name in named), named


def _entry_values(row: Any) -> EntryValues:
    sequence, entry, event, at, name, tag = row
    # What is no bytes is no entry: verifying the chain, or decoding this one, says so.
    if type(entry) is not bytes:
        entry = as_bytes(entry) or b""
    return sequence, entry, event, at, name, tag
